"""Empty transcripts: nothing is said. Sets to decode may contain them, other sets may not."""

import pytest
from directories import IDS, findings_of, make_directory, run_validate, write_table

from espnet_ext.bin import cli, combine, filter, format_audio, validate
from espnet_ext.data.directory import read_directory, write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.data.streaming import DirectoryWriter
from espnet_ext.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """A directory in which the first utterance has an empty meaning, and the last one none."""
    folder = make_directory(tmp_path / "d", meaning=["국물"] * 4, surface=["궁물"] * 4)
    write_table(folder, "text.meaning", IDS[0], *(f"{key} 국물" for key in IDS[1:3]))
    return folder


def test_empty_transcript_is_an_error_unless_it_is_allowed(folder):
    assert run_validate(folder, severities=("error",)) == (1, ["empty-text"])
    (finding,) = findings_of(folder, "empty-text")
    assert "unlabelled" in finding["remedy"] and "--empty_texts" in finding["remedy"]
    assert run_validate(folder, "--empty_texts", "true") == (0, [])
    (finding,) = findings_of(folder, "empty-text", "--empty_texts", "true")
    assert finding["severity"] == "note" and finding["utt_id"] == IDS[0]


def test_empty_transcript_is_read_as_empty_and_not_as_unlabelled(folder):
    with pytest.raises(UserError, match=f"{IDS[0]}: has no value"):
        read_directory(folder)
    first, *_, last = read_directory(folder, empty_texts=True)
    assert first.texts == {"meaning": "", "surface": "궁물"}
    assert last.texts == {"surface": "궁물"}


@pytest.mark.parametrize("command, option", [(format_audio, "--whole"), (filter, "--no_filter")])
def test_stages_keep_empty_transcripts_of_sets_to_decode(folder, tmp_path, capsys, command, option):
    arguments = ["--input", str(folder), "--output", f"{tmp_path}/o"]
    assert cli.run(command.main, arguments) == 1
    assert "[empty-text]" in capsys.readouterr().err
    assert not (tmp_path / "o/wav.scp").exists()
    assert cli.run(command.main, [*arguments, option, "true"]) == 0
    if command is filter:
        assert "warning: s1-u1: the meaning transcript is empty" in capsys.readouterr().err
    texts = [
        utterance.texts.get("meaning")
        for utterance in read_directory(tmp_path / "o", empty_texts=True)
    ]
    assert texts == ["", "국물", "국물", None]
    assert run_validate(tmp_path / "o", "--empty_texts", "true", severities=("error",)) == (0, [])


def test_combination_keeps_empty_transcripts_which_stage_4_then_checks(folder, tmp_path):
    ids = ["s3-u1", "s3-u2"]
    other = make_directory(tmp_path / "e", ids)
    arguments = ["--inputs", str(folder), str(other), "--output", f"{tmp_path}/o"]
    assert cli.run(combine.main, arguments) == 0
    assert read_directory(tmp_path / "o", empty_texts=True)[0].texts["meaning"] == ""
    assert run_validate(tmp_path / "o", severities=("error",)) == (1, ["empty-text"])


@pytest.mark.parametrize("allowed", [False, True])
def test_repaired_copy_keeps_empty_transcripts_if_they_are_allowed(folder, tmp_path, allowed):
    write_table(folder, "utt2band", f"{IDS[1]} medium")  # an error, to be repaired
    options = ["--empty_texts", "true"] if allowed else []
    assert cli.run(validate.main, [str(folder), "--fix", f"{tmp_path}/o", *options]) == 0
    assert read_directory(tmp_path / "o", empty_texts=True)[0].texts.get("meaning") == (
        "" if allowed else None
    )


@pytest.mark.parametrize("text", ["", " ", "\u200b"])
def test_empty_transcripts_are_written_only_if_they_are_allowed(tmp_path, text):
    """A transcript of which nothing is left after normalisation is never meant to be empty."""
    utterance = Utterance("s1-u1", "s1", "a.wav", {"meaning": text})
    with pytest.raises(UserError, match="s1-u1: the meaning transcript is empty"):
        write_directory(tmp_path / "a", [utterance])
    with pytest.raises(UserError, match="is empty"), DirectoryWriter(tmp_path / "b") as writer:
        writer.add(utterance)
    if text:
        with pytest.raises(UserError, match="is empty"):
            write_directory(tmp_path / "a", [utterance], empty_texts=True)
        return
    write_directory(tmp_path / "a", [utterance], empty_texts=True)
    with DirectoryWriter(tmp_path / "b", empty_texts=True) as writer:
        writer.add(utterance)
    for name in ("a", "b"):
        assert read_directory(tmp_path / name, empty_texts=True) == [utterance]
