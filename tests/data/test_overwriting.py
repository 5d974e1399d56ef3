"""No command overwrites files that it did not write; tested for every command."""

import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from directories import RATE, make_directory, noise, write_table

from espnet_ext.bin import (
    cli,
    combine,
    drop_labels,
    filter,
    format_audio,
    g2p,
    lm_text,
    mdd,
    ngram,
    pack,
    perturb,
    tokens,
    validate,
)
from espnet_ext.data.directory import read_directory
from espnet_ext.errors import UserError
from espnet_ext.model.pack import is_archive
from espnet_ext.overwriting import MARK, OutputFolder, require_new_file


def call(command, *arguments):
    return cli.run(command.main, [str(argument) for argument in arguments])


def run_format(source, target, *options):
    arguments = ["--input", source, "--output", target, "--copy", "true"]
    return call(format_audio, *arguments, *options)


def run_filter(source, target, *options):
    return call(filter, "--input", source, "--output", target, *options)


def run_perturb(source, target, *options):
    arguments = ["--input", source, "--output", target, "--speeds", "0.9 1.0"]
    return call(perturb, *arguments, *options)


def run_combine(source, target, *options):
    return call(combine, "--inputs", source, "--output", target, *options)


def run_drop(source, target, *options):
    arguments = ["--input", source, "--output", target, "--output_name", "meaning"]
    return call(drop_labels, *arguments, "--share", "0.5", *options)


def run_fix(source, target, *options):
    return call(validate, source, "--fix", target, *options)


COMMANDS = [run_format, run_filter, run_perturb, run_combine, run_drop, run_fix]


def contents(folder):
    return {p: p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.fixture
def source(tmp_path):
    return make_directory(tmp_path / "source", lang="ko")


def make_annotated(folder):
    """Write a data directory with an output that no command here writes."""
    make_directory(folder, meaning=["손으로 쓴 것"] * 4)
    write_table(folder, "text.gloss", "s1-u1 by hand")
    return folder


@pytest.mark.parametrize("write", COMMANDS)
def test_data_of_the_user_is_not_overwritten(source, tmp_path, capsys, write):
    target = make_annotated(tmp_path / "target")
    before = contents(tmp_path)
    assert write(source, target) == 1
    message = capsys.readouterr().err
    assert f"error: {target}: " in message and "would be overwritten" in message
    assert "--overwrite true" in message and "name another output" in message
    assert contents(tmp_path) == before
    assert write(source, target, "--overwrite", "true") == 0
    assert "손으로" not in (target / "text.meaning").read_text(encoding="utf-8")
    assert write(source, target) == 0  # the command wrote it now


@pytest.mark.parametrize("write", COMMANDS)
def test_a_single_table_of_the_user_is_protected(source, tmp_path, capsys, write):
    write_table(tmp_path / "target", "text.gloss", "s1-u1 by hand")
    before = contents(tmp_path)
    assert write(source, tmp_path / "target") == 1
    assert "text.gloss would be overwritten" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("write", COMMANDS)
def test_commands_repeat_their_work_until_the_user_changes_it(source, tmp_path, capsys, write):
    target = tmp_path / "target"
    for _ in range(2):
        assert write(source, target) == 0
    first = contents(target)
    assert write(source, target) == 0
    assert contents(target).keys() == first.keys()
    text = target / "text.meaning"
    original = text.read_bytes()
    text.write_bytes(original.replace("국물".encode(), "국수".encode(), 1))
    before = contents(tmp_path)
    capsys.readouterr()
    assert write(source, target) == 1
    assert "text.meaning would be overwritten, but it has changed since" in capsys.readouterr().err
    assert contents(tmp_path) == before
    text.write_bytes(original)
    assert write(source, target) == 0
    write_table(target, "text.gloss", "s1-u1 by hand")
    capsys.readouterr()
    assert write(source, target) == 1
    assert "text.gloss would be overwritten" in capsys.readouterr().err
    assert (target / "text.gloss").exists()
    assert write(source, target, "--overwrite", "true") == 0
    assert not (target / "text.gloss").exists() or write is run_fix


@pytest.mark.parametrize("write", COMMANDS)
def test_no_command_overwrites_the_output_of_another(source, tmp_path, capsys, write):
    other = run_combine if write is run_filter else run_filter
    assert other(source, tmp_path / "target") == 0
    before = contents(tmp_path)
    capsys.readouterr()
    assert write(source, tmp_path / "target") == 1
    assert "did not write" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("overwrite", ["false", "true"])
@pytest.mark.parametrize("name", ["source", "./source/", "source/../source", "link"])
@pytest.mark.parametrize("write", COMMANDS)
def test_no_command_writes_its_input(source, tmp_path, capsys, monkeypatch, write, name, overwrite):
    monkeypatch.chdir(tmp_path)
    os.symlink("source", "link")
    before = contents(tmp_path)
    assert write(source, name, "--overwrite", overwrite) == 1
    assert "is both input and output" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("write", COMMANDS)
def test_interrupted_command_can_be_repeated(source, tmp_path, monkeypatch, write):
    """It leaves some tables and a mark that it had begun."""
    from espnet_ext.data import directory, streaming

    target = tmp_path / "target"
    assert write(source, target) == 0
    finished = contents(target)
    (target / "text.meaning").write_text("s1-u1 half of")
    mark = json.loads((target / MARK).read_text())
    (target / MARK).write_text(json.dumps({name: {"unfinished": True} for name in mark}))
    assert write(source, target) == 0
    assert contents(target) == finished

    def fail(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(directory, "write_table", fail)
    monkeypatch.setattr(streaming, "encoded_row", fail)
    assert write(source, target) == 130
    monkeypatch.undo()
    assert write(source, target) == 0
    assert contents(target) == finished


def test_failed_command_leaves_no_new_folder(tmp_path, capsys):
    source = make_directory(tmp_path / "source")
    (source / "s1-u1.wav").unlink()
    assert run_perturb(source, tmp_path / "a/b") == 1
    assert run_combine(tmp_path / "nothing", tmp_path / "c") == 1
    assert not (tmp_path / "a/b/wav.scp").exists() and not (tmp_path / "c").exists()


EVIDENCE = {
    run_format: ["audio_format", "utt2num_samples"],
    run_filter: ["validation.json", "removed.tsv"],
    run_perturb: ["audio/.made.jsonl"],
    run_drop: ["dropped.tsv"],
    run_fix: ["changes.tsv"],
}


@pytest.mark.parametrize("write", EVIDENCE)
def test_output_of_an_earlier_version_may_be_overwritten(source, tmp_path, write):
    """It has no mark, but files that only the command writes."""
    target = tmp_path / "target"
    assert write(source, target) == 0
    (target / MARK).unlink()
    for name in EVIDENCE[write]:
        assert (target / name).exists()
    assert write(source, target) == 0
    (target / MARK).unlink()
    (target / EVIDENCE[write][0]).unlink()
    assert write(source, target) == 1


def test_dump_of_espnet_is_not_overwritten(source, tmp_path):
    target = make_directory(tmp_path / "target")
    (target / "text.meaning").rename(target / "text")
    for name in ("audio_format", "feats_type", "utt2num_samples"):
        (target / name).write_text("x\n")
    before = contents(target)
    assert run_format(source, target) == 1
    assert contents(target) == before


@pytest.mark.parametrize("nj", [1, 2])
@pytest.mark.parametrize("audio_format", ["wav", "wav.ark"])
def test_recordings_are_not_overwritten(source, tmp_path, capsys, audio_format, nj):
    target = tmp_path / "target"
    name = "s1-u1.wav" if audio_format == "wav" else "audio.1.ark"
    (target / "data").mkdir(parents=True)
    soundfile.write(target / "data" / name, noise(9), RATE, format="WAV")
    before = contents(target)
    options = ["--audio_format", audio_format, "--nj", nj]
    assert run_format(source, target, *options) == 1
    assert f"{name}: exists and would be overwritten" in capsys.readouterr().err
    assert {path: text for path, text in contents(target).items() if path.name != MARK} == before
    assert run_format(source, target, *options, "--overwrite", "true") == 0
    assert run_format(source, target, *options) == 0


@pytest.mark.parametrize("overwrite", ["false", "true"])
def test_no_recording_is_both_input_and_output(tmp_path, capsys, overwrite):
    """The recordings of a corpus lie where stage 3 or 2 would write theirs."""
    target = make_directory(tmp_path / "target/data")
    source = tmp_path / "source"
    for name in ("wav.scp", "utt2spk", "text.meaning"):
        write_table(source, name, *(target / name).read_text("utf-8").splitlines())
    before = contents(target)
    assert run_format(source, tmp_path / "target", "--overwrite", overwrite) == 1
    assert "is both input and output" in capsys.readouterr().err
    assert contents(target) == before
    samples, _ = soundfile.read(target / "s1-u1.wav")
    np.testing.assert_allclose(samples, noise((0, 4), 1.0), atol=1e-4)


@pytest.mark.parametrize("token_type", ["char", "bpe"])
def test_token_list_of_the_user_is_not_overwritten(source, tmp_path, capsys, token_type):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "tokens.txt").write_text("mine\n")
    options = ["--output_name", "meaning", "--token_type", token_type, "--vocab_size", "12"]
    arguments = ["--input", source, *options, "--token_dir", folder]
    assert call(tokens, *arguments) == 1
    assert "tokens.txt would be overwritten" in capsys.readouterr().err
    assert (folder / "tokens.txt").read_text() == "mine\n"
    assert call(tokens, *arguments, "--overwrite", "true") == 0
    assert call(tokens, *arguments) == 0
    if token_type == "char":  # a list of an earlier version, which would not change
        (folder / MARK).unlink()
        assert call(tokens, *arguments) == 0


def test_report_of_findings_overwrites_only_reports(source, tmp_path, capsys):
    report = tmp_path / "report.json"
    for _ in range(2):
        assert call(validate, source, "--json", report) == 0
    before = contents(source)
    for path in (source / "text.meaning", source / "s1-u1.wav"):
        assert call(validate, source, "--json", path) == 1
        assert "exists and would be overwritten" in capsys.readouterr().err
    assert contents(source) == before
    (tmp_path / "numbers.json").write_text('{"results": 1}')
    assert call(validate, source, "--json", tmp_path / "numbers.json") == 1
    assert call(validate, source, "--json", tmp_path / "numbers.json", "--overwrite", "true") == 0


def test_g2p_overwrites_no_file(tmp_path, capsys):
    (tmp_path / "text").write_text("u1 국물\n", encoding="utf-8")
    (tmp_path / "canonical").write_text("u1 궁물 by hand\n", encoding="utf-8")
    before = contents(tmp_path)
    arguments = ["--lang", "ko", "--kaldi", tmp_path / "text"]
    for name, overwrite in (("canonical", "false"), ("text", "false"), ("text", "true")):
        assert call(g2p, *arguments, tmp_path / name, "--overwrite", overwrite) == 1
        assert "overwritten" in (error := capsys.readouterr().err) or "both input" in error
    assert contents(tmp_path) == before
    assert call(g2p, *arguments, tmp_path / "new") == 0
    assert call(g2p, *arguments, tmp_path / "canonical", "--overwrite", "true") == 0
    assert (tmp_path / "canonical").read_text(encoding="utf-8") == "u1 궁물\n"


def test_records_of_several_commands_in_a_folder_are_kept(tmp_path):
    for command, name in (("decode", "text.meaning"), ("score", "score.json")):
        with OutputFolder(tmp_path, command, name.replace(".", r"\.")) as folder:
            (folder / name).write_text(command)
    assert set(json.loads((tmp_path / MARK).read_text())) == {"decode", "score"}
    OutputFolder(tmp_path, "decode", r"text\..*").check()
    with pytest.raises(UserError, match=r"score\.json would be overwritten, but `decode` did not"):
        OutputFolder(tmp_path, "decode", r".*").check()


def test_analysis_replaces_its_own_results_only(tmp_path, capsys):
    for name in ("canonical", "perceived", "hypothesis"):
        (tmp_path / name).write_text("a-1 HH AH L OW\n")
    inputs = [part for path in tmp_path.iterdir() for part in (f"--{path.name}", path)]
    assert call(mdd, *inputs, "--json", tmp_path / "canonical") == 1
    assert "exists, and is not a result of this command" in capsys.readouterr().err
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    assert call(mdd, *inputs, "--json", tmp_path / "notes.json") == 1
    assert (tmp_path / "canonical").read_text() == "a-1 HH AH L OW\n"
    assert (tmp_path / "notes.json").read_text() == '{"mine": 1}'
    for _ in range(2):
        assert call(mdd, *inputs, "--json", tmp_path / "mdd.json") == 0


def test_commands_that_run_in_parallel_keep_the_records_of_each_other(tmp_path):
    def write(number):
        with OutputFolder(tmp_path, f"step {number}", f"{number}\\.txt") as folder:
            (folder / f"{number}.txt").write_text("x")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(64)))
    assert len(json.loads((tmp_path / MARK).read_text())) == 64


def test_language_model_commands_spare_data(tmp_path, capsys):
    source = make_annotated(tmp_path / "source")
    before = (source / "text.meaning").read_bytes()
    (tmp_path / "tokens.txt").write_text("<blank>\n<unk>\na\n<sos/eos>\n")
    kind = ["--token_type", "char", "--token_dir", tmp_path]
    text = ["--input", source / "text.meaning", *kind, "--output"]
    assert call(lm_text, *text, source / "text.meaning") == 1
    assert call(lm_text, *text, source / "text.gloss") == 1
    assert "is a data directory" in capsys.readouterr().err
    counts = ["--input", source, "--output_name", "meaning", *kind, "--output"]
    assert call(ngram, *counts, source / "text.meaning") == 1
    assert (source / "text.meaning").read_bytes() == before
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    assert call(lm_text, *text, notes) == 1 and notes.read_text() == "mine"
    assert "`lm_text notes.txt` did not write it" in capsys.readouterr().err
    assert call(lm_text, *text, notes, "--overwrite", "true") == 0 and notes.read_text() != "mine"
    assert call(lm_text, *text, tmp_path / "new") == 0  # the record keeps that of notes.txt
    assert call(lm_text, *text, notes) == 0
    for _ in range(2):
        assert call(lm_text, *text, tmp_path / "lm_text") == 0
        assert call(ngram, *counts, tmp_path / "3gram.arpa") == 0


def test_archive_of_others_is_not_replaced(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("thesis.txt", "mine")
    assert not is_archive(tmp_path / "mine.zip") and not is_archive(Path(__file__))
    assert call(pack, "--model_dir", tmp_path, "--archive", tmp_path / "mine.zip") == 1
    assert zipfile.ZipFile(tmp_path / "mine.zip").namelist() == ["thesis.txt"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"copy": 1}', "\xff"])
def test_broken_record_counts_as_missing(tmp_path, content):
    (tmp_path / "a").write_text("mine")
    (tmp_path / MARK).write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="a would be overwritten"):
        OutputFolder(tmp_path, "copy", "a").check()


def test_output_that_is_no_folder_or_no_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is not a folder"):
        OutputFolder(tmp_path / "file", "copy", ".*").check()
    with pytest.raises(UserError, match="is a folder"):
        require_new_file(tmp_path)
    require_new_file(os.devnull)
    require_new_file(tmp_path / "new")


def test_output_is_complete_and_valid_after_it_was_overwritten(source, tmp_path):
    target = make_annotated(tmp_path / "target")
    assert run_filter(source, target, "--overwrite", "true") == 0
    assert [item.texts["meaning"] for item in read_directory(target)] == ["국물 주세요"] * 4
