"""Stage 4 reads and writes tables in step: the files of `write_directory`, in little memory."""

import tracemalloc
from collections import Counter

import pytest
from directories import make_directory, write_table

from espnet_ext.data import table
from espnet_ext.data.audio import AudioInfo
from espnet_ext.data.checks import audio
from espnet_ext.data.checks.columns import AudioColumn
from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.filtering import FilterOptions, filter_directory
from espnet_ext.data.table import read_table

# Sorted by id, the speakers are not sorted
IDS = ("a-1", "a-b-1", "a-c", "a-d-2", "b-1")
SPEAKERS = ("a", "a-b", "a", "a", "b")


@pytest.mark.parametrize("order", [IDS, IDS[::-1]])
def test_files_are_those_of_all_utterances_in_memory(tmp_path, order):
    source = make_directory(tmp_path / "source", IDS, meaning=["가", "나", "다", "라", "마"])
    write_table(source, "utt2spk", *map(" ".join, zip(IDS, SPEAKERS, strict=True)))
    (source / "spk2utt").unlink()
    write_table(source, "text.surface", "a-b-1 나다", "b-1 <na>")
    for name in ("wav.scp", "text.meaning", "utt2spk"):
        rows = read_table(source / name)
        write_table(source, name, *(f"{key} {rows[key]}" for key in order))
    write_table(source, "utt2lang", *(f"{key} ko" for key in order[:3]))
    write_table(source, "utt2device", *(f"{key} phone  {key}" for key in order[1:]), "z-1 none")
    write_table(source, "spk2age", "b 41", "a 30", "z 9")
    lines = filter_directory(source, tmp_path / "filtered", FilterOptions(("surface", "meaning")))
    assert "5 of 5 utterances kept" in lines[0] and lines[0].endswith("1 surface, 5 meaning")
    utterances = read_directory(source)
    seconds = {
        key: f"{audio.audio_info(u.audio).seconds:.4f}"
        for key, u in zip(IDS, utterances, strict=True)
    }
    devices = read_table(source / "utt2device")
    extra = {
        "utt2dur": seconds,
        "utt2device": {key: devices[key] for key in IDS if key in devices},
        "spk2age": {"a": "30", "b": "41"},
    }
    write_directory(
        tmp_path / "expected", utterances, fill_missing=("surface", "meaning"), extra=extra
    )
    for path in (tmp_path / "expected").iterdir():
        assert (tmp_path / "filtered" / path.name).read_bytes() == path.read_bytes(), path.name


def test_memory_per_utterance_is_small(tmp_path, monkeypatch):
    frames = iter(range(16000, 1 << 30))  # no two recordings of one length

    def read(source, read_samples):
        return AudioInfo(next(frames), 16000, 1, "WAV", "PCM_16"), None, None

    monkeypatch.setattr(audio, "_read", read)
    monkeypatch.setattr(table, "_BLOCK_BYTES", 1 << 12)

    def peak(count):
        source = tmp_path / str(count)
        source.mkdir()
        ids = [f"speaker{n // 100:04}-utterance{n:07}" for n in range(count)]
        for name, value in (
            ("wav.scp", f"/corpus/{'folder/' * 10}audio.wav"),
            ("text.meaning", "가 나 다 라 마 바 사"),
            ("utt2lang", "ko"),
            ("utt2device", "phone"),
        ):
            write_table(source, name, *(f"{key} {value}" for key in ids))
        write_table(source, "utt2spk", *(f"{key} {key[:11]}" for key in ids))
        tracemalloc.start()
        filter_directory(source, tmp_path / f"{count}filtered", FilterOptions(("meaning",)))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)  # imports
    assert (peak(4000) - peak(2000)) / 2000 < 450  # bytes; with all utterances in memory 2500


def test_recordings_of_equal_length_in_order_of_first_members():
    lengths = {"a": 5, "b": 3, "c": 7, "d": 3, "e": 0, "f": 5, "g": 0, "h": 3}
    column = AudioColumn({key: position for position, key in enumerate([*lengths, "unread"])})
    for key, frames in lengths.items():
        column.set(key, AudioInfo(frames, 8000 if key == "h" else 16000, 1))
    assert column.of_equal_length() == ["a", "f", "b", "d"]
    assert list(column) == list(lengths) and "unread" not in column
    assert Counter(info.rate for info in column.values()) == {16000: 7, 8000: 1}
