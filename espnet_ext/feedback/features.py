"""Features of a deviation from which its probability is computed (`calibration.FEATURES`)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from espnet_ext.decoding.pronunciation_errors import DELETED, PronunciationErrors
from espnet_ext.feedback.comparison import (
    INSERTION,
    SUBSTITUTION,
    Comparison,
    Deviation,
    unit_class,
)

ODDS_RANGE = (-4.0, 8.0)  # log-odds by CTC beyond it count as its ends, in nats
MIN_PROBABILITY = 1e-5  # of an edit operation
MIN_ERROR_RATE = 0.02  # added to the error rate before its logarithm
NEAR, MAX_NEIGHBOURS = 2, 3  # columns; more neighbours count as this many


class ErrorPrior:
    """Log-odds of deviations by a model of the learners' pronunciation errors.

    Args:
        content: JSON values of `PronunciationErrors.to_json` in units, or None: all are 0.
        name: name of the file, for errors.
    """

    def __init__(self, content: Mapping[str, Any] | None, name: str = "calibration"):
        self.errors = PronunciationErrors.from_json(content, name)[0] if content else None
        tokens = self.errors.tokens if self.errors is not None else ()
        self.index = {token: i for i, token in enumerate(tokens)}

    def __call__(self, comparison: Comparison, deviation: Deviation) -> float:
        """Return the mean log-odds of the units of a deviation, in nats."""
        if self.errors is None:
            return 0.0
        columns = [comparison.columns[i] for i in deviation.columns]
        values = [self._unit(column.expected, column.recognised) for column in columns]
        return sum(values) / len(values)

    def _unit(self, expected: str | None, recognised: str | None) -> float:
        assert self.errors is not None
        column = self.index.get(recognised) if recognised is not None else None
        if expected is None:
            inserted = 0.0 if column is None else float(self.errors.inserted[column])
            return math.log(max(MIN_PROBABILITY, self.errors.insertion * inserted))
        row = self.index.get(expected)
        if row is None:  # a unit that the learners' data lack
            kept, changed = self.errors.match, MIN_PROBABILITY
            if recognised is None:
                changed = self.errors.deletion
        else:
            kept = float(self.errors.pronounced[row, row + 1])
            if recognised is None:
                changed = float(self.errors.pronounced[row, DELETED])
            else:
                changed = 0.0 if column is None else float(self.errors.pronounced[row, column + 1])
        return math.log(max(MIN_PROBABILITY, changed)) - math.log(max(MIN_PROBABILITY, kept))


def features(
    comparison: Comparison,
    scores: Sequence[float],
    prior: ErrorPrior,
    peaks: Sequence[float],
    language: str,
) -> list[tuple[float, ...]]:
    """Return the features of all deviations, in the order of `calibration.FEATURES`.

    Args:
        comparison: the comparison with N deviations and M recognised units.
        scores: log-odds of the deviations by CTC, (N,).
        prior: log-odds of the deviations by pronunciation errors, (N,).
        peaks: largest posterior of each recognised unit, M (`evidence.peaks`).
        language: language of the units.
    """
    low, high = ODDS_RANGE
    return [
        (
            min(high, max(low, score)),
            prior(comparison, deviation),
            float(deviation.kind not in (INSERTION, SUBSTITUTION)),
            float(deviation.kind == INSERTION),
            float(_is_vowel(deviation, language)),
            math.log(comparison.error_rate + MIN_ERROR_RATE),
            float(min(MAX_NEIGHBOURS, _neighbours(comparison, deviation))),
            _peak(comparison, deviation, peaks),
        )
        for score, deviation in zip(scores, comparison.deviations, strict=True)
    ]


def _is_vowel(deviation: Deviation, language: str) -> bool:
    """Return whether the first expected unit is a vowel; of an insertion, the recognised one."""
    return unit_class((deviation.expected or deviation.recognised)[0], language) == "vowel"


def _neighbours(comparison: Comparison, deviation: Deviation) -> int:
    """Return the number of other deviating columns near those of a deviation."""
    near = [
        index
        for column in deviation.columns
        for index in range(max(0, column - NEAR), column + NEAR + 1)
        if index not in deviation.columns
    ]
    return sum(column.is_deviation for i in near for column in comparison.columns[i : i + 1])


def _peak(comparison: Comparison, deviation: Deviation, peaks: Sequence[float]) -> float:
    """Return the largest posterior of the first recognised unit; 0 if it is missing."""
    column = comparison.columns[deviation.columns[0]]
    return 0.0 if column.recognised is None else peaks[column.position]
