"""Reliability diagram and operating curve of the probabilities of `espnet-ext judge`.

They are read from the `calibration.json` of each system.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from espnet_ext.document import Figure, Item, Point, Section, Table, number, with_interval
from espnet_ext.errors import UserError
from espnet_ext.report.collect import Language

MAX_POINTS = 100  # of an operating curve
MIN_COUNT = 5  # deviations of a bin that is drawn
HELD_OUT = "held-out speakers"
CONDITIONS = {"prompt": "prompt", "meaning": "no prompt"}
EXACT = "exact"
FIGURES = (  # one sentence for both, which puts them beside each other
    "Reliability diagram: share of the recognised deviations that are real, by their probability, "
    f"in 10 bins of equal width with at least {MIN_COUNT} deviations; below the line 'exact', the "
    "probability is too large. Operating curve: precision and recall of all thresholds of the "
    "probability; the recall is that among the recognised deviations."
)
ERROR = (
    "Expected calibration error (ECE): mean distance of probability and share, weighted by the "
    "size of 10 bins of equal width, with the 95 % interval of a bootstrap over speakers. 'By "
    "chance' is the ECE that exact probabilities would have with so few deviations: mean and 95th "
    "percentile of simulations that draw every deviation independently."
)
HEADER = ("deviations", "number", "real", "ECE, %", "by chance, %")


class Measured(NamedTuple):
    """What was measured with or without a prompt, on one set."""

    label: str
    values: Mapping[str, Any]


def section(language: Language) -> Section | None:
    """Return the calibrations of all systems of a language; None if there are none."""
    items: list[Item] = []
    findings = []
    for system, content in language.calibrations.items():
        try:
            measured = list(_measured(content))
            items += [_reliability(system, measured), _curve(system, measured)]
            items.append(_table(system, measured))
            findings += [_finding(system, one) for one in measured]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"calibration.json of {system} ({language.code}): not a calibration ({error!r})",
                "write it again with espnet-ext calibrate",
            ) from None
    if not items:
        return None
    return Section("Probabilities of deviations", findings, items, topic="mispronunciation")


def _measured(content: Mapping[str, Any]) -> Iterator[Measured]:
    for source, function in content["sources"].items():
        label = CONDITIONS.get(source, source)
        yield Measured(f"{label}, {HELD_OUT}", function["facts"])
        for folder, measures in content["facts"].get("evaluated", {}).items():
            if source in measures:
                yield Measured(f"{label}, {PurePath(folder).name}", measures[source])


def _reliability(system: str, measured: Sequence[Measured]) -> Figure:
    series = {
        label: [
            Point(row["probability"], row["real"])
            for row in values["reliability"]
            if row["count"] >= MIN_COUNT
        ]
        for label, values in measured
    }
    series[EXACT] = [Point(0.0, 0.0), Point(1.0, 1.0)]  # last: the others keep their colours
    title = f"Reliability diagram of {system}"
    return Figure(
        "lines", title, FIGURES, "probability", "share that is real", series, y_range=(0, 1)
    )


def _curve(system: str, measured: Sequence[Measured]) -> Figure:
    series = {}
    for label, values in measured:
        rows = values["curve"]
        step = -(-len(rows) // MAX_POINTS) or 1
        kept = rows[::step] + rows[-1:] * ((len(rows) - 1) % step > 0)
        series[label] = [Point(row["recall"], row["precision"]) for row in kept]
    title = f"Operating curve of {system}"
    return Figure("lines", title, FIGURES, "recall", "precision", series, y_range=(0, 1))


def _table(system: str, measured: Sequence[Measured]) -> Table:
    rows = []
    for label, values in measured:
        chance = values.get("ece_by_chance")  # calibrations of version 1 have none
        by_chance = (
            "–" if chance is None else f"{_percent(chance['mean'])} ({_percent(chance['p95'])})"
        )
        rows.append(
            (label, str(values["deviations"]), str(values["real"]), _error(values), by_chance)
        )
    return Table(f"Calibration error of {system}", ERROR, HEADER, rows)


def _finding(system: str, measured: Measured) -> str:
    values = measured.values
    return (
        f"{system}, {measured.label}: the calibration error is {_error(values)} % "
        f"({values['deviations']} deviations)."
    )


def _error(values: Mapping[str, Any]) -> str:
    """Return the calibration error in percent, with its interval."""
    bounds = values.get("ece_interval")
    percent = None if bounds is None else [100 * value for value in bounds]
    return with_interval(100 * values["ece"], percent, 1)


def _percent(share: float) -> str:
    return number(100 * share, 1)
