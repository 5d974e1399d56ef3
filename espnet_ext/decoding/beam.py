"""Joint CTC/attention beam search over a batch of utterances, as ESPnet 202611 does it, faster.

The same hypotheses with the same scores as `BatchBeamSearch` without a window on CTC (Watanabe et
al., 2017; Seki et al., 2019). Symbols: B utterances, K hypotheses of each, T frames, V tokens.

A step handles tensors alone. Which hypothesis continues which, and what ended, is recorded step by
step and read once, at the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from espnet_ext.decoding.ctc_prefix import LOG_ZERO, CTCPrefix
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import Scorer

PRE_BEAM = 1.5  # tokens of each hypothesis that CTC scores, in beams
END_LENGTHS, END_MARGIN = 3, -10.0  # Watanabe et al. (2017), equation 50


@dataclass(frozen=True)
class RawHypothesis:
    """Token ids with scores, before they become text."""

    token_ids: tuple[int, ...]  # without sos and eos
    score: float  # weighted sum of log probabilities and length bonus
    scores: Mapping[str, float]  # by scorer, unweighted
    confidences: tuple[float, ...]  # of each token, 0 to 1: what its step gave, weighted


class BeamSearch:
    """Search for one output.

    Args:
        scorers: by name, with their weights, in the order in which they are summed up.
        ctc: module with `log_softmax`, or None; `ctc_weight` is its weight.
        vocabulary: V.
        sos, eos: token ids; blank is 0.
        options: beam, length bounds and the like.
    """

    def __init__(
        self,
        scorers: Mapping[str, tuple[Scorer, float]],
        ctc,
        ctc_weight: float,
        vocabulary: int,
        sos: int,
        eos: int,
        options: SearchOptions,
    ):
        self.scorers = {name: pair for name, pair in scorers.items() if pair[1] != 0}
        self.ctc = ctc if ctc_weight != 0 else None
        self.ctc_weight = ctc_weight
        self.vocabulary, self.sos, self.eos = vocabulary, sos, eos
        self.options = options
        self.width = min(options.beam_size, vocabulary)
        chosen = int(PRE_BEAM * self.width)
        self.pre_beam = chosen if ctc_weight != 1.0 and chosen < vocabulary else None

    @torch.no_grad()
    def __call__(
        self, states: torch.Tensor, lengths: torch.Tensor, minlenratio: float | None = None
    ) -> list[list[RawHypothesis]]:
        """The n best of each utterance, best first; none where all are shorter than allowed.

        Args:
            states: encoder states (B, T, D), in any order; lengths: (B,).
        """
        least = self.options.minlenratio if minlenratio is None else minlenratio
        frames = lengths.tolist()
        run = _Run(self, states, lengths, self._longest(frames), self._shortest(frames, least))
        while not run.finished:
            run.step()
        found = run.results()
        empty = [row for row, nbest in enumerate(found) if not nbest]
        if empty and least >= 0.1:
            again = self(states[empty], lengths[empty], max(0.0, least - 0.1))
            for row, nbest in zip(empty, again, strict=True):
                found[row] = nbest
        return found

    def _longest(self, frames: Sequence[int]) -> list[int]:
        ratio = self.options.maxlenratio
        if ratio == 0:
            return list(frames)
        return [-int(ratio) if ratio < 0 else max(1, int(ratio * count)) for count in frames]

    @staticmethod
    def _shortest(frames: Sequence[int], ratio: float) -> list[int]:
        return [-int(ratio) if ratio < 0 else int(ratio * count) for count in frames]

    @property
    def detects_end(self) -> bool:
        return self.options.end_detect or self.options.maxlenratio == 0


class _Run:
    """One batch on its way. Rows are the utterances that still run; `rows` are their numbers."""

    def __init__(self, search: BeamSearch, states, lengths, longest, shortest):
        self.search = search
        batch, device = len(states), states.device
        width = search.width
        extra = {"ctc": search.ctc is not None, "length_bonus": search.options.penalty != 0}
        self.names = [*search.scorers, *(name for name, used in extra.items() if used)]
        self.rows = torch.arange(batch, device=device)
        self.longest = torch.tensor(longest, device=device)
        self.shortest = torch.tensor(shortest, device=device)
        self.position = 0
        self.last = torch.full((batch, width), search.sos, device=device)
        self.score = states.new_zeros(batch, width)
        self.parts = states.new_zeros(len(self.names), batch, width)
        self.active = torch.zeros(batch, width, dtype=torch.bool, device=device)
        self.active[:, 0] = True  # all are alike at first
        count = search.options.nbest
        self.best_ended = states.new_full((batch, count), -torch.inf, dtype=torch.double)
        # best score of the ended ones by the length of their token sequence, sos and eos counted
        room = max(longest) + END_LENGTHS + 3
        self.by_length = states.new_full((batch, room), -torch.inf, dtype=torch.double)
        self.steps: list[tuple[torch.Tensor, ...]] = []
        for scorer, _ in search.scorers.values():
            scorer.start(states, lengths, width)
        self.prefix = None
        if search.ctc is not None:
            few = None if search.pre_beam is None else search.pre_beam + 1  # with eos
            with torch.autocast(device.type, enabled=False):
                log_probs = search.ctc.log_softmax(states)
            self.prefix = CTCPrefix(log_probs, lengths, search.eos, few=few)
            self.prefixes = self.prefix.start(width)

    @property
    def finished(self) -> bool:
        return not len(self.rows)

    def step(self) -> None:
        """One more token for every hypothesis."""
        search = self.search
        parts = [scorer.step(self.last) for scorer, _ in search.scorers.values()]
        weights = [weight for _, weight in search.scorers.values()]
        weighted = (
            torch.zeros_like(parts[0])
            if parts
            else self.score.new_zeros(*self.score.shape, search.vocabulary)
        )
        for part, weight in zip(parts, weights, strict=True):
            weighted = weighted.add(part, alpha=weight)
        if search.options.penalty:
            weighted = weighted + search.options.penalty
        if self.prefix is not None:
            psi = self._prefix_scores(weighted)
            local = (psi - self.prefixes.total.unsqueeze(-1)).to(weighted.dtype)
            parts.append(local)
            weighted = weighted.add(local, alpha=search.ctc_weight)
        weighted = weighted + self.score.unsqueeze(-1)
        weighted = weighted.masked_fill(~self.active.unsqueeze(-1), -torch.inf)
        score, top = weighted.flatten(1).topk(search.width, -1)
        parents = top.div(search.vocabulary, rounding_mode="trunc")
        tokens = top - parents * search.vocabulary
        own = [part.flatten(1).gather(1, top) for part in parts]
        if search.options.penalty:
            own.append(torch.ones_like(score))
        self.parts = self.parts.gather(2, parents.expand(len(own), -1, -1)) + torch.stack(own)
        self.score, self.last = score, tokens
        for scorer, _ in search.scorers.values():
            scorer.reorder(parents)
        if self.prefix is not None:
            self.prefixes = self.prefix.extend(self.prefixes, psi, parents, tokens)
        self._record(parents, tokens)

    def _prefix_scores(self, weighted: torch.Tensor) -> torch.Tensor:
        """log ψ of each extension (B, K, V): of the likely ones and eos alone, else LOG_ZERO."""
        if self.search.pre_beam is None:
            return self.prefix.score(self.prefixes)
        likely = weighted.topk(self.search.pre_beam, -1).indices
        likely = torch.nn.functional.pad(likely, (0, 1), value=self.search.eos)
        found = self.prefix.score(self.prefixes, likely)
        return found.new_full(weighted.shape, LOG_ZERO).scatter_(-1, likely, found)

    def _record(self, parents: torch.Tensor, tokens: torch.Tensor) -> None:
        """Note what ended and who goes on; drop utterances that are done."""
        last_step = (self.position == self.longest - 1).unsqueeze(1)
        ends = (tokens == self.search.eos) | last_step
        exists = self.score > -torch.inf  # fewer tokens than the beam has room for: some do not
        counts = ends & exists & (self.position >= self.shortest).unsqueeze(1)
        # A hypothesis that says eos in the last step is given another, and is as long as all.
        length = self.position + 2 + last_step.long()
        ended = self.score.double().masked_fill(~counts, -torch.inf)
        self.by_length.scatter_reduce_(1, length, ended.amax(1, keepdim=True), "amax")
        ranked = ended / (length - 1) if self.search.options.normalize_length else ended
        self.steps.append((self.rows, parents, tokens, ranked, self.score, self.parts))
        kept = self.best_ended.size(1)
        self.best_ended = torch.cat([self.best_ended, ranked], 1).topk(kept, -1).values
        self.active = ~ends & exists
        done = last_step.squeeze(1) | ~self.active.any(1) | self._nothing_better()
        if self.search.detects_end:
            done = done | self._end_detected()
        self.position += 1
        self._drop(done)

    def _nothing_better(self) -> torch.Tensor:
        """Whether no running hypothesis can come among the n best any more (B,).

        No step raises a score by more than the length bonus, unless a scorer weighs less than
        nothing.
        """
        if any(weight < 0 for _, weight in self.search.scorers.values()):
            return torch.zeros_like(self.active[:, 0])
        bonus = self.search.options.penalty
        score = self.score.double().masked_fill(~self.active, -torch.inf).amax(1)
        left = (self.longest - 1 - self.position).clamp(min=0)
        if self.search.options.normalize_length:
            now = self.position + 1
            most = torch.maximum(
                (score + max(bonus, 0.0)) / (now + 1),
                (score + max(bonus, 0.0) * left) / (now + left + 1),
            )
        else:
            most = score + max(bonus, 0.0) * left
        return self.best_ended[:, -1] >= most

    def _end_detected(self) -> torch.Tensor:
        """Whether the last three lengths ended far below the best (B,)."""
        best = self.by_length.amax(1, keepdim=True)
        lengths = self.position - torch.arange(END_LENGTHS, device=best.device)
        recent = self.by_length[:, lengths.clamp(min=0)]
        far = (recent - best < END_MARGIN) & recent.isfinite() & (lengths >= 0)
        return far.all(1)

    def _drop(self, done: torch.Tensor) -> None:
        if not bool(done.any()):
            return
        keep = (~done).nonzero().squeeze(1)
        for name in (
            "rows",
            "longest",
            "shortest",
            "last",
            "score",
            "active",
            "best_ended",
            "by_length",
        ):
            setattr(self, name, getattr(self, name)[keep])
        self.parts = self.parts[:, keep]
        if not len(keep):
            return
        for scorer, _ in self.search.scorers.values():
            scorer.keep(keep)
        if self.prefix is not None:
            self.prefix.keep(keep)
            self.prefixes = self.prefixes.of(keep)

    def results(self) -> list[list[RawHypothesis]]:
        """Read the record: the n best of every utterance."""
        steps = [_Step(*(tensor.cpu().numpy() for tensor in step)) for step in self.steps]
        where = [{int(number): row for row, number in enumerate(step.rows)} for step in steps]
        ended: list[list[tuple[float, int, int]]] = [[] for _ in where[0]]
        for position, step in enumerate(steps):
            for row, slot in zip(*np.isfinite(step.ranked).nonzero(), strict=True):
                rank = float(step.ranked[row, slot])
                ended[int(step.rows[row])].append((-rank, position, int(slot)))
        count = self.search.options.nbest
        return [
            [
                self._trace(steps, where, number, position, slot)
                for _, position, slot in sorted(found, key=lambda one: one[0])[:count]
            ]
            for number, found in enumerate(ended)
        ]

    def _trace(self, steps, where, number: int, position: int, slot: int) -> RawHypothesis:
        """Follow a hypothesis back from where it ended."""
        end = steps[position]
        row = where[position][number]
        scores = {name: float(end.parts[i, row, slot]) for i, name in enumerate(self.names)}
        score = float(end.score[row, slot])
        ids: list[int] = []
        totals = []  # score up to and with each token
        for step, rows in zip(steps[position::-1], where[position::-1], strict=True):
            row = rows[number]
            ids.append(int(step.tokens[row, slot]))
            totals.append(float(step.score[row, slot]))
            slot = int(step.parents[row, slot])
        ids.reverse()
        gains = np.diff(totals[::-1], prepend=0.0) - self.search.options.penalty
        sure = np.exp(np.minimum(gains, 0.0)).tolist()
        while ids and ids[-1] == self.search.eos:
            ids.pop()
        content = [(i, confidence) for i, confidence in zip(ids, sure, strict=False) if i != 0]
        return RawHypothesis(
            tuple(i for i, _ in content),
            score,
            scores,
            tuple(confidence for _, confidence in content),
        )


class _Step(NamedTuple):
    """What a step did, by row and slot."""

    rows: np.ndarray  # (B,) numbers of the utterances
    parents: np.ndarray  # (B, K)
    tokens: np.ndarray  # (B, K)
    ranked: np.ndarray  # (B, K) what it is ranked by if it ended here, long enough; else −inf
    score: np.ndarray  # (B, K)
    parts: np.ndarray  # (scorers, B, K)
