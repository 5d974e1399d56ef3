"""Trainings with fewer labels: pooled errors, differences to the complete part, findings."""

import json
import shutil
from pathlib import Path

import pytest

from espnet_ext.analysis import partial
from espnet_ext.analysis.partial import collect_partial
from espnet_ext.bin import analyze
from espnet_ext.document import number, signed
from espnet_ext.errors import UserError


def table_of(result):
    return partial.section(result).tables[0]


def test_findings_restrict_what_few_speakers_show():
    row = {"percent": 50, "system": "do", "output": "meaning", "difference": -1.5}
    findings = partial.section(
        {
            "output": "meaning",
            "rows": [],
            "differences": [
                {**row, "interval": [-2.0, -1.0], "p_permutation": 0.125},
                {**row, "interval": [-2.0, -1.0], "p_permutation": 0.01},
                {**row, "interval": [-2.0, 1.0], "p_permutation": 0.5},
                {**row, "interval": None},
            ],
        }
    ).findings
    assert len(findings) == 3
    assert "is better than training on the complete part alone: −1.50 points" in findings[0]
    assert "for these speakers" in findings[0] and "for these speakers" not in findings[1]
    assert "not shown to differ from training on the complete part alone" in findings[2]


def test_rates_and_differences_are_those_of_the_scores(tree):
    base = tree / "exp/ko"
    result = collect_partial(
        [
            (50, "complete", str(base / "so_surface_small/decode/test")),
            (50, "do", str(base / "do_small/decode/test")),
            (0, "do", str(base / "do_small/decode/test")),
        ],
        "surface",
    )
    assert [(row["percent"], row["system"], row["output"]) for row in result["rows"]] == [
        (50, "complete", "surface"),
        (50, "do", "surface"),
        (50, "do", "meaning"),
        (0, "do", "surface"),
        (0, "do", "meaning"),
    ]
    rates = {(r["percent"], r["system"], r["output"]): r["rate"] for r in result["rows"]}
    difference = result["differences"][0]
    assert len(result["differences"]) == 1  # nothing to compare with at 0, nor for the meaning
    assert difference["difference"] == pytest.approx(
        rates[50, "do", "surface"] - rates[50, "complete", "surface"]
    )
    table = table_of(result)
    cells = {(row[0], row[1], row[2]): row for row in table.rows}
    assert number(rates[50, "do", "meaning"]) in cells["meaning", "50", "do"][3]
    assert cells["surface", "50", "do"][5] == signed(difference["difference"])
    assert any(caveat.startswith("4 speakers: ") for caveat in table.caveats)


@pytest.mark.parametrize(
    ("runs", "named"),
    [
        (["do=x"], "run 'do=x'"),
        (["half:do=x"], "run 'half:do=x'"),
        (["50:do=nowhere"], "nowhere/score.json: no such file"),
        (["50:do=a", "50:do=./a"], "a training is given twice"),
    ],
)
def test_invalid_runs_raise_user_error(runs, named, tmp_path):
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


def test_errors_of_several_trainings_are_pooled(tree, tmp_path):
    """Two trainings of each: their errors add up, speaker by speaker, and so do the differences."""
    base = tree / "exp/ko"
    folders = {"complete": ["so_surface", "do"], "do": ["do", "so_surface"]}
    runs, errors = [], {}
    for way, systems in folders.items():
        for seed, system in enumerate(systems):
            folder = tmp_path / f"{way}{seed}"
            shutil.copytree(base / f"{system}_small/decode/test", folder)
            runs.append((50, way, str(folder)))
            rows = json.loads((folder / "utterances.json").read_text())["utterances"]
            name = "surface-surface"
            cells = [row["cells"][name] for row in rows if name in row["cells"]]
            total = errors.setdefault(way, [0, 0])
            total[0] += sum(cell["errors"] for cell in cells)
            total[1] += sum(cell["tokens"] for cell in cells)
    result = collect_partial(runs, "surface")
    rows = {row["system"]: row for row in result["rows"] if row["output"] == "surface"}
    for way, (wrong, tokens) in errors.items():
        assert rows[way]["rate"] == pytest.approx(100 * wrong / tokens)
        assert len(rows[way]["trainings"]) == 2
        low, high = rows[way]["interval"]
        assert low <= rows[way]["rate"] <= high
    # the same two trainings on both sides, paired crosswise
    assert rows["do"]["trainings"] == rows["complete"]["trainings"][::-1]
    assert result["differences"][0]["difference"] == pytest.approx(0.0)
    assert result["differences"][0]["interval"] == pytest.approx((0.0, 0.0))
    table = table_of(result)
    assert table.header[-1] == "single trainings"
    assert table.rows[0][-1] == ", ".join(map(number, rows["complete"]["trainings"]))
    assert "up to 2 trainings of each" in table.caveats[0]
    with pytest.raises(UserError, match="1 trainings of do, 2 of complete"):
        collect_partial(runs[:3], "surface")
    file = Path(runs[1][2]) / "utterances.json"
    content = json.loads(file.read_text())
    for change, message in (
        ({"data_sha256": "other"}, "against different labels"),
        ({"token_types": {"surface": "phone"}}, "with different token types"),
    ):
        file.write_text(json.dumps({**content, **change}))
        with pytest.raises(UserError, match=message):
            collect_partial(runs, "surface")


def test_output_without_labels_has_no_rate(tree, tmp_path):
    shutil.copytree(tree / "exp/ko/so_surface_small/decode/test", tmp_path / "x")
    score = json.loads((tmp_path / "x/score.json").read_text())
    cell = next(cell for cell in score["cells"] if cell["own"])
    cell["speakers"], cell["metrics"][cell["metric"]]["rate"] = {}, None
    (tmp_path / "x/score.json").write_text(json.dumps(score))
    row = collect_partial([(50, "do", str(tmp_path / "x"))], "surface")["rows"][0]
    assert (row["rate"], row["interval"], row["trainings"]) == (None, None, [None])


def test_complete_part_is_optional(tree):
    folder = str(tree / "exp/ko/do_small/decode/test")
    assert collect_partial([(50, "do", folder)], "surface")["differences"] == []
