"""Directories written as utterances come are those that `write_directory` writes at once."""

import filecmp
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ext.data.directory import write_directory
from espnet_ext.data.record import NA, Utterance
from espnet_ext.data.streaming import DirectoryWriter
from espnet_ext.errors import UserError

NAMES = st.text("abcAB019_", min_size=1, max_size=4)
TEXTS = st.text("가나 ㄱab\u1100\u1161\u200b<na>", max_size=8).map(lambda text: text + "다")
OUTPUTS = st.sampled_from(["surface", "meaning"])
LABELS = st.none() | st.sampled_from(["ko", "en", "x y"])


@st.composite
def utterances(draw):
    ids = draw(st.dictionaries(st.tuples(NAMES, NAMES), st.just(None), min_size=1, max_size=12))
    found = [
        Utterance(
            f"{speaker}-{name}",
            speaker,
            f"{name}.wav",
            draw(st.dictionaries(OUTPUTS, TEXTS | st.just(NA))),
            draw(LABELS),
            draw(LABELS),
            None,
            draw(LABELS),
        )
        for speaker, name in ids
    ]
    return sorted(found, key=lambda one: one.utt_id)


def same(first, second):
    names = {path.name for folder in (first, second) for path in folder.iterdir()}
    match, _, _ = filecmp.cmpfiles(first, second, names, shallow=False)
    return set(match) == names


@settings(max_examples=60, deadline=None)
@given(utterances(), utterances())
def test_both_ways_write_the_same_also_over_an_earlier_directory(earlier, later):
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a"), Path(folder, "b")
        for these in (earlier, later):
            write_directory(first, these)
            with DirectoryWriter(second) as writer:
                for one in these:
                    writer.add(one)
            assert same(first, second)


def one(utt_id="s1-1", speaker="s1", audio="a.wav", **texts):
    return Utterance(utt_id, speaker, audio, texts)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ([one("s1-2"), one("s1-1")], "s1-1: out of order"),
        ([one(), one()], "s1-1: two utterances have this id"),
        ([one("a-1", "a"), one("a-b-1", "a-b"), one("a-c", "a")], "not sorted by speaker"),
        ([one(audio=" a.wav")], "begins or ends with whitespace"),
        ([one(audio="")], "is empty"),
        ([one(audio="a\nb.wav")], "control characters"),
        ([one(audio="\udcb0.wav")], "cannot be written as UTF-8"),
        ([one(speaker="s 1")], "speaker 's 1' has whitespace"),
        ([one(meaning="\u200b ")], "the meaning transcript is empty"),
        ([Utterance("s1-1", "s1", "a.wav", {"a.b": "x"})], "'a.b' is not a valid output name"),
        ([one("s1 1")], "has whitespace"),
    ],
)
def test_what_cannot_be_written_leaves_the_earlier_directory(tmp_path, bad, complaint):
    write_directory(tmp_path / "a", [one("s0-0", "s0", meaning="이전")])
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with pytest.raises(UserError, match=complaint), DirectoryWriter(tmp_path / "a") as writer:
        for utterance in bad:
            writer.add(utterance)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


def test_further_tables_are_written_and_removed_when_they_are_not(tmp_path):
    with DirectoryWriter(tmp_path, ["utt2topik"]) as writer:
        writer.add(one(), {"utt2topik": "4"})
        with pytest.raises(ValueError, match="not a table"):
            writer.add(one("s1-2"), {"utt2other": "4"})
    assert (tmp_path / "utt2topik").read_text() == "s1-1 4\n"
    with DirectoryWriter(tmp_path, ["utt2topik"]) as writer:
        writer.add(one())
    assert not (tmp_path / "utt2topik").exists()
