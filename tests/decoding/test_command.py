"""Decoding a set: every utterance gets a row, and decode.json tells how it was done."""

import json
import shutil

import numpy as np
import pytest
import torch

from espnet_ext.bin import analyze, decode
from espnet_ext.data.audio import write_audio
from espnet_ext.data.table import read_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError


@pytest.fixture
def data(trained, tmp_path):
    """The validation set and one utterance of a hundredth of a second."""
    folder = tmp_path / "test"
    shutil.copytree(trained.root / "dump/valid", folder)
    write_audio(tmp_path / "blip.wav", np.full(160, 0.1), 16000)
    with open(folder / "wav.scp", "a") as table:
        table.write(f"s9-blip {tmp_path / 'blip.wav'}\n")
    return folder


def run(trained, data, out, *options):
    return decode.main([
        "--model_dir", str(trained.root / "exp"), "--data", str(data), "--output_dir", str(out),
        "--beam_size", "2", *options,
    ])  # fmt: skip


def test_every_utterance_has_a_row(trained, data, tmp_path, capsys):
    assert run(trained, data, tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert "warning: s9-blip: too short" in error
    assert error.count("warning") == 1
    sources = read_table(data / "wav.scp")
    recognise = DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2)
    for name in ("surface", "meaning"):
        lines = (tmp_path / "out" / f"text.{name}").read_text("utf-8").splitlines()
        texts = dict((line + " ").split(" ", 1) for line in lines)
        assert list(texts) == sorted(sources)
        assert texts["s9-blip"].strip() == ""
        first = min(sources)
        assert texts[first].strip() == recognise(sources[first]).best[name].text.strip()


def test_facts(trained, data, tmp_path, capsys):
    run(trained, data, tmp_path / "out", "--nbest", "2")
    facts = json.loads((tmp_path / "out/decode.json").read_text())
    assert facts["utterances"] == 5
    assert facts["outputs"] == ["surface", "meaning"]
    assert facts["audio_seconds"] == pytest.approx(4 * 0.5 + 0.01)
    assert facts["rtf"] == pytest.approx(facts["seconds"] / facts["audio_seconds"], abs=0.02)
    assert facts["options"]["meaning"]["beam_size"] == 2
    nbest = json.loads((tmp_path / "out/nbest.meaning.json").read_text())
    assert [len(nbest[i]) for i in sorted(nbest)] == [2, 2, 2, 2, 1]
    assert "5 utterances" in capsys.readouterr().out


def test_a_second_run_writes_the_same(trained, data, tmp_path):
    run(trained, data, tmp_path / "a")
    run(trained, data, tmp_path / "b")
    for name in ("text.surface", "text.meaning", "token.surface", "score.meaning"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nbest_lists_of_an_earlier_run_do_not_stay(trained, data, tmp_path):
    run(trained, data, tmp_path / "out", "--nbest", "2")
    assert list((tmp_path / "out").glob("nbest.*"))
    run(trained, data, tmp_path / "out")
    assert not list((tmp_path / "out").glob("nbest.*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(trained, data, tmp_path):
    for wrong in (
        lambda: run(trained, data, tmp_path / "out", "--ngpu", "1"),
        lambda: analyze.main([
            "cka", "--models", f"a={trained.root}/exp b={trained.root}/exp", "--data", str(data),
            "--output", str(tmp_path / "cka.json"), "--ngpu", "1",
        ]),
    ):  # fmt: skip
        with pytest.raises(UserError, match="no GPU is visible to PyTorch"):
            wrong()
