"""Permutation tests over speakers, and Holm's correction for multiple tests.

Symbols: S speakers, R permutations.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from espnet_ext.scoring.bootstrap import SEED

MAX_EXACT_SPEAKERS = 12  # up to this number, all 2^S sign patterns are used
RANDOM_PATTERNS = 4000  # number of random sign patterns for more speakers
_TOLERANCE = 1e-9  # for the comparison of sums that are equal up to rounding


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for multiple tests (Holm, 1979). None stays None.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = round(largest, 12)
    return adjusted


def sign_flip_test(differences: Sequence[float], *, seed: int = SEED) -> float | None:
    """Return the two-sided p-value of a paired permutation test.

    Under the null hypothesis the two systems are exchangeable for each speaker. With few speakers
    all 2^S exchanges are tried, and p cannot be below 2/2^S.

    Args:
        differences: one difference b − a per speaker, (S,).

    Returns:
        The p-value, or None for fewer than two speakers.

    >>> sign_flip_test([1, 2, 3])
    0.25
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return None
    return permutation_p_value(sign_patterns(len(values), seed) @ values, values.sum())


def sign_patterns(speakers: int, seed: int = SEED) -> np.ndarray:
    """Return ways to exchange two systems speaker by speaker, (R, S).

    1 keeps the systems of a speaker, -1 exchanges them. The first pattern keeps all.

    >>> sign_patterns(2).tolist()
    [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    """
    if speakers <= MAX_EXACT_SPEAKERS:
        return np.array(list(itertools.product((1, -1), repeat=speakers)))
    generator = np.random.default_rng(seed)
    patterns = generator.choice((1, -1), size=(RANDOM_PATTERNS, speakers))
    patterns[0] = 1  # the observed data is one of the permutations
    return patterns


def permutation_p_value(permuted: np.ndarray, observed: float) -> float:
    """Return the share of (R,) at least as far from zero as the observed value, ignoring NaN."""
    known = permuted[np.isfinite(permuted)]
    return float(np.mean(np.abs(known) >= abs(observed) - _TOLERANCE))
