"""`audio.sha256`: the content of the recordings of a set, wherever they are."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from directories import make_directory, write_table

from espnet_ext.data import audio_digest
from espnet_ext.data.audio_digest import read_digest, with_digest
from espnet_ext.data.filtering import FilterOptions, filter_directory
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import read_table

IDS = ("a-1", "a-2", "b-1")


@pytest.fixture
def source(tmp_path):
    return make_directory(tmp_path / "source", IDS, meaning=["가", "나", "다"])


def digest_of(source, target):
    filter_directory(source, target, FilterOptions(("meaning",)))
    return read_digest(target)


def test_stage_4_writes_a_digest_of_ids_and_content(source, tmp_path):
    expected = hashlib.sha256()
    for key, path in sorted(read_table(source / "wav.scp").items()):
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        expected.update(f"{key}  {content}\n".encode())
    assert digest_of(source, tmp_path / "filtered") == expected.hexdigest()


def test_other_samples_of_the_same_length_have_another_digest(source, tmp_path):
    before = digest_of(source, tmp_path / "filtered")
    path = read_table(source / "wav.scp")["a-2"]
    samples, rate = soundfile.read(path)
    soundfile.write(path, np.random.default_rng(1).uniform(-0.5, 0.5, samples.shape), rate)
    assert digest_of(source, tmp_path / "filtered") != before


def test_the_same_recordings_elsewhere_have_the_same_digest(source, tmp_path, monkeypatch):
    before = digest_of(source, tmp_path / "filtered")
    rows = read_table(source / "wav.scp")
    for key, path in rows.items():
        (source / f"{key}.wav").write_bytes(Path(path).read_bytes())
    write_table(source, "wav.scp", *(f"{key} {key}.wav" for key in rows))  # relative to wav.scp
    monkeypatch.chdir(tmp_path)
    assert digest_of(source, tmp_path / "moved") == before


def test_an_archive_is_read_once_and_its_members_are_told_apart(tmp_path, monkeypatch):
    archive = tmp_path / "raw.ark"
    archive.write_bytes(b"content")
    reads = []
    monkeypatch.setattr(audio_digest, "_BATCH", 2)
    monkeypatch.setattr(audio_digest, "sha256_of", lambda path: reads.append(path) or "d")

    def digest(offsets):
        utterances = [Utterance(f"u{n}", "s", f"{archive}:{n}", {}) for n in offsets]
        assert list(with_digest(utterances, tmp_path, nj=2)) == utterances
        return read_digest(tmp_path)

    first = digest([3, 9, 20, 31, 40])
    assert reads == [str(archive)]
    assert digest([3, 9, 20, 31, 41]) != first


def test_commands_and_missing_files_count_too(tmp_path):
    def digest(*sources):
        utterances = [Utterance(f"u{n}", "s", source, {}) for n, source in enumerate(sources)]
        assert len(list(with_digest(utterances, tmp_path))) == len(sources)
        return read_digest(tmp_path)

    digests = {digest("cat a.wav |", "b.wav"), digest("cat c.wav |", "b.wav")}
    assert len(digests) == 2


def test_an_unfinished_set_has_no_digest(tmp_path):
    utterances = with_digest([Utterance("u", "s", "a.wav", {})] * 2, tmp_path)
    next(utterances)
    utterances.close()
    assert read_digest(tmp_path) is None
