"""Cells as plain text: one line a cell, and the aligned table that ends a run."""

import unicodedata
from collections.abc import Mapping, Sequence


def percent(value: float | None, digits: int = 2) -> str:
    """A rate for people; a dash where there is none.

    >>> percent(12.345), percent(None)
    ('12.35', '–')
    """
    return "–" if value is None else f"{value + 0.0:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """A difference for people, with a real minus sign.

    >>> signed(-0.5), signed(0.25)
    ('−0.50', '+0.25')
    """
    if value is None:
        return "–"
    value = round(value, digits) + 0.0  # so that nothing is "−0.00"
    return f"{value:+.{digits}f}".replace("-", "−") if value else f"{value:.{digits}f}"


def interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """A 95 % interval, low to high.

    >>> interval([1, 2.5])
    '1.00–2.50'
    """
    return "–" if bounds is None else f"{bounds[0]:.{digits}f}–{bounds[1]:.{digits}f}"


def signed_interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """The interval of a difference; "to" because its ends may be negative."""
    return "–" if bounds is None else f"{signed(bounds[0], digits)} to {signed(bounds[1], digits)}"


def score_line(cell: Mapping) -> str:
    """One cell of score.json in a line."""
    own = cell["metrics"][cell["metric"]]
    line = (
        f"{cell['hypothesis']} against {cell['reference']}: {cell['metric'].upper()} "
        f"{percent(own['rate'])} % [{interval(own['interval'])}], {cell['utterances']} utterances"
    )
    notes = [
        f"{cell[key]} {key.replace('_', ' ')}"
        for key in ("unlabelled", "not_comparable", "missing_hypotheses")
        if cell[key]
    ]
    return line + (f" ({', '.join(notes)})" if notes else "")


def cells_table(language: str, set_name: str, scores: Mapping[str, Mapping]) -> str:
    """The cells of all systems of a language, aligned for a terminal; own cells carry a star."""
    rows = [["system", "hypothesis", "reference", "metric", "error %", "95 % interval", "utt"]]
    for system, score in scores.items():
        for cell in score["cells"]:
            own = cell["metrics"][cell["metric"]]
            star = "*" if cell["own"] else ""
            rows.append(
                [
                    system,
                    cell["hypothesis"],
                    cell["reference"] + star,
                    cell["metric"].upper(),
                    percent(own["rate"]),
                    interval(own["interval"]),
                    str(cell["utterances"]),
                ]
            )
    return f"{language} {set_name}\n" + aligned(rows, right={4, 6})


def aligned(rows: Sequence[Sequence[str]], right: set[int] = frozenset()) -> str:
    """Pad columns to their widest cell (wide characters count as two), a rule below the head."""
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        padded = []
        for i, text in enumerate(row):
            space = " " * (widths[i] - _width(text))
            padded.append(space + text if i in right else text + space)
        lines.append("  " + "  ".join(padded).rstrip())
    rule = "  " + "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
