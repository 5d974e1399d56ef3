"""`DirectoryWriter` writes the same directories as `write_directory`."""

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
    records = [
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
    return sorted(records, key=lambda item: item.utt_id)


def are_equal(first, second):
    names = {path.name for folder in (first, second) for path in folder.iterdir()}
    match, _, _ = filecmp.cmpfiles(first, second, names, shallow=False)
    return set(match) == names


@settings(max_examples=60, deadline=None)
@given(utterances(), utterances())
def test_both_write_the_same_files_also_over_an_earlier_directory(earlier, later):
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a"), Path(folder, "b")
        for records in (earlier, later):
            write_directory(first, records)
            with DirectoryWriter(second) as writer:
                for utterance in records:
                    writer.add(utterance)
            assert are_equal(first, second)


def record(utt_id="s1-1", speaker="s1", audio="a.wav", **texts):
    return Utterance(utt_id, speaker, audio, texts)


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ([record("s1-2"), record("s1-1")], "s1-1: out of order"),
        ([record(), record()], "s1-1: two utterances have this id"),
        ([record("a-1", "a"), record("a-b-1", "a-b"), record("a-c", "a")], "not sorted by speaker"),
        ([record(audio=" a.wav")], "begins or ends with whitespace"),
        ([record(audio="")], "is empty"),
        ([record(audio="a\nb.wav")], "control characters"),
        ([record(audio="\udcb0.wav")], "cannot be written as UTF-8"),
        ([record(speaker="s 1")], "speaker 's 1' has whitespace"),
        ([record(meaning="\u200b ")], "the meaning transcript is empty"),
        ([Utterance("s1-1", "s1", "a.wav", {"a.b": "x"})], "'a.b' is not a valid output name"),
        ([record("s1 1")], "has whitespace"),
    ],
)
def test_invalid_records_leave_the_earlier_directory_unchanged(tmp_path, invalid, message):
    write_directory(tmp_path / "a", [record("s0-0", "s0", meaning="이전")])
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with pytest.raises(UserError, match=message), DirectoryWriter(tmp_path / "a") as writer:
        for utterance in invalid:
            writer.add(utterance)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


def test_further_tables_are_written_and_stale_ones_removed(tmp_path):
    with DirectoryWriter(tmp_path, ["utt2topik"]) as writer:
        writer.add(record(), {"utt2topik": "4"})
        with pytest.raises(ValueError, match="not a table"):
            writer.add(record("s1-2"), {"utt2other": "4"})
    assert (tmp_path / "utt2topik").read_text() == "s1-1 4\n"
    with DirectoryWriter(tmp_path, ["utt2topik"]) as writer:
        writer.add(record())
    assert not (tmp_path / "utt2topik").exists()
