"""Transducer search over a batch: greedy, or time-synchronous beam search.

Time-synchronous decoding (Saon et al., ICASSP 2020, algorithm 1): at each frame a hypothesis may
emit up to `max_symbols` labels before a blank moves it to the next frame, and hypotheses with the
same labels are merged by adding their probabilities. Scores are those of ESPnet's `tsd` search.
Language models are fused label by label; CTC re-ranks the hypotheses of the final beam.

Symbols:
    B: utterances that are still running; sorted by length, so they are the first rows
    K: hypotheses per utterance (beam size)
    M: K · (labels emitted at a frame + 1), hypotheses of one frame before merging
    T: encoder frames
    V: vocabulary size
    D: encoder output size
    J: joint size
    N: hypotheses or utterances, flattened
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from espnet_ext.decoding.fusion import Fusion
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.model.heads.search import RawHypothesis
from espnet_ext.model.prediction import State

BLANK = 0


class TransducerSearch:
    """Transducer search, with the interface of `BeamSearch`.

    Args:
        parts: `prediction` (prediction network) and `joint` (ESPnet's joint network).
        eos: token id that is never emitted; it has no other meaning here.
        options: beam_size, greedy, nbest, penalty, normalize_length, max_symbols and
            expansion_gamma are used.
        fusion: language models; not used by greedy search.
        ctc: CTC module with `log_softmax`, or None; not used by greedy search.
        ctc_weight: c of the re-ranking of the final beam, where the transducer has 1 − c.
    """

    def __init__(
        self,
        parts: Mapping[str, torch.nn.Module],
        eos: int,
        options: SearchOptions,
        fusion: Fusion | None = None,
        ctc: Any = None,
        ctc_weight: float = 0.0,
    ):
        self.prediction: Any = parts["prediction"]
        self.joint: Any = parts["joint"]
        self.eos, self.options = eos, options
        self.fusion = fusion if fusion is not None and fusion.models else None
        self.ctc = ctc if ctc_weight else None
        self.ctc_weight = ctc_weight
        self.beam_size = 1 if options.greedy else options.beam_size

    @torch.no_grad()
    def __call__(
        self, encoder_out: torch.Tensor, lengths: torch.Tensor
    ) -> list[list[RawHypothesis]]:
        """Return the n-best list of each utterance, best first.

        Args:
            encoder_out: (B, T, D).
            lengths: (B,) frames per utterance, in any order.
        """
        order = sorted(range(len(encoder_out)), key=lambda row: -int(lengths[row]))
        encoder_projection = self.joint.lin_enc(encoder_out[order])  # (B, T, J)
        frames = [int(lengths[row]) for row in order]
        nbest_lists: list[list[RawHypothesis]] = [[] for _ in order]
        if self.options.greedy:
            hypotheses = self._greedy_search(encoder_projection, frames)
            for row, hypothesis in zip(order, hypotheses, strict=True):
                nbest_lists[row] = [hypothesis]
            return nbest_lists
        log_probs = None if self.ctc is None else self.ctc.log_softmax(encoder_out).double()
        beams = self._beam_search(encoder_projection, frames)
        for row, beam in zip(order, beams, strict=True):
            if log_probs is not None:
                beam = self._add_ctc_scores(beam, log_probs[row, : int(lengths[row])])
            nbest_lists[row] = self._rank(beam)
        return nbest_lists

    def _log_probs(
        self, encoder_projection: torch.Tensor, label_projection: torch.Tensor
    ) -> torch.Tensor:
        """Return the log probabilities (…, V) in float64, given projections (…, J)."""
        logits = self.joint(encoder_projection, label_projection, no_projection=True)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return logits.log_softmax(-1).double()

    def _predict(self, labels: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Feed labels (N,) to the prediction network; return its projection (N, J) and state."""
        out, state = self.prediction.step(labels, state)
        return self.joint.lin_dec(out), state

    def _start_prediction(self, count: int, device: torch.device) -> tuple[torch.Tensor, State]:
        blanks = torch.full((count,), BLANK, device=device)
        return self._predict(blanks, self.prediction.start(count))

    # Greedy search

    def _greedy_search(
        self, encoder_projection: torch.Tensor, frames: Sequence[int]
    ) -> list[RawHypothesis]:
        """Take the most probable symbol in every step; move on after `max_symbols` labels.

        The score is that of the path taken, without the blanks that are forced after `max_symbols`
        labels.

        Args:
            encoder_projection: (B, T, J).
            frames: frames per utterance, in descending order.
        """
        batch, device = len(frames), encoder_projection.device
        label_projection, state = self._start_prediction(batch, device)  # (B, J)
        score = encoder_projection.new_zeros(batch, dtype=torch.double)
        token_ids: list[list[int]] = [[] for _ in frames]
        confidences: list[list[float]] = [[] for _ in frames]
        for t in range(max(frames)):
            # Utterances that may still emit a label at this frame.
            rows = torch.arange(sum(count > t for count in frames), device=device)
            for _ in range(self.options.max_symbols):
                log_probs = self._log_probs(encoder_projection[rows, t], label_projection[rows])
                log_probs[:, self.eos] = -torch.inf
                best, labels = log_probs.max(-1)
                score[rows] += best
                is_label = labels != BLANK
                rows, labels, best = rows[is_label], labels[is_label], best[is_label]
                if not len(rows):
                    break
                emitted = zip(rows.tolist(), labels.tolist(), best.exp().tolist(), strict=True)
                for row, label, probability in emitted:
                    token_ids[row].append(label)
                    confidences[row].append(probability)
                label_projection[rows], new_state = self._predict(
                    labels, tuple(tensor[rows] for tensor in state)
                )
                for tensor, new in zip(state, new_state, strict=True):
                    tensor[rows] = new
        return [
            RawHypothesis(tuple(ids), total, {"transducer": total}, tuple(probabilities))
            for ids, total, probabilities in zip(
                token_ids, score.tolist(), confidences, strict=True
            )
        ]

    # Beam search

    def _beam_search(
        self, encoder_projection: torch.Tensor, frames: Sequence[int]
    ) -> list[list[RawHypothesis]]:
        """Return the final beam of each utterance, unsorted; arguments as in `_greedy_search`."""
        tree = _PrefixTree(len(frames))
        if self.fusion:
            self.fusion.start()
        beam = self._initial_beam(encoder_projection)
        final_beams: list[list[RawHypothesis]] = [[] for _ in frames]
        for t in range(max(frames)):
            running = sum(count > t for count in frames)
            beam = beam.first(running)
            beam = self._process_frame(encoder_projection[:running, t, None], beam, tree)
            for row in (row for row in range(running) if frames[row] == t + 1):
                scores, nodes = beam.score[row].tolist(), beam.node[row].tolist()
                final_beams[row] = [
                    self._hypothesis(score, node, tree)
                    for score, node in zip(scores, nodes, strict=True)
                    if score > -torch.inf
                ]
            if self.fusion:
                self.fusion.keep(beam.node[beam.score > -torch.inf].tolist(), tree)
        return final_beams

    def _initial_beam(self, encoder_projection: torch.Tensor) -> "_Beam":
        """Return beams with one empty hypothesis per utterance and K − 1 unused places."""
        shape = len(encoder_projection), self.beam_size
        device = encoder_projection.device
        label_projection, state = self._start_prediction(shape[0] * shape[1], device)
        score = encoder_projection.new_full(shape, -torch.inf, dtype=torch.double)
        score[:, 0] = 0.0
        return _Beam(
            score,
            torch.arange(shape[0], device=device)[:, None].expand(shape),
            label_projection.unflatten(0, shape),
            tuple(tensor.unflatten(0, shape) for tensor in state),
        )

    def _process_frame(
        self, encoder_projection: torch.Tensor, beam: "_Beam", tree: "_PrefixTree"
    ) -> "_Beam":
        """Return the beam after one frame; encoder_projection: (B, 1, J)."""
        after_blank = []  # beams after a blank, by the number of labels emitted at this frame
        for num_labels in range(self.options.max_symbols + 1):
            log_probs = self._log_probs(encoder_projection, beam.label_projection)  # (B, K, V)
            after_blank.append(beam._replace(score=beam.score + log_probs[..., BLANK]))
            if num_labels == self.options.max_symbols:
                break
            log_probs[..., BLANK] = log_probs[..., self.eos] = -torch.inf
            score = beam.score.unsqueeze(-1) + log_probs + self.options.penalty
            if self.fusion:
                score += self.fusion.scores(beam.node, beam.score > -torch.inf, tree)
            if self.options.expansion_gamma:
                # Prune expansions far below the best hypothesis that has left the frame.
                best = torch.stack([one.score.amax(1) for one in after_blank]).amax(0)  # (B,)
                threshold = best[:, None, None] - self.options.expansion_gamma
                score = score.masked_fill(score < threshold, -torch.inf)
            extended = self._extend(beam, score, log_probs, tree)
            if extended is None:
                break
            beam = extended
        return self._merge(after_blank)

    def _extend(
        self, beam: "_Beam", score: torch.Tensor, log_probs: torch.Tensor, tree: "_PrefixTree"
    ) -> "_Beam | None":
        """Return the K best extensions by one label, or None if there is none.

        Args:
            score: (B, K, V) total scores of all extensions.
            log_probs: (B, K, V) of the transducer alone, for the confidences.
        """
        vocab_size, num_extensions = score.size(-1), score[0].numel()
        top_score, top = score.flatten(1).topk(min(self.beam_size, num_extensions), -1)  # (B, K)
        alive = top_score > -torch.inf
        if not bool(alive.any()):
            return None
        parents, labels = top // vocab_size, top % vocab_size
        missing = self.beam_size - top_score.size(1)  # if there are fewer than K extensions
        top_score = torch.nn.functional.pad(top_score, (0, missing), value=-torch.inf)
        parents, labels, alive = (
            torch.nn.functional.pad(tensor, (0, missing)) for tensor in (parents, labels, alive)
        )
        row = torch.arange(len(top_score), device=top_score.device)[:, None]
        node = torch.zeros_like(parents)
        node[alive] = tree.add(
            beam.node.gather(1, parents)[alive],
            labels[alive],
            log_probs[row, parents, labels][alive].exp(),
        )
        label_projection = beam.label_projection.new_zeros(beam.label_projection.shape)
        state = tuple(torch.zeros_like(tensor) for tensor in beam.state)
        parent_state = tuple(tensor[row, parents][alive] for tensor in beam.state)
        label_projection[alive], new_state = self._predict(labels[alive], parent_state)
        for tensor, new in zip(state, new_state, strict=True):
            tensor[alive] = new
        return _Beam(top_score, node, label_projection, state)

    def _merge(self, beams: Sequence["_Beam"]) -> "_Beam":
        """Merge hypotheses with the same labels and return the K best."""
        if len(beams) == 1:
            return beams[0]
        score = torch.cat([beam.score for beam in beams], 1)  # (B, M)
        node = torch.cat([beam.node for beam in beams], 1)
        exists = score > -torch.inf
        same = (node.unsqueeze(2) == node.unsqueeze(1)) & exists.unsqueeze(1)  # (B, M, M)
        total = score.unsqueeze(1).masked_fill(~same, -torch.inf).logsumexp(-1)
        # The first of the hypotheses with the same labels gets the sum.
        is_first = torch.arange(node.size(1), device=node.device) == same.int().argmax(-1)
        total = total.masked_fill(~(is_first & exists), -torch.inf)
        score, top = total.topk(self.beam_size, -1)  # (B, K)
        row = torch.arange(len(top), device=top.device)[:, None]
        return _Beam(
            score,
            node.gather(1, top),
            torch.cat([beam.label_projection for beam in beams], 1)[row, top],
            tuple(
                torch.cat(tensors, 1)[row, top]
                for tensors in zip(*(beam.state for beam in beams), strict=True)
            ),
        )

    def _hypothesis(self, score: float, node: int, tree: "_PrefixTree") -> RawHypothesis:
        """Return a hypothesis with its scores split by scorer."""
        token_ids, confidences = tree.trace(node)
        transducer_score = score - self.options.penalty * len(token_ids)
        lm_scores: dict[str, float] = {}
        if self.fusion:
            lm_scores = self.fusion.totals(node, tree)
            transducer_score -= sum(
                self.fusion.models[name][1] * lm_score for name, lm_score in lm_scores.items()
            )
        scores = {"transducer": transducer_score, **lm_scores}
        return RawHypothesis(token_ids, score, scores, confidences)

    def _add_ctc_scores(
        self, hypotheses: Sequence[RawHypothesis], log_probs: torch.Tensor
    ) -> list[RawHypothesis]:
        """Interpolate the scores with log P_ctc of the whole transcript.

        Hypotheses that are impossible by CTC are removed: those with too many tokens for the
        frames. If all are, the transducer alone ranks them.

        Args:
            log_probs: (T, V) output of the CTC layer for this utterance.
        """
        num_tokens = torch.tensor([len(hypothesis.token_ids) for hypothesis in hypotheses])
        flat_ids = [i for hypothesis in hypotheses for i in hypothesis.token_ids]
        # Only the columns of blank and of the tokens that occur are needed.
        used, targets = torch.tensor(flat_ids, dtype=torch.long).unique(return_inverse=True)
        columns = torch.cat([used.new_tensor([BLANK]), used]).to(log_probs.device)
        losses = torch.nn.functional.ctc_loss(
            log_probs[:, columns].unsqueeze(1).expand(-1, len(hypotheses), -1).contiguous().cpu(),
            targets + 1,
            num_tokens.new_full((len(hypotheses),), len(log_probs)),
            num_tokens,
            blank=0,
            reduction="none",
        )
        rescored = []
        for hypothesis, loss in zip(hypotheses, losses.tolist(), strict=True):
            if loss == torch.inf:
                continue
            ctc_score = -loss
            change = ctc_score - hypothesis.scores["transducer"]
            rescored.append(
                dataclasses.replace(
                    hypothesis,
                    score=hypothesis.score + self.ctc_weight * change,
                    scores={**hypothesis.scores, "ctc": ctc_score},
                )
            )
        return rescored or list(hypotheses)

    def _rank(self, hypotheses: Sequence[RawHypothesis]) -> list[RawHypothesis]:
        """Return the n best, by score or by score per token."""

        def rank(hypothesis: RawHypothesis) -> float:
            if self.options.normalize_length:
                return hypothesis.score / (len(hypothesis.token_ids) + 1)
            return hypothesis.score

        return sorted(hypotheses, key=rank, reverse=True)[: self.options.nbest]


class _Beam(NamedTuple):
    """The hypotheses of all utterances; a place with a score of −inf is unused."""

    score: torch.Tensor  # (B, K) float64
    node: torch.Tensor  # (B, K) nodes of the prefix tree
    label_projection: torch.Tensor  # (B, K, J) projected output of the prediction network
    state: State  # state of the prediction network, tensors (B, K, …)

    def first(self, count: int) -> "_Beam":
        """Return the beams of the first `count` utterances."""
        if count == len(self.score):
            return self
        return _Beam(
            self.score[:count],
            self.node[:count],
            self.label_projection[:count],
            tuple(tensor[:count] for tensor in self.state),
        )


class _PrefixTree:
    """The label sequences of all utterances as nodes, one node per different sequence."""

    def __init__(self, num_utterances: int):
        # Parent, last label and confidence of each node. The first `num_utterances` nodes are the
        # empty sequences.
        self.nodes: list[tuple[int, int, float]] = [(-1, -1, 1.0)] * num_utterances
        self.children: dict[tuple[int, int], int] = {}  # parent and label → node

    def add(
        self, parents: torch.Tensor, labels: torch.Tensor, confidences: torch.Tensor
    ) -> torch.Tensor:
        """Return the nodes (N,) that extend `parents` by `labels`; create those that are new.

        If a node is reached several times, its label keeps the highest confidence.
        """
        nodes = []
        for parent, label, confidence in zip(
            parents.tolist(), labels.tolist(), confidences.tolist(), strict=True
        ):
            node = self.children.setdefault((parent, label), len(self.nodes))
            if node == len(self.nodes):
                self.nodes.append((parent, label, confidence))
            elif confidence > self.nodes[node][2]:
                self.nodes[node] = (parent, label, confidence)
            nodes.append(node)
        return torch.tensor(nodes, device=parents.device)

    def trace(self, node: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return the labels of a node, first to last, and their confidences."""
        steps = []
        parent, label, confidence = self.nodes[node]
        while parent >= 0:
            steps.append((label, confidence))
            parent, label, confidence = self.nodes[parent]
        steps.reverse()
        return tuple(label for label, _ in steps), tuple(confidence for _, confidence in steps)
