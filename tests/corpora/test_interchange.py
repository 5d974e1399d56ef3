"""Tests of imports from Kaldi, lhotse and Hugging Face, and of the export to lhotse.

The libraries themselves are the oracles.
"""

import gzip
import importlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_ext.bin import cli
from espnet_ext.bin.export import main as export_main
from espnet_ext.data.audio import read_audio
from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.data.validate import validate_directory

import_main = importlib.import_module("espnet_ext.bin.import_").main
RATE = 8000


def noise(seconds, channels=1, seed=0):
    """Return 16-bit samples, (T,) or (T, channels)."""
    shape = (int(seconds * RATE), channels)[: 1 + (channels > 1)]
    return np.random.default_rng(seed).integers(-9000, 9000, shape).astype(np.int16)


def write_sound(path, seconds=1.0, channels=1, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(seconds, channels, seed), RATE, subtype="PCM_16")
    return path


def run(main, *argv):
    return cli.run(main, [str(word) for word in argv])


def samples_of(path):
    return soundfile.read(path, dtype="int16")[0]


def errors_of(folder):
    return [one for one in validate_directory(folder) if one.severity == "error"]


def tables(folder, **rows):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        name = name.replace("wavscp", "wav.scp").replace("__", ".")
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


# -- Kaldi


def test_import_of_a_kaldi_directory_refers_to_its_audio(tmp_path, capsys, monkeypatch):
    write_sound(tmp_path / "audio/a.wav")
    kaldi = tables(
        tmp_path / "kaldi",
        wavscp=["s1-a audio/a.wav", "s1-b audio/a.wav", "s1-c audio/a.wav"],
        text=["s1-a hello there", "s1-b"],
        utt2spk=["s1-a s1", "s1-b s1", "s1-c s1"],
        utt2lang=["s1-a en", "s1-b en", "s1-c en"],
    )
    monkeypatch.chdir(tmp_path)  # relative paths start here, as in Kaldi
    assert run(import_main, "--from", "kaldi", kaldi, "--output", "out") == 0
    first, second, third = read_directory(tmp_path / "out")
    assert first == Utterance(
        "s1-a", "s1", str(tmp_path / "audio/a.wav"), {"meaning": "hello there"}, "en"
    )
    assert second.texts == third.texts == {}
    assert not errors_of(tmp_path / "out") and not (tmp_path / "out/data").exists()
    report = json.loads((tmp_path / "out/import.json").read_text())
    reasons = {"s1-b": "text is empty", "s1-c": "text has no entry"}
    assert report["unlabelled"] == {key: {"meaning": why} for key, why in reasons.items()}
    assert "3 utterances" in capsys.readouterr().err


def test_kaldi_columns_are_files(tmp_path):
    write_sound(tmp_path / "a.wav")
    kaldi = tables(
        tmp_path / "k",
        wavscp=[f"u1 {tmp_path}/a.wav"],
        text=["u1 W IY"],
        words=["u1 we"],
        native=["u1 ko"],
    )
    argv = ["--from", "kaldi", kaldi, "--surface", "text", "--meaning", "words", "--l1", "native"]
    argv += ["--texts", "gloss=words", "--speaker", "=s1", "--lang", "=en", "--output"]
    assert run(import_main, *argv, tmp_path / "out") == 0
    (one,) = read_directory(tmp_path / "out")
    assert one.texts == {"surface": "W IY", "meaning": "we", "gloss": "we"}
    assert (one.speaker, one.lang, one.l1) == ("s1", "en", "ko")


def test_segments_are_cut_as_lhotse_cuts_them(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    sound = write_sound(tmp_path / "r.wav", 10)
    rows = [("u1", 0.0, 1.0), ("u2", 1.2345, 3.4567), ("u3", 9.0, 10.3), ("u4", 2.5, -1)]
    kaldi = tables(
        tmp_path / "k",
        wavscp=[f"r {sound}"],
        segments=[f"{name} r {start} {end}" for name, start, end in rows],
        text=[f"{name} x" for name, _, _ in rows],
        utt2spk=[f"{name} s" for name, _, _ in rows],
    )
    out = tmp_path / "out"
    assert run(import_main, "--from", "kaldi", kaldi, "--output", out, "--nj", 2) == 0
    recording = lhotse.Recording.from_file(sound)
    for (name, start, end), one in zip(rows, read_directory(out), strict=True):
        end = 10 if end == -1 else min(10, end)
        oracle = recording.load_audio(offset=start, duration=round(end - start, 6))[0]
        assert np.array_equal(samples_of(one.audio), np.rint(oracle * 32768)), name
    report = json.loads((out / "import.json").read_text())
    assert report["counts"] == {"parts that end after their audio, shortened": 1}
    assert report["sets"]["out"]["hours"] == round((1 + 2.2222 + 1 + 7.5) / 3600, 3)


def test_second_import_keeps_existing_audio(tmp_path):
    sound = write_sound(tmp_path / "r.wav", 2)
    kaldi = tables(
        tmp_path / "k",
        wavscp=[f"r {sound}"],
        segments=["u1 r 0 1", "u2 r 1 2"],
        text=["u1 a", "u2 b"],
        utt2spk=["u1 s", "u2 s"],
    )
    out = tmp_path / "out"
    assert run(import_main, "--from", "kaldi", kaldi, "--output", out) == 0
    before = {path: path.stat().st_mtime_ns for path in (out / "data").glob("*.flac")}
    tables_before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert run(import_main, "--from", "kaldi", kaldi, "--output", out) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (out / "data").glob("*.flac")}
    assert tables_before == {
        path.name: path.read_bytes() for path in out.iterdir() if path.is_file()
    }
    assert len(before) == 2


def test_commands_run_only_if_allowed_and_once_per_recording(tmp_path, capsys):
    sound, log = write_sound(tmp_path / "r.wav", 2), tmp_path / "log"
    command = f"echo x >> {log}; cat {sound} |"
    kaldi = tables(
        tmp_path / "k",
        wavscp=[f"r {command}"],
        segments=["u1 r 0 1", "u2 r 1 2"],
        text=["u1 a", "u2 b"],
    )
    argv = ["--from", "kaldi", kaldi, "--output", tmp_path / "out"]
    assert run(import_main, *argv) == 1
    assert "is a command, which is not run" in capsys.readouterr().err and not log.exists()
    assert run(import_main, *argv, "--allow_pipes", "true") == 0
    assert log.read_text() == "x\n"
    second = read_directory(tmp_path / "out")[1]
    assert np.array_equal(samples_of(second.audio), noise(2)[RATE:])
    assert second.speaker == "u2"  # without utt2spk, as in Kaldi


def test_channels_and_arks(tmp_path, capsys):
    import kaldiio

    stereo = write_sound(tmp_path / "st.wav", 1, channels=2)
    kaldiio.save_ark(
        str(tmp_path / "x.ark"),
        {"b": (RATE, noise(1, seed=3))},
        scp=str(tmp_path / "x.scp"),
        write_function="soundfile",
    )
    entry = (tmp_path / "x.scp").read_text().split(maxsplit=1)[1].strip()
    kaldi = tables(
        tmp_path / "k",
        wavscp=[f"a {stereo}", f"b {entry}"],
        text=["a x", "b y"],
        segments=["a1 a 0 0.5", "b1 b 0.5 1"],
    )
    (tmp_path / "k/text").write_text("a1 x\nb1 y\n")
    argv = ["--from", "kaldi", kaldi, "--output", tmp_path / "out"]
    assert run(import_main, *argv) == 1
    assert "a1: " in (message := capsys.readouterr().err) and "2 channels" in message
    assert run(import_main, *argv, "--channel", 1) == 0
    first, second = read_directory(tmp_path / "out")
    assert np.array_equal(samples_of(first.audio), noise(1, 2)[: RATE // 2, 1])
    assert np.array_equal(samples_of(second.audio), noise(1, seed=3)[RATE // 2 :])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wavscp": []}, "no recordings"),
        ({"wavscp": ["u1 {a}"], "text": ["u2 x"]}, "1 ids are not in wav.scp:\n  u2"),
        ({"wavscp": ["r {a}"], "segments": ["u1 q 0 1"]}, "recording q: not in wav.scp"),
        ({"wavscp": ["r {a}"], "segments": ["u1 r 1 0.5"]}, "1 rows are not segments:\n  u1"),
        ({"wavscp": ["r {a}"], "segments": ["u1 r x 1", "u2 r 1"]}, "2 rows are not segments"),
        ({"wavscp": ["r {a}"], "segments": ["u1 r nan 1"]}, "1 rows are not segments"),
        ({"wavscp": ["r {a}"], "segments": ["u1 r 0 9"]}, "has no part from 0 s to 9 s"),
        ({"wavscp": ["u1 {a}.no"]}, "no such audio file"),
    ],
)
def test_errors_of_kaldi_directories(tmp_path, capsys, files, message):
    sound = write_sound(tmp_path / "a.wav")
    files = {name: [row.format(a=sound) for row in rows] for name, rows in files.items()}
    assert (
        run(
            import_main,
            "--from",
            "kaldi",
            tables(tmp_path / "k", **files),
            "--output",
            tmp_path / "out",
        )
        == 1
    )
    error = capsys.readouterr().err
    assert message in error and "remedy" in error
    assert not (tmp_path / "out/wav.scp").exists()


def test_skip_unreadable_leaves_out_unreadable_audio(tmp_path):
    sound = write_sound(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_text("no sound")
    kaldi = tables(
        tmp_path / "k", wavscp=[f"u1 {sound}", f"u2 {tmp_path}/b.wav"], text=["u1 x", "u2 y"]
    )
    argv = ["--from", "kaldi", kaldi, "--output", tmp_path / "out"]
    assert run(import_main, *argv) == 1
    assert run(import_main, *argv, "--skip_unreadable", "true") == 0
    report = json.loads((tmp_path / "out/import.json").read_text())
    assert list(report["left_out"]) == ["u2"]
    assert f"unreadable audio: {tmp_path}/b.wav: " in report["left_out"]["u2"]


TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4))
def test_any_kaldi_files_are_read_or_raise_user_error(tmp_path_factory, wav, segments, text):
    folder = tmp_path_factory.mktemp("k")
    sound = write_sound(folder / "a.wav", 0.2)
    rows = [f"r {sound}", *wav]
    for name, lines in (("wav.scp", rows), ("segments", segments), ("text", text)):
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    assert run(import_main, "--from", "kaldi", folder, "--output", folder / "out") in (0, 1)


# -- lhotse


def directory(tmp_path, count=3):
    """Write a data directory with all fields of a record; some utterances lack some of them."""
    utterances = []
    for number in range(count):
        sound = write_sound(tmp_path / f"audio/{number}.flac", 1 + number / 3, seed=number)
        texts = {
            "surface": f"궁물 {number}",
            "meaning": f"국물 {number}",
            "canonical": "궁물",
            "gloss_2": "soup",
        }
        for name in list(texts)[: number % 5]:
            del texts[name]
        utterances.append(
            Utterance(
                f"s{number}-u",
                f"s{number}",
                str(sound),
                texts,
                "ko",
                "en" if number else None,
                "wide",
                "read",
            )
        )
    write_directory(tmp_path / "data", utterances)
    return utterances


def test_export_is_valid_for_lhotse_and_can_be_imported_again(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    utterances = directory(tmp_path, 6)
    out = tmp_path / "manifests"
    assert run(export_main, "--to", "lhotse", tmp_path / "data", "--output", out) == 0
    for name, kind in (
        ("recordings", lhotse.RecordingSet),
        ("supervisions", lhotse.SupervisionSet),
        ("cuts", lhotse.CutSet),
    ):
        manifest = kind.from_file(out / f"{name}.jsonl.gz")
        lhotse.validate(manifest, read_data=True)
        assert len(list(manifest)) == 6
    for one, cut in zip(utterances, lhotse.CutSet.from_file(out / "cuts.jsonl.gz"), strict=True):
        (supervision,) = cut.supervisions
        assert supervision.text == one.texts.get("meaning", one.texts.get("surface"))
        assert (supervision.speaker, supervision.language) == (one.speaker, one.lang)
        for output in ("surface", "meaning", "canonical"):
            assert (supervision.custom or {}).get(output) == one.texts.get(output)
        samples = np.rint(cut.load_audio()[0] * 32768)
        assert np.array_equal(samples, samples_of(one.audio))
    lhotse.validate_recordings_and_supervisions(
        lhotse.RecordingSet.from_file(out / "recordings.jsonl.gz"),
        lhotse.SupervisionSet.from_file(out / "supervisions.jsonl.gz"),
    )
    again = tmp_path / "again"
    assert run(import_main, "--from", "lhotse", out, "--output", again) == 0
    assert read_directory(again) == utterances
    for name in ("wav.scp", "utt2spk", "text.surface", "text.gloss_2", "utt2l1", "utt2band"):
        assert (again / name).read_bytes() == (tmp_path / "data" / name).read_bytes()


def test_export_is_reproducible(tmp_path):
    pytest.importorskip("lhotse")
    directory(tmp_path)
    for name in ("a", "b"):
        argv = ["--to", "lhotse", tmp_path / "data", "--output", tmp_path / name]
        assert run(export_main, *argv) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_arks_are_exported_as_files(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    from espnet_ext.data.formatting import AudioFormat, format_directory

    utterances = directory(tmp_path)
    form = AudioFormat(sample_rate=RATE, audio_format="flac.ark")
    format_directory(tmp_path / "data", tmp_path / "dump", form)
    assert ".ark:" in read_directory(tmp_path / "dump")[0].audio
    out = tmp_path / "out"
    assert run(export_main, "--to", "lhotse", tmp_path / "dump", "--output", out) == 0
    for one, cut in zip(utterances, lhotse.CutSet.from_file(out / "cuts.jsonl.gz"), strict=True):
        assert np.array_equal(np.rint(cut.load_audio()[0] * 32768), samples_of(one.audio))


def cuts_of_all_kinds(tmp_path):
    """Return cuts of all kinds, and the samples of each supervision as lhotse reads them.

    The kinds are offsets, several supervisions, channels, mixes and transforms.
    """
    lhotse = pytest.importorskip("lhotse")
    from lhotse import MonoCut, SupervisionSegment

    mono = lhotse.Recording.from_file(write_sound(tmp_path / "m.wav", 4))
    stereo = lhotse.Recording.from_file(write_sound(tmp_path / "st.wav", 2, channels=2, seed=1))

    def supervision(name, recording, start, duration, **more):
        return SupervisionSegment(
            name, recording.id, start, duration, text=f"text {name}", speaker="s", **more
        )

    whole = MonoCut(
        "whole", 0, 4.0, 0, [supervision("w", mono, 0, 4, custom={"verbatim": "W"})], recording=mono
    )
    offset = MonoCut("offset", 1.25, 1.5, 0, [supervision("o", mono, 0, 1.5)], recording=mono)
    several = MonoCut(
        "several",
        1.0,
        2.0,
        0,
        [
            supervision("v1", mono, -0.5, 1.0),
            supervision("v2", mono, 0.75, 1.0),
            supervision("v3", mono, 5.0, 1.0),
        ],
        recording=mono,
    )
    right = MonoCut("right", 0.5, 1.0, 1, [supervision("r", stereo, 0, 1)], recording=stereo)

    def renamed(cut, name):
        return cut.with_id(name).map_supervisions(
            lambda one: replace(one, id=name[0], text=f"text {name[0]}")
        )

    faster = renamed(offset, "faster").perturb_speed(1.1, affix_id=False)
    padded = renamed(offset, "padded").pad(duration=2.0)
    unlabelled = MonoCut("nothing", 0, 1.0, 0, [], recording=mono)
    oracle = {
        "w": mono.load_audio()[0],
        "o": mono.load_audio(offset=1.25, duration=1.5)[0],
        "v1": mono.load_audio(offset=1.0, duration=0.5)[0],
        "v2": mono.load_audio(offset=1.75, duration=1.0)[0],
        "r": stereo.load_audio(channels=1, offset=0.5, duration=1)[0],
        "f": faster.load_audio()[0],
        "p": padded.load_audio()[0],
    }
    return [whole, offset, several, right, faster, padded, unlabelled], oracle


def check_kinds(out, oracle):
    utterances = {one.utt_id: one for one in read_directory(out)}
    assert utterances.keys() == oracle.keys()
    for name, one in utterances.items():
        expected = np.clip(np.rint(oracle[name] * 32768), -32768, 32767)
        assert np.array_equal(samples_of(one.audio), expected), name
        assert one.texts["meaning"] == f"text {name}"
    report = json.loads((out / "import.json").read_text())
    assert report["left_out"] == {
        "nothing": "cut without supervisions",
        "v3": "supervision outside its cut",
    }
    assert report["counts"]["supervisions that extend beyond their cut, shortened"] == 1
    return utterances


def test_cuts_of_all_kinds_get_the_audio_that_lhotse_reads(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    cuts, oracle = cuts_of_all_kinds(tmp_path)
    lhotse.CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl")
    out = tmp_path / "out"
    argv = ["--from", "lhotse", tmp_path / "cuts.jsonl", "--output", out, "--nj", 2]
    assert run(import_main, *argv) == 0
    utterances = check_kinds(out, oracle)
    assert utterances["w"].audio == str(tmp_path / "m.wav")  # a whole file is not copied
    assert run(import_main, *argv, "--surface", "verbatim", "--meaning", "text") == 0
    assert {one.utt_id: one.texts.get("surface") for one in read_directory(out)}["w"] == "W"


def test_import_of_shar_folders(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    directory(tmp_path)
    out = tmp_path / "manifests"
    assert run(export_main, "--to", "lhotse", tmp_path / "data", "--output", out) == 0
    (tmp_path / "shar").mkdir()
    lhotse.CutSet.from_file(out / "cuts.jsonl.gz").to_shar(
        tmp_path / "shar", fields={"recording": "flac"}, shard_size=2
    )
    assert run(import_main, "--from", "lhotse", tmp_path / "shar", "--output", tmp_path / "o") == 0
    for one, back in zip(
        read_directory(tmp_path / "data"), read_directory(tmp_path / "o"), strict=True
    ):
        assert (one.texts, one.speaker, one.l1) == (back.texts, back.speaker, back.l1)
        assert np.array_equal(samples_of(one.audio), samples_of(back.audio))


def test_commands_and_urls_in_cuts_raise_user_error(tmp_path, capsys):
    lhotse = pytest.importorskip("lhotse")
    directory(tmp_path, 1)
    out = tmp_path / "m"
    assert run(export_main, "--to", "lhotse", tmp_path / "data", "--output", out) == 0
    line = gzip.decompress((out / "cuts.jsonl.gz").read_bytes()).decode()
    for kind, source, message in (
        ("command", f"touch {tmp_path}/ran; cat {tmp_path}/audio/0.flac", "which is not run"),
        ("url", "https://example.org/a.wav", "is at a URL"),
    ):
        cut = json.loads(line)
        cut["recording"]["sources"][0] |= {"type": kind, "source": source}
        (tmp_path / "c.jsonl").write_text(json.dumps(cut) + "\n")
        argv = ["--from", "lhotse", tmp_path / "c.jsonl", "--output", tmp_path / "o"]
        assert run(import_main, *argv) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "ran").exists()
    cut["recording"]["sources"][0] |= {"type": "command", "source": f"cat {tmp_path}/audio/0.flac"}
    (tmp_path / "c.jsonl").write_text(json.dumps(cut) + "\n")
    assert run(import_main, *argv, "--allow_pipes", "true") == 0
    assert np.array_equal(samples_of(read_directory(tmp_path / "o")[0].audio), noise(1))
    assert lhotse


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no utterances to import"),
        ("{", "after 0 cuts"),
        ("[1, 2]\n", "after 0 cuts"),
        ('{"id": "x", "type": "MonoCut"}\n', "after 0 cuts"),
    ],
)
def test_malformed_manifests_raise_user_error(tmp_path, capsys, content, message):
    pytest.importorskip("lhotse")
    (tmp_path / "c.jsonl").write_text(content)
    assert (
        run(import_main, "--from", "lhotse", tmp_path / "c.jsonl", "--output", tmp_path / "o") == 1
    )
    error = capsys.readouterr().err
    assert message in error and "remedy" in error


def test_other_manifests_and_unknown_names_raise_user_error(tmp_path, capsys):
    pytest.importorskip("lhotse")
    directory(tmp_path, 2)
    out = tmp_path / "m"
    assert run(export_main, "--to", "lhotse", tmp_path / "data", "--output", out) == 0
    argv = ["--from", "lhotse", out / "recordings.jsonl.gz", "--output", tmp_path / "o"]
    assert run(import_main, *argv) == 1
    assert "is not a cut" in capsys.readouterr().err
    assert run(import_main, "--from", "lhotse", tmp_path / "no", "--output", tmp_path / "o") == 1
    assert "no such file" in capsys.readouterr().err
    argv = ["--from", "lhotse", out, "--surface", "phones", "--output", tmp_path / "o"]
    assert run(import_main, *argv) == 1
    assert "no supervision has a field phones" in capsys.readouterr().err


# -- Hugging Face


def hf_rows(tmp_path, count=6):
    rows = {"id": [], "audio": [], "said": [], "sentence": [], "speaker": [], "native": []}
    for number in range(count):
        sound = write_sound(tmp_path / f"hf/{number}.wav", 0.5 + number / 10, seed=number)
        rows["id"].append(f"clips/{number}.wav")
        rows["audio"].append({"path": str(sound), "bytes": None})
        rows["said"].append(["W", "IY"] if number % 2 else None)
        rows["sentence"].append(f"we {number}")
        rows["speaker"].append(f"s {number % 3}")
        rows["native"].append(number % 2)
    return rows


def hf_set(tmp_path):
    datasets = pytest.importorskip("datasets")
    stored = {"path": datasets.Value("string"), "bytes": datasets.Value("binary")}
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "audio": stored,
            "said": datasets.List(datasets.Value("string")),
            "sentence": datasets.Value("string"),
            "speaker": datasets.Value("string"),
            "native": datasets.ClassLabel(names=["ko", "es"]),
        }
    )
    # A cast does not need the encoder of the library.
    data = datasets.Dataset.from_dict(hf_rows(tmp_path), features=features)
    return data.cast_column("audio", datasets.Audio())


COLUMNS = [
    "--surface",
    "said",
    "--meaning",
    "sentence",
    "--speaker",
    "speaker",
    "--id",
    "id",
    "--l1",
    "native",
    "--lang",
    "=en",
]


def check_hf(out, tmp_path, referred):
    utterances = read_directory(out)
    assert [one.utt_id for one in utterances] == [f"clips_{number}.wav" for number in range(6)]
    for number, one in enumerate(utterances):
        surface = {"surface": "W IY"} if number % 2 else {}
        assert one.texts == surface | {"meaning": f"we {number}"}
        assert (one.speaker, one.lang) == (f"s_{number % 3}", "en")
        assert one.l1 == ("ko", "es")[number % 2]
        source = tmp_path / f"hf/{number}.wav"
        assert (one.audio == str(source)) == referred
        assert np.array_equal(samples_of(one.audio), samples_of(source))


@pytest.mark.parametrize("kind", ["saved", "parquet", "folder", "bytes"])
def test_hf_sets_on_disk(tmp_path, kind):
    datasets = pytest.importorskip("datasets")
    data = hf_set(tmp_path)
    if kind == "saved":
        data.save_to_disk(tmp_path / "set")
    elif kind == "bytes":  # as in most data sets on the hub: the table contains the sound files

        def embed(row):
            path = row["audio"]["path"]
            return {"audio": {"path": None, "bytes": Path(path).read_bytes()}}

        plain = data.cast_column("audio", datasets.Audio(decode=False))
        plain.map(embed, features=plain.features).to_parquet(tmp_path / "set.parquet")
    else:
        (tmp_path / "set").mkdir()
        data.cast_column("audio", datasets.Audio(decode=False)).to_parquet(
            tmp_path / "set/train-00000-of-00001.parquet"
        )
    source = {
        "bytes": tmp_path / "set.parquet",
        "parquet": tmp_path / "set/train-00000-of-00001.parquet",
    }
    out = tmp_path / "out"
    argv = ["--from", "hf", source.get(kind, tmp_path / "set"), *COLUMNS, "--output", out]
    assert run(import_main, *argv) == 0
    check_hf(out, tmp_path, referred=not list((out / "data").glob("*")))
    if kind == "bytes":
        stored = (out / "data/clips_0.wav.wav").read_bytes()
        assert stored == (tmp_path / "hf/0.wav").read_bytes()
        before = {path: path.stat().st_mtime_ns for path in (out / "data").iterdir()}
        assert run(import_main, *argv) == 0
        assert before == {path: path.stat().st_mtime_ns for path in (out / "data").iterdir()}


def test_hf_arrays_are_written(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [
        {
            "sound": {"array": (noise(0.5, seed=n) / 32768).tolist(), "sampling_rate": RATE},
            "text": f"t{n}",
        }
        for n in range(3)
    ]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "set")
    argv = ["--from", "hf", tmp_path / "set", "--audio", "sound", "--meaning", "text"]
    assert run(import_main, *argv, "--output", tmp_path / "out") == 0
    for number, one in enumerate(read_directory(tmp_path / "out")):
        assert one.utt_id == f"all-{number:08}" and one.audio.endswith(".flac")
        assert np.array_equal(samples_of(one.audio), noise(0.5, seed=number))


def test_hf_splits_and_errors(tmp_path, capsys):
    datasets = pytest.importorskip("datasets")
    data = hf_set(tmp_path)
    datasets.DatasetDict(train=data, test=data.select([0])).save_to_disk(tmp_path / "set")
    argv = ["--from", "hf", tmp_path / "set", "--output", tmp_path / "o"]
    for more, message in (
        ([], "has several splits\n  remedy: choose --split train or test"),
        (["--split", "dev"], "has no split 'dev'"),
        (["--split", "test"], "no column of transcripts is given"),
        (["--split", "test", "--meaning", "words"], "has no column words"),
        (["--split", "test", "--meaning", "audio", "--audio", "audio"], "is of type dict"),
    ):
        assert run(import_main, *argv, *more) == 1
        assert message in capsys.readouterr().err
    assert (
        run(
            import_main,
            *argv,
            "--split",
            "test",
            "--meaning",
            "sentence",
            "--id",
            "id",
            "--root",
            "/",
        )
        == 0
    )
    assert len(read_directory(tmp_path / "o")) == 1
    assert (
        run(
            import_main,
            "--from",
            "hf",
            tmp_path / "hf",
            "--output",
            tmp_path / "o2",
            "--meaning",
            "x",
        )
        == 1
    )
    with pytest.raises(SystemExit) as usage:
        import_main(["--from", "kaldi", "x", "--split", "y", "--output", "z"])
    assert usage.value.code == 2


@pytest.mark.parametrize(
    ("kind", "name", "extra"), [("lhotse", "lhotse", "lhotse"), ("hf", "datasets", "hf")]
)
def test_missing_library_raises_user_error_with_its_extra(tmp_path, kind, name, extra):
    (tmp_path / "c.jsonl").write_text("")
    code = (
        f"import sys; sys.modules[{name!r}] = None\n"
        "import importlib; from espnet_ext.bin import cli\n"
        "main = importlib.import_module('espnet_ext.bin.import_').main\n"
        "sys.exit(cli.run(main, sys.argv[1:]))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "--from",
            kind,
            str(tmp_path / "c.jsonl"),
            "--meaning",
            "x",
            "--output",
            str(tmp_path / "o"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert f'espnet-ext[{extra}]"' in done.stderr and "Traceback" not in done.stderr


def test_read_part_is_slicing(tmp_path):
    from espnet_ext.data.audio import read_part

    sound = write_sound(tmp_path / "a.flac", 2)
    whole = read_audio(str(sound))[0]
    for start, seconds in ((0, None), (0.1, 0.3), (1.99, None), (1.5, 0.9)):
        part = read_part(str(sound), start, seconds)[0]
        first = round(start * RATE)
        last = None if seconds is None else first + round(seconds * RATE)
        assert np.array_equal(part, whole[first:last])


# -- all errors together


def test_kaldi_errors_are_reported_together(tmp_path, capsys):
    sound = write_sound(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_text("no sound")
    wav = [f"r {sound}", f"q {tmp_path}/b.wav", "p touch x |", "empty"]
    kaldi = tables(
        tmp_path / "k",
        wavscp=wav,
        segments=["u1 r 0 0.5", "u2 r 9 10", "u3 q 0 1", "u4 p 0 1", "u5 r 1 0"],
        text=["u1 x", "stranger y"],
        utt2spk=["u1"],
    )
    argv = ["--from", "kaldi", kaldi, "--output", tmp_path / "out", "--l1", "no_file"]
    assert run(import_main, *argv) == 1
    error = capsys.readouterr().err
    for part in (
        "has no file no_file",
        "wav.scp:4: empty: has no value",
        "1 ids are not in segments:\n    stranger",
        "1 rows are not segments:\n    u5",
        "which is not run",
        "u2: ",
        "u3: ",
        "nothing is imported",
    ):
        assert part in error, part
    assert not (tmp_path / "out/wav.scp").exists()
    # After correction, the same folder can be written.
    tables(kaldi, wavscp=wav[:1], segments=["u1 r 0 0.5"], text=["u1 x"], utt2spk=["u1 s"])
    assert run(import_main, *argv[:-2]) == 0
    assert [one.utt_id for one in read_directory(tmp_path / "out")] == ["u1"]


def test_lhotse_errors_are_reported_together(tmp_path, capsys):
    pytest.importorskip("lhotse")
    directory(tmp_path, 3)
    out = tmp_path / "m"
    assert run(export_main, "--to", "lhotse", tmp_path / "data", "--output", out) == 0
    lines = gzip.decompress((out / "cuts.jsonl.gz").read_bytes()).decode().splitlines()
    cuts = [json.loads(line) for line in lines]
    cuts[0]["recording"]["sources"][0] |= {"type": "url", "source": "https://example.org/a.wav"}
    cuts[1]["supervisions"][0]["id"] = cuts[2]["supervisions"][0]["id"]
    cuts[2]["recording"]["sources"][0]["source"] = "no.wav"
    content = "".join(json.dumps(cut) + "\n" for cut in cuts)
    argv = ["--from", "lhotse", tmp_path / "c.jsonl", "--output", tmp_path / "o"]
    (tmp_path / "c.jsonl").write_text(content)
    assert run(import_main, *argv) == 1
    error = capsys.readouterr().err
    assert "2 errors of 2 kinds" in error  # the third cut is not checked, as its id is taken
    assert "is at a URL" in error and "two utterances have this id" in error
    (tmp_path / "c.jsonl").write_text(
        content + "{"
    )  # the error that ends the reading is reported too
    assert run(import_main, *argv, "--id", "nothing") == 1
    error = capsys.readouterr().err
    assert "4 errors of 2 kinds" in error and error.count("nothing is empty") == 3
    assert "after 3 cuts" in error


def test_hf_errors_are_reported_together_with_their_number(tmp_path, capsys):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "text": datasets.Value("string"),
            "audio": {"path": datasets.Value("string"), "bytes": datasets.Value("binary")},
        }
    )
    sound = write_sound(tmp_path / "a.wav")
    rows = [{"id": f"u{n}", "text": "x", "audio": {"path": None, "bytes": None}} for n in range(30)]
    rows += [
        {"id": None, "text": "x", "audio": {"path": str(sound), "bytes": None}},
        {"id": "bad", "text": "x", "audio": {"path": "a", "bytes": b"no sound"}},
        {"id": "lost", "text": "x", "audio": {"path": "/no/such.wav", "bytes": None}},
        {"id": "good", "text": "x", "audio": {"path": str(sound), "bytes": None}},
    ]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "set")
    argv = ["--from", "hf", tmp_path / "set", "--meaning", "text", "--id", "id"]
    assert run(import_main, *argv, "--output", tmp_path / "o") == 1
    error = capsys.readouterr().err
    assert "33 errors of 4 kinds, and nothing is imported" in error
    assert error.count("has no audio") == 20 and "… and 10 more of this kind" in error
    for part in ("row 30: id is empty", "bad: cannot be read as audio", "/no/such.wav"):
        assert part in error, part
    assert not (tmp_path / "o/wav.scp").exists()


# -- unreachable hub


@pytest.mark.parametrize("answers", [False, True], ids=["closed", "silent"])
def test_unreachable_hub_raises_user_error_soon(tmp_path, capsys, monkeypatch, answers):
    constants = pytest.importorskip("huggingface_hub.constants")
    from espnet_ext.corpora.interchange import from_hf

    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts connections but never answers
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if not answers:
            server.close()
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(from_hf, "HUB_TIMEOUT", 0.5)
        argv = ["--from", "hf", "someone/corpus", "--meaning", "x", "--output", tmp_path / "o"]
        begin = time.monotonic()
        assert run(import_main, *argv) == 1
        assert time.monotonic() - begin < 20  # the library alone takes more than 30 s
    error = capsys.readouterr().err
    assert error.startswith(f"error: someone/corpus: {address} cannot be reached: ")
    assert "--local-dir DIR" in error and "HF_HUB_OFFLINE=1" in error
    assert len(error.splitlines()) == 2, error


def test_offline_import_uses_paths_and_the_cache(tmp_path, capsys, monkeypatch):
    pytest.importorskip("datasets")
    argv = ["--meaning", "x", "--output", tmp_path / "o"]
    assert run(import_main, "--from", "hf", tmp_path / "no/set", *argv) == 1
    assert "no such folder or file" in capsys.readouterr().err
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "espnet_ext.bin.import_",
            "--from",
            "hf",
            "someone/corpus",
            *map(str, argv),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 1 and "someone/corpus: cannot be loaded" in done.stderr
    assert "unset HF_HUB_OFFLINE" in done.stderr
    assert "Retrying" not in done.stderr and "Traceback" not in done.stderr


# -- nothing is dropped without a message


def report_of(folder):
    return json.loads((Path(folder) / "import.json").read_text())


def phone_directory(tmp_path, **rows):
    write_sound(tmp_path / "a.wav")
    ids = ("u1", "u2", "u3")
    defaults = {
        "wavscp": [f"{name} {tmp_path}/a.wav" for name in ids],
        "text": [f"{name} we see" for name in ids],
        "phones": ["u1 W IY1 S IY0", "u2 W AH0 S IY1", "u3 W IY1"],
        "spk2gender": ["s1 f"],
    }
    return tables(tmp_path / "kaldi", **{**defaults, **rows})


def test_text_stays_the_meaning_if_another_file_is_named(tmp_path, capsys):
    kaldi = phone_directory(tmp_path)
    argv = ["--from", "kaldi", kaldi, "--lang", "=en", "--surface", "phones", "--output"]
    assert run(import_main, *argv, tmp_path / "out") == 0
    first = read_directory(tmp_path / "out")[0]
    assert first.texts == {"meaning": "we see", "surface": "W IY S IY"}
    report = report_of(tmp_path / "out")
    assert report["counts"] == {
        "surface: phones with a stress digit or position mark (AO1, AO_B), read as the phone": 5,
        "utterances without a speaker, whose speaker is their id": 3,
    }
    (note,) = report["notes"]
    assert "kaldi that are not imported: spk2gender (1 rows)" in note and "--surface FILE" in note
    assert note in capsys.readouterr().err

    assert run(import_main, *argv, tmp_path / "kept", "--phones", "keep") == 0
    assert read_directory(tmp_path / "kept")[0].texts["surface"] == "W IY1 S IY0"

    assert run(import_main, *argv, tmp_path / "without", "--meaning", "none") == 0
    assert read_directory(tmp_path / "without")[0].texts == {"surface": "W IY S IY"}
    assert "text (" not in report_of(tmp_path / "without")["notes"][0]


def test_text_beside_text_meaning_is_named(tmp_path):
    kaldi = phone_directory(tmp_path, text__meaning=["u1 i see"])
    assert run(import_main, "--from", "kaldi", kaldi, "--output", tmp_path / "out") == 0
    assert read_directory(tmp_path / "out")[0].texts == {"meaning": "i see"}
    (note,) = report_of(tmp_path / "out")["notes"]
    assert "phones (3 rows), spk2gender (1 rows), text (3 rows)" in note


def test_phones_without_a_language_are_read_only_in_upper_case(tmp_path):
    for name, text, expected in (
        ("upper", "W IY1 S", "W IY S"),
        ("lower", "w iy1 s", "w iy1 s"),
        ("ipa", "w iː θ", "w iː θ"),
    ):
        folder = tmp_path / name
        kaldi = phone_directory(folder, phones=[f"u1 {text}"])
        argv = ["--from", "kaldi", kaldi, "--surface", "phones", "--output", folder / "out"]
        assert run(import_main, *argv) == 0
        assert read_directory(folder / "out")[0].texts["surface"] == expected
        notes = [note for note in report_of(folder / "out")["notes"] if "--lang =en" in note]
        assert len(notes) == (name != "upper")


def test_unknown_phones_are_errors_with_their_utterance(tmp_path, capsys):
    phones = ["u1 w iː θ s ɒ", "u2 w iː s iː", "u3 w iː s iː t ɪ"]
    kaldi = phone_directory(tmp_path, phones=phones)
    argv = ["--from", "kaldi", kaldi, "--surface", "phones", "--lang", "=en"]
    assert run(import_main, *argv, "--output", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "u1: surface: 'ɒ' is not one of the 39 English phones" in error
    assert "--phones keep" in error


def test_nan_cells_are_unlabelled_and_counted(tmp_path):
    kaldi = phone_directory(
        tmp_path, text=["u1 nan", "u2 none", "u3 we"], utt2l1=["u1 NA", "u2 ko", "u3 ko"]
    )
    assert run(import_main, "--from", "kaldi", kaldi, "--output", tmp_path / "out") == 0
    utterances = read_directory(tmp_path / "out")
    assert [one.texts.get("meaning") for one in utterances] == [None, "none", "we"]
    assert [one.l1 for one in utterances] == [None, "ko", "ko"]
    counts = report_of(tmp_path / "out")["counts"]
    assert counts["cells 'nan', taken as empty (--missing)"] == 1
    assert counts["cells 'NA', taken as empty (--missing)"] == 1
    assert counts["transcripts that are only 'none', kept as text (--missing)"] == 1
    argv = ["--from", "kaldi", kaldi, "--missing", "none", "--output", tmp_path / "other"]
    assert run(import_main, *argv) == 0
    texts = [one.texts.get("meaning") for one in read_directory(tmp_path / "other")]
    assert texts == ["nan", None, "we"]


def write_cuts(tmp_path, rows):
    """Write cuts; each row is the text and the custom fields of a supervision."""
    lhotse = pytest.importorskip("lhotse")
    sound = write_sound(tmp_path / "c.wav")
    cuts = []
    for number, (text, custom) in enumerate(rows):
        recording = lhotse.Recording.from_file(sound, recording_id=f"r{number}")
        supervision = lhotse.SupervisionSegment(
            f"u{number}", f"r{number}", 0, recording.duration, text=text, custom=custom
        )
        cut = recording.to_cut()
        cut.supervisions = [supervision]
        cuts.append(cut)
    path = tmp_path / "cuts.jsonl.gz"
    lhotse.CutSet.from_cuts(cuts).to_file(path)
    return path


@pytest.mark.parametrize("named", [[], ["--surface", "surface"]])
def test_lhotse_text_is_the_meaning_beside_a_surface(tmp_path, named):
    cuts = write_cuts(
        tmp_path,
        [("we see", {"surface": "W IY", "age": 7}), ("see", {"surface": "see"}), (None, {})],
    )
    argv = ["--from", "lhotse", cuts, *named, "--output", tmp_path / "out"]
    assert run(import_main, *argv) == 0
    texts = [one.texts for one in read_directory(tmp_path / "out")]
    assert texts == [
        {"surface": "W IY", "meaning": "we see"},
        {"surface": "see", "meaning": "see"},
        {},
    ]
    report = report_of(tmp_path / "out")
    assert any("fields that are not imported: age (1 rows)" in note for note in report["notes"])
    assert report["unlabelled"]["u2"]["meaning"] == "text is empty"


def test_lhotse_text_of_surfaces_only_stays_a_surface(tmp_path):
    cuts = write_cuts(tmp_path, [("W IY", {"surface": "W IY"}), ("S IY", {"surface": "S IY"})])
    assert run(import_main, "--from", "lhotse", cuts, "--output", tmp_path / "out") == 0
    texts = [one.texts for one in read_directory(tmp_path / "out")]
    assert texts == [{"surface": "W IY"}, {"surface": "S IY"}]


def test_lhotse_text_beside_a_meaning_is_named(tmp_path):
    cuts = write_cuts(tmp_path, [("W IY", {"meaning": "we"}), ("see", {"meaning": "see"})])
    assert run(import_main, "--from", "lhotse", cuts, "--output", tmp_path / "out") == 0
    texts = [one.texts for one in read_directory(tmp_path / "out")]
    assert texts == [{"meaning": "we"}, {"meaning": "see"}]
    (note,) = report_of(tmp_path / "out")["notes"]
    assert "text (1 rows)" in note and "--texts OUTPUT=text" in note


def test_columns_of_hf_that_are_not_imported_are_named(tmp_path):
    pytest.importorskip("datasets")
    hf_set(tmp_path).save_to_disk(tmp_path / "set")
    argv = ["--from", "hf", tmp_path / "set", "--meaning", "sentence", "--root", "/"]
    assert run(import_main, *argv, "--output", tmp_path / "out") == 0
    (note,) = [one for one in report_of(tmp_path / "out")["notes"] if "not imported" in one]
    assert note.startswith("columns that are not imported: ") and "--surface COLUMN" in note


def test_commonvoice_sentence_stays_the_meaning(tmp_path):
    folder = tmp_path / "en"
    write_sound(folder / "clips/a.wav")
    columns = "client_id\tpath\tsentence\tphones\tup_votes"
    (folder / "train.tsv").write_text(f"{columns}\ns1\ta.wav\tWe see.\tW IY\t2\n")
    argv = ["--from", "commonvoice", folder, "--split", "train", "--surface", "phones"]
    assert run(import_main, *argv, "--output", tmp_path / "out") == 0
    (one,) = read_directory(tmp_path / "out")
    assert one.texts == {"meaning": "We see.", "surface": "W IY"}
    assert "columns that are not imported: up_votes" in report_of(tmp_path / "out")["notes"]


def test_table_given_as_hf_set_names_prepare_plain(tmp_path, capsys):
    pytest.importorskip("datasets")
    (tmp_path / "corpus.csv").write_text("utt_id,speaker\n")
    argv = ["--from", "hf", tmp_path / "corpus.csv", "--meaning", "x", "--output", tmp_path / "o"]
    assert run(import_main, *argv) == 1
    assert "espnet-ext prepare plain --manifest" in capsys.readouterr().err


def test_edited_import_is_not_replaced(tmp_path, capsys):
    kaldi = phone_directory(tmp_path)
    argv = ["--from", "kaldi", kaldi, "--output", tmp_path / "out"]
    assert run(import_main, *argv) == 0
    assert run(import_main, *argv) == 0
    (tmp_path / "out/text.meaning").write_text("u1 corrected by hand\n")
    assert run(import_main, *argv) == 1
    assert "text.meaning would be overwritten, but it has changed since `import` wrote it" in (
        capsys.readouterr().err
    )
    assert (tmp_path / "out/text.meaning").read_text() == "u1 corrected by hand\n"
    assert run(import_main, *argv, "--overwrite", "true") == 0
    assert len(read_directory(tmp_path / "out")) == 3


def test_edited_export_is_not_replaced(tmp_path, capsys):
    pytest.importorskip("lhotse")
    directory(tmp_path)
    argv = ["--to", "lhotse", tmp_path / "data", "--output", tmp_path / "out"]
    assert run(export_main, *argv) == 0 == run(export_main, *argv)
    (tmp_path / "out/cuts.jsonl.gz").write_bytes(b"mine")
    assert run(export_main, *argv) == 1
    assert "cuts.jsonl.gz would be overwritten" in capsys.readouterr().err
    assert run(export_main, *argv, "--overwrite", "true") == 0


def test_speakers_of_spk2utt_are_used_without_utt2spk(tmp_path, capsys):
    kaldi = phone_directory(tmp_path, spk2utt=["s1 u1 u2", "s2 u3"])
    argv = ["--from", "kaldi", kaldi, "--output", tmp_path / "out"]
    assert run(import_main, *argv) == 0
    assert [one.speaker for one in read_directory(tmp_path / "out")] == ["s1", "s1", "s2"]
    (kaldi / "utt2spk").write_text("u1 s1\nu2 s2\nu3 s2\n")
    assert run(import_main, *argv) == 1
    error = capsys.readouterr().err
    assert "spk2utt: 1 utterances have another speaker than in utt2spk:\n  u2" in error


def test_missing_audio_names_its_utterance(tmp_path, capsys):
    kaldi = phone_directory(tmp_path)
    (kaldi / "wav.scp").write_text(f"u1 {tmp_path}/a.wav\nu2 {tmp_path}/no.wav\nu3 /a.wav\n")
    assert run(import_main, "--from", "kaldi", kaldi, "--output", tmp_path / "out") == 1
    assert f"u2: {tmp_path}/no.wav: no such audio file" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["kaldi", "lhotse"])
def test_table_as_a_source_names_prepare_plain(tmp_path, capsys, kind):
    (tmp_path / "corpus.xlsx").write_bytes(b"PK")
    argv = ["--from", kind, tmp_path / "corpus.xlsx", "--output", tmp_path / "out"]
    assert run(import_main, *argv) == 1
    assert "espnet-ext prepare plain --manifest" in capsys.readouterr().err


def test_language_may_be_given_by_name(tmp_path):
    kaldi = phone_directory(tmp_path, utt2lang=["u1 English", "u2 en-US", "u3 fr"])
    argv = ["--from", "kaldi", kaldi, "--surface", "phones", "--output", tmp_path / "out"]
    assert run(import_main, *argv) == 0
    utterances = read_directory(tmp_path / "out")
    assert [one.lang for one in utterances] == ["en", "en", "fr"]
    surfaces = ["W IY S IY", "W AH S IY", "W IY1"]
    assert [one.texts["surface"] for one in utterances] == surfaces
    assert report_of(tmp_path / "out")["counts"]["lang 'English', read as en"] == 1
