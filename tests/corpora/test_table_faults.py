"""Tests of messages on tables with many faults, and of names of speakers that are read as ids."""

import unicodedata

import pytest
from published import prepare_corpus, write_sound

from espnet_ext.corpora import plain
from espnet_ext.corpora.preparation import Report, list_faults
from espnet_ext.errors import UserError
from espnet_ext.pipeline.pool import LAST_LINES

HEADER = "utt_id\tspeaker\taudio\tsurface\tmeaning\tset"
PHONES = "W IY S IY M IY"


def prepare(folder, rows, header=HEADER):
    """Prepare a table of these rows; returns the utterances and the report."""
    write_sound(folder / "a.wav")
    path = folder / "corpus.tsv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    report = Report("plain")
    sets = prepare_corpus(plain, path, data_dir=folder / "data", report=report)
    return [one for part in sets.values() for one in part], report


def row(number, speaker="s1", audio="a.wav", surface=PHONES, name="train"):
    return f"u{number:02}\t{speaker}\t{audio}\t{surface}\twe see me\t{name}"


def complete(*rows):
    return [row(90, "v", name="valid"), row(91, "t", name="test"), *rows]


def test_many_faults_are_listed_by_kind(tmp_path):
    surfaces = [f"{PHONES} {symbol}" for symbol in ("QQ", "XX", "QQ", "YY")] * 4
    rows = [row(number, surface=surface) for number, surface in enumerate(surfaces)]
    rows += [row(number, audio=f"b{number}.wav") for number in range(20, 40)]
    rows += [row(40), row(40), row(41, name="evil")]
    with pytest.raises(UserError) as caught:
        prepare(tmp_path, complete(*rows))
    path = tmp_path / "corpus.tsv"
    headline, phones, audio, repeated, of_set = caught.value.message.splitlines()
    assert headline == f"{path}: 38 faults:"
    assert phones == (
        f"  {path}:4: s1-u00: surface: 'QQ' is not one of the 39 English phones; 15 more rows like "
        "this, also 'XX', 'YY': lines 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, …"
    )
    assert f"{path}:20: s1-u20: audio 'b20.wav': no such file; 19 more rows like this" in audio
    assert repeated == f"  {path}:41: s1-u40: line 40 has the same utt_id"
    assert "set is 'evil', not one of" in of_set


def test_a_list_of_faults_fits_into_the_end_of_a_log():
    """With its headline and remedy; the log may end with two further lines."""
    message = "headline:" + list_faults([f"fault {number}" for number in range(100)])
    assert len(message.splitlines()) + 1 <= LAST_LINES - 2
    assert message.endswith("and 91 more")


def test_table_with_many_kinds_of_faults_has_a_short_message(tmp_path):
    rows = [row(number, audio=cell) for number, cell in enumerate(["nan", "#NAME?", "x|y"])]
    rows += [row(number, "s\ta.wav\tX\tW\ttrain\t") for number in range(10, 14)]
    rows += [row(20, name=name) for name in ("evil", "good", "", "a b")]
    rows += [row(21, "\u0007"), row(21, "<na>"), row("<na>"), row(22, "s" * 201), row(23, audio="")]
    rows += [row(24, surface=f"{PHONES} XX"), row(25, audio="|x"), row(26, audio="http://a/b")]
    with pytest.raises(UserError) as caught:
        prepare(tmp_path, complete(*rows))
    lines = caught.value.message.splitlines()
    assert len(lines) == 10 and lines[-1].endswith(" more kinds")


def test_names_of_speakers_and_utterances_become_ids(tmp_path):
    nfd = unicodedata.normalize("NFD", "이수진")
    rows = [
        row(0, "Kim Min Su"),
        row(1, "Kim Min Su"),
        row(2, nfd),
        row(3, "이수진"),
        row(4, "a/b"),
    ]
    rows.append("Kim Min Su-u 5\tKim Min Su\ta.wav\t\twe\ttrain")
    utterances, report = prepare(tmp_path, complete(*rows))
    ids = {one.utt_id: one.speaker for one in utterances if one.speaker not in ("v", "t")}
    assert ids == {
        "Kim_Min_Su-u00": "Kim_Min_Su",
        "Kim_Min_Su-u01": "Kim_Min_Su",
        "Kim_Min_Su-u_5": "Kim_Min_Su",
        "이수진-u02": "이수진",
        "이수진-u03": "이수진",
        "a_b-u04": "a_b",
    }
    assert report.counts["speaker in which whitespace or / became _"] == 4
    assert report.counts["utt_id in which whitespace or / became _"] == 1
    assert report.counts["speaker in another Unicode form, read in NFC"] == 1


def test_two_speakers_whose_names_become_equal_are_an_error(tmp_path):
    with pytest.raises(UserError, match="speaker 'Kim_Su' would become Kim_Su, as 'Kim Su' does"):
        prepare(tmp_path, complete(row(0, "Kim Su"), row(1, "Kim_Su")))


def test_missing_files_are_named_together_with_other_faults(tmp_path):
    with pytest.raises(UserError) as caught:
        prepare(tmp_path, complete(row(0, audio="b.wav", name="evil")))
    assert "set is 'evil'" in caught.value.message
    assert "audio 'b.wav': no such file" in caught.value.message
