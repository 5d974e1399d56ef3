"""Relative paths in wav.scp start in the current folder, or else in the folder of wav.scp."""

import importlib
import os

import pytest
import soundfile
from directories import RATE, noise

from espnet_ext.bin import cli, format_audio, validate
from espnet_ext.data.audio import resolve_source
from espnet_ext.data.directory import read_directory

import_main = importlib.import_module("espnet_ext.bin.import_").main


def make(folder, entry="sound/a.wav"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wav.scp").write_text(f"s1-a {entry}\n")
    (folder / "utt2spk").write_text("s1-a s1\n")
    (folder / "spk2utt").write_text("s1 s1-a\n")
    (folder / "text.meaning").write_text("s1-a we see\n")
    return folder


def write_sound(path, samples=800):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(samples), RATE)


def run(main, *words):
    return cli.run(main, [str(word) for word in words])


@pytest.mark.parametrize("place", ["recipe", "recipe/data/train"])
def test_relative_path_starts_here_or_beside_wav_scp(tmp_path, monkeypatch, place):
    data = make(tmp_path / "recipe/data/train")
    write_sound(tmp_path / place / "sound/a.wav")
    monkeypatch.chdir(tmp_path / "recipe")
    (one,) = read_directory(data)
    assert os.path.samefile(one.audio, tmp_path / place / "sound/a.wav")
    assert run(validate.main, "data/train", "--read_samples", "true") == 0
    output = tmp_path / "dump"
    assert run(format_audio.main, "--input", "data/train", "--output", output) == 0
    monkeypatch.chdir(tmp_path)
    is_beside = place != "recipe"
    assert run(validate.main, "recipe/data/train", "--fix", "fixed") == (not is_beside)
    kaldi = ["--from", "kaldi", data, "--output", "imported"]
    assert run(import_main, *kaldi) == (not is_beside)
    if not is_beside:
        assert run(import_main, *kaldi, "--root", "recipe") == 0
    (one,) = read_directory("imported")
    assert one.audio == str(tmp_path / place / "sound/a.wav")


def test_path_of_two_different_files_is_an_error(tmp_path, monkeypatch, capsys):
    data = make(tmp_path / "data")
    write_sound(tmp_path / "data/sound/a.wav", 800)
    write_sound(tmp_path / "sound/a.wav", 1600)
    monkeypatch.chdir(tmp_path)
    assert run(validate.main, "data") == 1
    out = capsys.readouterr().out
    first, second = tmp_path / "sound/a.wav", tmp_path / "data/sound/a.wav"
    assert f"data/wav.scp:1: error: s1-a: sound/a.wav: two files have this relative path: {first} "
    assert f"and {second}" in out and "write absolute paths in wav.scp" in out
    assert run(format_audio.main, "--input", "data", "--output", "dump") == 1
    assert run(import_main, "--from", "kaldi", "data", "--output", "imported") == 1
    assert "or give --root DIR" in capsys.readouterr().err
    assert run(import_main, "--from", "kaldi", "data", "--output", "in", "--root", ".") == 0
    assert read_directory("in")[0].audio == str(first)
    os.remove(data / "sound/a.wav")
    os.link(first, data / "sound/a.wav")  # the same file under both paths
    assert run(validate.main, "data") == 0


def test_missing_relative_path_names_where_it_starts(tmp_path, monkeypatch, capsys):
    make(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert run(validate.main, "data") == 1
    out = capsys.readouterr().out
    assert "sound/a.wav: no such audio file" in out
    assert f"relative paths start in the current folder, {tmp_path}, or in the folder of wav" in out


@pytest.mark.parametrize("entry", [r"C:\sound\a.wav", "D:/sound/a.wav", r"\\server\sound\a.wav"])
def test_windows_path_is_named(tmp_path, capsys, entry):
    make(tmp_path / "data", entry)
    assert run(validate.main, tmp_path / "data") == 1
    assert "this is a path of Windows" in capsys.readouterr().out
    assert run(import_main, "--from", "kaldi", tmp_path / "data", "--output", tmp_path / "o") == 1
    assert "this is a path of Windows" in capsys.readouterr().err


def test_offsets_and_commands_are_kept(tmp_path, monkeypatch):
    (tmp_path / "raw.ark").write_bytes(b"")
    assert resolve_source("raw.ark:12", tmp_path) == f"{tmp_path}/raw.ark:12"
    monkeypatch.chdir(tmp_path)
    assert resolve_source("raw.ark:12", tmp_path) == "raw.ark:12"
    assert resolve_source("cat a.wav |", tmp_path) == "cat a.wav |"
    assert resolve_source("b.wav", tmp_path) == "b.wav"
