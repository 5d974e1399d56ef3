"""Writing into a new folder: nothing is overwritten, and files that are not copied are listed."""

import importlib
import re
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
    """Write a valid data directory with audio that depends on the seed."""
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


def write_copy(source, target):
    return call(validate, source, "--fix", target)


def import_kaldi(source, target):
    return call(import_, "--from", "kaldi", source, "--output", target)


def export_lhotse(source, target):
    pytest.importorskip("lhotse")
    return call(export, "--to", "lhotse", source, "--output", target)


WRITERS = [write_copy, import_kaldi, export_lhotse]


@pytest.mark.parametrize("write", WRITERS)
def test_existing_files_are_never_overwritten(tmp_path, capsys, write):
    source, other = make(tmp_path / "source"), make(tmp_path / "other", seed=1)
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "read me").write_text("mine")
    before = contents(tmp_path)
    for target, reason, reason_for_copy in (
        (other, "a data directory exists there", "would be overwritten"),
        (source, "both source and target", "both input and output"),
        (tmp_path / "." / "source", "both source and target", "both input and output"),
        (notes, "something else exists there", "read me would be overwritten"),
        (notes / "read me", "something else exists there", "is not a folder"),
    ):
        assert write(source, target) == 1
        message = capsys.readouterr().err
        assert (reason_for_copy if write is write_copy else reason) in message
        assert re.search("remedy: name (a new folder|another output)", message)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("write", WRITERS)
def test_empty_folder_and_earlier_output_may_be_written(tmp_path, write):
    source = make(tmp_path / "source")
    (tmp_path / "out").mkdir()
    assert write(source, tmp_path / "out") == 0
    first = contents(tmp_path / "out")
    assert first and write(source, tmp_path / "out") == 0
    assert contents(tmp_path / "out") == first


def test_copy_does_not_overwrite_an_import(tmp_path, capsys):
    source = make(tmp_path / "source")
    assert import_kaldi(source, tmp_path / "out") == 0
    assert write_copy(source, tmp_path / "out") == 1
    assert "would be overwritten" in capsys.readouterr().err


def test_files_that_are_not_copied_are_listed(tmp_path, capsys):
    ids = ("s1-u1", "s1-u2", "s2-u1")
    source = make(
        tmp_path / "source",
        ids,
        utt2dur=[f"{utt_id} 0.5" for utt_id in ids],
        utt2age=[f"{utt_id} 7" for utt_id in ids],
        utt2score=[f"{utt_id} accuracy=8" for utt_id in ids],
        utt2band=[f"{utt_id} wideish" for utt_id in ids],
        utt2lang=[f"{utt_id} en" for utt_id in ids],
        cmvn__scp=["s1 a.ark:1"],
    )
    (source / "data").mkdir()
    write_copy(source, tmp_path / "out")
    printed = capsys.readouterr().out
    written = {path.name for path in (tmp_path / "out").iterdir()} - {"changes.tsv"}
    rows = [row.split("\t") for row in (tmp_path / "out/changes.tsv").read_text().splitlines()]
    listed = {Path(row[1]).name for row in rows if row[0] in ("folder left out", "table left out")}
    assert {"utt2dur", "utt2age", "utt2band", "cmvn__scp", "data"} <= listed
    assert {"utt2score", "utt2lang", "text.meaning", "utt2spk"} <= written and not written & listed
    sounds = {path.name for path in source.glob("*.flac")}  # not copied: wav.scp refers to them
    assert {path.name for path in source.iterdir()} - sounds <= written | listed
    assert not sounds & listed
    for name in ("utt2dur", "utt2age"):
        assert any(name in line for line in printed.splitlines() if "table left out" in line)


@pytest.mark.parametrize("command", ["fix", "filter"])
def test_directories_with_segments_are_not_repaired(tmp_path, capsys, command):
    from espnet_ext.bin import filter

    source = make(tmp_path / "source", segments=["s1-u1-a s1-u1 0.0 0.2", "s1-u1-b s1-u1 0.2 0.4"])
    target = tmp_path / "out"
    if command == "fix":
        assert write_copy(source, target) == 1
    else:
        argv = ("--input", source, "--output", target, "--outputs", "meaning")
        assert call(filter, *argv, "--on_error", "skip", "--max_broken", "1") == 1
    message = capsys.readouterr().err
    assert "parts of recordings" in message and "espnet-ext import --from kaldi" in message
    assert not (target / "wav.scp").exists()


def test_shared_utterances_are_errors_but_warnings_in_stage_4(tmp_path, capsys):
    from espnet_ext.bin import filter

    train = make(tmp_path / "train")
    apart = make(tmp_path / "apart", ("s8-v1", "s8-v2", "s9-v1"), seed=1)
    same_ids = make(tmp_path / "same_ids", seed=2)
    same_audio = make(
        tmp_path / "same_audio", ("s8-w1", "s8-w2", "s9-w1")
    )  # with the audio of train
    assert call(validate, train, apart, "--against", train) == 0
    capsys.readouterr()
    for leaking, code in ((same_ids, "shared-ids"), (same_audio, "shared-audio")):
        assert call(validate, apart, leaking, "--against", train) == 1
        errors = [line for line in capsys.readouterr().out.splitlines() if "error:" in line]
        assert errors and all(f"[{code}]" in line for line in errors)
        assert call(validate, leaking) == 0
        capsys.readouterr()
        argv = ("--input", leaking, "--output", tmp_path / f"f-{code}", "--outputs", "meaning")
        assert call(filter, *argv, "--against", train) == 0
        assert f"[{code}]" in capsys.readouterr().err


def test_tokens_that_are_not_phones_are_reported(tmp_path, capsys):
    rows = {"text.surface": ["s1-u1 W IY S IY", "s1-u2 W IX S AH0", "s2-u1 IX ERR IX"]}
    source = make(tmp_path / "source", **rows)
    assert call(validate, source, "--tokens", "surface=phone meaning=char") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "[not-phones]" in line]
    assert len(lines) == 2
    first = "text.surface:2: warning: s1-u2: 'IX' is not a phone (3 times in all, first here)"
    assert first in lines[0]
    assert "s1-u2: 'AH0' is not a phone (once)" in lines[1]
