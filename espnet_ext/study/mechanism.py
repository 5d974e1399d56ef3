"""Do measures of the models predict, over settings, what joint training gains or loses?

A point is a setting and a comparison of systems with equal heads, averaged over the seeds. Its
interval of correlation comes from a bootstrap over settings, because the comparisons of one setting
share trainings and data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from espnet_ext.scoring.bootstrap import percentile_interval
from espnet_ext.study.design import Comparison, Setting, Study
from espnet_ext.study.results import Results

RESAMPLES, SEED = 2000, 20262
MIN_SETTINGS = 6  # with fewer, there is no interval
WITHIN = "within comparison and language"
PREDICTORS = {
    "cka": "CKA of the joint and the single-output encoder, relative to that of two seeds",
    "cka_single": "CKA of the two single-output encoders, relative to that of two seeds",
    "cosine": "cosine of the gradients of surface and meaning in joint training",
    "swap": "error of the single-output decoder on the joint encoder, through a linear map, minus "
    "that on the single-output encoder",
    "probe": "accuracy of a probe for the output's tokens: joint minus single-output encoder",
}


@dataclass(frozen=True)
class Point:
    """One comparison in one setting."""

    setting: Setting
    comparison: Comparison
    difference: float  # b − a in percentage points; below zero, joint training gains
    predictors: Mapping[str, float]  # those that were measured


@dataclass(frozen=True)
class Correlation:
    """Pearson's and Spearman's correlation of a predictor with the difference."""

    output: str
    predictor: str
    points: int
    settings: int
    pearson: float
    spearman: float
    interval: tuple[float, float] | None  # 95 % interval of Pearson's r


def points(study: Study, results: Results, output: str) -> list[Point]:
    """Return the points of an output that have a difference and at least one predictor."""
    collected = []
    for comparison in study.comparisons:
        if comparison.output != output or comparison.meaning_ctc is None:
            continue
        for setting in study.settings():
            effect = results.effect(comparison, setting)
            predictors = dict(_predictors(results, comparison, setting, study))
            if effect is not None and predictors:
                collected.append(Point(setting, comparison, effect.difference, predictors))
    return collected


def _predictors(
    results: Results, comparison: Comparison, setting: Setting, study: Study
) -> Iterator[tuple[str, float]]:
    rows = _of_setting(results, "similarity", setting)
    relative = relative_cka(rows, comparison.a, comparison.b, comparison.output)
    if relative is not None:
        yield "cka", relative
    single = _other_single_system(study, comparison)
    if single and (relative := relative_cka(rows, comparison.a, single)) is not None:
        yield "cka_single", relative
    trainings = results.trainings(setting, comparison.b).values()
    cosines = [one["gradient_cosine"] for one in trainings if one["gradient_cosine"] is not None]
    if cosines:
        yield "cosine", float(np.mean(cosines))
    swap = swap_increase(_of_setting(results, "swaps", setting), comparison)
    if swap is not None:
        yield "swap", swap
    probe = probe_increase(_of_setting(results, "probes", setting), comparison)
    if probe is not None:
        yield "probe", probe


def _of_setting(results: Results, kind: str, setting: Setting) -> list[Mapping[str, Any]]:
    return [
        row
        for row in results.content.get(kind, ())
        if Setting(row["condition"], row["language"], row["share"]) == setting
    ]


def swap_increase(rows: Sequence[Mapping[str, Any]], comparison: Comparison) -> float | None:
    """Return how much the error of system a's decoder rises on the encoder of system b, in points.

    The encoder output of b goes through a linear map. The mean over the seeds that have both error
    rates; None without any.

    Args:
        rows: rows of the analysis `swaps` (see `study.model_measures`) in one setting.
    """
    unswapped, stitched = {}, {}
    for row in rows:
        if row["decoder"] != comparison.a or row["output"] != comparison.output:
            continue
        if row["encoder_output"] not in (None, comparison.output) or row["rate"] is None:
            continue
        if (row["encoder"], row["connection"]) == (comparison.a, "unswapped"):
            unswapped[row["seed"]] = row["rate"]
        elif (row["encoder"], row["connection"]) == (comparison.b, "stitched"):
            stitched[row["seed"]] = row["rate"]
    return _mean_difference(unswapped, stitched)


def probe_increase(rows: Sequence[Mapping[str, Any]], comparison: Comparison) -> float | None:
    """Return the accuracy of a probe for the output's tokens, encoder b minus encoder a, in points.

    The mean over the seeds that have both; None without any.

    Args:
        rows: rows of the analysis `probes` (see `study.model_measures`) in one setting.
    """
    of_a, of_b = (
        {
            row["seed"]: row["accuracy"]
            for row in rows
            if (row["task"], row["system"]) == (comparison.output, system)
            and row["output"] in (None, comparison.output)
        }
        for system in (comparison.a, comparison.b)
    )
    return _mean_difference(of_a, of_b)


def _mean_difference(a: Mapping[int, float], b: Mapping[int, float]) -> float | None:
    """Return the mean of b − a over the seeds that both have."""
    differences = [b[seed] - a[seed] for seed in sorted(a.keys() & b.keys())]
    return float(np.mean(differences)) if differences else None


def _other_single_system(study: Study, comparison: Comparison) -> str | None:
    """Return the single-output system that joint system b is compared with in its other output."""
    for other in study.comparisons:
        same = other.b == comparison.b and other.meaning_ctc == comparison.meaning_ctc
        if same and other.meaning_ctc is not None and other.output != comparison.output:
            return other.a
    return None


def relative_cka(
    rows: Sequence[Mapping[str, Any]], a: str, b: str, output: str | None = None
) -> float | None:
    """Return the mean CKA of two systems divided by the ceiling: that of two seeds of one system.

    The ceiling is the mean over both systems. Both are debiased, so the null is zero. None without
    a ceiling, and if it is of another layer than the pair.

    Args:
        output: encoders that serve another output only are left out.

    >>> rows = [{"a": "x", "b": "y", "ceiling": False, "cka": 0.4},
    ...         {"a": "x", "b": "x", "ceiling": True, "cka": 0.9},
    ...         {"a": "y", "b": "y", "ceiling": True, "cka": 0.7}]
    >>> relative_cka(rows, "x", "y")
    0.5
    """

    def rows_of(names: set[str], ceiling: bool) -> list[Mapping[str, Any]]:
        return [
            row
            for row in rows
            if {row["a"], row["b"]} == names
            and row["ceiling"] == ceiling
            and {row.get(f"output_{side}", output) for side in "ab"} == {output}
        ]

    pairs = rows_of({a, b}, False)
    ceilings = [rows_of({a}, True), rows_of({b}, True)]
    if not pairs or not all(ceilings):
        return None
    if len({row.get("layer") for row in [*pairs, *ceilings[0], *ceilings[1]]}) > 1:
        return None
    means = [np.mean([row["cka"] for row in of_pair]) for of_pair in (pairs, *ceilings)]
    return float(means[0] / np.mean(means[1:]))


def correlations(
    output: str, predictor: str, of_output: Sequence[Point]
) -> Iterator[tuple[str, Correlation]]:
    """Yield correlations of a predictor with the difference, each with the name of its points.

    They are of all points; of those of each comparison; and of all points around the mean of their
    comparison and language. The last one does not count what only tells comparisons or languages
    apart.
    """
    names = list(dict.fromkeys(point.comparison.name for point in of_output))
    chosen: dict[str, Sequence[Point]] = {"all": of_output}
    if len(names) > 1:
        chosen |= {name: [p for p in of_output if p.comparison.name == name] for name in names}
    for name, members in chosen.items():
        if (result := correlation(output, predictor, members)) is not None:
            yield name, result
    if len({(point.comparison.name, point.setting.language) for point in of_output}) == 1:
        return
    if (result := correlation(output, predictor, of_output, is_centred=True)) is not None:
        yield WITHIN, result


def correlation(
    output: str, predictor: str, of_output: Sequence[Point], is_centred: bool = False
) -> Correlation | None:
    """Return the correlation of a predictor with the difference.

    The interval resamples settings with all their points. The result is None for fewer than four
    points and for constant values.

    Args:
        is_centred: subtract the mean of the comparison and language from both variables.
    """
    known = [point for point in of_output if predictor in point.predictors]
    if len(known) < 4:
        return None
    x = np.array([point.predictors[predictor] for point in known])
    y = np.array([point.difference for point in known])
    names = [
        (point.comparison.name, point.setting.language) if is_centred else () for point in known
    ]
    group = np.array([list(dict.fromkeys(names)).index(name) for name in names])
    if not np.isfinite(_pearson(x, y, group)):
        return None
    settings = list(dict.fromkeys(point.setting for point in known))
    members = [
        np.array([number for number, point in enumerate(known) if point.setting == setting])
        for setting in settings
    ]
    interval = None
    if len(settings) >= MIN_SETTINGS:
        rng = np.random.default_rng(SEED)
        values = []
        for _ in range(RESAMPLES):
            drawn = rng.integers(len(settings), size=len(settings))
            index = np.concatenate([members[number] for number in drawn])
            values.append(_pearson(x[index], y[index], group[index]))
        interval = percentile_interval(np.array(values))
    x_ranks, y_ranks = (_ranks(_centred(values, group)) for values in (x, y))
    spearman = _pearson(x_ranks, y_ranks, np.zeros_like(group))
    return Correlation(
        *(output, predictor, len(known), len(settings)),
        *(_pearson(x, y, group), spearman, interval),
    )


def _centred(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return values minus the mean of their group."""
    counts = np.bincount(group)[group]
    return values - np.bincount(group, values)[group] / counts


def _pearson(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> float:
    """Return Pearson's correlation around the means of groups; NaN if a variable is constant."""
    x, y = _centred(x, group), _centred(y, group)
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 1e-12 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values; equal values have their mean rank."""
    return np.array([(np.sum(values < v) + np.sum(values <= v) - 1) / 2 for v in values])
