"""Differences of two systems over speakers and several trainings per system.

The same speakers are tested with every training, and the trainings of the two systems are not
paired: seed 1 of one system has nothing in common with seed 1 of the other. The variance of the
difference of two mean error rates has a part from the choice of speakers, and one per system from
the choice of seeds::

    D ± t(df) · sqrt(V_speakers + V_seeds_a + V_seeds_b)

V_speakers is that of a ratio estimate over clusters (Cochran, Sampling Techniques, 1977, eq. 6.4),
from differences averaged over the seeds; V_seeds is the variance of the seeds' overall rates,
divided by their number. df follows Satterthwaite (Biometrics, 1946). As each part contains the
interaction of seeds and speakers, the sum is slightly too large rather than too small.

Symbols: ... any leading axes, R trainings, S speakers.
"""

from dataclasses import dataclass

import numpy as np

from espnet_ext.scoring.significance import sign_flip_test

CONFIDENCE = 0.95
FEW_SPEAKERS = 5  # intervals over fewer speakers are not shown


@dataclass(frozen=True)
class Variance:
    """A difference in percentage points and the parts of its variance, (...)."""

    difference: np.ndarray
    speakers: np.ndarray
    seeds_a: np.ndarray
    seeds_b: np.ndarray
    df: np.ndarray

    @property
    def standard_error(self) -> np.ndarray:
        return np.sqrt(self.speakers + self.seeds_a + self.seeds_b)


@dataclass(frozen=True)
class Effect:
    """A difference b − a with its interval and tests; None where it cannot be computed."""

    rate_a: float  # mean of the trainings, in percent
    rate_b: float
    difference: float  # percentage points
    interval: tuple[float, float] | None  # 95 %
    standard_error: float | None
    df: float | None
    p_value: float | None  # two-sided, other speakers and other seeds
    p_permutation: float | None  # two-sided, by exchanging the systems per speaker
    seeds: tuple[int, int]  # trainings of a and b
    speakers: int


def variance_of_difference(a: np.ndarray, b: np.ndarray, tokens: np.ndarray) -> Variance:
    """Return the difference b − a and the parts of its variance.

    Args:
        a, b: errors of both systems, (..., R_a, S) and (..., R_b, S).
        tokens: reference tokens per speaker, (S,). All systems have the same.

    >>> a, b = np.array([[1.0, 2], [2, 3]]), np.array([[2.0, 4], [2, 4]])
    >>> variance = variance_of_difference(a, b, np.array([10, 10]))
    >>> float(variance.difference), float(variance.seeds_a), float(variance.seeds_b)
    (10.0, 25.0, 0.0)
    """
    total, speakers = tokens.sum(), tokens.shape[-1]
    rates_a, rates_b = (100.0 * x.sum(-1) / total for x in (a, b))  # (..., R)
    difference = rates_b.mean(-1) - rates_a.mean(-1)
    by_speaker = b.mean(-2) - a.mean(-2)  # (..., S), errors
    deviations = by_speaker - difference[..., None] / 100.0 * tokens
    of_speakers = 1e4 * speakers / (speakers - 1) * np.square(deviations).sum(-1) / total**2
    seeds_a, seeds_b = (_variance_of_mean(rates) for rates in (rates_a, rates_b))
    parts = [of_speakers, seeds_a, seeds_b]
    degrees = [speakers - 1, a.shape[-2] - 1, b.shape[-2] - 1]
    weighted = sum(part**2 / max(df, 1) for part, df in zip(parts, degrees, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.where(weighted > 0, sum(parts) ** 2 / weighted, np.inf)
    return Variance(difference, of_speakers, seeds_a, seeds_b, df)


def _variance_of_mean(rates: np.ndarray) -> np.ndarray:
    """Return the variance of the mean over the last axis; zero for one training."""
    count = rates.shape[-1]
    return rates.var(-1, ddof=1) / count if count > 1 else np.zeros(rates.shape[:-1])


def critical_values(df: np.ndarray, alpha: float = 1 - CONFIDENCE) -> np.ndarray:
    """Return the two-sided critical values of Student's t distribution."""
    from scipy.stats import t

    return t.ppf(1 - alpha / 2, df)


def compare(a: np.ndarray, b: np.ndarray, tokens: np.ndarray) -> Effect:
    """Return the difference b − a of two systems.

    With one training of a system, nothing is known about other seeds: the interval is then over
    speakers only and there is no p value. Speakers without reference tokens are left out.

    Args:
        a, b: errors, (R_a, S) and (R_b, S).
        tokens: reference tokens per speaker, (S,).
    """
    counted = tokens > 0
    a, b, tokens = a[:, counted], b[:, counted], tokens[counted]
    total, speakers = tokens.sum(), len(tokens)
    rate_a, rate_b = (float(100.0 * x.sum() / total / len(x)) if total else 0.0 for x in (a, b))
    seeds = (len(a), len(b))
    if speakers < 2:
        difference = rate_b - rate_a
        return Effect(rate_a, rate_b, difference, None, None, None, None, None, seeds, speakers)
    variance = variance_of_difference(a, b, tokens)
    difference, error, df = (
        float(value) for value in (variance.difference, variance.standard_error, variance.df)
    )
    margin = float(critical_values(np.asarray(df))) * error
    p_value = None
    if min(seeds) > 1:
        from scipy.stats import t

        if error > 0:
            p_value = float(2 * t.sf(abs(difference) / error, df))
        else:  # as for two copies of one system
            p_value = 0.0 if difference else 1.0
    return Effect(
        *(rate_a, rate_b, difference, (difference - margin, difference + margin), error, df),
        p_value,
        sign_flip_test((b.mean(0) - a.mean(0)).tolist()),
        seeds,
        speakers,
    )


def bootstrap_interval(
    a: np.ndarray, b: np.ndarray, tokens: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a two-level bootstrap over speakers and seeds.

    It is here to be compared with `compare` (see `simulation`). With three seeds it is too narrow,
    since resampling R values underestimates their variance by the factor (R − 1) / R.

    Args:
        a, b: errors, (R_a, S) and (R_b, S).
        tokens: reference tokens per speaker, (S,).
    """
    rng = np.random.default_rng(seed)
    speakers = len(tokens)
    weights = rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)  # (N, S)
    means = []
    for errors in (a, b):
        count = len(errors)
        seeds = rng.multinomial(count, np.full(count, 1 / count), size=resamples)  # (N, R)
        means.append(seeds @ errors / count)  # (N, S)
    differences = 100.0 * (weights * (means[1] - means[0])).sum(-1) / (weights @ tokens)
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)
