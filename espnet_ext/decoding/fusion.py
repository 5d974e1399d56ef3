"""Shallow fusion for transducers: language model scores of label sequences of unequal length.

In a transducer's beam hypotheses have said unequal numbers of labels, and some come back after they
were left; so scores belong to label sequences (nodes of the search's tree), not to beam places.
Language models begin with sos, as in training. As in ESPnet's `tsd` search, the end of the sentence
is not scored. Symbols: B utterances, K hypotheses of each, V tokens.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from espnet_ext.decoding.ngram import NgramScorer


class Tree(Protocol):
    """Label sequences as nodes; those of no label have parent −1."""

    nodes: Sequence[tuple[int, int, float]]  # parent, label, …

    def trace(self, node: int) -> tuple[tuple[int, ...], tuple[float, ...]]: ...


class _Known(NamedTuple):
    """What is known of a node."""

    weighted: torch.Tensor  # (V,) float64: weighted sum of the rows
    rows: dict[str, torch.Tensor]  # by model: scores of what follows (V,)
    states: dict[str, Any]  # by model, after this node's last label
    sums: dict[str, float]  # by model: the score of this node's labels


class Fusion:
    """Weighted scores of the models for what follows a node; each node is worked out once.

    Args:
        models: by name, each with its weight: ESPnet language models and `NgramScorer`.
        sos: what language models begin with.
    """

    def __init__(self, models: Mapping[str, tuple[torch.nn.Module | NgramScorer, float]], sos: int):
        self.models = {name: pair for name, pair in models.items() if pair[1]}
        self.sos = sos
        self._known: dict[int, _Known] = {}

    def start(self) -> None:
        """Begin another batch: its tree is another one."""
        self._known = {}

    def scores(self, nodes: torch.Tensor, alive: torch.Tensor, tree: Tree) -> torch.Tensor:
        """Weighted sums (B, K, V) in float64 for nodes (B, K); 0 where not `alive` (B, K)."""
        wanted = nodes[alive].tolist()
        self._learn(set(wanted) - self._known.keys(), tree, nodes.device)
        found = torch.stack([self._known[node].weighted for node in wanted])
        total = found.new_zeros(*nodes.shape, found.size(-1))
        total[alive] = found
        return total

    def keep(self, nodes: Iterable[int], tree: Tree) -> None:
        """Forget all nodes but these, of which others can only come later by way of them."""
        kept = (node if node in self._known else tree.nodes[node][0] for node in set(nodes))
        self._known = {node: self._known[node] for node in kept}

    def sums(self, node: int, tree: Tree) -> dict[str, float]:
        """The unweighted score of a node's labels, by model."""
        if node not in self._known:  # its last label was said, and nothing asked after it
            parent, label, _ = tree.nodes[node]
            return self._added(self._known[parent], label)
        return self._known[node].sums

    @staticmethod
    def _added(parent: _Known, label: int) -> dict[str, float]:
        return {
            name: total + float(parent.rows[name][label]) for name, total in parent.sums.items()
        }

    def _learn(self, nodes: Iterable[int], tree: Tree, device: torch.device) -> None:
        new = sorted(nodes)
        histories = {node: (self.sos, *tree.trace(node)[0]) for node in new}
        rows: dict[int, dict[str, torch.Tensor]] = {node: {} for node in new}
        states: dict[int, dict[str, Any]] = {node: {} for node in new}
        for name, (model, _) in self.models.items():
            if isinstance(model, NgramScorer):
                for node in new:
                    rows[node][name] = torch.from_numpy(model.after(histories[node])).to(device)
                continue
            by_length: dict[int, list[int]] = {}  # such models take sequences of one length
            for node in new:
                by_length.setdefault(len(histories[node]), []).append(node)
            for group in by_length.values():
                said = torch.tensor([histories[node] for node in group], device=device)
                before = [self._state(name, tree.nodes[node][0]) for node in group]
                found, after = model.batch_score(said, before, said.new_zeros(len(group), 1, 1))
                for index, node in enumerate(group):
                    rows[node][name] = found[index]
                    states[node][name] = model.select_state(after, index)
        for node in new:
            parent, label, _ = tree.nodes[node]
            sums = dict.fromkeys(self.models, 0.0)
            if parent >= 0:
                sums = self._added(self._known[parent], label)
            weighted = sum(
                rows[node][name].double() * weight for name, (_, weight) in self.models.items()
            )
            self._known[node] = _Known(weighted, rows[node], states[node], sums)

    def _state(self, name: str, parent: int) -> Any:
        return self._known[parent].states[name] if parent >= 0 else None
