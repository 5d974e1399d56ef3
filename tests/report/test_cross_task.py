"""Readings say what the figures say and no more; both reports hold every figure."""

import json
import re

import pytest
from test_report import Page, write

from espnet_ext.report import cross_task
from espnet_ext.report.summary import percent, signed


@pytest.fixture(scope="module")
def written(tree, tmp_path_factory):
    return write(tree, tmp_path_factory.mktemp("out"))


def results(tree):
    return {
        lang: json.loads((tree / f"exp/{lang}/analysis/cross_test.json").read_text())
        for lang in ("ko", "en")
    }


def row(name="surface-surface", difference=1.2, bounds=(0.4, 2.1), by=None, label=None):
    return {
        "name": name,
        "by": by,
        "bin": label,
        "utterances": 9,
        "rate_a": 5.0,
        "rate_b": 5.0 + difference,
        "difference": difference,
        "interval": bounds,
        "p_value": 0.01,
        "p_holm": 0.02,
        "p_permutation": 0.1,
        "macro": difference,
        "macro_interval": bounds,
    }


@pytest.mark.parametrize(
    ("given", "joint", "said"),
    [
        (row(), True, "joint training cost surface 1.20 points [0.40 to 2.10]"),
        (
            row(difference=-1.2, bounds=(-2.1, -0.4)),
            True,
            "joint training gained surface 1.20 points [0.40 to 2.10]",
        ),
        (row(bounds=(-0.1, 2.5)), True, "made no difference to surface that can be told from"),
        (row(), False, "the change cost surface 1.20 points"),
        (
            row("surface-meaning", -1.2, (-2.1, -0.4)),
            True,
            "surface, held against the meaning reference, came nearer to it: −1.20 points",
        ),
        (row("surface-meaning", 1.2, (0.4, 2.1)), True, "came further from it: +1.20"),
        (row("surface-meaning", 1.2, (-0.4, 2.1)), True, "came neither nearer"),
    ],
)
def test_readings_of_differences(given, joint, said):
    comparison = {"a": "so_surface", "b": "do", "joint": joint}
    assert said in cross_task._change(comparison, given)


def test_every_row_is_in_both(written, tree):
    markdown, page = written
    cells = [" ".join(text.split()) for text in Page(page).cells]
    found = 0
    for result in results(tree).values():
        for comparison in result["differences"]:
            who = f"{comparison['b']} − {comparison['a']}"
            for one in comparison["cells"]:
                output, _, reference = one["name"].partition("-")
                rates = rf"{percent(one['rate_a'])} \| {percent(one['rate_b'])} \| "
                line = rf"\| {who} \| {output} against {reference} \|.* {rates}"
                assert re.search(line + re.escape(signed(one["difference"])), markdown)
                assert any(text.startswith(signed(one["difference"])) for text in cells)
                found += 1
    assert found > 40


def test_tables_and_readings_of_both(written, tree):
    markdown, page = written
    words = "".join(Page(page).words)
    for result in results(tree).values():
        for block in cross_task.blocks(result):
            assert f"#### {block.title}" in markdown and block.title in words
            assert {len(one) for one in block.rows} == {len(block.heads)}
            for said in block.readings:
                assert said.replace("<", "&lt;") in markdown and said in words
        for said in cross_task.lacking(result):
            assert said in words
    assert "between which no distance is defined" in markdown
    assert "learner error:" in markdown and "regular phonology only:" in markdown


def test_what_slopes_do_not_exist_is_said(tree):
    said = cross_task.readings(results(tree)["en"])
    assert any(s.startswith("No slopes of regular phonology and learner error") for s in said)
    assert not any("regular phonology, " in s for s in said)


def test_a_file_of_other_systems_is_not_shown(tree, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp", copy / "exp")
    path = copy / "exp/ko/analysis/cross_test.json"
    path.write_text(path.read_text().replace("do_small", "do_large"))
    markdown, text = write(copy, tmp_path, languages="ko")
    assert "What joint training changes" not in markdown + text
    said = capsys.readouterr().err
    assert "cross_test.json is of other systems or labels: run stage 17 again" in said
    path.unlink()
    write(copy, tmp_path, languages="ko")
    assert f"cross-task evaluation: {path}\n" in capsys.readouterr().err


def test_sparse_results_make_no_false_sentences(tree):
    result = results(tree)["ko"]
    bare = {
        **result,
        "differences": [],
        "lacks": ["one system: nothing"],
        "consistency": {"unit": "char", "outputs": [], "differences": []},
        "articulatory": {"systems": {}, "differences": [], "lacks": "x"},
    }
    titles = [block.title for block in cross_task.blocks(bare)]
    assert titles == ["How far the references lie apart"]
    assert cross_task.readings(bare)[-1] == "One system: nothing."
