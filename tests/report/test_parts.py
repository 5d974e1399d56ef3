"""Parts of the report: cells of tables, marked texts, choice of examples, size of the data."""

from pathlib import Path

import pytest

from espnet_ext.document import MISSED, Section, Table, speaker_caveats
from espnet_ext.report.examples import choose, marked
from espnet_ext.report.html import cell
from espnet_ext.report.scores import data_section
from espnet_ext.report.terminal import aligned
from espnet_ext.report.utterances import UtteranceSet
from espnet_ext.scoring.counts import align_texts


def test_cells_are_escaped():
    assert cell("<b>") == "&lt;b&gt;"
    assert cell("CER **1.00** [0.50–<2]") == "CER\xa0<b>1.00</b><small>0.50–&lt;2</small>"
    assert cell("a [b], c") == "a<small>b, c</small>"


def test_rows_must_be_as_wide_as_the_header():
    with pytest.raises(ValueError, match="table 't': 1 cells, 2 wide"):
        Table("t", "s.", ["a", "b"], [["x"]])


def test_section_survives_json():
    import json

    table = Table("t", "s.", ["a"], [["x"]], caveats=["c"], details=True)
    section = Section("title", ["finding"], [table], ["note"], ["summary"])
    written = json.loads(json.dumps(section.to_json()))
    assert Section.from_json(written) == section
    with pytest.raises(ValueError, match="not a section"):
        Section.from_json({"title": "x"})


def test_stated_miss_rates_are_those_of_a_simulation():
    """An independent simulation of the percentile bootstrap of a mean over few speakers."""
    import numpy as np

    generator = np.random.default_rng(1)
    for speakers, stated in MISSED.items():
        values = generator.standard_normal((1000, speakers))
        picks = generator.integers(0, speakers, (400, speakers))
        means = values[:, picks].mean(-1)  # (sets, resamples)
        low, high = np.percentile(means, [2.5, 97.5], axis=1)
        missed = 100 * float(((low > 0) | (high < 0)).mean())
        assert missed == pytest.approx(stated, abs=4)
    assert speaker_caveats(8) == [] and "no interval" in speaker_caveats(1)[0]


def test_marked_walks_both_sides():
    tokens = marked("S IY M", "S M AH", "=d=i", separated=True)
    assert [(t.kind, t.text, t.against) for t in tokens] == [
        ("=", "S", "S"),
        ("d", "", "IY"),
        ("=", "M", "M"),
        ("i", "AH", ""),
    ]
    assert [t.kind for t in marked("ab", "cd", "=", separated=False)] == ["=", "="]  # does not fit


def test_unknown_token_is_one_character_as_in_scoring():
    """Split into five characters, it did not fit its alignment, and was shown without an error."""
    columns = align_texts(["a cat"], ["a <unk>at"], "cer")[0]
    tokens = marked("a cat", "a <unk>at", columns, separated=False)
    assert [t.kind + t.text for t in tokens] == ["=a", "= ", "s<unk>", "=a", "=t"]


def row(utt, speaker, distance, errors, meaning="말"):
    cells = {"meaning-meaning": {"errors": errors, "tokens": 9, "columns": "="}}
    return {
        "id": utt,
        "audio": f"{utt}.wav",
        "hypotheses": {"meaning": "말"},
        "labels": {},
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
        row("5", "v", None, 0),  # no distance: one of the labels is missing
        row("6", "w", 1, 0, "라" * 200),  # too long
    ]
    b = [row(r["id"], r["speaker"], r["distance"], 4 * (r["id"] == "2")) for r in a]
    everything = UtteranceSet()
    for name, rows in (("a", a), ("b", b)):
        everything.add(name, {}, rows, Path("utterances.json"))
    assert choose(everything.utterances, 2) == ["3", "2"]
    assert choose(everything.utterances, 9) == ["3", "4", "1", "2"]


def test_size_of_the_data(tmp_path):
    for name in ("test", "train", "train_sp"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "wav.scp").write_text("a-1 x.wav\na-2 y.wav\n")
        (folder / "utt2spk").write_text("a-1 a\na-2 a\n")
        (folder / "utt2dur").write_text("a-1 1800\na-2 1800.0\n")
        (folder / "text.surface").write_text("a-1 <na>\na-2 가 나\n")
    table = data_section(tmp_path).tables[0]
    assert table.header == ["set", "utterances", "speakers", "hours", "with surface"]
    assert table.rows == [["train", "2", "1", "1.00", "1"], ["test", "2", "1", "1.00", "1"]]
    assert data_section(tmp_path / "none") is None


def test_terminal_tables_count_wide_characters():
    lines = aligned([["a", "b"], ["국물", "1"], ["x", "2"]]).splitlines()
    assert lines[2].index("1") + 2 == lines[3].index("2")
