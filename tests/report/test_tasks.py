"""What the reports tell of outputs as tasks: transfer, tags, task vectors, fewer labels."""

import json
import shutil

import pytest
from make_results import make
from test_report import SYSTEMS, Page, write

from espnet_ext.analysis.partial import collect_partial
from espnet_ext.bin import analyze
from espnet_ext.errors import UserError
from espnet_ext.report.summary import percent, signed
from espnet_ext.report.tasks import partial_readings, partial_rows, transfer_rows

VECTORS = {
    "kind": "vectors",
    "version": 2,
    "data": "dump/raw/ko/test",
    "utterances": 24,
    "models": {"do": {"directory": "exp/ko/do_small"}},
    "systems": [
        {
            "system": "do",
            "mode": "per_task_sum",
            "places": [
                {
                    "place": "features",
                    "labels": ["never", "surface", "meaning"],
                    "trained": [False, True, True],
                    "norms": [9.0, 3.0, 4.0],
                    "history": {
                        "epochs": [1, 2, 3],
                        "norms": {
                            "never": [777.5, 777.5, 777.5],
                            "surface": [1.0, 2.0, 3.0],
                            "meaning": [2.0, 4.0, 4.0],
                        },
                    },
                    "states": 50.5,
                    "cosine": [[1.0, 0.5, 0.5], [0.5, 1.0, -0.25], [0.5, -0.25, 1.0]],
                    "points": [None, [2.5, 0.0], [-2.5, 0.0]],
                    "explained": [1.0, 0.0],
                }
            ],
            "leakage": [
                {
                    "tag": "meaning.l1",
                    "active": ["surface", "meaning"],
                    "trained": True,
                    "utterances": 24,
                    "emitted": 3,
                    "share": 12.5,
                    "emitted_on": 18,
                    "share_on": 75.0,
                }
            ],
            "off": [
                {
                    "output": "surface",
                    "active": ["meaning"],
                    "trained": False,
                    "utterances": 24,
                    "metric": "cer",
                    "rate_on": 5.0,
                    "rate_off": 25.0,
                    "interval": [15.0, 26.0],
                }
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Both reports over a tree with all that stage 17 can add, and the partial figures."""
    root = make(tmp_path_factory.mktemp("tasks"), languages=("ko",))
    analysis = root / "exp/ko/analysis"
    (analysis / "vectors.json").write_text(json.dumps(VECTORS))
    base = root / "exp/ko"
    assert (
        analyze.main(
            [
                "partial",
                "--output_name",
                "surface",
                "--output",
                str(analysis / "partial.json"),
                "--runs",
                f"50:complete={base / 'so_surface_small/decode/test'}",
                f"50:do={base / 'do_small/decode/test'}",
                f"0:do={base / 'do_small/decode/test'}",
            ]
        )
        == 0
    )
    score = base / "do_small/decode/test/score.json"
    changed = json.loads(score.read_text())
    changed["tags"] = [
        {
            "output": "meaning",
            "tag": "l1",
            "utterances": 20,
            "wrong": 5,
            "missing": 2,
            "invented": 1,
            "rate": 25.0,
            "interval": [10.0, 40.0],
        }
    ]
    score.write_text(json.dumps(changed))
    out = tmp_path_factory.mktemp("out")
    return (*write(root, out, languages="ko"), json.loads((analysis / "partial.json").read_text()))


def test_every_part_is_in_both(told):
    markdown, page, _ = told
    Page(page)  # well-formed
    for text in (
        "what a further output does to the others",
        "task vectors",
        "fewer labels of surface",
        "length of task vectors over training",
        "outputs with their vectors off",
        "tags",
        "tags with their vectors off",
    ):
        assert text in markdown.lower() and text in page.lower(), text
    assert "| do | features | surface | 3.00 | 50.50 | meaning −0.25 | +2.50, +0.00 |" in markdown
    assert "| do, features, meaning | 2.00 | 4.00 | 4.00 |" in markdown
    assert "| do | surface | meaning | 5.00 | 25.00 | +15.00 to +26.00 | no | 24 |" in markdown
    assert "| do | meaning.l1 | surface+meaning | 12.50 | 75.00 | yes | 24 |" in markdown
    for text in (markdown, page):
        assert "do, features: 1 of 3 vectors are of combinations that training never" in text
    assert "777" not in markdown and "features | never" not in markdown
    assert "never" not in page.split("two principal components")[1].split("</svg>")[0]
    assert "| do | meaning | l1 | 25.00 | 10.00–40.00 | 2 | 1 | 20 |" in markdown
    grown = "length 1.00 after the first epoch, 3.00 after the last (+50.00 % in that one)"
    assert grown in markdown


def test_transfer_is_the_difference_of_the_systems(told):
    lines = told[0].splitlines()
    rows = [line for line in lines if line.startswith("| surface | meaning | do − ")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert float(cells[4]) - float(cells[3]) == pytest.approx(
        float(cells[5].replace("−", "-")), abs=0.011
    )
    assert cells[-1].removesuffix(" here") in ("negative", "positive", "not shown")


@pytest.mark.parametrize(
    ("row", "kinds", "verdict"),
    [
        ({"interval": [1.0, 2.0], "p_permutation": 0.01}, ["ctc", "ctc"], "negative"),
        ({"interval": [-2.0, -1.0], "p_permutation": 0.125}, [None, "ctc"], "positive here"),
        ({"interval": [1.0, 2.0], "p_holm": 0.2}, ["ctc", "ctc"], "not shown"),
        ({"interval": [-1.0, 2.0]}, ["ctc", "ctc"], "not shown"),
        (
            {"interval": [1.0, 2.0], "p_permutation": 0.3},
            ["ctc_attention", "attention"],
            "negative here, but ctc_attention became attention",
        ),
        ({"interval": None}, ["ctc", "attention"], "–"),
    ],
)
def test_what_is_said_of_transfer(row, kinds, verdict):
    cell = {
        "name": "surface-surface",
        "bin": None,
        "rate_a": 5.0,
        "rate_b": 6.5,
        "difference": 1.5,
        **row,
    }
    _, rows = transfer_rows(
        [{"a": "so", "b": "do", "cells": [cell]}],
        {"so": {"surface"}, "do": {"surface", "meaning"}},
        {"so": {"surface": kinds[0]}, "do": {"surface": kinds[1]}},
    )
    assert rows[0][-1] == verdict


def test_what_is_said_of_fewer_labels():
    row = {"percent": 50, "way": "do", "output": "meaning", "difference": -1.5}
    said = partial_readings(
        {
            "differences": [
                {**row, "interval": [-2.0, -1.0], "p_permutation": 0.125},
                {**row, "interval": [-2.0, -1.0], "p_permutation": 0.01},
                {**row, "interval": [-2.0, 1.0], "p_permutation": 0.5},
                {**row, "interval": None},
            ]
        }
    )
    assert len(said) == 3
    assert "is better than the complete part alone: −1.50 points" in said[0]
    assert "For these speakers" in said[0] and "For these speakers" not in said[1]
    assert "cannot be told from the complete part alone" in said[2]


def test_fewer_labels_are_as_scored_and_compared(told):
    markdown, page, partial = told
    assert [(row["percent"], row["way"], row["output"]) for row in partial["rows"]] == [
        (50, "complete", "surface"),
        (50, "do", "surface"),
        (50, "do", "meaning"),
        (0, "do", "surface"),
        (0, "do", "meaning"),
    ]
    rates = {(r["percent"], r["way"], r["output"]): r["rate"] for r in partial["rows"]}
    difference = partial["differences"][0]
    assert len(partial["differences"]) == 1  # nothing to compare with at 0, nor for the meaning
    assert difference["difference"] == pytest.approx(
        rates[50, "do", "surface"] - rates[50, "complete", "surface"]
    )
    assert percent(rates[50, "do", "meaning"]) in markdown
    assert signed(difference["difference"]) in markdown and signed(difference["difference"]) in page


def test_without_any_of_it_nothing_is_told(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "all")
    markdown, page = write(tmp_path / "all", tmp_path, systems=SYSTEMS)
    for text in ("task vectors", "fewer labels", "vectors off"):
        assert text not in markdown.lower() and text not in page.lower()


@pytest.mark.parametrize(
    ("runs", "named"),
    [
        (["do=x"], "run 'do=x'"),
        (["half:do=x"], "run 'half:do=x'"),
        (["50:do=nowhere"], "nowhere/score.json: no such file"),
        (["50:do=a", "50:do=./a"], "a training is given twice"),
    ],
)
def test_wrong_runs(runs, named, tmp_path):
    with pytest.raises(UserError, match=named):
        analyze.main(
            [
                "partial",
                "--output_name",
                "surface",
                "--output",
                str(tmp_path / "x.json"),
                "--runs",
                *runs,
            ]
        )


def test_several_trainings_are_put_together(tree, tmp_path):
    """Two trainings of each: their errors add up, speaker by speaker, and so do the differences."""
    base = tree / "exp/ko"
    folders = {"complete": ["so_surface", "do"], "do": ["do", "so_surface"]}
    runs, errors = [], {}
    for way, systems in folders.items():
        for number, system in enumerate(systems):
            folder = tmp_path / f"{way}{number}"
            shutil.copytree(base / f"{system}_small/decode/test", folder)
            runs.append((50, way, str(folder)))
            rows = json.loads((folder / "utterances.json").read_text())["utterances"]
            name = "surface-surface"
            cells = [row["cells"][name] for row in rows if name in row["cells"]]
            found = errors.setdefault(way, [0, 0])
            found[0] += sum(cell["errors"] for cell in cells)
            found[1] += sum(cell["tokens"] for cell in cells)
    found = collect_partial(runs, "surface")
    rows = {row["way"]: row for row in found["rows"] if row["output"] == "surface"}
    for way, (wrong, tokens) in errors.items():
        assert rows[way]["rate"] == pytest.approx(100 * wrong / tokens)
        assert len(rows[way]["trainings"]) == 2
        low, high = rows[way]["interval"]
        assert low <= rows[way]["rate"] <= high
    # the same two trainings on both sides, paired crosswise
    assert rows["do"]["trainings"] == rows["complete"]["trainings"][::-1]
    assert found["differences"][0]["difference"] == pytest.approx(0.0)
    assert found["differences"][0]["interval"] == pytest.approx((0.0, 0.0))
    heads, shown = partial_rows(found)
    assert heads[-1] == "single trainings"
    assert shown[0][-1] == ", ".join(map(percent, rows["complete"]["trainings"]))
    with pytest.raises(UserError, match="1 trainings of do, 2 of complete"):
        collect_partial(runs[:3], "surface")


def test_an_output_that_nobody_is_labelled_for_has_no_rate(tree, tmp_path):
    shutil.copytree(tree / "exp/ko/so_surface_small/decode/test", tmp_path / "x")
    score = json.loads((tmp_path / "x/score.json").read_text())
    cell = next(cell for cell in score["cells"] if cell["own"])
    cell["speakers"], cell["metrics"][cell["metric"]]["rate"] = {}, None
    (tmp_path / "x/score.json").write_text(json.dumps(score))
    row = collect_partial([(50, "do", str(tmp_path / "x"))], "surface")["rows"][0]
    assert (row["rate"], row["interval"], row["trainings"]) == (None, None, [None])


def test_collecting_needs_no_complete_part(tree):
    folder = str(tree / "exp/ko/do_small/decode/test")
    assert collect_partial([(50, "do", folder)], "surface")["differences"] == []
