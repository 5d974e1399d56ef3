"""How outputs fare as labels of one of them are taken away: trainings on what is left, compared.

`collect_partial` returns, and `analyze partial` writes::

    {"kind": "partial", "version": 1, "output": "surface",
     "rows": [{"percent": 50, "way": "complete" | system, "output", "metric",
               "rate", "interval"}],
     "differences": [{"percent", "way", "against": "complete", "output", "difference",
                      "interval", "p_value", "p_permutation"}]}

Way "complete": trained on the utterances alone that have all outputs left. Differences are paired
by speaker, in percentage points; below zero, the way does better than the complete part alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.files import read_json
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
        runs: (percent of labels taken away, way, folder with score.json and utterances.json).
        output: whose labels were taken away.
    """
    if len({run[:2] for run in runs}) < len(runs):
        raise UserError("a percentage and way is given twice", "name each run once")
    scores, utterances = {}, {}
    for percent, way, folder in runs:
        for name, found in (("score", scores), ("utterances", utterances)):
            path = Path(folder) / f"{name}.json"
            if not path.is_file():
                raise UserError(f"{path}: no such file", "decode and score that run first")
            found[percent, way] = read_json(path)
    rows = [
        row for (percent, way), score in scores.items() for row in _rows(percent, way, score)
    ]
    differences = []
    for (percent, way), found in utterances.items():
        base = utterances.get((percent, COMPLETE))
        if way != COMPLETE and base is not None:
            differences += _differences(percent, way, base, found)
    return {
        "kind": "partial", "version": 1, "output": output, "rows": rows,
        "differences": differences,
    }  # fmt: skip


def _rows(percent: int, way: str, score: Mapping) -> list[dict]:
    found = []
    for cell in score["cells"]:
        if cell["own"]:
            figures = cell["metrics"][cell["metric"]]
            found.append({
                "percent": percent, "way": way, "output": cell["hypothesis"],
                "metric": cell["metric"], "rate": figures["rate"], "interval": figures["interval"],
            })  # fmt: skip
    return found


def _differences(percent: int, way: str, base: Mapping, found: Mapping) -> list[dict]:
    kept = ("difference", "interval", "p_value", "p_permutation")
    return [
        {"percent": percent, "way": way, "against": COMPLETE,
         "output": row["name"].partition("-")[0], **{key: row[key] for key in kept}}
        for row in compare(COMPLETE, base, way, found)["cells"]
        if row["bin"] is None and len(set(row["name"].split("-"))) == 1
    ]  # fmt: skip
