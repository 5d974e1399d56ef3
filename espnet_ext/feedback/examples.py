"""Deviations of annotated recordings: which of them are real, and how well they are detected.

A deviation is real if the annotation differs from the canonical form at its place, by the
alignment of `scoring.mdd`. Detection is measured by `scoring.mdd` too: a deviation that is not
reported counts as if the expected unit had been recognised.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from espnet_ext.feedback.calibration import Probability
from espnet_ext.feedback.calibration_measures import (
    chance_error,
    expected_error,
    expected_error_interval,
    precision_recall,
    reliability,
)
from espnet_ext.feedback.comparison import Comparison
from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.mdd import WITH_INSERTIONS, C, H, K, P, align_phones, evaluate


@dataclass(frozen=True)
class Example:
    """An annotated recording with its deviations.

    Args:
        utt_id, speaker: of the recording.
        canonical, perceived: the annotation, in units.
        comparison: the deviations.
        features: features of the deviations, (N, F).
        is_real: whether each is annotated, N.
    """

    utt_id: str
    speaker: str
    canonical: Sequence[str]
    perceived: Sequence[str]
    comparison: Comparison
    features: Sequence[Sequence[float]]
    is_real: Sequence[bool]


def label(comparison: Comparison, canonical: Sequence[str], perceived: Sequence[str]) -> list[bool]:
    """Return whether each deviation of a comparison is annotated.

    Args:
        canonical: annotated canonical units.
        perceived: annotated units of what was pronounced.

    >>> from espnet_ext.feedback.comparison import compare
    >>> from espnet_ext.feedback.expected import expect
    >>> comparison = compare(expect("think", "en"), "S IH N K".split())
    >>> label(comparison, "TH IH NG K".split(), "S IH NG K".split())
    [True, False]
    """
    recognised = [c.recognised for c in comparison.columns if c.recognised is not None]
    [columns] = align_phones([canonical], [perceived], [recognised], [comparison.expected])
    of_expected = [column[P] != column[C] for column in columns if column[K] is not None]
    of_recognised = [column[P] != column[C] for column in columns if column[H] is not None]
    number = 0  # of the expected unit of a column
    numbers = []
    for column in comparison.columns:
        numbers.append(number)
        number += column.expected is not None

    def is_annotated(index: int) -> bool:
        column = comparison.columns[index]
        if column.expected is not None:
            return of_expected[numbers[index]]
        return of_recognised[column.position]

    return [any(map(is_annotated, deviation.columns)) for deviation in comparison.deviations]


def reported_units(comparison: Comparison, is_reported: Sequence[bool]) -> list[str]:
    """Return the recognised units, with the expected ones in place of what is not reported."""
    hidden = {
        index
        for deviation, reported in zip(comparison.deviations, is_reported, strict=True)
        if not reported
        for index in deviation.columns
    }
    units = [
        column.expected if index in hidden else column.recognised
        for index, column in enumerate(comparison.columns)
    ]
    return [unit for unit in units if unit is not None]


def measure(
    examples: Sequence[Example],
    probability: Probability | Mapping[str, Probability],
    threshold: float | None = None,
) -> dict[str, Any]:
    """Return precision, recall and F1 in percent with 95 % intervals, and the calibration error.

    Args:
        examples: annotated recordings.
        probability: probability of their deviations; or speaker → function, for models that differ.
        threshold: probability from which deviations are reported; None: that of the function.
    """
    texts: list[dict[str, str]] = [{}, {}, {}, {}]
    probabilities: list[float] = []
    is_real: list[bool] = []
    groups: list[str] = []  # speaker of each deviation
    for example in examples:
        function = probability if isinstance(probability, Probability) else None
        if function is None:
            assert isinstance(probability, Mapping)
            function = probability[example.speaker]
        values = function(example.features).tolist() if example.features else []
        limit = function.threshold if threshold is None else threshold
        reported = reported_units(example.comparison, [value >= limit for value in values])
        units = example.canonical, example.perceived, reported, example.comparison.expected
        for table, sequence in zip(texts, units, strict=True):
            table[example.utt_id] = " ".join(sequence)
        probabilities += values
        is_real += example.is_real
        groups += [example.speaker] * len(values)
    speakers = {example.utt_id: example.speaker for example in examples}
    counts = evaluate(texts[0], texts[1], texts[2], texts[3], groups=speakers)
    total = counts["measures"][WITH_INSERTIONS]
    return {
        "utterances": len(examples),
        "speakers": len(set(speakers.values())),
        "counts": counts["counts"][WITH_INSERTIONS],
        **{name: total[name] for name in ("precision", "recall", "F1", "FRR")},
        "intervals": _intervals(counts["groups"]),
        "deviations": len(is_real),
        "real": sum(is_real),
        "ece": expected_error(probabilities, is_real),
        "ece_interval": expected_error_interval(probabilities, is_real, groups),
        "ece_by_chance": chance_error(probabilities),
        "reliability": reliability(probabilities, is_real),
        "curve": precision_recall(probabilities, is_real),
    }


def _intervals(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the intervals of precision, recall and F1 by a bootstrap over the groups."""
    sums: defaultdict[str, list[float]] = defaultdict(list)
    for group in groups.values():
        counts = group["counts"][WITH_INSERTIONS]
        hits = counts["CD"] + counts["ED"]
        for name, numerator, denominator in (
            ("precision", hits, hits + counts["FR"]),
            ("recall", hits, hits + counts["FA"]),
            ("F1", 2 * hits, 2 * hits + counts["FR"] + counts["FA"]),
        ):
            sums[name].append(numerator)
            sums[f"{name}, of"].append(denominator)
    names = ("precision", "recall", "F1")
    return {name: bootstrap.interval(sums[name], sums[f"{name}, of"]) for name in names}


def choose_mismatch(matched: Sequence[float], mismatched: Sequence[float]) -> dict[str, Any]:
    """Return the error rate that best separates recordings of a sentence from other recordings.

    Of the rates with the fewest wrong decisions, it is the middle.

    Args:
        matched: error rates of recordings against their own sentence.
        mismatched: error rates against the sentence of another recording.

    Returns:
        `threshold`, and the shares of `rejected` matched and `accepted` mismatched recordings.

    >>> choose_mismatch([0.1, 0.3], [0.7, 0.9])["threshold"]
    0.5
    """
    a, b = np.asarray(matched, float), np.asarray(mismatched, float)
    edges = np.unique(np.concatenate([a, b]))
    candidates = (edges[1:] + edges[:-1]) / 2 if len(edges) > 1 else edges + 0.1
    wrong = [int((a >= t).sum() + (b < t).sum()) for t in candidates]
    best = candidates[np.flatnonzero(np.array(wrong) == min(wrong))]
    threshold = round(float(np.median(best)), 4)
    return {
        "threshold": threshold,
        "rejected": float((a >= threshold).mean()) if len(a) else 0.0,
        "accepted": float((b < threshold).mean()) if len(b) else 0.0,
    }
