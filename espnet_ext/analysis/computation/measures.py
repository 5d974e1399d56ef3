"""Measures of how alike two representations of the same rows are, beside linear CKA.

All are 1 for the same representation up to what they ignore. They need rows at once, not moments,
so they are taken of a sample. What depends on one layer alone is computed once, by `prepare`.

| name | alike means | ignores | source |
|---|---|---|---|
| `cka` | equal, weighted by variance | rotation, scale | linear CKA, debiased, as in `cka.py` |
| `rbf_cka` | the same neighbourhoods, softly | rotation, scale | Kornblith et al., 2019 |
| `svcca` | the same subspace of most variance | invertible linear maps of it | Raghu et al., 2017 |
| `pwcca` | the same, weighted by what matters | invertible linear maps | Morcos et al., 2018 |
| `procrustes` | equal after the best rotation | rotation, scale | Ding et al., 2021 |
| `mutual_knn` | the same nearest neighbours | all but neighbourhoods | Huh et al., 2024, k = 10 |
| `rsa` | the same order of dissimilarities | monotone changes | Kriegeskorte et al., 2008 |

Legend: N rows, D and E widths, M = N(N − 1)/2 pairs of rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from espnet_ext.analysis.computation.jackknife import jackknife

NEIGHBOURS = 10
BANDWIDTH = 0.4  # of the median distance, as Kornblith et al. found best
VARIANCE = 0.99  # that SVCCA keeps


@dataclass(frozen=True)
class Measure:
    """`compare` two prepared layers; `permute` gives `prepare` of the rows in another order."""

    prepare: Callable[[np.ndarray], object]  # of (N, D)
    compare: Callable[[object, object], float]
    permute: Callable[[object, np.ndarray], object]  # what was prepared, and the order (N,)


def _centred(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    return x - x.mean(0)


def _squared_distances(x: np.ndarray) -> np.ndarray:
    """(N, D) → (N, N), exactly symmetric, its diagonal exactly zero."""
    x = _centred(x)
    norms = np.einsum("nd,nd->n", x, x)
    inner = x @ x.T
    squares = np.maximum(norms[:, None] + norms[None] - inner - inner.T, 0.0)
    np.fill_diagonal(squares, 0.0)
    return squares


def _rbf(x: np.ndarray) -> np.ndarray:
    """U-centred RBF Gram matrix."""
    n = len(x)
    squares = _squared_distances(x)
    median = np.median(squares[~np.eye(n, dtype=bool)])
    gram = np.exp(-squares / (2 * BANDWIDTH**2 * median)) if median > 0 else np.zeros_like(squares)
    return _u_centred(gram)


def _linear(x: np.ndarray) -> np.ndarray:
    x = _centred(x)
    return _u_centred(x @ x.T)


def _u_centred(gram: np.ndarray) -> np.ndarray:
    """Székely & Rizzo, 2014: products of two such are unbiased HSIC."""
    n = len(gram)
    np.fill_diagonal(gram, 0.0)
    rows = gram.sum(1) / (n - 2)
    gram = gram - rows[:, None] - rows[None] + gram.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram, 0.0)
    return gram


def _cosine(k: np.ndarray, m: np.ndarray) -> float:
    """Of two matrices or vectors, as vectors; NaN where one is all zero."""
    product = float(np.vdot(k, k)) * float(np.vdot(m, m))
    return float(np.vdot(k, m)) / product**0.5 if product > 0 else float("nan")


def _svd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the centred rows (N, D): left singular vectors (N, P), values (P,), both others (P, D).

    Directions without variance are dropped: they are rounding, which whitening would blow up.
    """
    left, values, right = np.linalg.svd(_centred(x), full_matrices=False)
    kept = values > values[:1] * max(x.shape) * np.finfo(np.float32).eps
    return left[:, kept], values[kept], (values[:, None] * right)[kept]


def _tellable(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether there are rows enough: with fewer than directions, any two layers correlate fully."""
    return a.shape[1] > 0 and b.shape[1] > 0 and len(a) > a.shape[1] + b.shape[1]


def _svcca(a, b) -> float:
    sides = []
    for left, values, _ in (a, b):
        share = np.cumsum(values**2) / max(np.sum(values**2), 1e-300)
        sides.append(left[:, : int(np.searchsorted(share, VARIANCE)) + 1])
    if not _tellable(*sides):
        return float("nan")
    return float(np.linalg.svd(sides[0].T @ sides[1], compute_uv=False).clip(0, 1).mean())


def _pwcca(a, b) -> float:
    """Mean of both directions: the measure weights by one side's own directions."""
    if not _tellable(a[0], b[0]):
        return float("nan")
    left, correlations, right = np.linalg.svd(a[0].T @ b[0], full_matrices=False)
    total = 0.0
    for directions, x in ((left.T, a[2]), (right, b[2])):
        weights = np.abs(directions @ x).sum(1)  # of canonical variables, over the columns of x
        total += float(weights @ correlations.clip(0, 1) / weights.sum())
    return total / 2


def _unit(x: np.ndarray) -> np.ndarray:
    x = _centred(x)
    return x / max(np.linalg.norm(x), 1e-300)


def _procrustes(a: np.ndarray, b: np.ndarray) -> float:
    """1 − half the squared distance of the two unit-norm matrices after the best rotation."""
    if not (a.any() and b.any()):
        return float("nan")
    return float(np.linalg.svd(a.T @ b, compute_uv=False).sum())


def _neighbours(x: np.ndarray) -> np.ndarray:
    """Which rows are among each row's nearest: (N, N) of 0 and 1."""
    squares = _squared_distances(x)
    np.fill_diagonal(squares, np.inf)
    count = min(NEIGHBOURS, len(x) - 1)
    nearest = np.argpartition(squares, count - 1, axis=1)[:, :count]
    chosen = np.zeros(squares.shape, dtype=bool)
    np.put_along_axis(chosen, nearest, True, axis=1)
    return chosen


def _shared(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / a.sum())


def _ranked(x: np.ndarray) -> np.ndarray:
    """Centred ranks (M,) of the dissimilarities (1 − correlation) of all pairs of rows."""
    from scipy.stats import rankdata

    x = _centred(x)
    x = x - x.mean(1, keepdims=True)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    inner = x @ x.T
    pairs = ((inner + inner.T) / 2)[np.triu_indices(len(x), 1)]
    ranks = rankdata(-pairs)
    return ranks - ranks.mean()


def _both_axes(square: np.ndarray, order: np.ndarray) -> np.ndarray:
    return square[np.ix_(order, order)]


def _rows(x: np.ndarray, order: np.ndarray) -> np.ndarray:
    return x[order]


def _svd_rows(prepared, order: np.ndarray):
    left, values, rest = prepared  # which say nothing of the rows' order
    return left[order], values, rest


def _pairs(ranks: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Ranks of pairs move with their rows."""
    upper = np.triu_indices(len(order), 1)
    square = np.zeros((len(order), len(order)))
    square[upper] = ranks
    return _both_axes(square + square.T, order)[upper]


MEASURES: dict[str, Measure] = {
    "cka": Measure(_linear, _cosine, _both_axes),
    "rbf_cka": Measure(_rbf, _cosine, _both_axes),
    "svcca": Measure(_svd, _svcca, _svd_rows),
    "pwcca": Measure(_svd, _pwcca, _svd_rows),
    "procrustes": Measure(_unit, _procrustes, _rows),
    "mutual_knn": Measure(_neighbours, _shared, _both_axes),
    "rsa": Measure(_ranked, _cosine, _pairs),
}


def similarity(name: str, x: np.ndarray, y: np.ndarray) -> float:
    """One measure of the same N rows in two representations (N, D) and (N, E).

    NaN where it is undefined: fewer than four rows, or a representation that never varies.

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
class Likeness:
    """One measure of one pair of layers."""

    value: float
    interval: tuple[float, float] | None  # None below three groups
    null: dict | None  # of rows that do not belong together: mean, highest, p_value


def compare_layers(
    name: str,
    layers: Sequence[np.ndarray],
    groups: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    *,
    permutations: int = 49,
    seed: int = 0,
) -> dict[tuple[int, int], Likeness]:
    """One measure of many pairs of layers (N, D_l), each prepared once.

    The 95 % interval is that of leaving out one group of rows (a speaker) at a time. It is no
    bootstrap: a speaker drawn twice would put each row beside a copy of itself, its nearest
    neighbour in both representations. For the null, rows of one side are shifted in a circle within
    each group: another moment of the same speaker. What both sides know of the speaker, and that
    neighbouring rows are alike, is so in the null too. Its p counts the shifts at least as alike as
    the true pairing, so that it cannot be below 1/(permutations + 1).
    """
    groups = np.asarray(groups)
    if len(groups) < 4:
        return {pair: Likeness(float("nan"), None, None) for pair in pairs}
    measure, used = MEASURES[name], sorted({layer for pair in pairs for layer in pair})
    whole = {layer: measure.prepare(layers[layer]) for layer in used}
    values = {(i, j): measure.compare(whole[i], whole[j]) for i, j in pairs}
    nulls = _nulls(measure, whole, values, shifts(groups, permutations, seed))
    del whole
    left_out: dict[tuple[int, int], list[float]] = {pair: [] for pair in pairs}
    members = np.unique(groups)
    for group in members if len(members) > 2 else ():
        rest = {layer: measure.prepare(layers[layer][groups != group]) for layer in used}
        for i, j in pairs:
            left_out[i, j].append(measure.compare(rest[i], rest[j]))
    found = {}
    for pair, value in values.items():
        found[pair] = Likeness(value, jackknife(value, left_out[pair]), nulls[pair])
    return found


def shifts(groups: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Orders of N rows (N,), each group's rows moved on in a circle by some steps of its own.

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


def _nulls(measure, prepared, values, orders) -> dict:
    found = {}
    for (i, j), value in values.items():
        found[i, j] = None
        if not orders or not np.isfinite(value):
            continue
        null = np.array(
            [measure.compare(prepared[i], measure.permute(prepared[j], order)) for order in orders]
        )
        found[i, j] = {
            "mean": float(null.mean()),
            "highest": float(null.max()),
            "p_value": float((1 + (null >= value).sum()) / (1 + len(orders))),
        }
    return found
