"""Decoding a set: every utterance gets a row, and decode.json tells how it was done."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import tiny_recipe
import torch

from espnet_ext.bin import analyze, decode
from espnet_ext.data.audio import write_audio
from espnet_ext.data.table import read_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.text.ngram import estimate, write_arpa


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
    return decode.main(
        [
            "--model_dir",
            str(trained.root / "exp"),
            "--data",
            str(data),
            "--output_dir",
            str(out),
            "--beam_size",
            "2",
            *options,
        ]
    )


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


BAD = {  # what is wrong with an utterance's audio → what is said of it
    "truncated": "cannot be read as audio",
    "cut": "is truncated",
    "missing": "no such audio file",
    "nan": "not finite",
    "stereo": "has 2 channels",
    "none": "has no samples",
    "text": "cannot be read as audio",
}
ODD = ("silent", "one", "clipped", "8k", "48k")  # nothing wrong with them


@pytest.fixture
def odd_data(data, tmp_path):
    """The set with bad and odd audio in the middle of it."""
    noise = np.random.default_rng(0).standard_normal(8000) * 0.1
    folder = tmp_path / "odd"
    folder.mkdir()
    write_audio(folder / "truncated.flac", noise, 16000)
    whole = (folder / "truncated.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    write_audio(folder / "cut.wav", noise, 16000)
    (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[:9000])
    soundfile.write(folder / "stereo.wav", np.stack([noise, noise], 1), 16000)
    soundfile.write(folder / "none.wav", np.zeros(0), 16000)
    (folder / "text.wav").write_text("this is no sound")
    for name, samples, rate in (
        ("nan", np.where(np.arange(8000) == 77, np.nan, noise), 16000),
        ("silent", np.zeros(8000), 16000),
        ("one", noise[:1], 16000),
        ("clipped", np.clip(noise * 100, -1, 1), 16000),
        ("8k", noise, 8000),
        ("48k", noise, 48000),
    ):
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype="FLOAT")
    rows = dict(line.split(" ", 1) for line in (data / "wav.scp").read_text().splitlines())
    for name in (*BAD, *ODD):
        suffix = ".flac" if name == "truncated" else ".wav"
        rows[f"s1-{name}"] = str(folder / (name + suffix))
    table = "".join(f"{i} {path}\n" for i, path in sorted(rows.items()))
    (data / "wav.scp").write_text(table)
    return data


def test_one_bad_file_does_not_keep_the_others_from_being_decoded(
    trained, data, odd_data, tmp_path, capsys
):
    out = tmp_path / "out"
    with pytest.raises(UserError) as caught:
        run(trained, odd_data, out)
    assert f"{len(BAD)} of {5 + len(BAD) + len(ODD)} utterances" in caught.value.message
    assert str(out / "failed") in caught.value.message and "s1-missing" in caught.value.message
    failed = dict(line.split(" ", 1) for line in (out / "failed").read_text().splitlines())
    assert failed.keys() == {f"s1-{name}" for name in BAD}
    for name, words in BAD.items():
        assert words in failed[f"s1-{name}"]
    sources = read_table(odd_data / "wav.scp")
    recognise = DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2)
    for output in ("surface", "meaning"):
        texts = read_table(out / f"text.{output}", empty_ok=True)
        assert texts.keys() == sources.keys()
        assert not any(texts[f"s1-{name}"] for name in BAD)
        for utt_id in ("s1-8k", "s1-48k", "s1-clipped", "s1-silent"):
            assert texts[utt_id] == recognise(sources[utt_id]).best[output].text.strip()
    assert "s1-one: too short (1 samples)" in capsys.readouterr().err
    assert json.loads((out / "decode.json").read_text())["failed"] == len(BAD)


def test_a_list_of_failures_goes_with_them(trained, odd_data, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(UserError):
        run(trained, odd_data, out)
    rows = (odd_data / "wav.scp").read_text().splitlines()
    kept = [row for row in rows if row.split(" ")[0].removeprefix("s1-") not in BAD]
    (odd_data / "wav.scp").write_text("\n".join(kept) + "\n")
    assert run(trained, odd_data, out) == 0
    assert not (out / "failed").exists()


def test_memory_too_small_for_one_utterance(trained, data, tmp_path, monkeypatch):
    """It fails, the others of its batch do not."""
    whole = DualSpeech2Text._decode_batch

    def narrow(self, waves):
        if max(len(wave) for wave in waves) > 8000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, waves)

    write_audio(tmp_path / "long.wav", np.full(9000, 0.1), 16000)
    with open(data / "wav.scp", "a") as table:
        table.write(f"s9-long {tmp_path / 'long.wav'}\n")
    monkeypatch.setattr(DualSpeech2Text, "_decode_batch", narrow)
    with pytest.raises(UserError, match="1 of 6 utterances"):
        run(trained, data, tmp_path / "out")
    assert "out of memory" in (tmp_path / "out/failed").read_text()
    texts = read_table(tmp_path / "out/text.surface", empty_ok=True)
    assert len(texts) == 6 and texts["s9-long"] == ""


def test_long_utterances_are_cut_if_asked_for(trained, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("espnet_ext.decoding.segmentation.SHORTEST", 0.1)
    monkeypatch.setattr(
        "espnet_ext.decoding.api.speech_spans", lambda audio, longest: [(0.0, 0.2), (0.25, 0.5)]
    )
    run(trained, data, tmp_path / "whole")
    run(trained, data, tmp_path / "cut", "--segment_seconds", "0.3")
    facts = json.loads((tmp_path / "cut/decode.json").read_text())
    assert facts["segment_seconds"] == 0.3 and facts["audio_seconds"] == pytest.approx(2.01)
    recognise = DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2)
    for utt_id, source in read_table(data / "wav.scp").items():
        text = read_table(tmp_path / "cut/text.surface", empty_ok=True)[utt_id]
        long = utt_id != "s9-blip"
        assert (utt_id in (tmp_path / "cut/segments").read_text()) == long
        assert (
            text
            == (recognise.long(source, 0.3) if long else recognise(source))
            .best["surface"]
            .text.strip()
        )


@pytest.mark.parametrize("seconds", ["-5", "nan", "0.2", "inf"])
def test_lengths_of_parts_that_mean_nothing(trained, data, tmp_path, seconds):
    with pytest.raises(UserError, match="--segment_seconds"):
        run(trained, data, tmp_path / "out", "--segment_seconds", seconds)


def test_outputs_of_another_system_do_not_stay(trained, data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("text.gist", "ctm.gist", "nbest.gist.json", "segments"):
        (out / name).write_text("s1 old\n")
    (out / "score.json").write_text("{}")
    run(trained, data, out)
    assert (out / "score.json").exists()
    assert not list(out.glob("*gist*")) and not (out / "segments").exists()


def test_greedy_and_n_grams(trained, data, tmp_path, capsys):
    arpa = tmp_path / "surface.arpa"
    tokens = DualSpeech2Text.from_pretrained(trained.root / "exp").model.heads["surface"].tokens
    write_arpa(arpa, estimate([tokens[2:-1]], 2))
    config = tmp_path / "decode.yaml"
    config.write_text("beam_size: 2\nngram_weight: 5.0\n")
    given = "--config", str(config), "--ngram", f"surface={arpa}"
    run(trained, data, tmp_path / "greedy", "--greedy", "true")
    run(trained, data, tmp_path / "plain", "--config", str(config))
    run(trained, data, tmp_path / "fused", *given)
    facts = json.loads((tmp_path / "greedy/decode.json").read_text())
    assert facts["options"]["surface"]["greedy"] is True
    scores = {kind: read_table(tmp_path / f"{kind}/score.surface") for kind in ("plain", "fused")}
    assert all(scores["plain"][i] != scores["fused"][i] for i in scores["plain"] if i != "s9-blip")
    meaning = [(tmp_path / f"{kind}/score.meaning").read_text() for kind in ("plain", "fused")]
    assert meaning[0] == meaning[1]
    assert facts["ngrams"] == {}
    assert json.loads((tmp_path / "fused/decode.json").read_text())["ngrams"] == {
        "surface": str(arpa)
    }
    for wrong, words in (
        (("--ngram", f"surface={arpa}"), "its ngram_weight is 0"),
        ((*given, "--greedy", "true"), "greedy decoding has no use"),
        ((*given[:2], "--ngram", f"surface={arpa} surface={arpa}"), "an output twice"),
    ):
        with pytest.raises(UserError, match=words):
            run(trained, data, tmp_path / "out", *wrong)
    for usage in (
        ("--greedy", "true", "--coupling", "x"),
        ("--threads", "-1"),
        ("--coupling_weight", "1"),
    ):
        with pytest.raises(SystemExit):
            run(trained, data, tmp_path / "out", *usage)
    with pytest.raises(UserError, match="--ngram surface: not OUTPUT=PATH"):
        run(trained, data, tmp_path / "out", "--ngram", "surface")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(trained, data, tmp_path):
    for wrong in (
        lambda: run(trained, data, tmp_path / "out", "--ngpu", "1"),
        lambda: analyze.main(
            [
                "cka",
                "--models",
                f"a={trained.root}/exp b={trained.root}/exp",
                "--data",
                str(data),
                "--output",
                str(tmp_path / "cka.json"),
                "--ngpu",
                "1",
            ]
        ),
    ):
        with pytest.raises(UserError, match="no GPU is visible to PyTorch"):
            wrong()


def test_language_models_of_outputs_that_a_system_has_not(trained, data, tmp_path, capsys):
    """run.sh gives every system the models of all outputs of the recipe."""
    outputs = {"meaning": tiny_recipe.OUTPUTS["meaning"]}
    folder = trained.train(str(tmp_path / "single"), outputs=outputs, options=["--max_epoch", "1"])
    for name in ("surface", "surfaces"):
        write_arpa(tmp_path / f"{name}.arpa", estimate([["K", "AE"]], 2))
    command = [
        "--model_dir",
        str(folder),
        "--data",
        str(data),
        "--output_dir",
        str(tmp_path / "o"),
        "--beam_size",
        "2",
        "--ngram_weight",
        "0.3",
        "--ngram",
    ]
    assert decode.main([*command, f"surface={tmp_path / 'surface.arpa'}"]) == 0
    assert "single has no surface" in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown key 'surfaces'"):
        decode.main([*command, f"surfaces={tmp_path / 'surfaces.arpa'}"])
