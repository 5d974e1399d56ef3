"""What stock ESPnet reads from our directories is what we wrote."""

from pathlib import Path

import numpy as np
import pytest

from espnet_ext.bin import cli, filter, format_audio, perturb
from espnet_ext.data.audio import load_audio, write_audio
from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.record import NA, Utterance

read_text = pytest.importorskip("espnet2.fileio.read_text", reason="ESPnet is not installed")

RATE = 16000
TEXTS = ["궁물 주세요", "ㄱ 구물", "AH0 B K", "é <unk> 값"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """data/train: four utterances of two speakers, one of them without a surface transcript."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    made = []
    for index, text in enumerate(TEXTS):
        utt_id = f"s{index % 2}-u{index}"
        samples = generator.uniform(-1, 1, 8000 + 100 * index)
        write_audio(f"wav/{utt_id}.wav", samples, RATE)
        texts = {"meaning": text} | ({"surface": text[::-1]} if index else {})
        made.append(Utterance(utt_id, utt_id[:2], f"wav/{utt_id}.wav", texts))
    write_directory("data/train", made)
    return tmp_path


def test_two_column_files(folder):
    for name in ("wav.scp", "utt2spk", "spk2utt", "text.surface", "text.meaning"):
        lines = Path("data/train", name).read_text(encoding="utf-8").splitlines()
        ours = dict(line.split(" ", 1) for line in lines)
        assert read_text.read_2columns_text(f"data/train/{name}") == ours
    by_id = {one.utt_id: one.texts["meaning"] for one in read_directory("data/train")}
    assert read_text.read_2columns_text("data/train/text.meaning") == by_id
    assert sorted(by_id.values()) == sorted(TEXTS)


def test_sounds_through_the_sound_reader(folder):
    from espnet2.fileio.sound_scp import SoundScpReader

    reader = SoundScpReader("data/train/wav.scp", dtype="float32")
    utterances = read_directory("data/train")
    assert list(reader) == [one.utt_id for one in utterances]
    for one in utterances:
        rate, samples = reader[one.utt_id]
        ours, our_rate = load_audio(one.audio)
        assert rate == our_rate == RATE
        np.testing.assert_array_equal(samples, ours)


@pytest.mark.parametrize("audio_format", ["wav", "flac", "wav.ark", "flac.ark"])
def test_dumped_sets_through_the_training_dataset(folder, audio_format):
    """Stages 2, 3 and 4, then `ESPnetDataset` as the trainer builds it."""
    from espnet2.train.dataset import ESPnetDataset

    for command, source, target, options in (
        (perturb, "data/train", "data/train_sp", ["--speeds", "0.9 1.0"]),
        (format_audio, "data/train_sp", "dump/org", ["--audio_format", audio_format]),
        (filter, "dump/org", "dump/train", []),
    ):
        assert cli.run(command.main, ["--input", source, "--output", target, *options]) == 0
    kind = "kaldi_ark" if audio_format.endswith("ark") else "sound"
    dataset = ESPnetDataset(
        [
            ("dump/train/wav.scp", "speech", kind),
            ("dump/train/text.surface", "surface", "text"),
            ("dump/train/text.meaning", "meaning", "text"),
        ],
        preprocess=lambda utt_id, data: {
            name: np.array([ord(letter) for letter in value]) if name != "speech" else value
            for name, value in data.items()
        },
        float_dtype="float32",
    )
    utterances = read_directory("dump/train")
    assert len(utterances) == 8
    for one in utterances:
        _, data = dataset[one.utt_id]
        np.testing.assert_array_equal(data["speech"], load_audio(one.audio)[0])
        texts = {name: "".join(map(chr, data[name])) for name in ("surface", "meaning")}
        assert texts == {"surface": NA, **one.texts}
    assert sum("surface" not in one.texts for one in utterances) == 2
