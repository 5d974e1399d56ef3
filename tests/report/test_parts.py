"""Pieces of the reports by themselves: markup, plots, marked texts, choice of examples."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from espnet_ext.report import svg
from espnet_ext.report.collect import Run
from espnet_ext.report.corpus import corpus_rows
from espnet_ext.report.examples import choose, marked
from espnet_ext.report.markup import Markup, element
from espnet_ext.report.summary import aligned, signed


def test_only_markup_is_not_escaped():
    assert element("p", "<b>", Markup("<i></i>"), ["&", None, 3]) == "<p>&lt;b&gt;<i></i>&amp;3</p>"
    assert element("a", href='"><x') == '<a href="&quot;&gt;&lt;x"></a>'
    assert element("p", "x" + Markup("<b>")) == "<p>x&lt;b&gt;</p>"  # concatenation loses trust


def points(drawing):
    text = next(e for e in ElementTree.fromstring(drawing).iter() if e.tag == "polyline")
    return [tuple(map(float, p.split(","))) for p in text.attrib["points"].split()]


def test_lines_stand_where_their_values_are():
    drawing = svg.lines(["a", "b", "c"], {"x": [0.0, None, 1.0]}, top=2, title="t", x_title="x")
    (x0, y0), (x2, y2) = points(drawing)
    grid = [float(y) for y in re.findall(r'<line [^>]*y1="([\d.]+)"', drawing)]
    assert y0 == max(grid) and y2 == pytest.approx((max(grid) + min(grid)) / 2)
    assert x2 > x0


def test_plots_are_xml_and_labels_are_escaped():
    drawings = [
        svg.whiskers(
            [("a<b", 0, 1.0, (0.5, 2.0)), ("none", 1, None, None)], title="<", x_title="&"
        ),
        svg.heatmap(["0"], ["0", "1"], [[1.0, None]], title="<", row_title="&", column_title="c"),
        svg.legend(["<x>"]),
    ]
    for drawing in drawings:
        ElementTree.fromstring(drawing)
    assert "1.00" in drawings[1]


@pytest.mark.parametrize("value", [0.03, 0.9, 1, 3.3, 7, 11, 95, 140])
def test_axes_end_just_above_the_value(value):
    top = svg.nice_ceiling(value)
    assert value <= top <= 2 * value
    assert len(f"{top / 4:g}") <= 5


def test_marked_walks_both_sides():
    tokens = marked("S IY M", "S M AH", "=d=i", phones=True)
    assert [(t.kind, t.text, t.against) for t in tokens] == [
        ("=", "S", "S"),
        ("d", "", "IY"),
        ("=", "M", "M"),
        ("i", "AH", ""),
    ]
    assert [t.kind for t in marked("ab", "cd", "=", phones=False)] == ["=", "="]  # does not fit


def row(utt, speaker, distance, errors, meaning="말"):
    cells = {"meaning-meaning": {"errors": errors, "tokens": 9, "columns": ""}}
    return {
        "id": utt,
        "speaker": speaker,
        "distance": distance,
        "texts": {"meaning": meaning},
        "cells": cells,
    }


def test_examples_prefer_where_systems_differ_and_new_speakers_and_sentences():
    a = [
        row("1", "s", 5, 0, "가"),
        row("2", "s", 5, 0, "나"),
        row("3", "t", 2, 0, "다"),
        row("4", "u", 2, 0, "다"),
        row("5", "v", None, 0),  # no distance: one of the labels is not there
        row("6", "w", 1, 0, "라" * 200),  # too long
    ]
    b = [dict(r, cells={"meaning-meaning": {"errors": 4 * (r["id"] == "2")}}) for r in a]
    runs = {n: Run(Path(), {}, {"utterances": rows}, None) for n, rows in (("a", a), ("b", b))}
    assert choose(runs, 2) == ["3", "2"]
    assert choose(runs, 9) == ["3", "4", "1", "2"]


def test_corpus_counts(tmp_path):
    for name in ("test", "train", "train_sp"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "wav.scp").write_text("a-1 x.wav\na-2 y.wav\n")
        (folder / "utt2spk").write_text("a-1 a\na-2 a\n")
        (folder / "utt2dur").write_text("a-1 1800\na-2 1800.0\n")
        (folder / "text.surface").write_text("a-1 <na>\na-2 가 나\n")
    rows = corpus_rows(tmp_path)
    assert [r["set"] for r in rows] == ["train", "test"]
    assert rows[0] == {
        "set": "train",
        "utterances": 2,
        "speakers": 1,
        "hours": "1.00",
        "with surface": 1,
    }
    assert corpus_rows(tmp_path / "none") == []


def test_terminal_tables_count_wide_characters():
    lines = aligned([["a", "b"], ["국물", "1"], ["x", "2"]]).splitlines()
    assert lines[2].index("1") + 2 == lines[3].index("2")


def test_signed_zero_has_no_sign():
    assert signed(-0.001) == "0.00" and signed(-1.5) == "−1.50" and signed(None) == "–"
