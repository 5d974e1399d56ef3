"""Scores as plain text for the terminal."""

import unicodedata
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from espnet_ext.document import interval, number

LEFT_OUT = {  # key of a cell → what it counts
    "unlabelled": "unlabelled",
    "not_comparable": "not comparable",
    "no_hypothesis": "without hypothesis (left out)",
    "missing_hypotheses": "without hypothesis (counted as empty)",
}


def no_rate(cell: Mapping) -> str:
    """Return why a cell of score.json has no error rate; empty if it has one.

    >>> no_rate({"metric": "per", "metrics": {"per": {"rate": None}}, "utterances": 0,
    ...          "not_comparable": 160})
    'not comparable'
    >>> no_rate({"metric": "per", "metrics": {"per": {"rate": None}}, "utterances": 0,
    ...          "not_comparable": 0, "conversion": "reference as canonical phones"})
    'no canonical forms'
    """
    if cell["metrics"][cell["metric"]]["rate"] is not None:
        return ""
    if cell["utterances"]:
        return "no reference tokens"
    if cell["not_comparable"]:
        return "not comparable"
    if cell.get("no_hypothesis"):
        return "no hypothesis"
    return "no canonical forms" if "canonical" in (cell.get("conversion") or "") else "unlabelled"


def score_line(cell: Mapping) -> str:
    """Return one cell of score.json in a line."""
    counts = cell["metrics"][cell["metric"]]
    rate = f"{number(counts['rate'])} % [{interval(counts['interval'])}]"
    line = (
        f"{cell['hypothesis']} against {cell['reference']}: {cell['metric'].upper()} "
        f"{no_rate(cell) or rate}, {cell['utterances']} utterances"
    )
    notes = [f"{cell[key]} {text}" for key, text in LEFT_OUT.items() if cell.get(key)]
    if counts["rate"] is None and counts["errors"]:
        notes.append(f"{counts['insertions']} insertions")
    return line + (f" ({', '.join(notes)})" if notes else "")


def cells_table(language: str, set_name: str, scores: Mapping[str, Mapping]) -> str:
    """Return the cells of all systems in aligned columns; a system's own outputs have a star."""
    rows = [["system", "hypothesis", "reference", "metric", "error %", "95 % interval", "utt"]]
    for system, score in scores.items():
        for cell in score["cells"]:
            counts = cell["metrics"][cell["metric"]]
            rows.append(
                [
                    system,
                    cell["hypothesis"],
                    cell["reference"] + ("*" if cell["own"] else ""),
                    cell["metric"].upper(),
                    no_rate(cell) or number(counts["rate"]),
                    interval(counts["interval"]),
                    str(cell["utterances"]),
                ]
            )
    return f"{language} {set_name}\n" + aligned(rows, right={4, 6})


def aligned(rows: Sequence[Sequence[str]], right: AbstractSet[int] = frozenset()) -> str:
    """Return rows padded to their widest cells, with a rule below the first.

    Wide characters count as two columns. `right` has the columns that are right-aligned.
    """
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
