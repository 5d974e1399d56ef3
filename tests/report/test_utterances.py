"""Utterances of a report: reading them, token times, recordings, the data of the browser."""

import base64
import gzip
import json
from pathlib import Path

import pytest

from espnet_ext.document import Section, Table
from espnet_ext.errors import UserError
from espnet_ext.report.browser_data import browser_data
from espnet_ext.report.collect import Language, Results
from espnet_ext.report.contents import LanguagePart, Report
from espnet_ext.report.html import csv_uri, hangul, slug
from espnet_ext.report.recordings import embed_all, link
from espnet_ext.report.utterances import UtteranceSet, token_starts

SCORE = {
    "token_types": {"surface": "phone"},
    "cells": [{"hypothesis": "surface", "own": True, "metric": "per"}],
}


def row(**fields):
    value = {
        "id": "a-1",
        "speaker": "a",
        "l1": "vi",
        "audio": "a.wav",
        "distance": 1,
        "texts": {"surface": "DH AH"},
        "hypotheses": {"surface": "D AH"},
        "cells": {"surface-surface": {"errors": 1, "tokens": 2, "columns": "s="}},
        "labels": {"canonical-surface": "=="},
    }
    return {**value, **fields}


def utterance_set(path=Path("x/utterances.json"), **systems):
    utterances = UtteranceSet()
    for system, rows in systems.items():
        utterances.add(system, SCORE, rows, path)
    return utterances


def test_systems_share_the_references_of_an_utterance():
    rows = [row(), row(id="a-2")]
    utterances = utterance_set(a=rows, b=[row(hypotheses={"surface": "AH"})]).utterances
    assert list(utterances) == ["a-1", "a-2"]
    assert utterances["a-1"].recognised["b"]["surface"].text == "AH"
    assert list(utterances["a-2"].recognised) == ["a"]


@pytest.mark.parametrize("broken", [{"id": "a-1"}, row(texts=None), row(cells=[]), "text"])
def test_broken_row_names_file_and_utterance(broken):
    with pytest.raises(UserError, match=r"x/utterances\.json: (a-1|\?): not the scores") as error:
        utterance_set(a=[broken])
    assert "run its stage again" in error.value.remedy


def test_token_times_are_read_from_the_ctm_file(tmp_path):
    (tmp_path / "ctm.surface").write_text(
        "a-1 1 0.10 0.05 D 0.9\na-1 1 0.42 0.05 AH 0.8\nb-1 1 0.00 0.05 D 0.9\n"
    )
    utterances = utterance_set(tmp_path / "utterances.json", a=[row(), row(id="a-2")]).utterances
    assert list(utterances["a-1"].recognised["a"]["surface"].starts) == [10, 42]
    assert utterances["a-2"].recognised["a"]["surface"].starts is None
    (tmp_path / "ctm.surface").write_text("a-1 1 soon 0.05 D 0.9\n")
    with pytest.raises(UserError, match=r"ctm\.surface: not a row of a CTM file: a-1 1 soon"):
        utterance_set(tmp_path / "utterances.json", a=[row()])


@pytest.mark.parametrize(
    ("shown", "timed", "starts"),
    [
        (["th", "e"], [("▁t", 1), ("he", 3)], [1, 3]),  # a subword that both tokens share
        (["the", "zoo"], [("▁the", 1), ("▁z", 3), ("oo", 5)], [1, 3]),
        (["각"], [("ᄀ", 2), ("ᅡ", 3), ("ᆨ", 4)], [2]),
        (["a"], [("b", 1)], None),
        (["a", "b"], [("a", 1)], None),
        (["a"], [("a", 1), ("b", 2)], None),
        ([], [], []),
    ],
)
def test_starts_of_tokens_that_models_split_otherwise(shown, timed, starts):
    positions = token_starts(shown, timed)
    assert (positions if positions is None else list(positions)) == starts


def test_links_lead_to_files_that_browsers_play(tmp_path):
    folder = tmp_path / "소리 #1 50%?"
    folder.mkdir()
    for name in ("a.wav", "b.FLAC", "c.ark", "d.pcm"):
        (folder / name).touch()
    page = tmp_path / "exp/report.html"
    url = "./../%EC%86%8C%EB%A6%AC%20%231%2050%25%3F/"
    assert link(str(folder / "a.wav"), page) == f"{url}a.wav"
    assert link(str(folder / "b.FLAC"), page) == f"{url}b.FLAC"
    for source in ("c.ark:12", "d.pcm", "missing.wav", "x.wav |"):
        assert link(str(folder / source), page) is None
    assert link("javascript:alert(1)//.wav", page) is None


def test_recordings_are_embedded_all_or_not_at_all():
    utterances = list(utterance_set(a=[row(), row(id="a-2"), row(id="a-3")]).utterances.values())
    read = []

    def encode(source):
        read.append(source)
        return b"1234" if len(read) != 2 else None

    assert embed_all(utterances, encode, 8) == [b"1234", b"", b"1234"]
    read.clear()
    assert embed_all(utterances, encode, 3) is None and len(read) == 1


def test_data_of_the_browser_survive_packing():
    hostile = "</script><script>"
    utterances = utterance_set(
        a=[row(), row(id=hostile, texts={}, cells={}, labels={}, l1=None, distance=None)]
    )
    language = Language("en", {"test": {"a": None}}, {"test": utterances})
    results = Results("t", [language], [], {})
    text = browser_data(results, lambda utterance: f"./{utterance.audio}")
    assert "<" not in text
    (group,) = json.loads(gzip.decompress(base64.b64decode(text)))["groups"]
    assert group["id"] == ["a-1", hostile]
    assert group["l1"] == {"values": ["vi", None], "index": [0, 1]}
    assert group["texts"] == {"surface": ["DH AH", None]}
    assert group["hypotheses"]["a"]["surface"]["columns"] == ["s=", ""]
    assert browser_data(Results("t", [Language("en")], [], {}), str) == ""


def test_sections_are_divided_by_topic_and_nothing_is_lost():
    def table(title, topic=""):
        return Table(title, "", ["a"], [["x"]], topic=topic)

    with_topic = Section(
        "s", ["finding"], [table("1"), table("2", "divergence")], topic="differences"
    )
    plain = Section("plain", items=[table("3"), table("4", "no such topic")], topic="neither")
    part = LanguagePart("en", "English", "", [with_topic, plain], [])
    report = Report("t", [], table("cells"), [part], [], {})
    topics = {
        topic: [(s.title, list(s.findings), [t.title for t in s.tables]) for s in parts[0][1]]
        for topic, parts in report.by_topic()
    }
    assert topics == {
        "differences": [("s", ["finding"], ["1"])],
        "divergence": [("s", [], ["2"])],
        "": [("plain", [], ["3", "4"])],
    }


def test_ids_of_headings_are_unique():
    used = {"findings": 1}
    assert [slug(text, used) for text in ("Findings", "A b", "a, B", "a b 2", "a b", "?!")] == [
        "findings-2",
        "a-b",
        "a-b-2",
        "a-b-2-2",
        "a-b-3",
        "section",
    ]


def test_hangul_is_marked_and_the_rest_is_escaped():
    assert hangul("<ㅓ>") == '&lt;<span lang="ko">ㅓ</span>&gt;'
    assert hangul("국물 a") == '<span lang="ko">국물</span> a'


def test_cells_that_a_spreadsheet_would_compute_are_quoted():
    table = Table("t", "", ["=A1", "-1.5", "+2", "@x", "-x", "−3", "a=b"], [])
    head = csv_uri(table).partition(",")[2]
    assert head == "%27%3DA1%2C-1.5%2C%2B2%2C%27%40x%2C%27-x%2C%E2%88%923%2Ca%3Db%0D%0A"
