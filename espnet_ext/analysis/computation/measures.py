"""Measures of similarity of two representations of the same rows, beside streamed linear CKA.

All are 1 for equal representations, up to what they ignore. They need all rows at once, so they are
computed on a sample. What depends on one layer alone is computed once, by `prepare`.

| name | similar means | ignores | source |
|---|---|---|---|
| `cka` | equal, weighted by variance | rotation, scale | linear CKA, debiased |
| `rbf_cka` | the same neighbourhoods, softly | rotation, scale | Kornblith et al., 2019 |
| `svcca` | the same subspace of most variance | invertible linear maps of it | Raghu et al., 2017 |
| `pwcca` | the same, weighted by importance | invertible linear maps | Morcos et al., 2018 |
| `procrustes` | equal after the best rotation | rotation, scale | Ding et al., 2021 |
| `mutual_knn` | the same nearest neighbours | all but neighbourhoods | Huh et al., 2024, k = 10 |
| `rsa` | the same order of dissimilarities | monotone changes | Kriegeskorte et al., 2008 |

Legend: N rows, D and E widths, P directions with variance, M = N(N − 1)/2 pairs of rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from espnet_ext.analysis.computation.jackknife import jackknife
from espnet_ext.model.similarity import u_centred

NEIGHBOURS = 10
BANDWIDTH = 0.4  # of the median distance, the best value of Kornblith et al.
VARIANCE = 0.99  # that SVCCA keeps
Svd = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Measure:
    """A measure in three steps.

    Args:
        prepare: what is needed of rows (N, D).
        compare: the similarity of two prepared layers.
        permute: a prepared layer with its rows in another order (N,).
    """

    prepare: Callable[[np.ndarray], Any]
    compare: Callable[[Any, Any], float]
    permute: Callable[[Any, np.ndarray], Any]


def _centred(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    return x - x.mean(0)


def _squared_distances(x: np.ndarray) -> np.ndarray:
    """(N, D) → (N, N), exactly symmetric with a diagonal of exactly zero."""
    x = _centred(x)
    norms = np.einsum("nd,nd->n", x, x)
    inner = x @ x.T
    squares = np.maximum(norms[:, None] + norms[None] - inner - inner.T, 0.0)
    np.fill_diagonal(squares, 0.0)
    return squares


def _u_centred(gram: np.ndarray) -> np.ndarray:
    return u_centred(torch.from_numpy(gram)).numpy()


def _rbf(x: np.ndarray) -> np.ndarray:
    """Return the U-centred RBF Gram matrix (N, N)."""
    squares = _squared_distances(x)
    median = np.median(squares[~np.eye(len(x), dtype=bool)])
    gram = np.exp(-squares / (2 * BANDWIDTH**2 * median)) if median > 0 else np.zeros_like(squares)
    return _u_centred(gram)


def _linear(x: np.ndarray) -> np.ndarray:
    x = _centred(x)
    return _u_centred(x @ x.T)


def _cosine(k: np.ndarray, m: np.ndarray) -> float:
    """Return the cosine of two arrays as vectors; NaN if one is zero."""
    product = float(np.vdot(k, k)) * float(np.vdot(m, m))
    return float(np.vdot(k, m)) / product**0.5 if product > 0 else float("nan")


def _svd(x: np.ndarray) -> Svd:
    """Return left vectors (N, P), values (P,), and values times right vectors (P, D).

    Directions without variance are dropped: they are rounding errors, which whitening amplifies.
    """
    left, values, right = np.linalg.svd(_centred(x), full_matrices=False)
    kept = values > values[:1] * max(x.shape) * np.finfo(np.float32).eps
    return left[:, kept], values[kept], (values[:, None] * right)[kept]


def _has_enough_rows(a: np.ndarray, b: np.ndarray) -> bool:
    """With fewer rows than directions, any two layers correlate fully."""
    return a.shape[1] > 0 and b.shape[1] > 0 and len(a) > a.shape[1] + b.shape[1]


def _svcca(a: Svd, b: Svd) -> float:
    sides = []
    for left, values, _ in (a, b):
        share = np.cumsum(values**2) / max(np.sum(values**2), 1e-300)
        sides.append(left[:, : int(np.searchsorted(share, VARIANCE)) + 1])
    if not _has_enough_rows(*sides):
        return float("nan")
    return float(np.linalg.svd(sides[0].T @ sides[1], compute_uv=False).clip(0, 1).mean())


def _pwcca(a: Svd, b: Svd) -> float:
    """Return the mean of both directions, since the weights come from one side."""
    if not _has_enough_rows(a[0], b[0]):
        return float("nan")
    left, correlations, right = np.linalg.svd(a[0].T @ b[0], full_matrices=False)
    total = 0.0
    for directions, x in ((left.T, a[2]), (right, b[2])):
        weights = np.abs(directions @ x).sum(1)  # per canonical variable, over the columns of x
        total += float(weights @ correlations.clip(0, 1) / weights.sum())
    return total / 2


def _unit(x: np.ndarray) -> np.ndarray:
    x = _centred(x)
    return x / max(np.linalg.norm(x), 1e-300)


def _procrustes(a: np.ndarray, b: np.ndarray) -> float:
    """Return 1 − half the squared distance of two unit-norm matrices after the best rotation."""
    if not (a.any() and b.any()):
        return float("nan")
    return float(np.linalg.svd(a.T @ b, compute_uv=False).sum())


def _neighbours(x: np.ndarray) -> np.ndarray:
    """Return which rows are among each row's nearest ones: (N, N) of bool."""
    squares = _squared_distances(x)
    np.fill_diagonal(squares, np.inf)
    count = min(NEIGHBOURS, len(x) - 1)
    nearest = np.argpartition(squares, count - 1, axis=1)[:, :count]
    chosen = np.zeros(squares.shape, dtype=bool)
    np.put_along_axis(chosen, nearest, True, axis=1)
    return chosen


def _ranked(x: np.ndarray) -> np.ndarray:
    """Return centred ranks (M,) of the dissimilarities (1 − correlation) of all pairs of rows."""
    from scipy.stats import rankdata

    x = _centred(x)
    x = x - x.mean(1, keepdims=True)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    inner = x @ x.T
    ranks = rankdata(-((inner + inner.T) / 2)[np.triu_indices(len(x), 1)])
    return ranks - ranks.mean()


def _permute_square(square: np.ndarray, order: np.ndarray) -> np.ndarray:
    return square[np.ix_(order, order)]


def _permute_pairs(ranks: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Move the ranks (M,) of pairs with their rows."""
    upper = np.triu_indices(len(order), 1)
    square = np.zeros((len(order), len(order)))
    square[upper] = ranks
    return _permute_square(square + square.T, order)[upper]


def _permute_svd(svd: Svd, order: np.ndarray) -> Svd:
    return (svd[0][order], *svd[1:])  # only the left vectors depend on the order of the rows


MEASURES: dict[str, Measure] = {
    "cka": Measure(_linear, _cosine, _permute_square),
    "rbf_cka": Measure(_rbf, _cosine, _permute_square),
    "svcca": Measure(_svd, _svcca, _permute_svd),
    "pwcca": Measure(_svd, _pwcca, _permute_svd),
    "procrustes": Measure(_unit, _procrustes, lambda x, order: x[order]),
    "mutual_knn": Measure(
        _neighbours, lambda a, b: float((a & b).sum() / a.sum()), _permute_square
    ),
    "rsa": Measure(_ranked, _cosine, _permute_pairs),
}


def similarity(name: str, x: np.ndarray, y: np.ndarray) -> float:
    """Return one measure of the same N rows in two representations (N, D) and (N, E).

    It is NaN where it is undefined: fewer than four rows, or a constant representation.

    >>> x = np.random.default_rng(0).standard_normal((30, 3))
    >>> round(similarity("procrustes", x, 5 * x[:, ::-1] + 1), 6)
    1.0
    """
    if len(x) != len(y):
        raise ValueError("both must hold the same rows")
    if len(x) < 4:
        return float("nan")
    measure = MEASURES[name]
    return measure.compare(measure.prepare(x), measure.prepare(y))


@dataclass(frozen=True)
class Similarity:
    """One measure of one pair of layers.

    Args:
        interval: interval by the jackknife; None below three groups.
        null: `mean`, `highest` and `p_value` for rows that do not belong together.
    """

    value: float
    interval: tuple[float, float] | None
    null: dict[str, float] | None


def compare_layers(
    name: str,
    layers: Sequence[np.ndarray],
    groups: Sequence[int] | np.ndarray,
    pairs: Sequence[tuple[int, int]],
    *,
    permutations: int = 49,
    seed: int = 0,
) -> dict[tuple[int, int], Similarity]:
    """Return one measure of many pairs of layers (N, D_l), each prepared once.

    The 95 % interval is the jackknife over groups of rows (speakers): in a bootstrap, a speaker
    drawn twice would place each row beside a copy of itself, its nearest neighbour in both layers.
    For the null, the rows of one side are shifted in a circle within each group, to another moment
    of the same speaker; so what both sides encode of the speaker, and the similarity of
    neighbouring rows, are in the null too. Its p value counts the shifts at least as similar as the
    true pairing and is at least 1/(permutations + 1).
    """
    groups = np.asarray(groups)
    if len(groups) < 4:
        return {pair: Similarity(float("nan"), None, None) for pair in pairs}
    measure, used = MEASURES[name], sorted({layer for pair in pairs for layer in pair})
    prepared = {layer: measure.prepare(layers[layer]) for layer in used}
    values = {(i, j): measure.compare(prepared[i], prepared[j]) for i, j in pairs}
    nulls = _nulls(measure, prepared, values, shifts(groups, permutations, seed))
    del prepared
    without: dict[tuple[int, int], list[float]] = {pair: [] for pair in pairs}
    members = np.unique(groups)
    for group in members if len(members) > 2 else ():
        kept = {layer: measure.prepare(layers[layer][groups != group]) for layer in used}
        for i, j in pairs:
            without[i, j].append(measure.compare(kept[i], kept[j]))
    return {
        pair: Similarity(value, jackknife(value, without[pair]), nulls[pair])
        for pair, value in values.items()
    }


def shifts(groups: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Return orders (N,) in which each group's rows are shifted in a circle by random steps.

    >>> shifts(np.array([0, 0, 7]), 1, 0)[0].tolist()
    [1, 0, 2]
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    orders = []
    for _ in range(count):
        order = np.arange(len(groups))
        for rows in members:
            if len(rows) > 1:
                order[rows] = np.roll(rows, generator.integers(1, len(rows)))
        orders.append(order)
    return orders


def _nulls(
    measure: Measure,
    prepared: Mapping[int, Any],
    values: Mapping[tuple[int, int], float],
    orders: Sequence[np.ndarray],
) -> dict[tuple[int, int], dict[str, float] | None]:
    nulls: dict[tuple[int, int], dict[str, float] | None] = dict.fromkeys(values)
    for (i, j), value in values.items():
        if orders and np.isfinite(value):
            null = np.array(
                [measure.compare(prepared[i], measure.permute(prepared[j], o)) for o in orders]
            )
            nulls[i, j] = {
                "mean": float(null.mean()),
                "highest": float(null.max()),
                "p_value": float((1 + (null >= value).sum()) / (1 + len(orders))),
            }
    return nulls
