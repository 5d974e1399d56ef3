"""Whether the difference of two systems grows with divergence, and tests that need no bootstrap.

Raw distance grows with length, and so do errors: the regression holds length (and first language)
equal. Legend: N utterances, S speakers, P regressors, R resamples.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from espnet_ext.scoring import bootstrap

UNTELLABLE = 0.05  # share of resamples that may not tell a slope from others; more: no interval
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
    sums = np.abs(swaps(len(values), seed) @ values)
    return float(np.mean(sums >= abs(values.sum()) - 1e-9))


def swaps(speakers: int, seed: int = bootstrap.SEED) -> np.ndarray:
    """Ways to exchange two systems speaker by speaker, (R, S) of 1 and -1; the first is no way.

    >>> swaps(2).tolist()
    [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    """
    if speakers <= EXACT:
        return np.array(list(itertools.product((1, -1), repeat=speakers)))
    generator = np.random.default_rng(seed)
    signs = generator.choice((1, -1), size=(FLIPS, speakers))
    signs[0] = 1  # what was observed is one of the ways
    return signs


def regression(
    rows: Sequence[Mapping], names: Sequence[str] = ("distance",), *, seed: int = bootstrap.SEED
) -> dict:
    """Further errors of b over a for each unit of each regressor, length and first language equal.

    Ordinary least squares over utterances; intervals are those of a bootstrap over speakers.

    Args:
        rows: of each utterance `difference` (errors of b less those of a), the `names`, `tokens`
            (of the reference), `l1` (or None) and `speaker`.
    Returns:
        utterances, and slopes: of each name slope (errors, not points), interval and p_value, both
        None where resamples cannot tell it from the others; or `lacks`, the reason
        why there are none.
    """
    if lacks := _lacks(rows, names):
        return {"utterances": len(rows), "lacks": lacks}
    design = _design(rows, names)  # (N, P)
    target = np.array([row["difference"] for row in rows], dtype=np.float64)  # (N,)
    speakers = sorted({row["speaker"] for row in rows})
    number = np.array([speakers.index(row["speaker"]) for row in rows])
    squares = np.stack([design[number == s].T @ design[number == s] for s in range(len(speakers))])
    products = np.stack([design[number == s].T @ target[number == s] for s in range(len(speakers))])
    weights = bootstrap.draws(len(speakers), bootstrap.RESAMPLES, seed)  # (R, S)
    drawn = _slopes(np.tensordot(weights, squares, 1), weights @ products)  # (R, P)
    found = _slopes(squares.sum(0)[None], products.sum(0)[None])[0]
    slopes = {}
    for i, name in enumerate(names):
        finite = drawn[np.isfinite(drawn[:, i]), i]
        enough = len(finite) >= (1 - UNTELLABLE) * len(drawn)
        slopes[name] = {
            "slope": float(found[i]),
            "interval": bootstrap.percentiles(finite) if enough else None,
            "p_value": bootstrap.two_sided(finite) if enough else None,
        }
    return {"utterances": len(rows), "slopes": slopes}


def _lacks(rows: Sequence[Mapping], names: Sequence[str]) -> str:
    """Why regressors have no slopes of their own; empty if they have."""
    if len({row["speaker"] for row in rows}) < 2:
        return "fewer than two speakers"
    for name in names:
        if len({row[name] for row in rows}) < 2:
            return f"{name} is the same in all utterances"
    design = _design(rows, names)
    scaled = design / np.abs(design).max(0).clip(min=1.0)
    whole = np.linalg.matrix_rank(scaled)
    for i, name in enumerate(names):
        if np.linalg.matrix_rank(np.delete(scaled, i, axis=1)) == whole:
            return f"{name} cannot be told from length, first language or what else is held equal"
    return ""


def _design(rows: Sequence[Mapping], names: Sequence[str]) -> np.ndarray:
    """(N, P): the regressors, length, one, and first languages but the first, which is the base."""
    languages = sorted({row["l1"] for row in rows if row["l1"]})[1:]
    return np.array(
        [
            [
                *(row[name] for name in names),
                row["tokens"],
                1.0,
                *(row["l1"] == language for language in languages),
            ]
            for row in rows
        ],
        dtype=np.float64,
    )


def _slopes(squares: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Coefficients of least squares, (R, P, P) and (R, P) → (R, P).

    A coefficient that a resample cannot tell from others (its speakers have one distance, or one
    first language) is NaN there; the others are unharmed.
    """
    scale = np.sqrt(np.einsum("rpp->rp", squares).clip(min=1e-300))
    scaled = squares / (scale[:, :, None] * scale[:, None])
    inverse = np.linalg.pinv(scaled, rcond=1e-10, hermitian=True)
    known = np.abs(np.einsum("rpq,rqp->rp", inverse, scaled) - 1.0) < 1e-6
    found = np.einsum("rpq,rq->rp", inverse, products / scale) / scale
    return np.where(known, found, np.nan)
