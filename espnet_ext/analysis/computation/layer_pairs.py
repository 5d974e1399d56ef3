"""Layers of several systems on the same rows, and how alike every pair of them is.

`Frames` streams: the rows pass by and only moments stay, with a sample of rows for the measures
that need rows. `Utterances` holds a row an utterance. Both give, for each pair of parts::

    {"grid": [[…]], "debiased": [[…]], "curve": [{"layer", "cka", "debiased", "interval",
                                                  "measures"}], "only_a": […], "only_b": […]}

Legend: B utterances, N rows, D width, L layers, G groups of speakers.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from espnet_ext.analysis.computation.cka_accumulators import CkaGrid, GramGrid
from espnet_ext.analysis.computation.jackknife import jackknife
from espnet_ext.analysis.computation.measures import compare_layers
from espnet_ext.model.similarity import cka_of
from espnet_ext.scoring import bootstrap

Layers = tuple[Sequence[str], Sequence[torch.Tensor]]  # names, and of each the rows (N, D)


class Part(NamedTuple):
    """An encoder, or the decoder of one output."""

    system: str
    output: str = ""  # empty: the encoder


Pair = tuple[Part, Part]


class Frames:
    """Rows that pass by in batches, the same for all parts.

    Args:
        groups: G; quota: rows kept of each utterance on average for the measures that need rows;
            infinite for all.
    """

    def __init__(self, groups: int, quota: float, seed: int = bootstrap.SEED):
        self.groups = groups
        self.grid: CkaGrid | None = None
        self.layers: dict[Part, list[str]] = {}
        self._index: dict[tuple[Part, str], int] = {}
        self._quota = quota
        self._generator = np.random.default_rng(seed)
        self._sample: list[list[np.ndarray]] = []
        self._sample_groups: list[int] = []

    def add(self, parts: Mapping[Part, Layers], counts: torch.Tensor, group: int) -> None:
        """A batch of one group of speakers; counts (B,): rows of each utterance, in order."""
        if self.grid is None:
            self.layers = {part: list(names) for part, (names, _) in parts.items()}
            keys = [(part, name) for part, names in self.layers.items() for name in names]
            self._index = {key: number for number, key in enumerate(keys)}
            pairs = itertools.combinations(self.layers, 2)
            self.grid = CkaGrid([p for pair in pairs for _, p in self._common(*pair)], self.groups)
        rows = [layer for _, layers in parts.values() for layer in layers]
        self.grid.update(rows, group)
        chosen = self._choose(counts)
        if len(chosen):
            self._sample.append([layer.float().cpu().numpy()[chosen] for layer in rows])
            self._sample_groups += [group] * len(chosen)

    def _common(self, a: Part, b: Part) -> list[tuple[str, tuple[int, int]]]:
        """The layers that both have, and their numbers."""
        return [
            (name, (self._index[a, name], self._index[b, name]))
            for name in self.layers[a]
            if name in self.layers[b]
        ]

    def _choose(self, counts: torch.Tensor) -> np.ndarray:
        """Rows drawn of each utterance, at most the quota (its fraction by chance)."""
        found, start = [], 0
        for count in counts.tolist():
            wanted = count
            if math.isfinite(self._quota):
                wanted = int(self._quota + self._generator.random())
            if wanted:
                drawn = self._generator.permutation(count)[:wanted]
                found.append(start + np.sort(drawn))
            start += count
        return np.concatenate(found) if found else np.zeros(0, dtype=int)

    def compare(
        self, pairs: Sequence[Pair], measures: Sequence[str], max_rows: int, permutations: int
    ) -> list[dict]:
        """For each pair of parts what the module says."""
        layers = [np.concatenate(rows) for rows in zip(*self._sample, strict=True)]
        sampled = _Sample(layers, self._sample_groups, measures, max_rows, permutations)
        return _compare(pairs, self.layers, self._index, self.grid, sampled)


class Utterances:
    """A row an utterance, of those that every part has one of."""

    def __init__(self) -> None:
        self._rows: dict[Part, dict[str, list[torch.Tensor]]] = {}  # part → utterance → layers
        self._names: dict[Part, list[str]] = {}
        self._group: dict[str, int] = {}
        self._grid: GramGrid | None = None
        self._keys: list[tuple[Part, str]] = []

    def add(
        self,
        parts: Mapping[Part, tuple[Sequence[str], Sequence[torch.Tensor], Sequence[str]]],
        ids: Sequence[str],
        group: int,
        everywhere: Mapping[Part, Layers] | None = None,
    ) -> None:
        """A batch: of each part its layer names, their rows (B, D), and whose rows they are.

        `everywhere`: parts that have all of `ids`.
        """
        whole = {part: (*found, ids) for part, found in (everywhere or {}).items()}
        for part, (names, layers, owners) in {**whole, **parts}.items():
            self._names.setdefault(part, list(names))
            own = self._rows.setdefault(part, {})
            for row, utt_id in enumerate(owners):
                own[utt_id] = [layer[row].double().cpu() for layer in layers]
        self._group |= dict.fromkeys(ids, group)

    def parts(self) -> list[Part]:
        """The decoders, in order."""
        return [part for part in self._rows if part.output]

    def _shared(self) -> list[str]:
        rows = [set(own) for own in self._rows.values()]
        return sorted(set.intersection(*rows)) if rows else []

    @property
    def rows(self) -> int:
        return len(self._shared())

    def compare(
        self,
        pairs: Sequence[Pair],
        groups: int,
        measures: Sequence[str],
        max_rows: int,
        permutations: int,
    ) -> list[dict]:
        """For each pair of parts what the module says; keeps the whole grid for `everything`."""
        ids = self._shared()
        keys = [(part, name) for part, names in self._names.items() for name in names]
        layers = [
            torch.stack([self._rows[part][utt_id][self._names[part].index(name)] for utt_id in ids])
            for part, name in keys
        ]
        index = {key: number for number, key in enumerate(keys)}
        owners = [self._group[utt_id] for utt_id in ids]
        sampled = _Sample([x.numpy() for x in layers], owners, measures, max_rows, permutations)
        grid = self._grid = GramGrid(layers, owners, groups)
        self._keys = keys
        return _compare(pairs, self._names, index, grid, sampled)

    def everything(self) -> dict | None:
        """Every layer of every part against every other, once they have been compared."""
        if self._grid is None:
            return None
        plain, debiased = (
            [[_defined(value) for value in row] for row in values]
            for values in (self._grid.values(), self._grid.values(debiased=True))
        )
        parts = [{"system": p.system, "output": p.output, "layer": name} for p, name in self._keys]
        return {"utterances": self._grid.rows, "layers": parts, "cka": plain, "debiased": debiased}


class _Sample:
    """Rows for the measures that need rows, thinned evenly to `max_rows`."""

    def __init__(self, layers, groups, measures, max_rows: int, permutations: int):
        count = len(groups)
        kept = np.arange(count)
        if 0 < max_rows < count:
            kept = np.arange(max_rows) * count // max_rows
        self.layers = [layer[kept] for layer in layers]
        self.groups = np.asarray(groups, dtype=int)[kept]
        self.measures, self.permutations = measures, permutations

    def values(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], dict]:
        found: dict[tuple[int, int], dict] = {pair: {} for pair in pairs}
        for name in self.measures if len(self.groups) else ():
            likeness = compare_layers(
                name, self.layers, self.groups, pairs, permutations=self.permutations
            )
            for pair, one in likeness.items():
                found[pair][name] = {
                    "value": _defined(one.value),
                    "interval": one.interval,
                    "null": one.null,
                }
        return found


def _compare(pairs, names, index, grid, sampled: _Sample) -> list[dict]:
    plain, debiased = grid.values(), grid.values(debiased=True)
    tracked = [
        (index[a, name], index[b, name]) for a, b in pairs for name in names[a] if name in names[b]
    ]
    likeness = sampled.values(tracked)
    found = []
    for a, b in pairs:
        rows, columns = ([index[part, name] for name in names[part]] for part in (a, b))
        curve = []
        for name in (name for name in names[a] if name in names[b]):
            i, j = index[a, name], index[b, name]
            curve.append(
                {
                    "layer": name,
                    "cka": _defined(plain[i][j]),
                    "debiased": _defined(debiased[i][j]),
                    "interval": _interval(grid, i, j, debiased[i][j]),
                    "measures": likeness[i, j],
                }
            )
        found.append(
            {
                "grid": [[_defined(plain[i][j]) for j in columns] for i in rows],
                "debiased": [[_defined(debiased[i][j]) for j in columns] for i in rows],
                "curve": curve,
                "only_a": [name for name in names[a] if name not in names[b]],
                "only_b": [name for name in names[b] if name not in names[a]],
            }
        )
    return found


def _interval(grid: CkaGrid | GramGrid, i: int, j: int, value) -> tuple[float, float] | None:
    parts = grid.grouped(i, j), grid.grouped(i, i), grid.grouped(j, j)
    return jackknife(value, cka_of(*parts, 1.0 - np.eye(grid.groups)))


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
