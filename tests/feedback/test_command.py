"""`espnet-ext judge`: a trained model, several recordings, streams, errors."""

import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
import soundfile

from espnet_ext.bin import cli, judge
from espnet_ext.data.audio import write_audio
from espnet_ext.errors import UserError
from espnet_ext.feedback.judgement import schema
from espnet_ext.feedback.recordings import Recordings, read_prompts

RANDOM = np.random.default_rng(5)


def noise(path, seconds=0.5):
    write_audio(path, 0.1 * RANDOM.standard_normal(int(16000 * seconds)), 16000)
    return str(path)


def test_trained_model_judges_a_folder_and_a_file(trained, tmp_path, capsys):
    folder = tmp_path / "wavs"
    names = [noise(folder / "b.flac"), noise(folder / "a.wav"), noise(tmp_path / "c.wav")]
    (folder / "notes.txt").write_text("no audio")
    model = str(trained.root / "exp")
    arguments = [model, str(folder), names[2], "--prompt", "a cat", "--json"]
    assert cli.run(judge.main, arguments) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["audio"] for row in rows] == [names[1], names[0], names[2]]
    for row in rows:
        jsonschema.validate(row, schema())
        assert set(row["transcripts"]) <= {"surface", "meaning"}
        assert row["calibrated"] is False


def test_standard_input_and_an_unreadable_file(trained, tmp_path, capsys, monkeypatch):
    (tmp_path / "broken.wav").write_bytes(b"this is no audio")
    content = Path(noise(tmp_path / "a.wav")).read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    arguments = [str(trained.root / "exp"), str(tmp_path / "broken.wav"), "-", "--prompt", "cat"]
    assert cli.run(judge.main, arguments) == 1
    output = capsys.readouterr()
    assert output.out.startswith("stdin (0.50 s)")
    assert "broken.wav" in output.err and "1 of 2 recordings could not be judged" in output.err


def test_stereo_is_judged_with_a_channel(trained, tmp_path, capsys):
    soundfile.write(tmp_path / "stereo.wav", 0.1 * RANDOM.standard_normal((8000, 2)), 16000)
    arguments = [str(trained.root / "exp"), str(tmp_path / "stereo.wav"), "--prompt", "cat"]
    assert cli.run(judge.main, arguments) == 1
    assert "has 2 channels" in (error := capsys.readouterr().err) and "--channel mix" in error
    assert cli.run(judge.main, [*arguments, "--channel", "mix"]) == 0


def test_hour_of_audio_is_not_loaded(trained, tmp_path, capsys):
    path = noise(tmp_path / "long.wav", 31)
    arguments = [str(trained.root / "exp"), path, "--prompt", "a cat", "--json"]
    assert cli.run(judge.main, arguments) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["reason"] == "too_long" and "--segments true" in row["message"]


def test_schema_is_printed_without_a_model(capsys):
    assert judge.main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


@pytest.mark.parametrize(
    "options",
    [
        ["--prompt", "a", "--prompts", "f"],
        ["--precision", "0.8", "--threshold", "0.5"],
        ["--segments", "--prompt", "a"],
        ["--threshold", "2"],
    ],
)
def test_contradicting_options_are_wrong_usage(options):
    with pytest.raises(SystemExit) as caught:
        judge.main(["model", "a.wav", *options])
    assert caught.value.code == 2


def test_recordings_that_do_not_exist_are_named(tmp_path):
    with pytest.raises(UserError, match="no.wav: no such audio file or folder"):
        Recordings([str(tmp_path / "no.wav")])
    with pytest.raises(UserError, match="no audio file in this folder"):
        Recordings([str(tmp_path)])
    with pytest.raises(UserError, match="named twice"):
        Recordings(["-", "-"])


def test_prompts_are_found_by_the_name_of_the_file(tmp_path):
    recordings = Recordings([noise(tmp_path / "x/a.wav"), noise(tmp_path / "x/b.wav")])
    path = tmp_path / "prompts"
    path.write_text("a a cat\n")
    with pytest.raises(UserError, match="no prompt for 1 of 2 recordings .the first is b"):
        read_prompts(str(path), recordings)
    path.write_text("a a cat\nb dog\nc unused\n")
    assert read_prompts(str(path), recordings) == {"a": "a cat", "b": "dog"}
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    same = Recordings([str(tmp_path / "x"), str(tmp_path / "y")])
    with pytest.raises(UserError, match="have the same name 'a'"):
        read_prompts(str(path), same)
