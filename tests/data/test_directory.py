"""Data directories: reading returns what was written, and no earlier table remains."""

import unicodedata
from pathlib import Path

import pytest

from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.record import NA, Utterance
from espnet_ext.errors import UserError

UTTERANCES = [
    Utterance("s1-u1", "s1", "a b.wav", {"surface": "궁물", "meaning": "국물"}, lang="ko", l1="vi"),
    Utterance("s1-u2", "s1", "x.ark:123", {"meaning": "ㄱ 나"}, lang="ko", band="narrow"),
    Utterance("s2-u1", "s2", "/c.flac", {}, domain="read speech"),
]


def contents(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in Path(folder).iterdir()}


def test_files_have_the_documented_content(tmp_path):
    write_directory(tmp_path / "d", reversed(UTTERANCES), extra={"utt2dur": {"s1-u1": "1.5"}})
    assert contents(tmp_path / "d") == {
        "wav.scp": "s1-u1 a b.wav\ns1-u2 x.ark:123\ns2-u1 /c.flac\n",
        "utt2spk": "s1-u1 s1\ns1-u2 s1\ns2-u1 s2\n",
        "spk2utt": "s1 s1-u1 s1-u2\ns2 s2-u1\n",
        "text.surface": "s1-u1 궁물\n",
        "text.meaning": "s1-u1 국물\ns1-u2 ㄱ 나\n",
        "utt2lang": "s1-u1 ko\ns1-u2 ko\n",
        "utt2l1": "s1-u1 vi\n",
        "utt2band": "s1-u2 narrow\n",
        "utt2domain": "s2-u1 read speech\n",
        "utt2dur": "s1-u1 1.5\n",
    }
    assert read_directory(tmp_path / "d") == UTTERANCES


def test_missing_rows_are_filled_on_request_and_read_as_unlabelled(tmp_path):
    write_directory(tmp_path, UTTERANCES, fill_missing=["surface", "tones"])
    assert (tmp_path / "text.surface").read_text() == f"s1-u1 궁물\ns1-u2 {NA}\ns2-u1 {NA}\n"
    assert (tmp_path / "text.tones").read_text().count(NA) == 3
    assert (tmp_path / "text.meaning").read_text().count("\n") == 2
    assert read_directory(tmp_path) == UTTERANCES


def test_sentinel_in_a_record_means_unlabelled(tmp_path):
    write_directory(tmp_path, [Utterance("s1-u1", "s1", "a.wav", {"surface": NA, "meaning": "가"})])
    assert not (tmp_path / "text.surface").exists()


def test_tables_of_an_earlier_write_are_removed(tmp_path):
    write_directory(tmp_path, UTTERANCES)
    (tmp_path / "text").write_text("s1-u1 stale\n")
    (tmp_path / "text.surface.bak").write_text("mine")
    later = [Utterance("s9-u1", "s9", "a.wav", {"meaning": "새로"})]
    write_directory(tmp_path, later)
    names = {"wav.scp", "utt2spk", "spk2utt", "text.meaning", "text.surface.bak"}
    assert set(contents(tmp_path)) == names
    assert read_directory(tmp_path) == later


def test_plain_kaldi_directory_is_meaning_only(tmp_path):
    (tmp_path / "wav.scp").write_text("s1-u1 a.wav\n")
    (tmp_path / "utt2spk").write_text("s1-u1 s1\n")
    (tmp_path / "text").write_text("s1-u1 국물\n")
    assert read_directory(tmp_path) == [Utterance("s1-u1", "s1", "a.wav", {"meaning": "국물"})]
    (tmp_path / "text.meaning").write_text("s1-u1 다른 것\n")
    assert read_directory(tmp_path)[0].texts == {"meaning": "다른 것"}


def test_texts_are_normalised_and_paths_are_not(tmp_path):
    name, text = (unicodedata.normalize("NFD", word) for word in ("소리.wav", "국물 "))
    write_directory(tmp_path, [Utterance("s1-u1", "s1", name, {"meaning": text})])
    assert read_directory(tmp_path) == [Utterance("s1-u1", "s1", name, {"meaning": "국물"})]


@pytest.mark.parametrize(
    "utterances, message",
    [
        ([UTTERANCES[0], UTTERANCES[0]], "s1-u1: two utterances have this id"),
        ([Utterance("s1-u1", "s 1", "a.wav")], "s1-u1: the speaker 's 1' has whitespace"),
        ([Utterance("s1 u1", "s1", "a.wav")], "the id 's1 u1' has whitespace"),
        ([Utterance("s1-u1", "s1", "a.wav", {"meaning": " \n"})], "s1-u1: the meaning transcript"),
        ([Utterance("s1-u1", "s1", "a.wav", {"../x": "a"})], "'../x' is not a valid output name"),
        ([Utterance("s1-u1", "s1", "a.wav\nx y.wav")], "s1-u1: .* control characters"),
        ([Utterance("s1-u1", "s1", "a.wav ")], "s1-u1: .* ends with whitespace"),
        ([Utterance("s1-u1", "s1", "")], "s1-u1: .* is empty"),
    ],
)
def test_invalid_records_raise_user_error_with_the_id(tmp_path, utterances, message):
    with pytest.raises(UserError, match=message):
        write_directory(tmp_path / "d", utterances)
    assert not (tmp_path / "d" / "wav.scp").exists()
