"""Intervals from a bootstrap that resamples speakers, whose utterances are not independent.

Bisani & Ney (2004), "Bootstrap estimates for confidence intervals in ASR performance evaluation",
with the speaker as the unit drawn. Drawing S of S speakers with replacement is one multinomial
draw of weights, so all resamples are a single matrix product.
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 1000
SEED = 20260


def interval(
    errors: Sequence[int], tokens: Sequence[int], *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float] | None:
    """The 95 % percentile interval of a corpus error rate (percent); one entry a speaker.

    None with fewer than two speakers, where nothing can be said about other speakers.

    >>> interval([1, 1], [10, 10])
    (10.0, 10.0)
    """
    if len(errors) < 2 or not sum(tokens):
        return None
    weights = draws(len(errors), resamples, seed)  # (R, S)
    return percentiles(_rates(weights, errors, tokens))


def paired_interval(
    errors_a: Sequence[int],
    errors_b: Sequence[int],
    tokens: Sequence[int],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, float | tuple[float, float]] | None:
    """Difference of two systems' rates, b − a, in percentage points, over the same utterances.

    Both systems are drawn with the same speakers, so what makes a speaker hard cancels out.
    `p_value` is two-sided: twice the share of resamples on the smaller side of zero, at least 1/R.

    >>> paired_interval([1, 2], [2, 3], [10, 10])["difference"]
    10.0
    """
    if len(tokens) < 2 or not sum(tokens):
        return None
    weights = draws(len(tokens), resamples, seed)
    differences = _rates(weights, errors_b, tokens) - _rates(weights, errors_a, tokens)
    return {
        "difference": 100.0 * (sum(errors_b) - sum(errors_a)) / sum(tokens),
        "interval": percentiles(differences),
        "p_value": two_sided(differences),
    }


def mean_interval(
    values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float] | None:
    """The interval of the mean of one value a speaker; None with fewer than two speakers.

    >>> mean_interval([2.0, 2.0])
    (2.0, 2.0)
    """
    if len(values) < 2:
        return None
    weights = draws(len(values), resamples, seed)
    return percentiles(weights @ np.asarray(values, dtype=np.float64) / len(values))


def two_sided(resampled: np.ndarray) -> float:
    """Twice the share of (R,) on the smaller side of zero, at least 1/R; NaNs left out."""
    known = resampled[~np.isnan(resampled)]
    side = min(np.mean(known <= 0), np.mean(known >= 0))
    return float(min(1.0, max(2 * side, 1 / len(known))))


def draws(speakers: int, resamples: int, seed: int) -> np.ndarray:
    """How often each resample holds each speaker: (R, S)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)


def _rates(weights: np.ndarray, errors: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
    """(R, S), (S,), (S,) → (R,) percent; NaN where a resample happens to hold no token."""
    numerator = weights @ np.asarray(errors, dtype=np.float64)
    denominator = weights @ np.asarray(tokens, dtype=np.float64)
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.where(denominator > 0, 100.0 * numerator / safe, np.nan)


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of (R,), NaNs left out."""
    # Linear interpolation as numpy.percentile does it, which would load numpy.ma (0.3 s) first.
    ordered = np.sort(values[~np.isnan(values)])
    last = len(ordered) - 1
    low, high = np.interp([0.025 * last, 0.975 * last], np.arange(len(ordered)), ordered)
    return float(low), float(high)
