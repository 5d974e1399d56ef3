"""Mending into a new directory: nothing is overwritten, nothing is lost without a line."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_ext.bin import cli, export, validate

import_ = importlib.import_module("espnet_ext.bin.import_")
RATE = 16000


def call(command, *arguments):
    return cli.run(command.main, [str(argument) for argument in arguments])


def make(path, ids=("s1-u1", "s1-u2", "s2-u1"), seed=0, **tables):
    """A sound data directory with sounds of its own."""
    path.mkdir(parents=True)
    rows = {"wav.scp": [], "utt2spk": [], "text.meaning": []}
    for number, utt_id in enumerate(ids):
        samples = np.random.default_rng(100 * seed + number).uniform(-0.1, 0.1, 8000)
        soundfile.write(path / f"{utt_id}.flac", samples, RATE)
        rows["wav.scp"].append(f"{utt_id} {path / utt_id}.flac")
        rows["utt2spk"].append(f"{utt_id} {utt_id.partition('-')[0]}")
        rows["text.meaning"].append(f"{utt_id} what {seed} {number} is")
    for name, lines in {**rows, **tables}.items():
        (path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def contents(folder):
    return {p: p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def fix(source, target):
    return call(validate, source, "--fix", target)


def import_kaldi(source, target):
    return call(import_, "--from", "kaldi", source, "--output", target)


def export_lhotse(source, target):
    pytest.importorskip("lhotse")
    return call(export, "--to", "lhotse", source, "--output", target)


WRITERS = [fix, import_kaldi, export_lhotse]


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_there_is_never_overwritten(tmp_path, capsys, write):
    source, other = make(tmp_path / "source"), make(tmp_path / "other", seed=1)
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "read me").write_text("mine")
    before = contents(tmp_path)
    for target, word in (
        (other, "a data directory exists there"),
        (source, "both source and target"),
        (tmp_path / "." / "source", "both source and target"),
        (notes, "something else exists there"),
        (notes / "read me", "something else exists there"),
    ):
        assert write(source, target) == 1
        told = capsys.readouterr().err
        assert word in told and "remedy: name a new folder" in told
    assert contents(tmp_path) == before


@pytest.mark.parametrize("write", WRITERS)
def test_its_own_folder_and_an_empty_one_may_be_written_again(tmp_path, write):
    source = make(tmp_path / "source")
    (tmp_path / "out").mkdir()
    assert write(source, tmp_path / "out") == 0
    first = contents(tmp_path / "out")
    assert first and write(source, tmp_path / "out") == 0
    assert contents(tmp_path / "out") == first


def test_one_writer_does_not_overwrite_another(tmp_path, capsys):
    source = make(tmp_path / "source")
    assert import_kaldi(source, tmp_path / "out") == 0
    assert fix(source, tmp_path / "out") == 1
    assert "exists there" in capsys.readouterr().err


def test_every_file_that_is_not_copied_is_listed(tmp_path, capsys):
    ids = ("s1-u1", "s1-u2", "s2-u1")
    source = make(
        tmp_path / "source",
        ids,
        utt2dur=[f"{one} 0.5" for one in ids],
        utt2age=[f"{one} 7" for one in ids],
        utt2score=[f"{one} accuracy=8" for one in ids],
        utt2band=[f"{one} wideish" for one in ids],
        utt2lang=[f"{one} en" for one in ids],
        cmvn__scp=["s1 a.ark:1"],
    )
    (source / "data").mkdir()
    fix(source, tmp_path / "out")
    told = capsys.readouterr().out
    made = {path.name for path in (tmp_path / "out").iterdir()} - {"changes.tsv"}
    rows = [row.split("\t") for row in (tmp_path / "out/changes.tsv").read_text().splitlines()]
    listed = {Path(row[1]).name for row in rows if row[0] in ("folder left out", "table left out")}
    assert {"utt2dur", "utt2age", "utt2band", "cmvn__scp", "data"} <= listed
    assert {"utt2score", "utt2lang", "text.meaning", "utt2spk"} <= made and not made & listed
    sounds = {path.name for path in source.glob("*.flac")}  # read where they are
    assert {path.name for path in source.iterdir()} - sounds <= made | listed
    assert not sounds & listed
    for name in ("utt2dur", "utt2age"):
        assert any(name in line for line in told.splitlines() if "table left out" in line)


@pytest.mark.parametrize("command", ["fix", "filter"])
def test_parts_of_recordings_are_not_mended_as_if_they_were_whole(tmp_path, capsys, command):
    from espnet_ext.bin import filter

    source = make(tmp_path / "source", segments=["s1-u1-a s1-u1 0.0 0.2", "s1-u1-b s1-u1 0.2 0.4"])
    target = tmp_path / "out"
    if command == "fix":
        assert fix(source, target) == 1
    else:
        argv = ("--input", source, "--output", target, "--outputs", "meaning")
        assert call(filter, *argv, "--on_error", "skip", "--max_broken", "1") == 1
    told = capsys.readouterr().err
    assert "parts of recordings" in told and "espnet-ext import --from kaldi" in told
    assert not (target / "wav.scp").exists()


def test_what_is_in_training_too_is_an_error_but_a_warning_in_stage_4(tmp_path, capsys):
    from espnet_ext.bin import filter

    train = make(tmp_path / "train")
    apart = make(tmp_path / "apart", ("s8-v1", "s8-v2", "s9-v1"), seed=1)
    same_ids = make(tmp_path / "same_ids", seed=2)
    same_audio = make(tmp_path / "same_audio", ("s8-w1", "s8-w2", "s9-w1"))  # of train's seed
    assert call(validate, train, apart, "--against", train) == 0
    capsys.readouterr()
    for leaking, code in ((same_ids, "shared-ids"), (same_audio, "shared-audio")):
        assert call(validate, apart, leaking, "--against", train) == 1
        found = [line for line in capsys.readouterr().out.splitlines() if "error:" in line]
        assert found and all(f"[{code}]" in line for line in found)
        assert call(validate, leaking) == 0
        capsys.readouterr()
        argv = ("--input", leaking, "--output", tmp_path / f"f-{code}", "--outputs", "meaning")
        assert call(filter, *argv, "--against", train) == 0
        assert f"[{code}]" in capsys.readouterr().err


def test_what_is_no_phone_is_named(tmp_path, capsys):
    rows = {"text.surface": ["s1-u1 W IY S IY", "s1-u2 W IX S AH0", "s2-u1 IX ERR IX"]}
    source = make(tmp_path / "source", **rows)
    assert call(validate, source, "--tokens", "surface=phone meaning=char") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "[not-phones]" in line]
    assert len(told) == 2
    first = "text.surface:2: warning: s1-u2: 'IX' is not a phone (3 times in all, first here)"
    assert first in told[0]
    assert "s1-u2: 'AH0' is not a phone (once)" in told[1]
