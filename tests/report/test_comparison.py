"""The comparison of systems: rates, differences, cost and similarity of encoders in one table."""

import json
import shutil

import pytest
from pages import write

from espnet_ext.document import number, signed_with_interval
from espnet_ext.report.collect import Language, Run
from espnet_ext.report.comparison import comparison_section


def table_of(text, title="Comparison of systems"):
    """Return the header of the table with a title in a Markdown page, and its rows by system."""
    lines = text.partition(f"### {title}\n")[2].split("\n| ", 1)[1].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.count("|") > 3]
    rows = rows[: next((i for i, row in enumerate(rows) if row[0] == "language"), None)]
    shown = [row for row in rows if not row[0].startswith(("_", "---"))]
    header, *systems = shown
    return header, {row[0]: dict(zip(header, row, strict=True)) for row in systems[:3]}


@pytest.fixture(scope="module")
def korean(tree, tmp_path_factory):
    return write(tree, tmp_path_factory.mktemp("out"), languages="ko")[1]


def test_systems_are_rows_with_the_numbers_of_the_result_files(korean, tree):
    header, rows = table_of(korean)
    assert list(rows) == ["so_surface", "so_meaning", "do"]
    for system, row in rows.items():
        folder = tree / f"exp/ko/{system}_small"
        score = json.loads((folder / "decode/test/score.json").read_text())
        counts = {c["hypothesis"]: c["metrics"][c["metric"]] for c in score["cells"] if c["own"]}
        for output in ("surface", "meaning"):
            shown = row[f"{output} CER % [95 %]"]
            if output in counts:
                assert shown.startswith(number(counts[output]["rate"]) + " [")
            else:
                assert shown == "–"
        training = json.loads((folder / "train.json").read_text())
        assert row["parameters"] == f"{training['parameters']:,}"
        assert row["training time (per epoch)"] == "2 min 31 s (5.0 s)"
        assert row["real-time factor of decoding"] == "0.031"
    assert "no surface error of so_meaning: it has no such output" in korean


def test_differences_are_those_of_stage_17(korean, tree):
    header, rows = table_of(korean)
    cross = json.loads((tree / "exp/ko/analysis/cross_test.json").read_text())
    (pair,) = [d for d in cross["differences"] if (d["a"], d["b"]) == ("so_surface", "do")]
    (cell,) = [c for c in pair["cells"] if c["by"] is None and c["name"] == "surface-surface"]
    expected = signed_with_interval(cell["difference"], cell["interval"])
    assert rows["do"]["surface − so_surface [95 %]"] == expected
    assert rows["so_surface"]["surface − so_surface [95 %]"] == "reference"
    (column,) = [name for name in header if name.startswith("meaning − ")]
    reference = column.split()[2]
    assert rows[reference][column] == "reference"


def test_difference_from_a_reference_that_stands_second_changes_its_sign(tree):
    path = tree / "exp/ko/do_small/decode/test/score.json"
    runs = {n: Run(path.parent, json.loads(path.read_text()), None) for n in ("do", "so_meaning")}
    for cell in runs["so_meaning"].score["cells"]:  # the better one, so the reference
        cell["metrics"][cell["metric"]]["rate"] /= 2
    cell = {"by": None, "name": "meaning-meaning", "utterances": 24}
    cell |= {"difference": -2.0, "interval": [-3.0, -0.5]}
    content = {"kind": "cross", "set": "test"}
    content["differences"] = [{"a": "do", "b": "so_meaning", "cells": [cell]}]

    class Analysis:
        kind = "cross"

    analysis = Analysis()
    analysis.content = content
    language = Language("ko", sets={"test": runs}, analyses=[analysis])
    (table,) = comparison_section(language, "test").tables
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["do"]["meaning − so_meaning [95 %]"] == "+2.00 [+0.50 to +3.00]"


@pytest.mark.parametrize(
    ("low", "systems", "finding"),
    [
        (-0.5, "so_surface do", "No higher surface error than so_surface is shown for: do."),
        (0.5, "so_surface do", "With a higher surface error than so_surface: do."),
        (
            -0.5,
            "so_surface so_meaning do",
            "Neither a higher surface error than so_surface nor a higher meaning error than "
            "so_meaning is shown for: do.",
        ),
        (
            0.5,
            "so_surface so_meaning do",
            "With a higher surface error than so_surface or a higher meaning error than "
            "so_meaning: do.",
        ),
    ],
)
def test_finding_names_the_systems_that_are_not_worse_in_either_output(tree, low, systems, finding):
    runs = {}
    for name in systems.split():
        path = tree / f"exp/ko/{name}_small/decode/test/score.json"
        runs[name] = Run(path.parent, json.loads(path.read_text()), None)
    for cell in runs["so_meaning"].score["cells"] if "so_meaning" in runs else ():
        cell["metrics"][cell["metric"]]["rate"] /= 2
    numbers = {"by": None, "utterances": 24, "difference": 1.0}
    differences = [
        {"a": f"so_{name}", "b": "do", "cells": [{**numbers, "name": f"{name}-{name}", **bounds}]}
        for name, bounds in (
            ("surface", {"interval": [low, 2.0]}),
            ("meaning", {"interval": [-3.0, 2.0]}),
        )
    ]

    class Analysis:
        kind = "cross"
        content = {"kind": "cross", "set": "test", "differences": differences}

    language = Language("ko", sets={"test": runs}, analyses=[Analysis()])
    section = comparison_section(language, "test")
    assert section.findings == [finding]
    of_several = "The reference of meaning is the one with the lowest error"
    assert (of_several in section.tables[0].sentence) == ("so_meaning" in runs)


def test_encoder_similarity_stands_beside_its_ceiling(korean, tree):
    header, rows = table_of(korean)
    cka = json.loads((tree / "exp/ko/analysis/cka.json").read_text())
    last = {(p["a"], p["b"]): p["debiased"][-1][-1] for p in cka["pairs"]}
    ceiling = number(last["so_surface", "so_surface~twin"])
    column = f"CKA with so_surface, last encoder layer (ceiling {ceiling}; null 0.02)"
    assert rows["do"][column] == number(last["so_surface", "do"])
    assert rows["so_surface"][column] == "reference"
    limits = "ceiling not available: one seed; null 0.02"  # no twin of it was trained
    column = f"CKA with so_meaning, last encoder layer ({limits})"
    assert rows["do"][column] == number(last["so_meaning", "do"])
    column = "CKA of two seeds of the system, last encoder layer"
    assert rows["so_surface"][column] == ceiling and rows["do"][column] == "–"
    assert "no CKA of two seeds of so_meaning, do: it was trained with one seed" in korean
    assert "ceiling is the CKA of two trainings of one system with different seeds" in korean


def test_encoders_of_one_output_are_compared_with_the_system_of_this_output(tree, tmp_path):
    """`do` as a system with an encoder output per output."""
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    path = copy / "exp/ko/analysis/cka.json"
    content = json.loads(path.read_text())

    def pair(a, output_a, b, output_b, value):
        outputs = {"output_a": output_a, "output_b": output_b}
        layers = {"layers_a": ["3"], "layers_b": ["3"], "debiased": [[value]]}
        (single,) = [
            p for p in content["pairs"] if (p["a"], p["b"]) == ("so_surface", "so_meaning")
        ]
        point = {**single["curve"][-1], "debiased": value}
        known = {key: output for key, output in outputs.items() if output}
        return {**single, **layers, "a": a, "b": b, "grid": [[value]], "curve": [point], **known}

    content["pairs"] = [p for p in content["pairs"] if "do" not in (p["a"], p["b"])] + [
        pair("so_surface", None, "do", "meaning", 0.11),
        pair("so_surface", None, "do", "surface", 0.22),
        pair("so_meaning", None, "do", "meaning", 0.33),
        pair("do", "surface", "do", "meaning", 0.44),
        pair("do", "surface", "do~twin", "surface", 0.55),
        pair("do", "meaning", "do~twin", "meaning", 0.66),
    ]
    path.write_text(json.dumps(content))
    text = write(copy, tmp_path, languages="ko")[1]
    header, rows = table_of(text)
    row = {name.partition(", last")[0]: value for name, value in rows["do"].items()}
    assert row["CKA with so_surface"] == "0.22" and row["CKA with so_meaning"] == "0.33"
    assert row["CKA of two outputs of the system"] == "0.44"
    assert row["CKA of two seeds of the system"] == "surface 0.55, meaning 0.66"
    assert "no CKA of two outputs of so_surface, so_meaning: they read one encoder" in text
    assert "that of the column's output is compared" in text


def test_missing_results_are_dashes_with_a_reason(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    (copy / "exp/ko/analysis/cross_test.json").unlink()
    (copy / "exp/ko/do_small/train.json").unlink()
    (copy / "exp/ko/do_small/decode/test/decode.json").unlink()
    text = write(copy, tmp_path, languages="ko")[1]
    _, rows = table_of(text)
    row = rows["do"]
    for column in ("surface − so_surface [95 %]", "parameters", "real-time factor of decoding"):
        assert row[column] == "–"
    assert "no surface difference of do: stage 17 has not compared it with so_surface" in text
    assert "no cost of training of do: no train.json" in text
    assert "no real-time factor of do: decode.json is missing or has no rtf" in text


def test_surface_error_by_divergence_has_the_rates_of_the_bins(korean, tree):
    header, rows = table_of(korean)
    score = json.loads((tree / "exp/ko/do_small/decode/test/score.json").read_text())
    parts = score["divergence"]["cells"]["surface-surface"]
    (column,) = [name for name in header if name.startswith("surface % at a divergence of 0 / 1–3")]
    assert rows["do"][column] == " / ".join(number(part["rate"], 1) for part in parts)
    assert rows["so_meaning"][column] == "–"


def test_report_of_one_system_has_no_comparison(tree, tmp_path):
    assert "| system | surface CER" not in write(tree, tmp_path, languages="ko", systems="do")[1]


def test_comparison_is_on_the_front_page_if_there_are_more_than_the_standard_systems(
    tree, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    shutil.copytree(copy / "exp/ko/do_small", copy / "exp/ko/do_tops_small")
    systems = "so_surface so_meaning do do_tops"
    front = write(copy, tmp_path, languages="ko", systems=systems)[0]
    assert "### Comparison of systems" in front and "| do_tops | " in front
    assert "### Comparison of systems" not in write(copy, tmp_path, languages="ko")[0]
