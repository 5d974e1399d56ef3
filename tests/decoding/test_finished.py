"""A decoding that was killed continues; what it depends on decides which results are used again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest
import tiny_recipe  # noqa: F401

from espnet_ext.bin import decode
from espnet_ext.data.audio import write_audio
from espnet_ext.decoding import set_decoder
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.finished import FILE
from espnet_ext.errors import UserError

FILES = ("text.surface", "token.meaning", "score.surface", "nbest.surface.json", "ctm.surface")


class Killed(BaseException):
    """Ends a decoding where a signal would."""


@pytest.fixture
def data(trained, tmp_path):
    """A copy of the validation set with its audio."""
    folder = tmp_path / "test"
    shutil.copytree(trained.root / "dump/valid", folder)
    lines = []
    for line in (folder / "wav.scp").read_text().splitlines():
        utt_id, source = line.split(" ", 1)
        shutil.copy(source, tmp_path / f"{utt_id}.wav")
        lines.append(f"{utt_id} {tmp_path / utt_id}.wav\n")
    (folder / "wav.scp").write_text("".join(lines))
    return folder


def run(trained, data, out, *options):
    arguments = ["--model_dir", str(trained.root / "exp"), "--data", str(data)]
    options = ["--beam_size", "2", "--nbest", "2", "--times", "true", *options]
    return decode.main([*arguments, "--output_dir", str(out), *options])


@pytest.fixture
def killed(trained, data, tmp_path, monkeypatch):
    """The output folder of a decoding that was killed after two batches of one utterance."""
    monkeypatch.setattr(set_decoder, "CHUNK_SIZE", 1)
    batch = DualSpeech2Text.batch
    count = 0

    def stop_at_the_third(self, waves, *args, **options):
        nonlocal count
        count += 1
        if count == 3:
            raise Killed
        return batch(self, waves, *args, **options)

    monkeypatch.setattr(DualSpeech2Text, "batch", stop_at_the_third)
    with pytest.raises(Killed):
        run(trained, data, tmp_path / "out")
    assert len((tmp_path / "out" / FILE).read_text().splitlines()) == 3  # the key and two batches
    return tmp_path / "out"


def reused(out):
    return json.loads((out / "decode.json").read_text())["reused"]


def test_finished_batches_are_used_again(trained, data, tmp_path, killed, capsys):
    assert run(trained, data, killed) == 0
    assert "continues an interrupted decoding: 2 of 4" in capsys.readouterr().err
    run(trained, data, tmp_path / "whole")
    for name in FILES:
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert reused(killed) == 2 and reused(tmp_path / "whole") == 0
    assert not (killed / FILE).exists()
    run(trained, data, killed)
    assert reused(killed) == 0  # a complete decoding is repeated


def test_line_that_was_being_written_is_dropped(trained, data, killed):
    with open(killed / FILE, "a") as handle:
        handle.write('{"seconds": 1.0, "rows": [["s0')
    assert run(trained, data, killed) == 0
    assert reused(killed) == 2


def test_damaged_file_is_not_used(trained, data, killed):
    lines = (killed / FILE).read_text().splitlines()
    (killed / FILE).write_text("\n".join([lines[0], lines[1][:50], lines[2]]) + "\n")
    assert run(trained, data, killed) == 0
    assert reused(killed) == 0


@pytest.mark.parametrize("options", [("--ctc_weight", "0.5"), ("--outputs", "surface")])
def test_other_options_use_no_earlier_result(trained, data, killed, options):
    assert run(trained, data, killed, *options) == 0
    assert reused(killed) == 0


def test_other_weights_use_no_earlier_result(trained, data, tmp_path, killed):
    import torch

    shutil.copytree(trained.root / "exp", tmp_path / "exp")
    state = torch.load(tmp_path / "exp/model.pth", weights_only=True)
    state["surface_ctc.ctc_lo.bias"] += 0.01
    (tmp_path / "exp/model.pth").unlink()
    torch.save(state, tmp_path / "exp/model.pth")
    other = type(trained)(tmp_path, trained.token_types)
    assert run(other, data, killed) == 0
    assert reused(killed) == 0


def test_replaced_recording_is_decoded_again(trained, data, tmp_path, killed):
    """The same path, size and dates."""
    import numpy as np

    done = json.loads((killed / FILE).read_text().splitlines()[1])["rows"][0][0]
    path = tmp_path / f"{done}.wav"
    status = path.stat()
    noise = 0.1 * np.random.default_rng(99).standard_normal(8000)
    write_audio(path, noise, 16000)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run(trained, data, killed) == 0
    assert reused(killed) == 1


def test_another_label_of_an_utterance_makes_another_digest():
    """The conditions that a model reads, such as utt2band."""
    decoders = [
        set_decoder.SetDecoder(
            mock.MagicMock(), {"u1": "a.wav"}, 0.0, mock.MagicMock(), {"band": {"u1": band}}, {}
        )
        for band in ("narrow", "wide")
    ]
    assert decoders[0]._digest("u1", "0") != decoders[1]._digest("u1", "0")


@pytest.mark.slow
def test_killed_process_continues(trained, data, tmp_path):
    """With a signal that no process can catch."""
    script = (
        "import sys, time; from espnet_ext.bin import decode; "
        "from espnet_ext.decoding import finished, set_decoder; set_decoder.CHUNK_SIZE = 1; "
        "add = finished.FinishedResults.add\n"
        "def slow(*a): add(*a); time.sleep(5)\n"
        "finished.FinishedResults.add = slow; decode.main(sys.argv[1:])"
    )
    arguments = ["--model_dir", str(trained.root / "exp"), "--data", str(data)]
    arguments += ["--output_dir", str(tmp_path / "out"), "--beam_size", "2"]
    arguments += ["--nbest", "2", "--times", "true"]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments])
    deadline = time.monotonic() + 300
    while not (tmp_path / "out" / FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run(trained, data, tmp_path / "out") == 0
    assert reused(tmp_path / "out") == 1


def test_unwritable_output_is_noticed_before_the_model_is_loaded(
    trained, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        DualSpeech2Text, "from_pretrained", lambda *args, **kwargs: pytest.fail("model loaded")
    )
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        run(trained, data, tmp_path / "file/out")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "read_only").mkdir()
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(UserError, match="read_only.*: cannot write: Permission denied"):
        run(trained, data, tmp_path / "read_only")
