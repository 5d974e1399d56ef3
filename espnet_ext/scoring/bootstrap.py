"""Confidence intervals by a bootstrap over speakers.

Source: Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
ICASSP 2004. Here speakers are resampled instead of utterances, because the utterances of a speaker
are not independent.

Drawing S speakers with replacement from S speakers is one multinomial draw of weights, so all
resamples are one matrix product. Symbols: S speakers, R resamples.
"""

from collections.abc import Iterator, Sequence

import numpy as np

RESAMPLES = 1000
SEED = 20260
_PART = 1 << 20  # weights that `interval` draws at a time: 8 MB


def interval(
    errors: Sequence[float],
    tokens: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of an error rate in percent.

    Args:
        errors: errors per speaker, (S,).
        tokens: reference tokens per speaker, (S,).

    Returns:
        (low, high), or None for fewer than two speakers or without reference tokens.

    >>> interval([1, 1], [10, 10])
    (10.0, 10.0)
    """
    if len(errors) < 2 or not sum(tokens):
        return None
    parts = _weights_in_parts(len(errors), resamples, seed, max(1, _PART // len(errors)))
    rates = [_rates(weights, errors, tokens) for weights in parts]
    return percentile_interval(np.concatenate(rates))


def paired_interval(
    errors_a: Sequence[float],
    errors_b: Sequence[float],
    tokens: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict | None:
    """Compare the error rates of two systems on the same utterances.

    Every resample has the same speakers for both systems, so differences between speakers cancel.

    Args:
        errors_a, errors_b: errors of both systems per speaker, (S,).
        tokens: reference tokens per speaker, (S,).

    Returns: `difference` b − a in percentage points, its 95 % `interval`, and a two-sided
        `p_value`. None for fewer than two speakers or without reference tokens.

    >>> paired_interval([1, 2], [2, 3], [10, 10])["difference"]
    10.0
    """
    if len(tokens) < 2 or not sum(tokens):
        return None
    weights = speaker_weights(len(tokens), resamples, seed)
    differences = _rates(weights, errors_b, tokens) - _rates(weights, errors_a, tokens)
    return {
        "difference": 100.0 * (sum(errors_b) - sum(errors_a)) / sum(tokens),
        "interval": percentile_interval(differences),
        "p_value": two_sided_p_value(differences),
    }


def relative_change(
    errors_a: Sequence[float],
    errors_b: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict:
    """Return the change of the error rate of b relative to that of a, on the same utterances.

    Args:
        errors_a, errors_b: errors of both systems per speaker, (S,).

    Returns: `relative` in percent, None if a has no errors, and its 95 % `relative_interval`, None
        for fewer than two speakers.

    >>> relative_change([2, 2], [1, 1])
    {'relative': -50.0, 'relative_interval': (-50.0, -50.0)}
    """
    if not sum(errors_a):
        return {"relative": None, "relative_interval": None}
    change = 100.0 * (sum(errors_b) - sum(errors_a)) / sum(errors_a)
    if len(errors_a) < 2:
        return {"relative": change, "relative_interval": None}
    weights = speaker_weights(len(errors_a), resamples, seed)
    # The error rate of b in percent of that of a: the reference tokens cancel.
    ratios = _rates(weights, errors_b, errors_a)
    return {"relative": change, "relative_interval": percentile_interval(ratios - 100.0)}


def mean_interval(
    values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of one value per speaker, (S,).

    Returns None for fewer than two speakers.

    >>> mean_interval([2.0, 2.0])
    (2.0, 2.0)
    """
    if len(values) < 2:
        return None
    weights = speaker_weights(len(values), resamples, seed)
    return percentile_interval(weights @ np.asarray(values, dtype=np.float64) / len(values))


def speaker_weights(speakers: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each resample contains each speaker, (R, S)."""
    [weights] = _weights_in_parts(speakers, resamples, seed, resamples)
    return weights


def _weights_in_parts(speakers: int, resamples: int, seed: int, size: int) -> Iterator[np.ndarray]:
    """Yield the weights of `size` resamples at a time, (≤ size, S)."""
    generator = np.random.default_rng(seed)
    shares = np.full(speakers, 1 / speakers)
    for start in range(0, resamples, size):
        yield generator.multinomial(speakers, shares, size=min(size, resamples - start))


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of (R,), ignoring NaN."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def two_sided_p_value(differences: np.ndarray) -> float:
    """Return twice the share of (R,) on the smaller side of zero, at least 1/R, ignoring NaN."""
    known = differences[~np.isnan(differences)]
    share = min(np.mean(known <= 0), np.mean(known >= 0))
    return float(min(1.0, max(2 * share, 1 / len(known))))


def _rates(weights: np.ndarray, errors: Sequence[float], tokens: Sequence[float]) -> np.ndarray:
    """Return the error rate in percent of each resample: (R, S), (S,), (S,) → (R,).

    The rate of a resample without reference tokens is NaN.
    """
    numerator = weights @ np.asarray(errors, dtype=np.float64)
    denominator = weights @ np.asarray(tokens, dtype=np.float64)
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.where(denominator > 0, 100.0 * numerator / safe, np.nan)
