"""Shallow fusion of language models with transducers.

The hypotheses in a transducer's beam have different lengths, and a label sequence can return after
it was pruned. Language model scores and states are therefore kept per label sequence (per node of
the search's prefix tree) and not per place in the beam. Sequences begin with sos, as in training.
As in ESPnet's `tsd` search, the end of the sentence is not scored.

Symbols:
    B: utterances
    K: hypotheses per utterance (beam size)
    V: vocabulary size
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from espnet_ext.decoding.ngram import NgramScorer
from espnet_ext.decoding.scorers import add_weighted


class PrefixTree(Protocol):
    """Label sequences as nodes of a tree."""

    @property
    def nodes(self) -> Sequence[tuple[int, int, float]]:
        """Parent, last label and confidence of each node; the parent of an empty sequence is −1."""

    def trace(self, node: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return the labels of a node and their confidences."""


class _NodeScores(NamedTuple):
    """Language model scores of one node."""

    weighted: torch.Tensor  # (V,) float64, weighted sum of `next_scores`
    next_scores: dict[str, torch.Tensor]  # by model: score of each next label (V,)
    states: dict[str, Any]  # by model: state after the node's last label; none for n-gram models
    totals: dict[str, float]  # by model: score of the node's labels


class Fusion:
    """Weighted language model scores of the next label, computed once per node.

    Args:
        models: ESPnet language models and `NgramScorer`s by name, each with its weight.
        sos: token id that language model input begins with.
    """

    def __init__(self, models: Mapping[str, tuple[torch.nn.Module | NgramScorer, float]], sos: int):
        self.models = {name: pair for name, pair in models.items() if pair[1]}
        self.sos = sos
        self._scored: dict[int, _NodeScores] = {}  # by node

    def start(self) -> None:
        """Begin a batch, with a new tree."""
        self._scored = {}

    def scores(self, nodes: torch.Tensor, alive: torch.Tensor, tree: PrefixTree) -> torch.Tensor:
        """Return the weighted scores of all next labels, (B, K, V) in float64.

        Args:
            nodes: (B, K) nodes of the hypotheses.
            alive: (B, K) whether there is a hypothesis; where not, scores are 0.
        """
        alive_nodes = nodes[alive].tolist()
        self._score_nodes(set(alive_nodes) - self._scored.keys(), tree, nodes.device)
        weighted = torch.stack([self._scored[node].weighted for node in alive_nodes])
        scores = weighted.new_zeros(*nodes.shape, weighted.size(-1))
        scores[alive] = weighted
        return scores

    def keep(self, nodes: Iterable[int], tree: PrefixTree) -> None:
        """Forget everything but `nodes`; later nodes must be descendants of these.

        A node that was not scored yet is represented by its parent.
        """
        kept = (node if node in self._scored else tree.nodes[node][0] for node in set(nodes))
        self._scored = {node: self._scored[node] for node in kept}

    def totals(self, node: int, tree: PrefixTree) -> dict[str, float]:
        """Return the unweighted score of a node's labels, by model."""
        if node in self._scored:
            return self._scored[node].totals
        parent, label, _ = tree.nodes[node]  # a final hypothesis that was never extended
        return _extended_totals(self._scored[parent], label)

    def _score_nodes(self, nodes: Iterable[int], tree: PrefixTree, device: torch.device) -> None:
        """Compute the scores of new nodes, in batches of sequences of equal length."""
        new = sorted(nodes)
        sequences = {node: (self.sos, *tree.trace(node)[0]) for node in new}
        next_scores: dict[int, dict[str, torch.Tensor]] = {node: {} for node in new}
        states: dict[int, dict[str, Any]] = {node: {} for node in new}
        for name, (model, _) in self.models.items():
            if isinstance(model, NgramScorer):
                for node in new:
                    row = model.scores_after(sequences[node])
                    next_scores[node][name] = torch.from_numpy(row).to(device)
                continue
            lm: Any = model
            by_length: dict[int, list[int]] = {}  # `batch_score` takes sequences of one length
            for node in new:
                by_length.setdefault(len(sequences[node]), []).append(node)
            for group in by_length.values():
                ids = torch.tensor([sequences[node] for node in group], device=device)
                states_before = [self._state(name, tree.nodes[node][0]) for node in group]
                no_encoder_out = ids.new_zeros(len(group), 1, 1)
                rows, states_after = lm.batch_score(ids, states_before, no_encoder_out)
                for i, node in enumerate(group):
                    next_scores[node][name] = rows[i]
                    states[node][name] = lm.select_state(states_after, i)
        for node in new:
            parent, label, _ = tree.nodes[node]
            if parent >= 0:
                totals = _extended_totals(self._scored[parent], label)
            else:
                totals = dict.fromkeys(self.models, 0.0)
            first = next(iter(next_scores[node].values()))
            weighted = torch.zeros_like(first, dtype=torch.double)
            for name, (_, weight) in self.models.items():
                weighted = add_weighted(weighted, next_scores[node][name].double(), weight)
            self._scored[node] = _NodeScores(weighted, next_scores[node], states[node], totals)

    def _state(self, name: str, parent: int) -> Any:
        return self._scored[parent].states[name] if parent >= 0 else None


def _extended_totals(parent: _NodeScores, label: int) -> dict[str, float]:
    """Return the scores of the parent's labels and one more label, by model."""
    return {
        name: total + float(parent.next_scores[name][label])
        for name, total in parent.totals.items()
    }
