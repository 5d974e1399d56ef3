"""Whether the difference of two systems grows with divergence, and tests that need no bootstrap.

Raw distance grows with length, and so do errors: the regression holds length (and first language)
equal. Legend: N utterances, S speakers, P regressors, R resamples.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from espnet_ext.scoring import bootstrap

EXACT = 12  # speakers up to which all sign flips are tried
FLIPS = 4000  # random ones above that


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted for being so many (Holm, 1979); None stays None.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    order = sorted((i for i, p in enumerate(p_values) if p is not None), key=p_values.__getitem__)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = round(largest, 12)
    return adjusted


def sign_flips(differences: Sequence[float], *, seed: int = bootstrap.SEED) -> float | None:
    """Two-sided p of a paired permutation test: one difference (b − a) a speaker.

    Which system is which is exchanged speaker by speaker. With few speakers all 2^S ways are tried,
    and p cannot fall below 2/2^S, however clear the difference is.

    >>> sign_flips([1, 2, 3])
    0.25
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return None
    if len(values) <= EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=len(values))))
    else:
        generator = np.random.default_rng(seed)
        signs = generator.choice((1, -1), size=(FLIPS, len(values)))
        signs[0] = 1  # what was observed is one of the ways
    sums = np.abs(signs @ values)
    return float(np.mean(sums >= abs(values.sum()) - 1e-9))


def regression(rows: Sequence[Mapping], *, seed: int = bootstrap.SEED) -> dict | None:
    """Further errors of b over a for each unit of distance, length and first language held equal.

    Ordinary least squares over utterances; the interval is that of a bootstrap over speakers.

    Args:
        rows: of each utterance `difference` (errors of b less those of a), `distance`, `tokens`
            (of the reference), `l1` (or None) and `speaker`.
    Returns:
        slope, interval, p_value, utterances; None where distances do not vary or one speaker is
        all there is.
    """
    if len({row["speaker"] for row in rows}) < 2 or len({row["distance"] for row in rows}) < 2:
        return None
    languages = sorted({row["l1"] for row in rows if row["l1"]})[1:]  # the first is the base
    design = np.array([
        [row["distance"], row["tokens"], 1.0, *(row["l1"] == name for name in languages)]
        for row in rows
    ], dtype=np.float64)  # (N, P)  # fmt: skip
    target = np.array([row["difference"] for row in rows], dtype=np.float64)  # (N,)
    speakers = sorted({row["speaker"] for row in rows})
    number = np.array([speakers.index(row["speaker"]) for row in rows])
    squares = np.stack([design[number == s].T @ design[number == s] for s in range(len(speakers))])
    products = np.stack([design[number == s].T @ target[number == s] for s in range(len(speakers))])
    weights = bootstrap.draws(len(speakers), bootstrap.RESAMPLES, seed)  # (R, S)
    slopes = _slopes(np.tensordot(weights, squares, 1), weights @ products)
    slopes = slopes[np.isfinite(slopes)]
    side = min(np.mean(slopes <= 0), np.mean(slopes >= 0))
    return {
        "slope": float(_slopes(squares.sum(0)[None], products.sum(0)[None])[0]),
        "interval": bootstrap.percentiles(slopes),
        "p_value": float(min(1.0, max(2 * side, 1 / bootstrap.RESAMPLES))),
        "utterances": len(rows),
    }


def _slopes(squares: np.ndarray, products: np.ndarray) -> np.ndarray:
    """First coefficients of least squares, (R, P, P) and (R, P) → (R,).

    A resample may lack a first language; its coefficient is then 0 and the others are unharmed.
    """
    inverse = np.linalg.pinv(squares, rcond=1e-10, hermitian=True)
    return np.einsum("rp,rp->r", inverse[:, 0], products)
