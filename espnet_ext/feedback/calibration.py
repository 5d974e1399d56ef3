"""Calibration of the probability that a deviation is real.

A calibration is learnt on validation data. A logistic regression combines the features of a
deviation (`features`) into a score. The probability is one of three functions of the score,
whichever has the smallest loss on speakers that are held out:

- logistic: the logistic function (Platt, 1999);
- temperature: the logistic function of the score divided by a temperature, which is fitted to
  scores of speakers that the regression has not seen (Guo et al., ICML 2017). Speakers differ in
  how many of their recognised deviations are real, so a regression is too sure for a new one;
- isotonic: a monotonic function by pool-adjacent violators (Ayer et al., 1955; Zadrozny & Elkan,
  KDD 2002).

It is kept in a JSON file.

Symbols: N deviations, F features, B bins.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.errors import UserError
from espnet_ext.feedback.calibration_measures import (
    chance_error,
    expected_error,
    expected_error_interval,
    log_loss,
    precision_recall,
    reliability,
)
from espnet_ext.files import read_json, sha256_of, write_json

FILE = "calibration.json"  # in the model directory
KIND, VERSION = "calibration", 2  # of the file; raise the version if its content changes
READABLE_VERSIONS = (1, 2)  # version 1 has weights of the first four features only
ISOTONIC, LOGISTIC, TEMPERATURE, AUTO = "isotonic", "logistic", "temperature", "auto"
METHODS = (AUTO, ISOTONIC, LOGISTIC, TEMPERATURE)
FEATURES = (
    "log_odds",  # by CTC, in nats
    "prior",  # log-odds by the learners' pronunciation errors, in nats
    "deletion",  # whether something is missing
    "insertion",  # whether something is added
    "vowel",  # whether the expected unit is a vowel; of an insertion, the recognised one
    "error_rate",  # log of the recording's edits per expected unit
    "neighbours",  # deviating columns at most two places away, up to 3
    "peak",  # largest posterior of the recognised unit; 0 if it is missing
)
_OLD_FEATURES = FEATURES[:4]  # of version 1
DEFAULT_PRECISION = 0.8  # of the default operating point: few false alarms
MIN_REPORTED = 0.1  # share of the deviations that an operating point must report
MIN_THRESHOLD = 0.5  # if that precision is not reached: reported deviations are probably real
DEFAULT_THRESHOLD = 0.9  # without a calibration
DEFAULT_MISMATCH = 0.6  # edits per expected unit, as in `scoring.word_variants`
_RIDGE = 10.0  # of the logistic regression, on standardised features
_MAX_FOLDS = 10  # groups in which speakers are held out, at most
_MAX_INVERSE_TEMPERATURE = 3.0
_EPSILON = 1e-3  # probabilities keep this distance from 0 and 1
_PRIOR = 1.0  # pseudo-count of each outcome per step of the isotonic function


@dataclass(frozen=True)
class Probability:
    """P(deviation is real) as a function of its features.

    Args:
        weights: weights of the features and of the constant, F + 1; their sum is the score.
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
    def from_json(cls, content: Mapping[str, Any], version: int = VERSION) -> "Probability":
        """Return the function of `to_json`; features that an old version lacks have no weight.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of such a function.
        """
        stored = dict(content["weights"])
        if version == 1:
            stored |= dict.fromkeys(FEATURES[len(_OLD_FEATURES) :], 0.0)
        weights = tuple(float(stored[name]) for name in (*FEATURES, "constant"))
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

    def require_model(self, weights: Path, path: str | Path) -> None:
        """Raise a `UserError` if it was learnt with other weights.

        Args:
            weights: `model.pth` of the model. A packed model has none; it was checked when packed.
            path: file of the calibration, for the message.
        """
        digest = self.facts.get("model_sha256")
        if digest and weights.is_file() and sha256_of(weights) != digest:
            raise UserError(
                f"{path}: learnt with other weights than {weights}, so its probabilities are not "
                "those of this model",
                "write it again with espnet-ext calibrate, or remove it to judge without one",
            )

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Read a calibration that `save` has written.

        Raises:
            UserError: if the file is missing, or is not a calibration.
        """
        content = read_json(path)
        try:
            version = content["version"]
            if content["kind"] != KIND or version not in READABLE_VERSIONS:
                raise ValueError("another kind of file")
            sources = {
                str(name): Probability.from_json(value, version)
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
        features: features of N deviations, (N, F).
        is_real: whether each is annotated.
        groups: their speakers, or utterances if there is one speaker: what is held out together.
        method: one of METHODS.
        precision: precision of the operating point.

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
    folds = _folds(groups)
    names = METHODS[1:]
    held_out = {name: _held_out(x, y, folds, name) for name in names}
    losses = {name: log_loss(values, is_real) for name, values in held_out.items()}
    chosen = min(losses, key=lambda name: losses[name]) if method == AUTO else method
    curve = precision_recall(held_out[chosen], is_real)
    usable = _usable(curve)
    reached = [row for row in usable if row["precision"] >= precision]
    row = reached[0] if reached else max(usable, key=lambda row: row["precision"])
    threshold = row["threshold"] if reached else max(MIN_THRESHOLD, row["threshold"])
    weights, points, values = _function(x, y, folds, chosen)
    facts = {
        "method": chosen,
        "deviations": len(y),
        "real": int(y.sum()),
        "groups": len(set(groups)),
        "log_loss": {name: round(value, 4) for name, value in losses.items()},
        "ece": round(expected_error(held_out[chosen], is_real), 4),
        "ece_interval": expected_error_interval(held_out[chosen], is_real, groups),
        "ece_by_chance": chance_error(held_out[chosen]),
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
    features: np.ndarray, is_real: np.ndarray, folds: np.ndarray, method: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fitted weights, and the points of the function of the score.

    Args:
        features: (N, F).
        is_real: (N,).
        folds: (N,) numbers of groups of speakers, for the temperature.
        method: one of METHODS, without AUTO.
    """
    weights = logistic(features, is_real.tolist())
    if method == TEMPERATURE:
        weights = weights * _inverse_temperature(features, is_real, folds)
    scores = features @ weights[:-1] + weights[-1]
    if method == ISOTONIC:
        points, values = isotonic(scores.tolist(), is_real.tolist(), _PRIOR)
    else:
        points = np.linspace(-8.0, 8.0, 129)
        values = 1.0 / (1.0 + np.exp(-points))
    return weights, points, np.clip(values, _EPSILON, 1.0 - _EPSILON)


def _inverse_temperature(features: np.ndarray, is_real: np.ndarray, folds: np.ndarray) -> float:
    """Return the factor of the scores with the smallest loss on held-out folds; 1 for one fold."""
    from scipy.optimize import minimize_scalar

    if len(np.unique(folds)) < 2:
        return 1.0
    probabilities = _held_out(features, is_real, folds, LOGISTIC)
    scores = np.log(probabilities / (1.0 - probabilities))

    def loss(factor: float) -> float:
        return log_loss(1.0 / (1.0 + np.exp(-factor * scores)), is_real.tolist())

    bounds = (0.0, _MAX_INVERSE_TEMPERATURE)
    return float(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def _folds(groups: Sequence[str]) -> np.ndarray:
    """Return the number of the fold of each deviation, (N,): at most `_MAX_FOLDS` folds."""
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    return numbers % _MAX_FOLDS


def _held_out(
    features: np.ndarray, is_real: np.ndarray, folds: np.ndarray, method: str
) -> np.ndarray:
    """Return the probability of each deviation by a fit without its fold, (N,)."""
    result = np.full(len(is_real), is_real.mean())
    for fold in np.unique(folds):
        others = folds != fold
        if 0 < is_real[others].sum() < others.sum():
            remaining = features[others], is_real[others], folds[others]
            weights, points, values = _function(*remaining, method)
            scores = features[~others] @ weights[:-1] + weights[-1]
            result[~others] = np.interp(scores, points, values)
    return result
