"""How outputs fare as labels of one of them are taken away: trainings on what is left, compared.

`collect_partial` returns, and `analyze partial` writes::

    {"kind": "partial", "version": 1, "output": "surface", "set": "test",
     "rows": [{"percent": 50, "way": "complete" | system, "output", "metric",
               "rate", "interval", "trainings": [rate of each]}],
     "differences": [{"percent", "way", "against": "complete", "output", "difference",
                      "interval", "p_value", "p_permutation"}]}

Way "complete": trained on the utterances alone that have all outputs left. Differences are paired
by speaker, in percentage points; below zero, the way does better than the complete part alone.
Errors of several trainings of one way are put together, so that their chance is averaged; intervals
are over speakers, and tell nothing of how trainings differ: `trainings` does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.compare import compare

COMPLETE = "complete"


def parse_run(word: str) -> tuple[int, str, str]:
    """`50:do=exp/…/test` as (percent, way, folder of a scored decoding).

    >>> parse_run("50:do=a/b")
    (50, 'do', 'a/b')
    """
    head, equals, folder = word.partition("=")
    percent, colon, way = head.partition(":")
    if not (equals and colon and way and folder and percent.isdigit()):
        raise UserError(f"run '{word}'", "write PERCENT:WAY=FOLDER, as in 50:do=exp/…/test")
    return int(percent), way, folder


def collect_partial(runs: Sequence[tuple[int, str, str]], output: str) -> dict:
    """Rates of every run, and differences to the run of way "complete" at the same percentage.

    Args:
        runs: (percent of labels taken away, way, folder with score.json and utterances.json); the
            same percent and way again for a further training of it.
        output: whose labels were taken away.
    """
    if len({(*run[:2], Path(run[2]).resolve()) for run in runs}) < len(runs):
        raise UserError("a training is given twice", "name each once")
    scores: dict[tuple[int, str], list[Mapping]] = {}
    utterances: dict[tuple[int, str], list[Mapping]] = {}
    for percent, way, folder in runs:
        for name, found in (("score", scores), ("utterances", utterances)):
            path = Path(folder) / f"{name}.json"
            if not path.is_file():
                raise UserError(f"{path}: no such file", "decode and score that run first")
            found.setdefault((percent, way), []).append(read_json(path))
    rows = [row for (percent, way), found in scores.items() for row in _rows(percent, way, found)]
    differences = []
    for (percent, way), found in utterances.items():
        base = utterances.get((percent, COMPLETE))
        if way != COMPLETE and base is not None:
            if len(base) != len(found):
                raise UserError(
                    f"{percent} %: {len(found)} trainings of {way}, {len(base)} of {COMPLETE}",
                    "train both as often",
                )
            differences += _differences(percent, way, _together(base), _together(found))
    return {
        "kind": "partial",
        "version": 1,
        "output": output,
        "set": next((one["set"] for found in utterances.values() for one in found), None),
        "rows": rows,
        "differences": differences,
    }


def _rows(percent: int, way: str, scores: Sequence[Mapping]) -> list[dict]:
    found = []
    for first in (cell for cell in scores[0]["cells"] if cell["own"]):
        metric = first["metric"]
        cells = [
            cell for score in scores for cell in score["cells"] if cell["name"] == first["name"]
        ]
        sums: dict[str, list[int]] = {}  # speaker → errors, tokens
        for cell in cells:
            for speaker, figures in cell["speakers"].items():
                total = sums.setdefault(speaker, [0, 0])
                total[0] += figures[metric]["errors"]
                total[1] += figures[metric]["tokens"]
        errors, tokens = ([total[place] for total in sums.values()] for place in (0, 1))
        found.append(
            {
                "percent": percent,
                "way": way,
                "output": first["hypothesis"],
                "metric": metric,
                "rate": 100.0 * sum(errors) / sum(tokens) if sum(tokens) else None,
                "interval": bootstrap.interval(errors, tokens),
                "trainings": [cell["metrics"][metric]["rate"] for cell in cells],
            }
        )
    return found


def _together(trainings: Sequence[Mapping]) -> Mapping:
    """Several trainings' utterances as those of one, each training's with ids of its own."""
    rows = [
        {**row, "id": f"{row['id']}#{number}"}
        for number, one in enumerate(trainings)
        for row in one["utterances"]
    ]
    return {**trainings[0], "utterances": rows}


def _differences(percent: int, way: str, base: Mapping, found: Mapping) -> list[dict]:
    kept = ("difference", "interval", "p_value", "p_permutation")
    return [
        {
            "percent": percent,
            "way": way,
            "against": COMPLETE,
            "output": row["name"].partition("-")[0],
            **{key: row[key] for key in kept},
        }
        for row in compare(COMPLETE, base, way, found)["cells"]
        if row["bin"] is None and len(set(row["name"].split("-"))) == 1
    ]
