"""Tables and figures as data: what analyses write into their result files and reports render.

A result file carries its own tables and figures as JSON (`Section.to_json`), so a report can show
every file without knowing the analysis that wrote it. This module also formats numbers as text.

>>> table = Table("Error rates", "Lower is better.", ["system", "CER %"], [["do", "3.29"]])
>>> section = Section("Korean, test", items=[table])
>>> Section.from_json(section.to_json()).tables[0].rows
[['do', '3.29']]
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MANY_SPEAKERS = 8  # from here on the caveat about few speakers is left out
MIN_SHARE = 0.1  # of the utterances of a set, for a rate to be shown
# How often a nominal 95 % percentile bootstrap over S speakers misses the true mean, in percent:
# 4,000 simulated sets of S normally distributed speaker means, 1,000 resamples each.
MISSED = {2: 50, 3: 25, 4: 21, 5: 16, 6: 14, 7: 12}
# The topics of a report, in order: name → heading. A section without one is a further analysis.
TOPICS = {
    "errors": "Error rates",
    "differences": "Differences between systems",
    "divergence": "Divergence",
    "mispronunciation": "Mispronunciations",
    "models": "Inside the models",
    "": "Further analyses",
    "published": "Beside published results",
    "data": "Data and cost",
}


@dataclass(frozen=True)
class Table:
    """A table with one sentence that says what its numbers mean.

    A cell is text. It may give an interval after its value, as in `4.59 [1.61–8.93]`, and emphasis
    by `**` around the value.

    Args:
        header: one text per column.
        rows: one text per column; the first cell names the row.
        text_columns: the number of leading columns that hold words rather than numbers.
        caveats: limits of the numbers. They are rendered inside the table.
        details: the table is long: RESULTS_details.md holds it, and the page folds it.
        topic: the part of the page that shows it (see `TOPICS`), if not that of its section.
    """

    title: str
    sentence: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    caveats: Sequence[str] = ()
    details: bool = False
    topic: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"table '{self.title}': {len(row)} cells, {len(self.header)} wide")


Column = str | Callable[[Any], str]  # a key of a row, or a function of it


def tabulate(columns: Mapping[str, Column], rows: Iterable[Any]) -> tuple[list[str], list]:
    """Return the header and the cells of a table, from one key or function per column.

    >>> tabulate({"system": "name", "CER %": lambda row: number(row["rate"])},
    ...          [{"name": "do", "rate": 3.29}])
    (['system', 'CER %'], [['do', '3.29']])
    """
    cells = [
        [
            str(row[column]) if isinstance(column, str) else column(row)
            for column in columns.values()
        ]
        for row in rows
    ]
    return list(columns), cells


@dataclass(frozen=True)
class Point:
    """A point of a series; `low` and `high` are the ends of its interval."""

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Figure:
    """A line or scatter plot.

    Args:
        kind: `lines`; `points` (every series is one labelled point of a plane); or `intervals`
            (every series is one row: a value with its interval).
        series: points by name, in order.
        ticks: names of the positions 0, 1, … of the x axis; empty for a numeric axis.
        y_range: bottom and top of the y axis; None to fit the data from zero.
    """

    kind: str
    title: str
    sentence: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[Point]]
    ticks: Sequence[str] = ()
    y_range: Sequence[float] | None = None
    details: bool = False
    topic: str = ""


@dataclass(frozen=True)
class Heatmap:
    """A grid of values from 0 to 1; None where a value is undefined."""

    title: str
    sentence: str
    row_names: Sequence[str]
    column_names: Sequence[str]
    values: Sequence[Sequence[float | None]]
    details: bool = True
    topic: str = ""


Item = Table | Figure | Heatmap


@dataclass(frozen=True)
class Section:
    """Findings as sentences, then figures and tables in order.

    Args:
        findings: what the numbers say, one plain sentence each.
        notes: what could not be computed, and why.
        summary: the most important findings, for the first page of a report.
        topic: the part of the page that shows it (see `TOPICS`).
        headline: the main finding in one plain sentence, for the top of a report.
    """

    title: str
    findings: Sequence[str] = ()
    items: Sequence[Item] = ()
    notes: Sequence[str] = ()
    summary: Sequence[str] = ()
    topic: str = ""
    headline: str = ""

    @property
    def tables(self) -> list[Table]:
        return [item for item in self.items if isinstance(item, Table)]

    @property
    def figures(self) -> list[Figure | Heatmap]:
        return [item for item in self.items if not isinstance(item, Table)]

    def to_json(self) -> dict[str, Any]:
        """Return the section as JSON values; every item names its type."""
        value = asdict(self)
        for item, written in zip(self.items, value["items"], strict=True):
            written["type"] = type(item).__name__
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Section":
        """Return the section of JSON values.

        Raises:
            ValueError: if the values are not what `to_json` writes.
        """
        try:
            return cls(
                value["title"],
                value["findings"],
                [_item_of(item) for item in value["items"]],
                value["notes"],
                value["summary"],
                value.get("topic", ""),  # older versions wrote neither of these
                value.get("headline", ""),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a section of tables and figures: {error!r}") from error


def _item_of(value: dict[str, Any]) -> Item:
    types: dict[str, type[Item]] = {one.__name__: one for one in (Table, Figure, Heatmap)}
    fields = {key: content for key, content in value.items() if key != "type"}
    if value["type"] == "Figure":
        fields["series"] = {
            name: [Point(**point) for point in points] for name, points in fields["series"].items()
        }
    return types[value["type"]](**fields)


# -- numbers as text


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with fixed digits; a dash for None.

    >>> number(12.345), number(None)
    ('12.35', '–')
    """
    return "–" if value is None else f"{value + 0.0:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Return a difference with its sign (a true minus sign); zero has no sign.

    >>> signed(-0.5), signed(0.25), signed(-0.001)
    ('−0.50', '+0.25', '0.00')
    """
    if value is None:
        return "–"
    value = round(value, digits) + 0.0
    return f"{value:+.{digits}f}".replace("-", "−") if value else f"{value:.{digits}f}"


def interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """Return the interval of a rate, low to high.

    >>> interval([1, 2.5])
    '1.00–2.50'
    """
    return "–" if bounds is None else f"{bounds[0]:.{digits}f}–{bounds[1]:.{digits}f}"


def signed_interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """Return the interval of a difference.

    >>> signed_interval([-0.5, 1])
    '−0.50 to +1.00'
    """
    return "–" if bounds is None else f"{signed(bounds[0], digits)} to {signed(bounds[1], digits)}"


def with_interval(value: float | None, bounds: Sequence[float] | None, digits: int = 2) -> str:
    """Return a rate and its interval.

    >>> with_interval(1.2, [0.4, 2.1]), with_interval(1.2, None)
    ('1.20 [0.40–2.10]', '1.20')
    """
    return number(value, digits) + (f" [{interval(bounds, digits)}]" if bounds else "")


def signed_with_interval(
    value: float | None, bounds: Sequence[float] | None, digits: int = 2
) -> str:
    """Return a difference and its interval.

    >>> signed_with_interval(1.2, [0.4, 2.1])
    '+1.20 [+0.40 to +2.10]'
    """
    return signed(value, digits) + (f" [{signed_interval(bounds, digits)}]" if bounds else "")


def p_value(value: float | None) -> str:
    """Return a p value with three digits, or that it is below 0.001.

    >>> p_value(0.0421), p_value(0.0003)
    ('0.042', '< 0.001')
    """
    return "< 0.001" if value is not None and value < 0.001 else number(value, 3)


def is_too_few(compared: int, left_out: int) -> bool:
    """Return whether so few utterances were compared that a rate over them says nothing of the set.

    >>> is_too_few(1, 199), is_too_few(20, 180), is_too_few(0, 200)
    (True, False, False)
    """
    return 0 < compared < MIN_SHARE * (compared + left_out)


def speaker_caveats(speakers: int | None) -> list[str]:
    """Return what limits an interval that resamples so few speakers; nothing from eight on.

    >>> speaker_caveats(4)
    ['4 speakers: a nominal 95 % interval misses about 21 % of the time']
    >>> speaker_caveats(8)
    []
    """
    if speakers is None or speakers >= MANY_SPEAKERS:
        return []
    if speakers < 2:
        return [f"{speakers} speaker: no interval, and nothing is known about other speakers"]
    missed = MISSED[speakers]
    return [f"{speakers} speakers: a nominal 95 % interval misses about {missed} % of the time"]
