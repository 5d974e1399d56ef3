"""Tables that break errors down: by band, first language, speaker, and confused tokens."""

from collections.abc import Iterator, Mapping
from typing import Any

from espnet_ext.document import Table, with_interval
from espnet_ext.report.collect import Run, cells_of, has_too_few

CONFUSIONS = 20  # rows of the table of confusions
NOTHING = "∅"
SPACE = "␣"


def breakdowns(runs: Mapping[str, Run], caveats: list[str]) -> Iterator[Table]:
    """Yield the tables of one test set; none where score.json lacks the numbers."""
    yield from _by_group(runs, "bands", "band of the audio", caveats)
    yield from _by_group(runs, "l1", "first language", caveats)
    yield from _by_group(runs, "speakers", "speaker", caveats)
    yield from _confusions(runs, caveats)


def _by_group(runs: Mapping[str, Run], key: str, name: str, caveats: list[str]) -> Iterator[Table]:
    """Yield the error rates of the systems' own outputs, one row per group of utterances."""
    columns: dict[str, Mapping[str, Any]] = {}  # heading → group → counts
    for system, cell, _ in cells_of(runs):
        if cell["own"] and cell.get(key) and not has_too_few(cell):
            metric = cell["metric"]
            heading = f"{cell['hypothesis']} by {system}, {metric.upper()} %"
            columns[heading] = {group: counts[metric] for group, counts in cell[key].items()}
    groups = sorted({group for column in columns.values() for group in column})
    if not groups:
        return
    rows = []
    for group in groups:
        counts = [column.get(group) for column in columns.values()]
        utterances = max(one["sentences"] for one in counts if one)
        rates = [with_interval(c["rate"], c.get("interval")) if c else "–" for c in counts]
        rows.append([group, *rates, str(utterances)])
    yield Table(
        f"Error by {name}",
        f"Error rate of each output against its own reference, by {name} of the utterances.",
        [name, *columns, "utt (at most)"],
        rows,
        caveats=caveats,
        details=True,
    )


def _confusions(runs: Mapping[str, Run], caveats: list[str]) -> Iterator[Table]:
    """Yield the most frequent confusions of each output, one column per system."""
    outputs: dict[str, dict[str, dict[tuple[str, str], int]]] = {}  # output → system → counts
    for system, cell, _ in cells_of(runs):
        if cell.get("confusions"):
            counts = {(reference, other): n for reference, other, n in cell["confusions"]}
            outputs.setdefault(cell["hypothesis"], {})[system] = counts
    for output, systems in outputs.items():
        total: dict[tuple[str, str], int] = {}
        for counts in systems.values():
            for pair, number_of_times in counts.items():
                total[pair] = total.get(pair, 0) + number_of_times
        most = sorted(total, key=lambda pair: (-total[pair], pair))[:CONFUSIONS]
        rows = [
            [_token(pair[0]), _token(pair[1])]
            + [str(counts[pair]) if pair in counts else "–" for counts in systems.values()]
            for pair in most
        ]
        yield Table(
            f"Most frequent confusions of {output}",
            f"Reference token, recognised token and how often; {NOTHING} means that there is none. "
            "A dash: not among the most frequent of this system.",
            ["reference", "recognised", *systems],
            rows,
            text_columns=2,
            caveats=caveats,
            details=True,
        )


def _token(text: str) -> str:
    return NOTHING if not text else SPACE if text == "<space>" else text
