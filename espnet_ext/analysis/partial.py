"""Partial labels: error rates as the labels of one output are removed from the training set.

`run` returns::

    {"kind": "partial", "version": 1, "output": "surface", "set": "test", "speakers": int,
     "rows": [{"percent": 50, "system": "complete" or another, "output", "metric",
               "rate", "interval", "trainings": [rate of each]}],
     "differences": [{"percent", "system", "against": "complete", "output", "difference",
                      "interval", "p_value", "p_permutation"}]}

The system "complete" is trained only on the utterances that keep all labels. Differences are paired
by speaker, in percentage points; below zero, the system is better than "complete". The errors of
several trainings (seeds) of one system are pooled. Intervals resample speakers, so they do not
cover the variation between trainings; `trainings` shows that.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.analysis.definition import Analysis, Input, Option, Output, Result
from espnet_ext.analysis.verdict import direction, speakers_caveat
from espnet_ext.document import (
    Column,
    Item,
    Point,
    Section,
    Table,
    interval,
    number,
    p_value,
    signed,
    signed_interval,
    speaker_caveats,
)
from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.paired_difference import compare_systems

COMPLETE = "complete"
Run = tuple[int, str, str]  # percent of labels removed, system, scored decoding directory
ERRORS = Output(
    "Error by share of labels removed",
    "Error rate after the labels of one output were removed from that share of the training "
    "utterances.",
)
VALUES = Output(
    "Training with fewer labels",
    "“complete” is trained only on the utterances that keep all labels, with as many updates in as "
    "many epochs; differences to it are paired by speaker, in percentage points, and negative "
    "where the system is better. Intervals do not cover the variation between trainings.",
)


def parse_run(word: str) -> Run:
    """Return (percent, system, directory) of `50:do=exp/…/test`.

    >>> parse_run("50:do=a/b")
    (50, 'do', 'a/b')
    """
    head, equals, folder = word.partition("=")
    percent, colon, system = head.partition(":")
    if not (equals and colon and system and folder and percent.isdigit()):
        raise UserError(f"run '{word}'", "write PERCENT:SYSTEM=DIR, as in 50:do=exp/…/test")
    return int(percent), system, folder


def run(runs: Sequence[str], output_name: str) -> Result:
    """Collect scored decodings, given as PERCENT:SYSTEM=DIR."""
    return collect_partial([parse_run(word) for word in runs], output_name)


def collect_partial(runs: Sequence[Run], output: str) -> Result:
    """Return the rates of every run, and differences to "complete" at the same percentage.

    Args:
        runs: runs, each with `score.json` and `utterances.json` in its directory; a run with the
            percentage and system of another one is a further training of it.
        output: the output whose labels were removed.
    """
    if len({(*run[:2], Path(run[2]).resolve()) for run in runs}) < len(runs):
        raise UserError("a training is given twice", "name each training once")
    scores: dict[tuple[int, str], list[Mapping]] = {}
    utterances: dict[tuple[int, str], list[Mapping]] = {}
    for percent, system, folder in runs:
        for name, files in (("score", scores), ("utterances", utterances)):
            path = Path(folder) / f"{name}.json"
            if not path.is_file():
                raise UserError(f"{path}: no such file", "decode and score that run first")
            files.setdefault((percent, system), []).append(read_json(path))
    _require_same_labels(runs, [one for trainings in utterances.values() for one in trainings])
    differences = []
    for (percent, system), trainings in utterances.items():
        base = utterances.get((percent, COMPLETE))
        if system != COMPLETE and base is not None:
            if len(base) != len(trainings):
                raise UserError(
                    f"{percent} %: {len(trainings)} trainings of {system}, {len(base)} of "
                    f"{COMPLETE}",
                    "train both equally often",
                )
            differences += _differences(percent, system, _pooled(base), _pooled(trainings))
    decodings = [decoding for trainings in utterances.values() for decoding in trainings]
    return {
        "kind": "partial",
        "version": 1,
        "output": output,
        "set": next((decoding["set"] for decoding in decodings), None),
        "speakers": len({row["speaker"] for one in decodings for row in one["utterances"]}),
        "rows": [row for key, trainings in scores.items() for row in _rows(*key, trainings)],
        "differences": differences,
    }


def _require_same_labels(runs: Sequence[Run], decodings: Sequence[Mapping]) -> None:
    """Raise `UserError` unless all decodings were scored against the same labels, in one unit."""
    if len({decoding["data_sha256"] for decoding in decodings}) > 1:
        raise UserError(
            f"{runs[0][2]} and other runs were scored against different labels",
            "score all of them against the same data (stage 13)",
        )
    types = {str(sorted(decoding["token_types"].items())) for decoding in decodings}
    if len(types) > 1:
        raise UserError(
            f"{runs[0][2]} and other runs were scored with different token types",
            "score all of them with the same --token_types (stage 13)",
        )


def _rows(percent: int, system: str, scores: Sequence[Mapping]) -> list[dict]:
    """Return a row for each output, with the errors of all trainings pooled."""
    rows = []
    for first in (cell for cell in scores[0]["cells"] if cell["own"]):
        metric = first["metric"]
        cells = [
            cell for score in scores for cell in score["cells"] if cell["name"] == first["name"]
        ]
        sums: dict[str, list[int]] = {}  # speaker → errors, tokens
        for cell in cells:
            for speaker, counts in cell["speakers"].items():
                total = sums.setdefault(speaker, [0, 0])
                total[0] += counts[metric]["errors"]
                total[1] += counts[metric]["tokens"]
        errors, tokens = ([total[i] for total in sums.values()] for i in (0, 1))
        rows.append(
            {
                "percent": percent,
                "system": system,
                "output": first["hypothesis"],
                "metric": metric,
                "rate": 100.0 * sum(errors) / sum(tokens) if sum(tokens) else None,
                "interval": bootstrap.interval(errors, tokens),
                "trainings": [cell["metrics"][metric]["rate"] for cell in cells],
            }
        )
    return rows


def _pooled(trainings: Sequence[Mapping]) -> Mapping:
    """Return the utterances of several trainings as those of one; ids get the training's number."""
    rows = [
        {**row, "id": f"{row['id']}#{number}"}
        for number, training in enumerate(trainings)
        for row in training["utterances"]
    ]
    return {**trainings[0], "utterances": rows}


def _differences(percent: int, system: str, base: Mapping, other: Mapping) -> list[dict]:
    keys = ("difference", "interval", "p_value", "p_permutation")
    return [
        {
            "percent": percent,
            "system": system,
            "against": COMPLETE,
            "output": row["name"].partition("-")[0],
            **{key: row[key] for key in keys},
        }
        for row in compare_systems(COMPLETE, base, system, other)["cells"]
        if row["bin"] is None and len(set(row["name"].split("-"))) == 1
    ]


def section(result: Mapping[str, Any]) -> Section:
    """Return error curves, the rates and differences, and a finding for each difference."""
    rows = result["rows"]
    items: list[Item] = []
    for output in dict.fromkeys(row["output"] for row in rows):
        percents = sorted({row["percent"] for row in rows if row["output"] == output})
        series: dict[str, list[Point]] = {}
        for row in sorted(rows, key=lambda row: row["percent"]):
            if row["output"] == output:
                x = percents.index(row["percent"])
                series.setdefault(row["system"], []).append(Point(x, row["rate"]))
        items.append(
            ERRORS.figure(
                "lines",
                series,
                about=output,
                x_label=f"labels of {result['output']} removed, %",
                y_label="error %",
                ticks=list(map(str, percents)),
            )
        )
    items.append(_table(result))
    findings = [_finding(row) for row in result["differences"] if row["interval"]]
    title = f"Training with fewer labels of {result['output']}"
    return Section(title, findings, items, topic="differences")


def _table(result: Mapping) -> Table:
    differences = {(d["percent"], d["system"], d["output"]): d for d in result["differences"]}

    def minus_complete(text: Callable[[Mapping], str]) -> Column:
        def cell(row: Mapping) -> str:
            difference = differences.get((row["percent"], row["system"], row["output"]))
            return text(difference) if difference and difference["interval"] else "–"

        return cell

    columns: dict[str, Column] = {
        "output": "output",
        "removed %": "percent",
        "trained": "system",
        "error %": lambda row: f"{row['metric'].upper()} {number(row['rate'])}",
        "95 %": lambda row: interval(row["interval"]),
        "minus complete": minus_complete(lambda d: signed(d["difference"])),
        "difference 95 %": minus_complete(lambda d: signed_interval(d["interval"])),
        "p (bootstrap)": minus_complete(lambda d: p_value(d["p_value"])),
        "p (permutation)": minus_complete(lambda d: p_value(d["p_permutation"])),
    }
    trainings = max((len(row.get("trainings", [0])) for row in result["rows"]), default=1)
    if trainings > 1:
        columns["single trainings"] = lambda row: ", ".join(map(number, row["trainings"]))
    outputs = list(dict.fromkeys(row["output"] for row in result["rows"]))
    rows = sorted(result["rows"], key=lambda r: (outputs.index(r["output"]), r["percent"]))
    seeds = "one training of each" if trainings == 1 else f"up to {trainings} trainings of each"
    caveats = [f"set {result.get('set') or 'unknown'}, {seeds}"]
    caveats += speaker_caveats(result.get("speakers"))
    return VALUES.table(columns, rows, text_columns=3, caveats=caveats)


def _finding(row: Mapping) -> str:
    verdicts = {1: "worse than", 0: "not shown to differ from", -1: "better than"}
    return (
        f"{row['percent']} % of labels removed, {row['output']}: {row['system']} is "
        f"{verdicts[direction(row)]} training on the complete part alone: "
        f"{signed(row['difference'])} points [{signed_interval(row['interval'])}]."
        f"{speakers_caveat(row)}"
    )


ANALYSIS = Analysis(
    name="partial",
    description="trainings with fewer labels, compared",
    inputs=[
        Input(
            "--runs",
            "scored decoding directories; SYSTEM is complete, or a system's name; the same PERCENT "
            "and SYSTEM again is a further training of it",
            per_system=True,
            depends_on=["score.json", "utterances.json"],
            metavar="PERCENT:SYSTEM=DIR",
            path="{stress_decoding}",
        ),
    ],
    options=[
        Option(
            "--output_name",
            "output whose labels were removed",
            required=True,
            value="{stress_output}",
        )
    ],
    outputs=[ERRORS, VALUES],
    run=run,
    section=section,
    result_files=["analysis/partial.json"],
    requested_by="stress",
)
