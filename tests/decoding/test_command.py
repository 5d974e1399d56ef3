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


def test_times_are_written_as_ctm_and_removed_with_the_next_run(trained, data, tmp_path, capsys):
    out = tmp_path / "out"
    run(trained, data, out, "--times", "true")
    lines = (out / "ctm.surface").read_text().splitlines()
    tokens = read_table(out / "token.surface", empty_ok=True)
    for utt_id, said in tokens.items():
        own = [line.split(" ") for line in lines if line.startswith(utt_id + " ")]
        assert [row[4] for row in own] == said.split()
        assert all(row[1] == "1" and float(row[3]) > 0 for row in own)
        assert all(0 <= float(row[5]) <= 1 for row in own)
    assert not (out / "ctm.meaning").exists()  # a branch without CTC
    run(trained, data, out)
    assert not (out / "ctm.surface").exists()


def test_coupling_chooses_among_the_n_best(trained, data, tmp_path, capsys):
    train = trained.root / "dump/train"
    run(trained, data, tmp_path / "apart", "--nbest", "2")
    run(trained, data, tmp_path / "coupled", "--coupling", str(train), "--coupling_weight", "50")
    facts = json.loads((tmp_path / "coupled/decode.json").read_text())
    assert facts["coupling"] == str(train) and facts["coupling_weight"] == 50
    for name in ("surface", "meaning"):
        apart = json.loads((tmp_path / f"apart/nbest.{name}.json").read_text())
        coupled = json.loads((tmp_path / f"coupled/nbest.{name}.json").read_text())
        texts = read_table(tmp_path / f"coupled/text.{name}", empty_ok=True)
        for utt_id, nbest in coupled.items():
            assert texts[utt_id] == nbest[0]["text"]
            # the same hypotheses, of which another may stand first
            assert {one["text"] for one in nbest} >= {one["text"] for one in apart[utt_id]}


def test_coupling_without_pairs_is_named(trained, data, tmp_path):
    empty = tmp_path / "none"
    shutil.copytree(trained.root / "dump/train", empty)
    for name in ("surface", "meaning"):
        rows = sorted(read_table(empty / f"text.{name}").items())
        # the first lacks its meaning, as dumped sets say it; the second its surface
        kept = rows[:1] if name == "surface" else [(rows[0][0], "<na>"), rows[1]]
        (empty / f"text.{name}").write_text("".join(f"{i} {text}\n" for i, text in kept))
    with pytest.raises(UserError, match="no utterance has all of surface, meaning"):
        run(trained, data, tmp_path / "out", "--coupling", str(empty))


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
