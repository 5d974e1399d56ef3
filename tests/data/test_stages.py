"""Stages 2 to 4 on a small directory: what comes out, and what a second run does."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_ext.bin import cli, filter, format_audio, perturb, validate
from espnet_ext.data.audio import load_audio
from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import read_table

RATE = 16000
# id: rate, seconds, channels, container
SOUNDS = {
    "s1-u1": (16000, 0.50, 1, "wav"),
    "s1-u2": (44100, 1.00, 1, "wav"),
    "s2-u1": (16000, 0.05, 1, "flac"),
    "s2-u2": (16000, 3.00, 2, "wav"),
}


@pytest.fixture
def utterances(tmp_path, monkeypatch):
    """Written to data/train in the current folder; s2-u1 has no transcript to train on."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    texts = {"surface": "궁물", "meaning": "국물", "canonical": "궁물"}
    made = []
    for utt_id, (rate, seconds, channels, suffix) in SOUNDS.items():
        samples = generator.uniform(-0.5, 0.5, (int(rate * seconds), channels))
        soundfile.write(f"{utt_id}.{suffix}", samples, rate, subtype="PCM_16")
        known = {"s1-u2": {"meaning": "나"}, "s2-u1": {"canonical": "다"}}.get(utt_id, texts)
        made.append(Utterance(utt_id, utt_id[:2], f"{utt_id}.{suffix}", known, lang="ko"))
    write_directory("data/train", made)
    return made


def run(command, source, target, *options):
    return cli.run(command.main, ["--input", source, "--output", target, *options])


def mono_only(utterances):
    """s2-u2 as its first channel."""
    samples, _ = soundfile.read("s2-u2.wav")
    soundfile.write("s2-u2.wav", samples[:, 0], RATE)


@pytest.mark.parametrize("nj", ["1", "2"])
@pytest.mark.parametrize("audio_format", ["wav", "flac", "wav.ark", "flac.ark"])
def test_formatting(utterances, capsys, audio_format, nj):
    options = ["--audio_format", audio_format, "--nj", nj, "--channel", "1"]
    assert run(format_audio, "data/train", "dump/org", *options) == 0
    said = capsys.readouterr().out
    assert "1 of them resampled from 44100 Hz" in said
    assert "1 of them reduced to one channel (1)" in said
    formatted = read_directory("dump/org")
    assert [(one.utt_id, one.texts, one.lang) for one in formatted] == [
        (one.utt_id, one.texts, one.lang) for one in utterances
    ]
    lengths = read_table("dump/org/utt2num_samples")
    for before, after in zip(utterances, formatted, strict=True):
        expected, _ = load_audio(before.audio, RATE, channel=1)
        found, rate = load_audio(after.audio)
        assert rate == RATE and int(lengths[after.utt_id]) == len(found) == len(expected)
        np.testing.assert_allclose(found, expected, atol=0.5001 / 32768)
    kept = {"wav": ["s1-u1"], "flac": ["s2-u1"]}.get(audio_format, [])
    assert [a.utt_id for b, a in zip(utterances, formatted, strict=True) if a.audio == b.audio] == (
        kept
    )
    assert cli.run(validate.main, ["dump/org", "--sample_rate", str(RATE)]) == 0


@pytest.mark.parametrize("audio_format", ["flac", "wav.ark"])
def test_formatting_again_writes_what_changed_and_nothing_else(utterances, capsys, audio_format):
    options = ["--audio_format", audio_format, "--channel", "mix", "--copy", "true"]
    assert run(format_audio, "data/train", "dump/org", *options) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("dump/org/data").iterdir()}
    table = Path("dump/org/wav.scp").read_bytes()
    capsys.readouterr()
    assert run(format_audio, "data/train", "dump/org", *options) == 0
    assert "0 written" in capsys.readouterr().out
    sounds = [path for path in before if not path.name.startswith(".")]
    assert all(path.stat().st_mtime_ns == before[path] for path in sounds)
    assert Path("dump/org/wav.scp").read_bytes() == table
    soundfile.write("s1-u1.wav", np.zeros(800), RATE)
    assert run(format_audio, "data/train", "dump/org", *options) == 0
    written = "1 written" if audio_format == "flac" else "4 written"  # an ark is written whole
    assert written in capsys.readouterr().out
    assert len(load_audio(read_directory("dump/org")[0].audio)[0]) == 800
    assert run(format_audio, "data/train", "dump/org", *options, "--sample_rate", "8000") == 0
    assert "4 written" in capsys.readouterr().out
    assert len(load_audio(read_directory("dump/org")[0].audio)[0]) == 400
    if audio_format == "flac":
        Path("dump/org/data/s1-u2.flac").unlink()
        assert run(format_audio, "data/train", "dump/org", *options, "--sample_rate", "8000") == 0
        assert "1 written" in capsys.readouterr().out


def test_copying_can_be_asked_for(utterances):
    mono_only(utterances)
    assert run(format_audio, "data/train", "dump/org", "--copy", "true") == 0
    for one in read_directory("dump/org"):
        assert one.audio == f"dump/org/data/{one.utt_id}.wav"
    original, copy = Path("s1-u1.wav").read_bytes(), Path("dump/org/data/s1-u1.wav").read_bytes()
    np.testing.assert_array_equal(*(np.frombuffer(x[44:], "<i2") for x in (original, copy)))


def test_pipes_become_files(utterances):
    mono_only(utterances)
    rows = "".join(f"{one.utt_id} cat {one.audio} |\n" for one in utterances)
    Path("data/train/wav.scp").write_text(rows)
    assert run(format_audio, "data/train", "dump/org") == 1
    assert run(format_audio, "data/train", "dump/org", "--allow_pipes", "true") == 0
    assert all(one.audio.startswith("dump/org/data/") for one in read_directory("dump/org"))
    assert run(filter, "dump/org", "dump/train") == 0


@pytest.mark.parametrize("nj", ["1", "2"])
def test_speed_perturbation(utterances, capsys, nj):
    mono_only(utterances)
    options = ["--speeds", "0.9 1.0 1.1", "--nj", nj]
    assert run(perturb, "data/train", "data/train_sp", *options) == 0
    copies = {one.utt_id: one for one in read_directory("data/train_sp")}
    assert len(copies) == 12
    originals = {one.utt_id: one for one in read_directory("data/train")}
    for utt_id, original in originals.items():
        assert copies[utt_id] == original
        for name, factor in (("0.9", 0.9), ("1.1", 1.1)):
            copy = copies[f"sp{name}-{utt_id}"]
            assert (copy.speaker, copy.texts, copy.lang) == (
                f"sp{name}-{original.speaker}",
                original.texts,
                "ko",
            )
            assert copy.audio == f"data/train_sp/audio/sp{name}-{utt_id}.wav"
            samples, rate = load_audio(original.audio)
            perturbed, new_rate = load_audio(copy.audio)
            assert new_rate == rate
            assert abs(len(perturbed) - len(samples) / factor) <= 1
    capsys.readouterr()
    assert run(perturb, "data/train", "data/train_sp", *options) == 0
    assert "0 written" in capsys.readouterr().out
    assert cli.run(validate.main, ["data/train_sp"]) == 0
    assert "speaker-prefix" not in capsys.readouterr().out


def test_speed_perturbation_moves_pitch_and_tempo(utterances):
    """A click train and a tone: at 1.25 everything is 1.25 times as early and as high."""
    time = np.arange(2 * RATE) / RATE
    soundfile.write("tone.wav", 0.5 * np.sin(2 * np.pi * 400 * time) * (time < 1.0), RATE)
    write_directory("data/tone", [Utterance("s-t", "s", "tone.wav", {"meaning": "a"})])
    options = ["--speeds", "1.25", "--audio_dir", "elsewhere"]
    assert run(perturb, "data/tone", "data/tone_sp", *options) == 0
    samples, rate = soundfile.read("elsewhere/sp1.25-s-t.wav")
    assert (len(samples), rate) == (25600, RATE)
    assert abs(np.flatnonzero(np.abs(samples) > 0.1)[-1] - 12800) < 40
    spectrum = np.abs(np.fft.rfft(samples[:12800]))
    assert np.argmax(spectrum) * RATE / 12800 == 500


def test_filtering(utterances, capsys):
    mono_only(utterances)
    options = ["--outputs", "surface meaning", "--min_seconds", "0.1", "--max_seconds", "2"]
    assert run(filter, "data/train", "dump/train", *options) == 0
    said = capsys.readouterr().out
    assert "dump/train: 2 of 4 utterances kept, 0.00 h, labelled: 1 surface, 2 meaning" in said
    assert "removed 1: shorter than 0.1 s" in said and "removed 1: longer than 2 s" in said
    removed = Path("dump/train/removed.tsv").read_text().splitlines()
    assert removed == [
        "utterance\tspeaker\tseconds\treason",
        "s2-u1\ts2\t0.0500\tshorter than 0.1 s",
        "s2-u2\ts2\t3.0000\tlonger than 2 s",
    ]
    assert Path("dump/train/text.surface").read_text() == "s1-u1 궁물\ns1-u2 <na>\n"
    assert Path("dump/train/text.meaning").read_text() == "s1-u1 국물\ns1-u2 나\n"
    assert Path("dump/train/text.canonical").read_text() == "s1-u1 궁물\n"
    assert Path("dump/train/utt2dur").read_text() == "s1-u1 0.5000\ns1-u2 1.0000\n"
    report = json.loads(Path("dump/train/validation.json").read_text())
    assert report["utterances"] == 4 and report["labelled"]["surface"] == 2
    found = {one["code"] for one in report["findings"] if one["severity"] == "warning"}
    assert found == {"mixed-rates"}


def test_an_utterance_without_any_asked_output_goes_and_one_with_some_stays(utterances):
    mono_only(utterances)
    assert run(filter, "data/train", "dump/train", "--min_seconds", "0.01") == 0
    assert [one.utt_id for one in read_directory("dump/train")] == ["s1-u1", "s1-u2", "s2-u2"]
    reason = "no transcript for surface or meaning"
    assert f"s2-u1\ts2\t0.0500\t{reason}" in Path("dump/train/removed.tsv").read_text()
    assert run(filter, "data/train", "dump/only", "--outputs", "surface") == 0
    assert [one.utt_id for one in read_directory("dump/only")] == ["s1-u1", "s2-u2"]


def test_sets_to_decode_keep_everything(utterances):
    mono_only(utterances)
    assert run(filter, "data/train", "dump/test", "--max_seconds", "1", "--no_filter", "true") == 0
    assert [one.utt_id for one in read_directory("dump/test")] == list(SOUNDS)
    assert Path("dump/test/text.surface").read_text().count("<na>") == 2
    assert Path("dump/test/removed.tsv").read_text().count("\n") == 1


def test_stages_are_deterministic(utterances):
    mono_only(utterances)
    for name, nj in (("a", "1"), ("b", "2")):
        assert run(format_audio, "data/train", name, "--audio_format", "flac.ark", "--nj", nj) == 0
    assert Path("a/data/audio.1.ark").read_bytes() == Path("b/data/audio.1.ark").read_bytes()


def test_many_utterances_share_several_arks(utterances, monkeypatch):
    monkeypatch.setattr("espnet_ext.data.formatting.ARK_ENTRIES", 2)
    mono_only(utterances)
    assert run(format_audio, "data/train", "a", "--audio_format", "wav.ark", "--nj", "2") == 0
    arks = [one.audio.rpartition(":")[0] for one in read_directory("a")]
    assert arks == ["a/data/audio.1.ark"] * 2 + ["a/data/audio.2.ark"] * 2
