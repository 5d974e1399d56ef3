"""Decoding with a transducer: greedily, or by time-synchronous beam search, over a batch.

Time-synchronous decoding (Saon et al., ICASSP 2020, algorithm 1): frame by frame, every hypothesis
may say up to `max_symbols` labels before it moves on with a blank, and hypotheses with the same
labels become one whose probability is their sum. Scores are those of ESPnet's `tsd` search.
Language models are fused label by label; CTC ranks the hypotheses of the last beam anew.

Symbols: B utterances that still run, K hypotheses of each, M = K·(labels a frame + 1) candidates,
T frames, V tokens, J joint size. Utterances are sorted by length, so those that run come first.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from espnet_ext.decoding.beam import RawHypothesis
from espnet_ext.decoding.ctc_prefix import LOG_ZERO
from espnet_ext.decoding.fusion import Fusion
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.model.prediction import State

BLANK = 0


class TransducerSearch:
    """Takes the place of `BeamSearch` for a branch with prediction and joint network.

    Args:
        parts: `prediction` and `joint`.
        eos: never part of a transcript; nothing else about it is special.
        options: beam_size, greedy, nbest, penalty, normalize_length, max_symbols, expansion_gamma.
        fusion: language models; not for greedy decoding.
        ctc: module with `log_softmax`, or None; c is its weight in the ranking of the last beam,
            1 − c the transducer's. Not for greedy decoding.
    """

    def __init__(
        self,
        parts: Mapping[str, torch.nn.Module],
        eos: int,
        options: SearchOptions,
        fusion: Fusion | None = None,
        ctc: torch.nn.Module | None = None,
        ctc_weight: float = 0.0,
    ):
        self.prediction, self.joint = parts["prediction"], parts["joint"]
        self.eos, self.options = eos, options
        self.fusion = fusion if fusion is not None and fusion.models else None
        self.ctc, self.ctc_weight = (ctc, ctc_weight) if ctc_weight else (None, 0.0)
        self.width = 1 if options.greedy else options.beam_size

    @torch.no_grad()
    def __call__(self, states: torch.Tensor, lengths: torch.Tensor) -> list[list[RawHypothesis]]:
        """The n best of each utterance, best first; states (B, T, D), lengths (B,)."""
        order = sorted(range(len(states)), key=lambda row: -int(lengths[row]))
        heard = self.joint.lin_enc(states[order])  # (B, T, J)
        frames = [int(lengths[row]) for row in order]
        found: list[list[RawHypothesis]] = [[] for _ in order]
        if self.options.greedy:
            for row, nbest in zip(order, self._greedy(heard, frames), strict=True):
                found[row] = nbest
            return found
        logs = None if self.ctc is None else self.ctc.log_softmax(states).double()
        for row, last in zip(order, self._beam(heard, frames), strict=True):
            if logs is not None:
                last = self._with_ctc(last, logs[row, : int(lengths[row])])
            found[row] = self._ranked(last)
        return found

    def _log_probs(self, heard: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """Projections (…, J) of frame and labels to log probabilities (…, V) in float64."""
        logits = self.joint(heard, said, no_projection=True)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return logits.log_softmax(-1).double()

    def _said(self, labels: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """One label more (N,): its projection (N, J), and the state after it."""
        out, state = self.prediction.step(labels, state)
        return self.joint.lin_dec(out), state

    def _start(self, count: int, device: torch.device) -> tuple[torch.Tensor, State]:
        blanks = torch.full((count,), BLANK, device=device)
        return self._said(blanks, self.prediction.start(count))

    # -- greedy

    def _greedy(self, heard: torch.Tensor, frames: Sequence[int]) -> list[list[RawHypothesis]]:
        """The likeliest symbol at every node; after `max_symbols` labels the next frame is due.

        The score is that of the one path that was taken, its forced steps left out.
        """
        batch = len(frames)
        said, state = self._start(batch, heard.device)
        score = heard.new_zeros(batch, dtype=torch.double)
        content: list[list[int]] = [[] for _ in frames]
        sure: list[list[float]] = [[] for _ in frames]
        for t in range(max(frames)):
            rows = torch.arange(sum(count > t for count in frames), device=heard.device)
            for _ in range(self.options.max_symbols):
                logs = self._log_probs(heard[rows, t], said[rows])
                logs[:, self.eos] = -torch.inf
                gain, labels = logs.max(-1)
                score[rows] += gain
                speaks = labels != BLANK
                rows, labels, gain = rows[speaks], labels[speaks], gain[speaks]
                if not len(rows):
                    break
                own = zip(rows.tolist(), labels.tolist(), gain.exp().tolist(), strict=True)
                for row, label, probability in own:
                    content[row].append(label)
                    sure[row].append(probability)
                said[rows], new = self._said(labels, tuple(part[rows] for part in state))
                for part, after in zip(state, new, strict=True):
                    part[rows] = after
        return [
            [RawHypothesis(tuple(ids), total, {"transducer": total}, tuple(probabilities))]
            for ids, total, probabilities in zip(content, score.tolist(), sure, strict=True)
        ]

    # -- beam

    def _beam(self, heard: torch.Tensor, frames: Sequence[int]) -> list[list[RawHypothesis]]:
        """The last beam of each utterance."""
        tree = _Tree(len(frames))
        if self.fusion:
            self.fusion.start()
        beam = self._first(heard, tree)
        done: list[list[RawHypothesis]] = [[] for _ in frames]
        for t in range(max(frames)):
            running = sum(count > t for count in frames)
            beam = beam.rows(running)
            beam = self._frame(heard[:running, t, None], beam, tree)
            for row in (row for row in range(running) if frames[row] == t + 1):
                scores, nodes = beam.score[row].tolist(), beam.node[row].tolist()
                pairs = zip(scores, nodes, strict=True)
                done[row] = [self._raw(s, n, tree) for s, n in pairs if s > -torch.inf]
            if self.fusion:
                self.fusion.keep(beam.node[beam.score > -torch.inf].tolist(), tree)
        return done

    def _first(self, heard: torch.Tensor, tree: "_Tree") -> "_Beam":
        """One hypothesis an utterance, in which nothing was said; the other places are empty."""
        batch, width = len(heard), self.width
        said, state = self._start(batch * width, heard.device)
        score = heard.new_full((batch, width), -torch.inf, dtype=torch.double)
        score[:, 0] = 0.0
        node = torch.arange(batch, device=heard.device)[:, None].expand(-1, width)
        return _Beam(
            score,
            node,
            said.unflatten(0, (batch, width)),
            tuple(part.unflatten(0, (batch, width)) for part in state),
        )

    def _frame(self, heard: torch.Tensor, beam: "_Beam", tree: "_Tree") -> "_Beam":
        """All hypotheses past one frame (B, 1, J)."""
        levels = []
        for level in range(self.options.max_symbols + 1):
            logs = self._log_probs(heard, beam.said)  # (B, K, V)
            moved = beam.score + logs[..., BLANK]
            levels.append(beam._replace(score=moved))
            if level == self.options.max_symbols:
                break
            logs[..., BLANK] = logs[..., self.eos] = -torch.inf
            worth = beam.score.unsqueeze(-1) + logs + self.options.penalty
            if self.fusion:
                worth += self.fusion.scores(beam.node, beam.score > -torch.inf, tree)
            if self.options.expansion_gamma:
                best = torch.stack([one.score.amax(1) for one in levels]).amax(0)
                worth = worth.masked_fill(
                    worth < best[:, None, None] - self.options.expansion_gamma, -torch.inf
                )
            extended = self._extend(beam, worth, logs, tree)
            if extended is None:
                break
            beam = extended
        return self._merge(levels)

    def _extend(
        self, beam: "_Beam", worth: torch.Tensor, logs: torch.Tensor, tree: "_Tree"
    ) -> "_Beam | None":
        """The K best continuations by one label; None where all are worth nothing."""
        width = self.width
        score, top = worth.flatten(1).topk(min(width, worth[0].numel()), -1)  # (B, K)
        alive = score > -torch.inf
        if not bool(alive.any()):
            return None
        parents, labels = top // worth.size(-1), top % worth.size(-1)
        missing = width - score.size(1)
        score = torch.nn.functional.pad(score, (0, missing), value=-torch.inf)
        parents, labels, alive = (
            torch.nn.functional.pad(part, (0, missing)) for part in (parents, labels, alive)
        )
        row = torch.arange(len(score), device=score.device)[:, None]
        node = torch.zeros_like(parents)
        node[alive] = tree.add(
            beam.node.gather(1, parents)[alive],
            labels[alive],
            logs[row, parents, labels][alive].exp(),
        )
        said = beam.said.new_zeros(beam.said.shape)
        state = tuple(torch.zeros_like(part) for part in beam.state)
        before = tuple(part[row, parents][alive] for part in beam.state)
        said[alive], after = self._said(labels[alive], before)
        for part, new in zip(state, after, strict=True):
            part[alive] = new
        return _Beam(score, node, said, state)

    def _merge(self, levels: Sequence["_Beam"]) -> "_Beam":
        """The K best of all levels, after those with the same labels have become one."""
        if len(levels) == 1:
            return levels[0]
        score = torch.cat([one.score for one in levels], 1)  # (B, M)
        node = torch.cat([one.node for one in levels], 1)
        alike = node.unsqueeze(2) == node.unsqueeze(1)
        alike &= (score > -torch.inf).unsqueeze(1)
        total = score.unsqueeze(1).masked_fill(~alike, -torch.inf).logsumexp(-1)
        first = torch.arange(node.size(1), device=node.device) == alike.int().argmax(-1)
        total = total.masked_fill(~first | (score == -torch.inf), -torch.inf)
        score, top = total.topk(self.width, -1)
        row = torch.arange(len(top), device=top.device)[:, None]
        return _Beam(
            score,
            node.gather(1, top),
            torch.cat([one.said for one in levels], 1)[row, top],
            tuple(
                torch.cat(parts, 1)[row, top]
                for parts in zip(*(one.state for one in levels), strict=True)
            ),
        )

    def _raw(self, score: float, node: int, tree: "_Tree") -> RawHypothesis:
        ids, confidences = tree.trace(node)
        own = score - self.options.penalty * len(ids)
        scores = {}
        if self.fusion:
            scores = self.fusion.sums(node, tree)
            own -= sum(self.fusion.models[name][1] * total for name, total in scores.items())
        return RawHypothesis(ids, score, {"transducer": own, **scores}, confidences)

    def _with_ctc(self, last: list[RawHypothesis], logs: torch.Tensor) -> list[RawHypothesis]:
        """Scores with log P_ctc of the whole transcript; logs (T, V) of this utterance."""
        counts = torch.tensor([len(raw.token_ids) for raw in last])
        flat = torch.tensor([i for raw in last for i in raw.token_ids], dtype=torch.long)
        used, labels = flat.unique(return_inverse=True)  # no other columns are needed
        columns = logs[:, torch.cat([used.new_tensor([BLANK]), used]).to(logs.device)]
        losses = torch.nn.functional.ctc_loss(
            columns.unsqueeze(1).expand(-1, len(last), -1).contiguous().cpu(),
            labels + 1,
            counts.new_full((len(last),), len(logs)),
            counts,
            blank=0,
            reduction="none",
        )
        found = []
        for raw, loss in zip(last, losses.tolist(), strict=True):
            value = max(-loss, LOG_ZERO)  # too few frames for so many labels
            own = raw.scores["transducer"]
            score = raw.score + self.ctc_weight * (value - own)
            found.append(dataclasses.replace(raw, score=score, scores={**raw.scores, "ctc": value}))
        return found

    def _ranked(self, found: list[RawHypothesis]) -> list[RawHypothesis]:
        if self.options.normalize_length:
            found.sort(key=lambda raw: -raw.score / (len(raw.token_ids) + 1))
        else:
            found.sort(key=lambda raw: -raw.score)
        return found[: self.options.nbest]


class _Beam(NamedTuple):
    """Hypotheses of all utterances; a place whose score is −inf is empty."""

    score: torch.Tensor  # (B, K) float64
    node: torch.Tensor  # (B, K) in the tree
    said: torch.Tensor  # (B, K, J) projected output of the prediction network
    state: State  # its states, (B, K, …) each

    def rows(self, count: int) -> "_Beam":
        """The first `count` utterances."""
        if count == len(self.score):
            return self
        return _Beam(
            self.score[:count],
            self.node[:count],
            self.said[:count],
            tuple(part[:count] for part in self.state),
        )


class _Tree:
    """Label sequences as nodes: the same labels of an utterance are the same number."""

    def __init__(self, utterances: int):
        # node → its parent, label and confidence; those of no label come first, one an utterance
        self.nodes: list[tuple[int, int, float]] = [(-1, -1, 1.0)] * utterances
        self.numbers: dict[tuple[int, int], int] = {}

    def add(
        self, parents: torch.Tensor, labels: torch.Tensor, confidences: torch.Tensor
    ) -> torch.Tensor:
        """Nodes (N,) of these nodes' continuations; a label is as sure as where it was surest."""
        numbers = []
        for key_and_confidence in zip(
            parents.tolist(), labels.tolist(), confidences.tolist(), strict=True
        ):
            *key, sure = key_and_confidence
            number = self.numbers.setdefault(tuple(key), len(self.nodes))
            if number == len(self.nodes):
                self.nodes.append((*key, sure))
            elif sure > self.nodes[number][2]:
                self.nodes[number] = (*key, sure)
            numbers.append(number)
        return torch.tensor(numbers, device=parents.device)

    def trace(self, node: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Labels of a node from the first on, and their confidences."""
        steps = []
        while self.nodes[node][0] >= 0:
            parent, label, sure = self.nodes[node]
            steps.append((label, sure))
            node = parent
        steps.reverse()
        return tuple(label for label, _ in steps), tuple(sure for _, sure in steps)
