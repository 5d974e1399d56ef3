"""The same rows of several networks' layers, and the similarity of every pair of layers.

`StreamedRows` (frames, tokens) keeps only moments, and a sample of rows for the measures that need
rows. `UtteranceRows` holds one row per utterance. Both compare pairs of networks::

    {"grid": [[…]], "debiased": [[…]], "curve": [{"layer", "cka", "debiased", "interval",
                                                  "measures"}], "only_a": […], "only_b": […],
     "layers_a": […], "layers_b": […]}      of the grid, if they are not those of both systems

Layers of two networks that are the same tensor are computed once, and are left out of a pair of
these networks.

Legend: B utterances, N rows, D width, L layers, G groups of speakers.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from espnet_ext.analysis.computation.cka_accumulators import GramCka, StreamedCka
from espnet_ext.analysis.computation.jackknife import jackknife
from espnet_ext.analysis.computation.measures import compare_layers
from espnet_ext.model.similarity import cka_of
from espnet_ext.scoring import bootstrap


class Network(NamedTuple):
    """An encoder, or the decoder of one output."""

    system: str
    output: str = ""  # output of a decoder; empty: an encoder
    stream: str = ""  # stream of an encoder: the only output that reads it; empty: all of them
    with_output: bool = False  # the encoder output is one more layer after the last block


Pair = tuple[Network, Network]
Layers = tuple[Sequence[str], Sequence[torch.Tensor]]  # names, and the rows (N, D) of each
LayerNames = Mapping[Network, Sequence[str]]


def all_pairs(layers: LayerNames) -> list[Pair]:
    return list(itertools.combinations(layers, 2))


@dataclass(frozen=True)
class Sampling:
    """The measures that need rows: which, of how many rows, and with how many permutations."""

    measures: Sequence[str] = ()
    max_rows: int = 0  # 0: all
    permutations: int = 0


class StreamedRows:
    """Rows that arrive in batches, the same for all networks.

    Args:
        groups: G.
        quota: rows kept per utterance, on average, for the measures that need rows; infinite: all.
        choose_pairs: returns the pairs of networks to compare.
    """

    def __init__(
        self,
        groups: int,
        quota: float,
        choose_pairs: Callable[[LayerNames], list[Pair]] = all_pairs,
        seed: int = bootstrap.SEED,
    ):
        self.groups = groups
        self.pairs: list[Pair] = []
        self.cka: StreamedCka | None = None
        self.layers: dict[Network, list[str]] = {}
        self._index: dict[tuple[Network, str], int] = {}
        self._quota, self._choose_pairs = quota, choose_pairs
        self._generator = np.random.default_rng(seed)
        self._sample: list[list[np.ndarray]] = []
        self._sample_groups: list[int] = []

    def add(self, networks: Mapping[Network, Layers], counts: torch.Tensor, group: int) -> None:
        """Add a batch of one group of speakers; counts (B,) are the rows of each utterance."""
        if self.cka is None:
            self.layers = {network: list(names) for network, (names, _) in networks.items()}
            self._index = _numbered_once(networks)
            self.pairs = self._choose_pairs(self.layers)
            named = [_shared(*pair, self.layers, self._index) for pair in self.pairs]
            self.cka = StreamedCka([at for layers in named for _, at in layers], self.groups)
        rows = list(
            {id(layer): layer for _, layers in networks.values() for layer in layers}.values()
        )
        self.cka.update(rows, group)
        drawn = self._draw(counts)
        if len(drawn):
            self._sample.append([layer.float().cpu().numpy()[drawn] for layer in rows])
            self._sample_groups += [group] * len(drawn)

    def _draw(self, counts: torch.Tensor) -> np.ndarray:
        """Draw rows of each utterance, at most the quota (its fraction by chance)."""
        drawn, start = [np.zeros(0, dtype=int)], 0
        for count in counts.tolist():
            kept = count
            if math.isfinite(self._quota):
                kept = int(self._quota + self._generator.random())
            if kept:
                drawn.append(start + np.sort(self._generator.permutation(count)[:kept]))
            start += count
        return np.concatenate(drawn)

    def shared(self, networks: Sequence[Network]) -> list[str]:
        """Return the layers that are the same in all of these networks."""
        first = networks[0]
        return [
            name
            for name in self.layers[first]
            if {self._index.get((network, name)) for network in networks}
            == {self._index[first, name]}
        ]

    def compare(self, sampling: Sampling) -> list[dict]:
        """Compare the chosen pairs (`pairs`); see the module for the result."""
        assert self.cka is not None
        layers = [np.concatenate(rows) for rows in zip(*self._sample, strict=True)]
        sample = layers, np.array(self._sample_groups, dtype=int)
        return _compare(self.pairs, self.layers, self._index, self.cka, sample, sampling)


class UtteranceRows:
    """One row per utterance, for the utterances that every network has a row of."""

    def __init__(self, groups: int) -> None:
        self.groups = groups
        self._rows: dict[Network, dict[str, list[torch.Tensor]]] = {}  # utterance → layers (D,)
        self._names: dict[Network, list[str]] = {}
        self._group: dict[str, int] = {}
        self._cka: GramCka | None = None

    def add(self, network: Network, layers: Layers, ids: Sequence[str], group: int) -> None:
        """Add a batch of one network: its layer names, and rows (B, D) of the given utterances."""
        names, rows = layers
        self._names.setdefault(network, list(names))
        of_network = self._rows.setdefault(network, {})
        for row, utt_id in enumerate(ids):
            of_network[utt_id] = [layer[row].double().cpu() for layer in rows]
        self._group |= dict.fromkeys(ids, group)

    def decoders(self) -> list[Network]:
        return [network for network in self._rows if network.output]

    def ids(self) -> list[str]:
        """Return the utterances that every network has."""
        return sorted(set.intersection(*map(set, self._rows.values()))) if self._rows else []

    def compare(self, pairs: Sequence[Pair], sampling: Sampling) -> list[dict]:
        """Compare pairs of networks; see the module for the result. Fills `everything`."""
        ids = self.ids()
        layers = [
            torch.stack([self._rows[network][utt_id][number] for utt_id in ids])
            for network, names in self._names.items()
            for number in range(len(names))
        ]
        owners = [self._group[utt_id] for utt_id in ids]
        self._cka = GramCka(layers, owners, self.groups)
        sample = [layer.numpy() for layer in layers], np.array(owners, dtype=int)
        index = _numbered(self._names)
        return _compare(pairs, self._names, index, self._cka, sample, sampling)

    def everything(self) -> dict | None:
        """Return the similarity of all layers of all networks, once they have been compared."""
        if self._cka is None:
            return None
        return {
            "utterances": self._cka.rows,
            "layers": [
                {
                    "system": network.system,
                    "output": network.output,
                    **({"stream": network.stream} if network.stream else {}),
                    "layer": name,
                }
                for network, names in self._names.items()
                for name in names
            ],
            "cka": _defined(self._cka.values()),
            "debiased": _defined(self._cka.values(debiased=True)),
        }


def _numbered(layers: Mapping[Network, Sequence[str]]) -> dict[tuple[Network, str], int]:
    keys = [(network, name) for network, names in layers.items() for name in names]
    return {key: number for number, key in enumerate(keys)}


def _numbered_once(networks: Mapping[Network, Layers]) -> dict[tuple[Network, str], int]:
    """Return numbers of layers; layers that are the same tensor have the same number."""
    numbers: dict[int, int] = {}
    return {
        (network, name): numbers.setdefault(id(rows), len(numbers))
        for network, (names, layers) in networks.items()
        for name, rows in zip(names, layers, strict=True)
    }


def _shared(
    a: Network, b: Network, layers: LayerNames, index: Mapping[tuple[Network, str], int]
) -> list[tuple[str, tuple[int, int]]]:
    """Return (layer, (its index in `a`, its index in `b`)) of the layers that both networks have.

    Layers that are the same tensor are left out.
    """
    both = [(name, (index[a, name], index[b, name])) for name in layers[a] if name in layers[b]]
    return [(name, (i, j)) for name, (i, j) in both if i != j]


def _compare(
    pairs: Sequence[Pair],
    names: Mapping[Network, Sequence[str]],
    index: Mapping[tuple[Network, str], int],
    cka: StreamedCka | GramCka,
    sample: tuple[list[np.ndarray], np.ndarray],
    sampling: Sampling,
) -> list[dict]:
    shared = {pair: _shared(*pair, names, index) for pair in pairs}
    chosen = dict.fromkeys(at for layers in shared.values() for _, at in layers)
    measured = _measure(list(chosen), sample, sampling)
    biased, debiased = _defined(cka.values()), cka.values(debiased=True)
    comparisons = []
    for (a, b), layers in shared.items():
        unlike_a, unlike_b = (_unlike(*pair, names, index) for pair in ((a, b), (b, a)))
        rows, columns = list(unlike_a.values()), list(unlike_b.values())
        curve = []
        for name, (i, j) in layers:
            sums = cka.grouped(i, j), cka.grouped(i, i), cka.grouped(j, j)
            without = cka_of(*sums, 1.0 - np.eye(cka.groups))
            curve.append(
                {
                    "layer": name,
                    "cka": biased[i][j],
                    "debiased": _none_if_nan(debiased[i][j]),
                    "interval": jackknife(debiased[i][j], without),
                    "measures": measured[i, j],
                }
            )
        comparisons.append(
            {
                "grid": [[biased[i][j] for j in columns] for i in rows],
                "debiased": _defined([[debiased[i][j] for j in columns] for i in rows]),
                "curve": curve,
                "only_a": [name for name in names[a] if name not in names[b]],
                "only_b": [name for name in names[b] if name not in names[a]],
            }
        )
        if any(network.stream or network.with_output for network in (a, b)):
            comparisons[-1] |= {"layers_a": list(unlike_a), "layers_b": list(unlike_b)}
    return comparisons


def _unlike(
    network: Network, other: Network, names: LayerNames, index: Mapping[tuple[Network, str], int]
) -> dict[str, int]:
    """Return layer → number of a network's layers that another network does not share."""
    shared = {index[other, name] for name in names[other]}
    numbers = {name: index[network, name] for name in names[network]}
    return {name: i for name, i in numbers.items() if i not in shared}


def _measure(
    pairs: Sequence[tuple[int, int]],
    sample: tuple[list[np.ndarray], np.ndarray],
    sampling: Sampling,
) -> dict[tuple[int, int], dict]:
    """Return every measure of pairs of layers, on rows thinned evenly to `max_rows`."""
    layers, groups = sample
    kept = np.arange(len(groups))
    if 0 < sampling.max_rows < len(groups):
        kept = np.arange(sampling.max_rows) * len(groups) // sampling.max_rows
    measured: dict[tuple[int, int], dict] = {pair: {} for pair in pairs}
    for name in sampling.measures if len(kept) else ():
        similarities = compare_layers(
            name,
            [layer[kept] for layer in layers],
            groups[kept],
            pairs,
            permutations=sampling.permutations,
        )
        for pair, one in similarities.items():
            measured[pair][name] = {
                "value": _none_if_nan(one.value),
                "interval": one.interval,
                "null": one.null,
            }
    return measured


def _defined(grid: Sequence[Sequence[float]]) -> list[list[float | None]]:
    return [[_none_if_nan(value) for value in row] for row in grid]


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
