"""How well probabilities of deviations agree with what is real.

Sources: expected calibration error (ECE): Naeini et al., AAAI 2015; Guo et al., ICML 2017. Its bias
for few data: Kumar et al., NeurIPS 2019.

Symbols: N deviations, B bins, S speakers, R resamples.
"""

import math
from collections.abc import Sequence

import numpy as np

from espnet_ext.scoring.bootstrap import RESAMPLES, SEED, percentile_interval, speaker_weights

BINS = 10
SIMULATIONS = 300


def log_loss(probabilities: Sequence[float] | np.ndarray, is_real: Sequence[bool]) -> float:
    """Return the mean negative log-likelihood of N outcomes, in nats."""
    p = np.clip(np.asarray(probabilities, float), 1e-6, 1 - 1e-6)
    y = np.asarray(is_real, bool)
    return float(-np.log(np.where(y, p, 1 - p)).mean()) if len(y) else 0.0


def reliability(
    probabilities: Sequence[float] | np.ndarray, is_real: Sequence[bool], bins: int = BINS
) -> list[dict[str, float]]:
    """Return mean probability, share of real deviations and number of each bin that has any.

    The bins divide the probabilities from 0 to 1 into B equal intervals.

    >>> reliability([0.1, 0.9, 0.95], [False, True, False], bins=2)
    [{'probability': 0.1, 'real': 0.0, 'count': 1}, {'probability': 0.925, 'real': 0.5, 'count': 2}]
    """
    p, y = np.asarray(probabilities, float), np.asarray(is_real, float)
    bin_of = _bin_of(p, bins)
    return [
        {
            "probability": round(float(p[bin_of == b].mean()), 4),
            "real": round(float(y[bin_of == b].mean()), 4),
            "count": int((bin_of == b).sum()),
        }
        for b in np.unique(bin_of)
    ]


def _bin_of(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin of each probability, (N,)."""
    return np.minimum((probabilities * bins).astype(int), bins - 1)


def expected_error(
    probabilities: Sequence[float] | np.ndarray, is_real: Sequence[bool], bins: int = BINS
) -> float:
    """Return the expected calibration error (ECE): the mean |probability − share| of the bins.

    >>> round(expected_error([0.25, 0.25, 0.25, 0.25], [True, False, False, False]), 3)
    0.0
    """
    rows = reliability(probabilities, is_real, bins)
    total = sum(row["count"] for row in rows)
    return sum(row["count"] * abs(row["probability"] - row["real"]) for row in rows) / max(1, total)


def expected_error_interval(
    probabilities: Sequence[float] | np.ndarray,
    is_real: Sequence[bool],
    speakers: Sequence[str],
    bins: int = BINS,
) -> tuple[float, float] | None:
    """Return the 95 % interval of the ECE by a bootstrap over speakers; None for one speaker.

    The ECE of a resample is biased upwards, because a resample has fewer different speakers.

    >>> expected_error_interval([0.5] * 4, [True, True, False, False], ["a", "a", "b", "b"])
    (0.0, 0.5)
    """
    p, y = np.asarray(probabilities, float), np.asarray(is_real, float)
    names, speaker_of = np.unique(np.asarray(speakers), return_inverse=True)
    if len(names) < 2:
        return None
    gaps = np.zeros((len(names), bins))  # (S, B): Σ probability − number of real deviations
    np.add.at(gaps, (speaker_of, _bin_of(p, bins)), p - y)
    weights = speaker_weights(len(names), RESAMPLES, SEED)  # (R, S)
    errors = np.abs(weights @ gaps).sum(1) / (weights @ np.bincount(speaker_of))
    low, high = percentile_interval(errors)
    return round(low, 4), round(high, 4)


def chance_error(probabilities: Sequence[float] | np.ndarray, bins: int = BINS) -> dict[str, float]:
    """Return the ECE that these probabilities have if they are exactly right.

    Outcomes are drawn independently with these probabilities. The ECE of a finite number of
    deviations is not 0 even then; a smaller one cannot be asked for.

    Returns:
        `mean` and 95th percentile (`p95`) of the ECE of the simulated outcomes.

    >>> chance_error([0.0, 1.0])
    {'mean': 0.0, 'p95': 0.0}
    """
    p = np.asarray(probabilities, float)
    if not len(p):
        return {"mean": 0.0, "p95": 0.0}
    outcomes = np.random.default_rng(SEED).random((SIMULATIONS, len(p))) < p  # (R, N)
    in_bin = _bin_of(p, bins)[:, None] == np.arange(bins)  # (N, B)
    errors = np.abs((p - outcomes) @ in_bin).sum(1) / len(p)
    mean, high = float(errors.mean()), float(np.quantile(errors, 0.95))
    return {"mean": round(mean, 4), "p95": round(high, 4)}


def precision_recall(
    probabilities: Sequence[float] | np.ndarray, is_real: Sequence[bool]
) -> list[dict[str, float]]:
    """Return threshold, number reported, precision and recall at each distinct probability.

    The recall is that among the N deviations that were recognised.
    """
    p, y = np.asarray(probabilities, float), np.asarray(is_real, float)
    rows = []
    for threshold in np.unique(p):
        above = p >= threshold
        rows.append(
            {
                "threshold": math.floor(float(threshold) * 1e4) / 1e4,
                "reported": int(above.sum()),
                "precision": round(float(y[above].mean()), 4),
                "recall": round(float(y[above].sum() / max(1.0, y.sum())), 4),
            }
        )
    return rows
