"""Stages 2 to 4 on a small directory: their output, and what a second run writes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from directories import make_directory

from espnet_ext.bin import cli, filter, format_audio, perturb, validate
from espnet_ext.data.audio import load_audio
from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import read_table

RATE = 16000
# id: sample rate in Hz, seconds, channels, container
SOUNDS = {
    "s1-u1": (16000, 0.50, 1, "wav"),
    "s1-u2": (44100, 1.00, 1, "wav"),
    "s2-u1": (16000, 0.05, 1, "flac"),
    "s2-u2": (16000, 3.00, 2, "wav"),
}


@pytest.fixture
def utterances(tmp_path, monkeypatch):
    """The utterances of data/train, in the current folder; s2-u1 has only a canonical text."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    all_texts = {"surface": "궁물", "meaning": "국물", "canonical": "궁물"}
    utterances = []
    for utt_id, (rate, seconds, channels, suffix) in SOUNDS.items():
        samples = generator.uniform(-0.5, 0.5, (int(rate * seconds), channels))
        soundfile.write(f"{utt_id}.{suffix}", samples, rate, subtype="PCM_16")
        texts = {"s1-u2": {"meaning": "나"}, "s2-u1": {"canonical": "다"}}.get(utt_id, all_texts)
        utterances.append(Utterance(utt_id, utt_id[:2], f"{utt_id}.{suffix}", texts, lang="ko"))
    write_directory("data/train", utterances)
    return utterances


def run(command, source, target, *options):
    return cli.run(command.main, ["--input", source, "--output", target, *options])


def reduce_to_mono(utterances):
    """Replace s2-u2, the only recording with two channels, by its first channel."""
    samples, _ = soundfile.read("s2-u2.wav")
    soundfile.write("s2-u2.wav", samples[:, 0], RATE)


@pytest.mark.parametrize("nj", ["1", "2"])
@pytest.mark.parametrize("audio_format", ["wav", "flac", "wav.ark", "flac.ark"])
def test_formatting_writes_one_rate_and_channel(utterances, capsys, audio_format, nj):
    options = ["--audio_format", audio_format, "--nj", nj, "--channel", "1"]
    assert run(format_audio, "data/train", "dump/org", *options) == 0
    output = capsys.readouterr().out
    assert "1 of them resampled from 44100 Hz" in output
    assert "1 of them reduced to one channel (1)" in output
    formatted = read_directory("dump/org")
    assert [(item.utt_id, item.texts, item.lang) for item in formatted] == [
        (item.utt_id, item.texts, item.lang) for item in utterances
    ]
    lengths = read_table("dump/org/utt2num_samples")
    for before, after in zip(utterances, formatted, strict=True):
        expected, _ = load_audio(before.audio, RATE, channel=1)
        samples, rate = load_audio(after.audio)
        assert rate == RATE and int(lengths[after.utt_id]) == len(samples) == len(expected)
        np.testing.assert_allclose(samples, expected, atol=0.5001 / 32768)
    not_copied = {"wav": ["s1-u1"], "flac": ["s2-u1"]}.get(audio_format, [])
    pairs = zip(utterances, formatted, strict=True)
    assert [after.utt_id for before, after in pairs if after.audio == before.audio] == not_copied
    assert cli.run(validate.main, ["dump/org", "--sample_rate", str(RATE)]) == 0


@pytest.mark.parametrize("audio_format", ["flac", "wav.ark"])
def test_formatting_again_writes_only_what_changed(utterances, capsys, audio_format):
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
    written = "1 written" if audio_format == "flac" else "4 written"  # the whole ark
    assert written in capsys.readouterr().out
    assert len(load_audio(read_directory("dump/org")[0].audio)[0]) == 800
    assert run(format_audio, "data/train", "dump/org", *options, "--sample_rate", "8000") == 0
    assert "4 written" in capsys.readouterr().out
    assert len(load_audio(read_directory("dump/org")[0].audio)[0]) == 400
    if audio_format == "flac":
        Path("dump/org/data/s1-u2.flac").unlink()
        assert run(format_audio, "data/train", "dump/org", *options, "--sample_rate", "8000") == 0
        assert "1 written" in capsys.readouterr().out


def test_formatting_again_notices_a_recording_of_the_same_size_and_date(utterances, capsys):
    options = ["--channel", "mix", "--copy", "true"]
    assert run(format_audio, "data/train", "dump/org", *options) == 0
    status = os.stat("s1-u1.wav")
    soundfile.write("s1-u1.wav", np.zeros(8000), RATE, subtype="PCM_16")
    os.utime("s1-u1.wav", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat("s1-u1.wav").st_size == status.st_size
    capsys.readouterr()
    assert run(format_audio, "data/train", "dump/org", *options) == 0
    assert "1 written" in capsys.readouterr().out
    assert not load_audio(read_directory("dump/org")[0].audio)[0].any()


def test_copy_writes_audio_that_has_the_format_already(utterances):
    reduce_to_mono(utterances)
    assert run(format_audio, "data/train", "dump/org", "--copy", "true") == 0
    for utterance in read_directory("dump/org"):
        assert utterance.audio == f"dump/org/data/{utterance.utt_id}.wav"
    original, copy = Path("s1-u1.wav").read_bytes(), Path("dump/org/data/s1-u1.wav").read_bytes()
    np.testing.assert_array_equal(*(np.frombuffer(x[44:], "<i2") for x in (original, copy)))


def test_pipes_are_formatted_if_allowed(utterances):
    reduce_to_mono(utterances)
    rows = "".join(f"{item.utt_id} cat {item.audio} |\n" for item in utterances)
    Path("data/train/wav.scp").write_text(rows)
    assert run(format_audio, "data/train", "dump/org") == 1
    assert run(format_audio, "data/train", "dump/org", "--allow_pipes", "true") == 0
    assert all(item.audio.startswith("dump/org/data/") for item in read_directory("dump/org"))
    assert run(filter, "dump/org", "dump/train") == 0


@pytest.mark.parametrize("nj", ["1", "2"])
def test_speed_perturbation_copies_records_and_changes_durations(utterances, capsys, nj):
    reduce_to_mono(utterances)
    options = ["--speeds", "0.9 1.0 1.1", "--nj", nj]
    assert run(perturb, "data/train", "data/train_sp", *options) == 0
    copies = {item.utt_id: item for item in read_directory("data/train_sp")}
    assert len(copies) == 12
    originals = {item.utt_id: item for item in read_directory("data/train")}
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


def test_speed_perturbation_changes_pitch_and_tempo(utterances):
    """A tone of 400 Hz that ends at 1 s: at speed 1.25, it has 500 Hz and ends at 0.8 s."""
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


def test_filtering_removes_by_duration_and_fills_missing_rows(utterances, capsys):
    reduce_to_mono(utterances)
    options = ["--outputs", "surface meaning", "--min_seconds", "0.1", "--max_seconds", "2"]
    assert run(filter, "data/train", "dump/train", *options) == 0
    output = capsys.readouterr().out
    assert "dump/train: 2 of 4 utterances kept, 0.00 h, labelled: 1 surface, 2 meaning" in output
    assert "removed 1: shorter than 0.1 s" in output and "removed 1: longer than 2 s" in output
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
    warnings = {item["code"] for item in report["findings"] if item["severity"] == "warning"}
    assert warnings == {"mixed-rates"}


def test_utterance_is_removed_only_if_all_outputs_are_missing(utterances):
    reduce_to_mono(utterances)
    assert run(filter, "data/train", "dump/train", "--min_seconds", "0.01") == 0
    assert [item.utt_id for item in read_directory("dump/train")] == ["s1-u1", "s1-u2", "s2-u2"]
    reason = "no transcript for surface or meaning"
    assert f"s2-u1\ts2\t0.0500\t{reason}" in Path("dump/train/removed.tsv").read_text()
    assert run(filter, "data/train", "dump/only", "--outputs", "surface") == 0
    assert [item.utt_id for item in read_directory("dump/only")] == ["s1-u1", "s2-u2"]


def test_no_filter_keeps_all_utterances(utterances):
    reduce_to_mono(utterances)
    assert run(filter, "data/train", "dump/test", "--max_seconds", "1", "--no_filter", "true") == 0
    assert [item.utt_id for item in read_directory("dump/test")] == list(SOUNDS)
    assert Path("dump/test/text.surface").read_text().count("<na>") == 2
    assert Path("dump/test/removed.tsv").read_text().count("\n") == 1


def test_arks_do_not_depend_on_the_number_of_processes(utterances):
    reduce_to_mono(utterances)
    for name, nj in (("a", "1"), ("b", "2")):
        assert run(format_audio, "data/train", name, "--audio_format", "flac.ark", "--nj", nj) == 0
    assert Path("a/data/audio.1.ark").read_bytes() == Path("b/data/audio.1.ark").read_bytes()


def test_utterances_are_distributed_over_several_arks(utterances, monkeypatch):
    monkeypatch.setattr("espnet_ext.data.formatting.ARK_ENTRIES", 2)
    reduce_to_mono(utterances)
    assert run(format_audio, "data/train", "a", "--audio_format", "wav.ark", "--nj", "2") == 0
    arks = [item.audio.rpartition(":")[0] for item in read_directory("a")]
    assert arks == ["a/data/audio.1.ark"] * 2 + ["a/data/audio.2.ark"] * 2


@pytest.mark.parametrize("what", ["source", "target"])
def test_sound_is_written_again_if_a_file_of_the_same_size_and_date_replaces_it(tmp_path, what):
    make_directory(tmp_path / "d", lang="ko")
    arguments = ["--input", str(tmp_path / "d"), "--output", str(tmp_path / "o"), "--copy", "true"]
    assert cli.run(format_audio.main, arguments) == 0
    target = tmp_path / "o/data/s1-u1.wav"
    before = target.read_bytes()
    changed = tmp_path / "d/s1-u1.wav" if what == "source" else target
    status = changed.stat()
    content = bytearray(changed.read_bytes())
    content[2000:2100] = bytes(100)
    changed.write_bytes(content)
    if what == "source":  # the change time differs all the same
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cli.run(format_audio.main, arguments) == 0
    assert (target.read_bytes() == before) == (what == "target")
