"""Joint CTC/attention beam search over a batch of utterances.

It finds the same hypotheses with the same scores as ESPnet 202611's `BatchBeamSearch` without a CTC
window (Watanabe et al., 2017; batched: Seki et al., 2019), and is faster. It differs in two cases:
the beam may be wider than the vocabulary, and impossible hypotheses (score −inf) are never kept.
ESPnet gives them −1e10, which later cancels: with a beam of V it returns '' with score 0.

Symbols:
    B: utterances that are still running
    K: hypotheses per utterance (beam size)
    S: scorers, with CTC and length bonus
    T: encoder frames
    D: encoder output size
    V: vocabulary size

Each step only does tensor operations, and records which hypothesis extends which and what ended.
The hypotheses are read from these records once, at the end.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from espnet_ext.decoding.canonical import Canonical, CanonicalPrior
from espnet_ext.decoding.ctc_prefix import LOWEST, BatchCTCPrefixScorer
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import Scorer, add_weighted
from espnet_ext.model.heads.search import RawHypothesis

PRE_BEAM_RATIO = 1.5  # tokens per hypothesis that CTC scores, as a multiple of the beam size
# End detection, Watanabe et al. (2017), equation 50: M and D_end.
END_DETECT_LENGTHS = 3
END_DETECT_MARGIN = -10.0


class BeamSearch:
    """Beam search for one output.

    Args:
        scorers: scorers by name, each with its weight; their scores are added in this order.
        ctc: CTC module with `log_softmax`, or None.
        ctc_weight: weight of the CTC prefix score.
        vocab_size: V.
        sos, eos: token ids; blank is 0.
        options: search options.
        prior: pronunciation error model, for utterances with a canonical form.
    """

    def __init__(
        self,
        scorers: Mapping[str, tuple[Scorer, float]],
        ctc,
        ctc_weight: float,
        vocab_size: int,
        sos: int,
        eos: int,
        options: SearchOptions,
        prior: CanonicalPrior | None = None,
    ):
        self.scorers = {name: pair for name, pair in scorers.items() if pair[1] != 0}
        self.ctc = ctc if ctc_weight != 0 else None
        self.ctc_weight = ctc_weight
        self.vocab_size, self.sos, self.eos = vocab_size, sos, eos
        self.options = options
        self.prior = prior if prior is not None and prior.weight != 0 else None
        self.beam_size = options.beam_size
        pre_beam_size = int(PRE_BEAM_RATIO * self.beam_size)
        use_pre_beam = ctc_weight != 1.0 and pre_beam_size < vocab_size
        self.pre_beam_size = pre_beam_size if use_pre_beam else None

    @torch.no_grad()
    def __call__(
        self,
        encoder_out: torch.Tensor,
        lengths: torch.Tensor,
        minlenratio: float | None = None,
        use_pre_beam: bool = True,
        canonical: Sequence[Canonical | None] | None = None,
        ctc_input: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> list[list[RawHypothesis]]:
        """Return the n-best list of each utterance, best first.

        If no hypothesis of an utterance reaches the minimum length, the utterance is searched again
        with a `minlenratio` that is smaller by 0.1, as in ESPnet, then with 0, and at last without
        the pre-beam, which can exclude everything that is possible. The list is empty if every
        hypothesis is impossible.

        Args:
            encoder_out: (B, T, D).
            lengths: (B,) frames per utterance, in any order.
            minlenratio: replaces the one of the options.
            use_pre_beam: let CTC score only the tokens that the other scorers prefer.
            canonical: canonical form of each utterance for the prior; None: no prior.
            ctc_input: states (B, T, D) and lengths (B,) that CTC reads, if the decoder reads
                others. Limits of the hypotheses' lengths refer to them.
        """
        min_ratio = self.options.minlenratio if minlenratio is None else minlenratio
        ctc_input = (encoder_out, lengths) if ctc_input is None else ctc_input
        frames = ctc_input[1].tolist()
        search = _BatchSearch(
            self,
            encoder_out,
            lengths,
            self._max_lengths(frames),
            _min_lengths(frames, min_ratio),
            self.pre_beam_size if use_pre_beam else None,
            self._scorers(canonical),
            ctc_input,
        )
        while not search.finished:
            search.step()
        nbest_lists = search.results()
        empty = [row for row, nbest in enumerate(nbest_lists) if not nbest]
        use_pre_beam = use_pre_beam and self.pre_beam_size is not None
        if empty and (min_ratio != 0 or use_pre_beam):
            lower_ratio = max(0.0, min_ratio - 0.1)
            use_pre_beam = use_pre_beam and min_ratio != 0
            of_empty = None if canonical is None else [canonical[row] for row in empty]
            ctc_empty = (ctc_input[0][empty], ctc_input[1][empty])
            inputs = (encoder_out[empty], lengths[empty])
            retried = self(*inputs, lower_ratio, use_pre_beam, of_empty, ctc_empty)
            for row, nbest in zip(empty, retried, strict=True):
                nbest_lists[row] = nbest
        return nbest_lists

    def _scorers(
        self, canonical: Sequence[Canonical | None] | None
    ) -> dict[str, tuple[Scorer, float]]:
        """Return the scorers of a batch, with their weights."""
        if self.prior is None or canonical is None:
            return self.scorers
        return {**self.scorers, "canonical": (self.prior.scorer(canonical), self.prior.weight)}

    def _max_lengths(self, frames: Sequence[int]) -> list[int]:
        ratio = self.options.maxlenratio
        if ratio == 0:
            return list(frames)
        return [-int(ratio) if ratio < 0 else max(1, int(ratio * count)) for count in frames]

    @property
    def use_end_detection(self) -> bool:
        return self.options.end_detect or self.options.maxlenratio == 0


def _min_lengths(frames: Sequence[int], ratio: float) -> list[int]:
    return [-int(ratio) if ratio < 0 else int(ratio * count) for count in frames]


class _BatchSearch:
    """The state of a search over one batch. Utterances that are done are removed from it."""

    def __init__(
        self,
        search: BeamSearch,
        encoder_out: torch.Tensor,
        lengths: torch.Tensor,
        max_lengths: Sequence[int],
        min_lengths: Sequence[int],
        pre_beam_size: int | None,
        scorers: Mapping[str, tuple[Scorer, float]],
        ctc_input: tuple[torch.Tensor, torch.Tensor],
    ):
        self.search, self.scorers = search, scorers
        self.pre_beam_size = pre_beam_size
        batch, device = len(encoder_out), encoder_out.device
        beam_size = search.beam_size
        extra = {"ctc": search.ctc is not None, "length_bonus": search.options.penalty != 0}
        self.score_names = [*self.scorers, *(name for name, used in extra.items() if used)]
        self.utterances = torch.arange(batch, device=device)  # (B,) their rows in the batch
        self.max_lengths = torch.tensor(max_lengths, device=device)  # (B,)
        self.min_lengths = torch.tensor(min_lengths, device=device)  # (B,)
        self.position = 0
        self.last_tokens = torch.full((batch, beam_size), search.sos, device=device)  # (B, K)
        self.scores = encoder_out.new_zeros(batch, beam_size)  # (B, K) weighted
        # (S, B, K) unweighted
        self.scores_by_scorer = encoder_out.new_zeros(len(self.score_names), batch, beam_size)
        self.active = torch.zeros(batch, beam_size, dtype=torch.bool, device=device)  # (B, K)
        self.active[:, 0] = True  # at first all K hypotheses are equal: extend one of them
        # (B, N) for N = nbest: the values that the N best ended hypotheses are ranked by
        self.best_ended = encoder_out.new_full(
            (batch, search.options.nbest), -torch.inf, dtype=torch.double
        )
        # Best score of the ended hypotheses by length, which counts sos and eos.
        num_lengths = max(max_lengths) + END_DETECT_LENGTHS + 3
        self.best_by_length = encoder_out.new_full(
            (batch, num_lengths), -torch.inf, dtype=torch.double
        )
        self.records: list[tuple[torch.Tensor, ...]] = []  # the fields of `_StepRecord`
        for scorer, _ in self.scorers.values():
            scorer.start(encoder_out, lengths, beam_size)
        self.ctc_scorer: BatchCTCPrefixScorer | None = None
        if search.ctc is not None:
            num_scored = None if pre_beam_size is None else pre_beam_size + 1  # eos
            with torch.autocast(device.type, enabled=False):
                log_probs = search.ctc.log_softmax(ctc_input[0])
            self.ctc_scorer = BatchCTCPrefixScorer(
                log_probs, ctc_input[1], search.eos, num_scored=num_scored
            )
            self.ctc_state = self.ctc_scorer.start(beam_size)

    @property
    def finished(self) -> bool:
        return not len(self.utterances)

    def step(self) -> None:
        """Extend all hypotheses by one token and keep the K best of each utterance."""
        search = self.search
        # (B, K, V) each, unweighted
        token_scores = [scorer.step(self.last_tokens) for scorer, _ in self.scorers.values()]
        weighted = self._weighted_sum(token_scores)  # (B, K, V)
        if search.options.penalty:
            weighted = weighted + search.options.penalty
        if self.ctc_scorer is not None:
            log_psi = self._ctc_scores(self.ctc_scorer, weighted)  # (B, K, V)
            # Unused places in the beam have log ψ = −inf, from which nothing can be subtracted.
            previous = self.ctc_state.log_psi.clamp(min=LOWEST).unsqueeze(-1)  # (B, K, 1)
            ctc_scores = (log_psi - previous).to(weighted.dtype)
            token_scores.append(ctc_scores)
            weighted = weighted.add(ctc_scores, alpha=search.ctc_weight)
        weighted = weighted + self.scores.masked_fill(~self.active, -torch.inf).unsqueeze(-1)

        self.scores, top = weighted.flatten(1).topk(search.beam_size, -1)  # (B, K)
        parents = top.div(search.vocab_size, rounding_mode="trunc")
        tokens = top - parents * search.vocab_size
        chosen_scores = [scores.flatten(1).gather(1, top) for scores in token_scores]
        if search.options.penalty:
            chosen_scores.append(torch.ones_like(self.scores))
        index = parents.expand(len(chosen_scores), -1, -1)
        self.scores_by_scorer = self.scores_by_scorer.gather(2, index) + torch.stack(chosen_scores)
        self.last_tokens = tokens
        for scorer, _ in self.scorers.values():
            scorer.reorder(parents)
        if self.ctc_scorer is not None:
            self.ctc_state = self.ctc_scorer.extend(self.ctc_state, log_psi, parents, tokens)
        self._record(parents, tokens)

    def _weighted_sum(self, token_scores: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return Σ weight · scores (B, K, V) of the scorers, each with scores (B, K, V).

        Each multiplication of a large vocabulary takes long, so a first weight of 1 is skipped.
        """
        weights = [weight for _, weight in self.scorers.values()]
        pairs = list(zip(token_scores, weights, strict=True))
        if pairs and weights[0] == 1.0:
            total, pairs = token_scores[0], pairs[1:]
        else:
            total = self.scores.new_zeros(*self.scores.shape, self.search.vocab_size)
        for scores, weight in pairs:
            total = add_weighted(total, scores, weight)
        return total

    def _ctc_scores(self, ctc_scorer: BatchCTCPrefixScorer, weighted: torch.Tensor) -> torch.Tensor:
        """Return log ψ of all extensions (B, K, V); −inf outside of the pre-beam, except for eos.

        The pre-beam of a hypothesis consists of the tokens that the other scorers prefer, by their
        `weighted` scores (B, K, V).
        """
        if self.pre_beam_size is None:
            return ctc_scorer.score(self.ctc_state)
        pre_beam = weighted.topk(self.pre_beam_size, -1).indices
        pre_beam = torch.nn.functional.pad(pre_beam, (0, 1), value=self.search.eos)  # (B, K, P)
        log_psi = ctc_scorer.score(self.ctc_state, pre_beam)
        return log_psi.new_full(weighted.shape, -torch.inf).scatter_(-1, pre_beam, log_psi)

    def _record(self, parents: torch.Tensor, tokens: torch.Tensor) -> None:
        """Record this step, end hypotheses, and drop utterances that are done."""
        is_last_step = (self.max_lengths - 1 == self.position).unsqueeze(1)  # (B, 1)
        ends = (tokens == self.search.eos) | is_last_step  # (B, K)
        exists = self.scores > -torch.inf  # there may be fewer than K different extensions
        long_enough = (self.position >= self.min_lengths).unsqueeze(1)
        # In the last step eos is appended to all hypotheses, also to those that have just ended.
        length = self.position + 2 + is_last_step.long()  # (B, 1)
        ended = self.scores.double().masked_fill(~(ends & exists & long_enough), -torch.inf)
        self.best_by_length.scatter_reduce_(1, length, ended.amax(1, keepdim=True), "amax")
        ranks = ended / (length - 1) if self.search.options.normalize_length else ended
        self.records.append(
            (self.utterances, parents, tokens, ranks, self.scores, self.scores_by_scorer)
        )
        nbest = self.best_ended.size(1)
        self.best_ended = torch.cat([self.best_ended, ranks], 1).topk(nbest, -1).values
        self.active = ~ends & exists
        done = is_last_step.squeeze(1) | ~self.active.any(1) | self._can_stop_early()
        if self.search.use_end_detection:
            done = done | self._end_detected()
        self.position += 1
        self._drop(done)

    def _can_stop_early(self) -> torch.Tensor:
        """Return whether no running hypothesis can still enter the n-best list (B,).

        A step raises a score by at most the length bonus, unless a scorer's weight is negative.
        """
        if any(weight < 0 for _, weight in self.scorers.values()):
            return torch.zeros_like(self.active[:, 0])
        bonus = self.search.options.penalty
        score = self.scores.double().masked_fill(~self.active, -torch.inf).amax(1)
        steps_left = (self.max_lengths - 1 - self.position).clamp(min=0)
        if self.search.options.normalize_length:
            tokens = self.position + 1
            # Monotone in the number of further steps: the maximum is at one or at all of them. In
            # the last step, eos is counted in addition.
            last_score = score + max(bonus, 0.0) * steps_left
            upper_bound = torch.maximum(
                (score + max(bonus, 0.0)) / (tokens + 1),
                torch.maximum(
                    last_score / (tokens + steps_left), last_score / (tokens + steps_left + 1)
                ),
            )
        else:
            upper_bound = score + max(bonus, 0.0) * steps_left
        return self.best_ended[:, -1] >= upper_bound

    def _end_detected(self) -> torch.Tensor:
        """Return whether the hypotheses of the last lengths ended far below the best (B,)."""
        best = self.best_by_length.amax(1, keepdim=True)
        lengths = self.position - torch.arange(END_DETECT_LENGTHS, device=best.device)
        recent = self.best_by_length[:, lengths.clamp(min=0)]
        is_far_below = (recent - best < END_DETECT_MARGIN) & recent.isfinite() & (lengths >= 0)
        return is_far_below.all(1)

    def _drop(self, done: torch.Tensor) -> None:
        """Remove the utterances that are done (B,)."""
        if not bool(done.any()):
            return
        rows = (~done).nonzero().squeeze(1)
        self.utterances = self.utterances[rows]
        self.max_lengths, self.min_lengths = self.max_lengths[rows], self.min_lengths[rows]
        self.last_tokens, self.active = self.last_tokens[rows], self.active[rows]
        self.scores, self.scores_by_scorer = self.scores[rows], self.scores_by_scorer[:, rows]
        self.best_ended = self.best_ended[rows]
        self.best_by_length = self.best_by_length[rows]
        if not len(rows):
            return
        for scorer, _ in self.scorers.values():
            scorer.keep(rows)
        if self.ctc_scorer is not None:
            self.ctc_scorer.keep(rows)
            self.ctc_state = self.ctc_state.select(rows)

    def results(self) -> list[list[RawHypothesis]]:
        """Return the n-best list of each utterance, read from the records."""
        records = [_StepRecord(*(tensor.cpu().numpy() for tensor in one)) for one in self.records]
        # Per step: utterance → its row in the tensors of that step.
        rows = [{int(utt): row for row, utt in enumerate(step.utterances)} for step in records]
        ended: list[list[tuple[float, int, int]]] = [[] for _ in rows[0]]
        for position, step in enumerate(records):
            for row, slot in zip(*np.isfinite(step.ranks).nonzero(), strict=True):
                rank = float(step.ranks[row, slot])
                ended[int(step.utterances[row])].append((rank, position, int(slot)))
        nbest = self.search.options.nbest
        return [
            [
                self._trace(records, rows, utterance, position, slot)
                for _, position, slot in sorted(candidates, key=lambda one: -one[0])[:nbest]
            ]
            for utterance, candidates in enumerate(ended)
        ]

    def _trace(
        self,
        records: Sequence["_StepRecord"],
        rows: Sequence[Mapping[int, int]],
        utterance: int,
        position: int,
        slot: int,
    ) -> RawHypothesis:
        """Follow a hypothesis back from the step and slot (0 … K−1) where it ended."""
        end, row = records[position], rows[position][utterance]
        scores = {
            name: float(end.scores_by_scorer[i, row, slot])
            for i, name in enumerate(self.score_names)
        }
        score = float(end.scores[row, slot])
        ids: list[int] = []
        cumulative = []  # score up to and including each token
        for i in range(position, -1, -1):
            step, row = records[i], rows[i][utterance]
            ids.append(int(step.tokens[row, slot]))
            cumulative.append(float(step.scores[row, slot]))
            slot = int(step.parents[row, slot])
        ids.reverse()
        gains = np.diff(cumulative[::-1], prepend=0.0) - self.search.options.penalty
        confidences = np.exp(np.minimum(gains, 0.0)).tolist()
        while ids and ids[-1] == self.search.eos:
            ids.pop()
        content = [pair for pair in zip(ids, confidences, strict=False) if pair[0] != 0]
        return RawHypothesis(
            tuple(token for token, _ in content),
            score,
            scores,
            tuple(confidence for _, confidence in content),
        )


class _StepRecord(NamedTuple):
    """What one step did."""

    utterances: np.ndarray  # (B,) rows of the running utterances in the batch
    parents: np.ndarray  # (B, K) hypotheses of the previous step
    tokens: np.ndarray  # (B, K)
    # (B, K) what the hypothesis is ranked by if it ended here and is long enough, else −inf
    ranks: np.ndarray
    scores: np.ndarray  # (B, K)
    scores_by_scorer: np.ndarray  # (S, B, K)
