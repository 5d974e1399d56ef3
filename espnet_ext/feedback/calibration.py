"""Calibration of the probability that a deviation is real.

A calibration is learnt on validation data. A logistic regression combines the features of a
deviation (`features`) into a score. The probability is the logistic function of the score
(Platt, 1999), or a monotonic function of it by isotonic regression, whichever has the smaller loss
on speakers that are held out. It is kept in a JSON file.

Sources: isotonic regression by pool-adjacent violators (Ayer et al., 1955; Zadrozny & Elkan, KDD
2002); expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017).

Symbols: N deviations, F features, B bins.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.errors import UserError
from espnet_ext.files import read_json, write_json

FILE = "calibration.json"  # in the model directory
KIND, VERSION = "calibration", 1  # of the file; raise the version if its content changes
ISOTONIC, LOGISTIC, AUTO = "isotonic", "logistic", "auto"
METHODS = (AUTO, ISOTONIC, LOGISTIC)
# log-odds by CTC; log-odds by the learners' pronunciation errors; whether something is missing;
# whether something is added
FEATURES = ("log_odds", "prior", "deletion", "insertion")
BINS = 10
DEFAULT_PRECISION = 0.8  # of the default operating point: few false alarms
MIN_REPORTED = 0.1  # share of the deviations that an operating point must report
MIN_THRESHOLD = 0.5  # if that precision is not reached: what is reported is rather real than not
DEFAULT_THRESHOLD = 0.9  # without a calibration
DEFAULT_MISMATCH = 0.6  # edits per expected unit, as in `scoring.word_variants`
_RIDGE = 3.0  # of the logistic regression, on standardised features
_EPSILON = 1e-3  # probabilities keep this distance from 0 and 1
_PRIOR = 1.0  # pseudo-count of each outcome per step of the isotonic function


@dataclass(frozen=True)
class Probability:
    """P(deviation is real) as a function of its features.

    Args:
        weights: of the features and of the constant, F + 1; their sum is the score.
        scores, probabilities: points of the function of the score, in ascending order.
        threshold: probability from which a deviation is reported.
        facts: how it was learnt, for the file.
    """

    weights: tuple[float, ...]
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    threshold: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, features: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """Return the probabilities of deviations with features (N, F), (N,)."""
        x = np.asarray(features, dtype=float).reshape(-1, len(self.weights) - 1)
        score = x @ np.array(self.weights[:-1]) + self.weights[-1]
        return np.interp(score, self.scores, self.probabilities)

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": dict(zip((*FEATURES, "constant"), self.weights, strict=True)),
            "scores": list(self.scores),
            "probabilities": list(self.probabilities),
            "threshold": self.threshold,
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Probability":
        """Return the function of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of such a function.
        """
        weights = tuple(float(content["weights"][name]) for name in (*FEATURES, "constant"))
        scores, probabilities = (
            tuple(map(float, content[name])) for name in ("scores", "probabilities")
        )
        threshold = float(content["threshold"])
        is_valid = (
            len(scores) == len(probabilities) > 0
            and all(map(math.isfinite, (*scores, *weights)))
            and all(0 <= p <= 1 for p in (*probabilities, threshold))
            and list(scores) == sorted(scores)
            and list(probabilities) == sorted(probabilities)
        )
        if not is_valid:
            raise ValueError("not a monotonic function")
        return cls(weights, scores, probabilities, threshold, dict(content["facts"]))

    def threshold_for(self, precision: float) -> float:
        """Return the smallest probability from which deviations have this precision.

        It is read off the curve of the validation data, where thresholds that report fewer than
        `MIN_REPORTED` of the deviations do not count.

        Raises:
            UserError: if no threshold reached it there.
        """
        rows = _usable(self.facts.get("curve") or ())
        reached = [row["threshold"] for row in rows if row["precision"] >= precision]
        if not reached:
            best = max((row["precision"] for row in rows), default=0.0)
            raise UserError(
                f"precision {precision:g}: no threshold reached it on the validation data, where "
                f"the best was {best:.2f}",
                "ask for a smaller precision, or give a threshold",
            )
        return min(reached)


@dataclass(frozen=True)
class Calibration:
    """What `espnet-ext calibrate` learns from validation data.

    Args:
        sources: source of the expected pronunciation ("prompt", "meaning") → its function.
        mismatch: error rate from which a recording does not match its sentence.
        errors: the learners' pronunciation errors, for the feature `prior`: the JSON values of
            `PronunciationErrors.to_json`, or None.
        facts: how it was learnt.
    """

    sources: Mapping[str, Probability]
    mismatch: float = DEFAULT_MISMATCH
    errors: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def probability(self, source: str) -> Probability:
        """Return the function for a source; that of another one if it was not calibrated."""
        return self.sources.get(source) or next(iter(self.sources.values()))

    def save(self, path: str | Path) -> None:
        write_json(
            path,
            {
                "kind": KIND,
                "version": VERSION,
                "mismatch": self.mismatch,
                "sources": {name: value.to_json() for name, value in self.sources.items()},
                "errors": self.errors,
                "facts": dict(self.facts),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Read a calibration that `save` has written.

        Raises:
            UserError: if the file is missing, or is not a calibration.
        """
        content = read_json(path)
        try:
            if (content["kind"], content["version"]) != (KIND, VERSION):
                raise ValueError("another kind of file")
            sources = {
                str(name): Probability.from_json(value)
                for name, value in content["sources"].items()
            }
            mismatch = float(content["mismatch"])
            if not sources or not 0 < mismatch < math.inf:
                raise ValueError("no source")
            return cls(sources, mismatch, content["errors"], dict(content["facts"]))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UserError(
                f"{path}: not a calibration of this version",
                "write it with espnet-ext calibrate",
            ) from None


def uncalibrated() -> Calibration:
    """Return the logistic function of the log-odds, with a threshold for few reports."""
    scores = np.linspace(-8.0, 8.0, 65)
    probabilities = 1.0 / (1.0 + np.exp(-scores))
    weights = (1.0, *(0.0,) * len(FEATURES))
    function = Probability(
        weights, tuple(scores.tolist()), tuple(probabilities.tolist()), DEFAULT_THRESHOLD
    )
    return Calibration({"prompt": function, "meaning": function})


def isotonic(
    scores: Sequence[float], is_real: Sequence[bool], prior: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of the monotonic least-squares fit: means of scores, and probabilities.

    Args:
        scores, is_real: of N deviations.
        prior: pseudo-count of each outcome in every step, in proportion to the overall shares.

    >>> [values.tolist() for values in isotonic([1, 2, 3, 4], [False, True, False, True])]
    [[1.0, 2.5, 4.0], [0.0, 0.5, 1.0]]
    """
    x, y = np.asarray(scores, dtype=float), np.asarray(is_real, dtype=float)
    values, group = np.unique(x, return_inverse=True)
    weights = np.bincount(group).astype(float)
    # (weight, sum of outcomes, weighted sum of scores) of each block, pooled while they decrease
    blocks: list[list[float]] = []
    for row in zip(weights, np.bincount(group, weights=y), values * weights, strict=True):
        blocks.append([float(value) for value in row])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][0] >= blocks[-1][1] / blocks[-1][0]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    share = y.mean() if len(y) else 0.5
    means = np.array([total / weight for weight, _, total in blocks])
    fitted = np.array(
        [(real + 2 * prior * share) / (weight + 2 * prior) for weight, real, _ in blocks]
    )
    return means, np.maximum.accumulate(fitted)


def logistic(
    features: Sequence[Sequence[float]] | np.ndarray, is_real: Sequence[bool]
) -> np.ndarray:
    """Return the weights of the logistic regression of N outcomes on F features, (F + 1,).

    It has an L2 penalty on standardised features. Targets are Platt's, which avoid probabilities
    of 0 and 1. The weight of the first feature, the evidence, is not negative.
    """
    x, y = np.asarray(features, dtype=float), np.asarray(is_real, dtype=float)
    mean, deviation = x.mean(0), x.std(0)
    is_used = deviation > 1e-9
    scale = np.where(is_used, deviation, 1.0)
    positives, negatives = y.sum(), len(y) - y.sum()
    targets = np.where(y > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    while True:
        design = np.concatenate([(x - mean) / scale * is_used, np.ones((len(x), 1))], axis=1)
        weights = _newton(design, targets)
        weights[:-1] *= is_used
        if weights[0] >= 0:
            break
        is_used = is_used & (np.arange(x.shape[1]) > 0)
    weights[:-1] /= scale
    weights[-1] -= weights[:-1] @ mean
    return weights


def _newton(design: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the weights (F + 1,) that minimise the penalised logistic loss, which is convex."""
    penalty = np.full(design.shape[1], _RIDGE)
    penalty[-1] = 0.0  # of the constant
    share = targets.mean()
    weights = np.zeros(design.shape[1])
    weights[-1] = math.log(share / (1 - share))
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (p - targets) + penalty * weights
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + np.diag(penalty)
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(hessian)), gradient)
        weights = weights - np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return weights


def fit(
    features: Sequence[Sequence[float]] | np.ndarray,
    is_real: Sequence[bool],
    groups: Sequence[str],
    method: str = AUTO,
    precision: float = DEFAULT_PRECISION,
) -> Probability:
    """Learn the probability of deviations from validation data.

    The threshold is the smallest one with the precision on held-out groups. If none has it, it is
    the one with the largest precision, but at least `MIN_THRESHOLD`.

    Args:
        features: of N deviations, (N, F).
        is_real: whether each is annotated.
        groups: their speakers, or utterances if there is one speaker: what is held out together.
        method: one of METHODS.
        precision: of the operating point.

    Raises:
        UserError: if all deviations are real, or none.
    """
    x = np.asarray(features, dtype=float).reshape(-1, len(FEATURES))
    y = np.asarray(is_real, dtype=bool)
    if not 0 < y.sum() < len(y):
        raise UserError(
            f"{len(y)} deviations, of which {y.sum()} are real: a calibration needs real and "
            "false ones",
            "give more validation data, with text.surface and text.canonical of learners",
        )
    held_out = {name: _held_out(x, y, groups, name) for name in (ISOTONIC, LOGISTIC)}
    losses = {name: log_loss(values, is_real) for name, values in held_out.items()}
    chosen = min(losses, key=lambda name: losses[name]) if method == AUTO else method
    curve = precision_recall(held_out[chosen], is_real)
    usable = _usable(curve)
    reached = [row for row in usable if row["precision"] >= precision]
    row = reached[0] if reached else max(usable, key=lambda row: row["precision"])
    threshold = row["threshold"] if reached else max(MIN_THRESHOLD, row["threshold"])
    weights, points, values = _function(x, y, chosen)
    facts = {
        "method": chosen,
        "deviations": len(y),
        "real": int(y.sum()),
        "groups": len(set(groups)),
        "log_loss": {name: round(value, 4) for name, value in losses.items()},
        "ece": round(expected_error(held_out[chosen], is_real), 4),
        "operating_point": {
            "wanted": precision,
            "reached": bool(reached),
            **_point(curve, threshold),
            "threshold": threshold,
        },
        "reliability": reliability(held_out[chosen], is_real),
        "curve": curve,
    }
    return Probability(
        tuple(weights.tolist()),
        tuple(points.tolist()),
        tuple(values.tolist()),
        threshold,
        facts,
    )


def _point(curve: Sequence[Mapping[str, float]], threshold: float) -> Mapping[str, float]:
    """Return the row of a curve for a threshold: the first one that is not below it."""
    above = [row for row in curve if row["threshold"] >= threshold]
    return above[0] if above else {"reported": 0, "precision": 0.0, "recall": 0.0}


def _usable(curve: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Return the rows of a curve that report enough deviations, in ascending threshold."""
    most = max((row["reported"] for row in curve), default=0)
    return [row for row in curve if row["reported"] >= max(1, MIN_REPORTED * most)]


def _function(
    features: np.ndarray, is_real: np.ndarray, method: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fitted weights, and the points of the function of the score."""
    weights = logistic(features, is_real.tolist())
    scores = features @ weights[:-1] + weights[-1]
    if method == ISOTONIC:
        points, values = isotonic(scores.tolist(), is_real.tolist(), _PRIOR)
    else:
        points = np.linspace(-8.0, 8.0, 129)
        values = 1.0 / (1.0 + np.exp(-points))
    return weights, points, np.clip(values, _EPSILON, 1.0 - _EPSILON)


def _held_out(
    features: np.ndarray, is_real: np.ndarray, groups: Sequence[str], method: str
) -> np.ndarray:
    """Return the probability of each deviation by a fit without its group, (N,)."""
    names = np.asarray(groups)
    result = np.full(len(is_real), is_real.mean())
    for name in np.unique(names):
        others = names != name
        if 0 < is_real[others].sum() < others.sum():
            weights, points, values = _function(features[others], is_real[others], method)
            scores = features[~others] @ weights[:-1] + weights[-1]
            result[~others] = np.interp(scores, points, values)
    return result


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
    bin_of = np.minimum((p * bins).astype(int), bins - 1)
    return [
        {
            "probability": round(float(p[bin_of == b].mean()), 4),
            "real": round(float(y[bin_of == b].mean()), 4),
            "count": int((bin_of == b).sum()),
        }
        for b in np.unique(bin_of)
    ]


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
