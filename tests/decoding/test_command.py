"""Decoding a data directory: every utterance gets a row, and decode.json records the settings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_recipe
import torch

from espnet_ext.bin import analyze, canonical_model, decode
from espnet_ext.data.audio import write_audio
from espnet_ext.data.table import read_table, write_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.text.ngram import estimate, write_arpa


@pytest.fixture
def data(trained, tmp_path):
    """The validation set and one utterance of 10 ms."""
    folder = tmp_path / "test"
    shutil.copytree(trained.root / "dump/valid", folder)
    add_utterance(folder, "s9-blip", tmp_path / "blip.wav", np.full(160, 0.1))
    return folder


def add_utterance(folder, utt_id, path, samples):
    write_audio(path, samples, 16000)
    with open(folder / "wav.scp", "a") as table:
        table.write(f"{utt_id} {path}\n")


def run(trained, data, output_dir, *options):
    """Run the decode command."""
    return decode.main(
        [
            *("--model_dir", str(trained.root / "exp")),
            *("--data", str(data)),
            *("--output_dir", str(output_dir)),
            *("--beam_size", "2"),
            *options,
        ]
    )


def load_recogniser(trained):
    return DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2)


def test_every_utterance_has_a_row(trained, data, tmp_path, capsys):
    assert run(trained, data, tmp_path / "out") == 0
    stderr = capsys.readouterr().err
    assert "warning: s9-blip: too short" in stderr
    assert stderr.count("warning") == 1
    sources = read_table(data / "wav.scp")
    recogniser = load_recogniser(trained)
    for name in ("surface", "meaning"):
        lines = (tmp_path / "out" / f"text.{name}").read_text("utf-8").splitlines()
        texts = dict((line + " ").split(" ", 1) for line in lines)
        assert list(texts) == sorted(sources)
        assert texts["s9-blip"].strip() == ""
        first = min(sources)
        assert texts[first].strip() == recogniser(sources[first]).best[name].text.strip()


def test_ctm_is_written_and_removed_by_the_next_run(trained, data, tmp_path):
    out = tmp_path / "out"
    run(trained, data, out, "--times", "true")
    lines = (out / "ctm.surface").read_text().splitlines()
    for utt_id, tokens in read_table(out / "token.surface", empty_ok=True).items():
        rows = [line.split(" ") for line in lines if line.startswith(utt_id + " ")]
        assert [row[4] for row in rows] == tokens.split()
        assert all(row[1] == "1" and float(row[3]) > 0 for row in rows)
        assert all(0 <= float(row[5]) <= 1 for row in rows)
    assert not (out / "ctm.meaning").exists()  # it has no CTC
    run(trained, data, out)
    assert not (out / "ctm.surface").exists()


def test_coupling_reranks_the_nbest_lists(trained, data, tmp_path):
    train = trained.root / "dump/train"
    run(trained, data, tmp_path / "plain", "--nbest", "2")
    run(trained, data, tmp_path / "coupled", "--coupling", str(train), "--coupling_weight", "50")
    facts = json.loads((tmp_path / "coupled/decode.json").read_text())
    assert facts["coupling"] == str(train) and facts["coupling_weight"] == 50
    plain_facts = json.loads((tmp_path / "plain/decode.json").read_text())
    assert plain_facts["coupling"] is None and plain_facts["coupling_weight"] is None
    for name in ("surface", "meaning"):
        plain = json.loads((tmp_path / f"plain/nbest.{name}.json").read_text())
        coupled = json.loads((tmp_path / f"coupled/nbest.{name}.json").read_text())
        texts = read_table(tmp_path / f"coupled/text.{name}", empty_ok=True)
        for utt_id, nbest in coupled.items():
            assert texts[utt_id] == nbest[0]["text"]
            # The same hypotheses, possibly with another one first.
            assert {h["text"] for h in nbest} >= {h["text"] for h in plain[utt_id]}


def with_canonical(source, target):
    """Copy a data directory; its canonical forms are its surface transcripts."""
    shutil.copytree(source, target)
    shutil.copy(target / "text.surface", target / "text.canonical")
    return target


def test_canonical_forms_pull_the_surface_towards_them(trained, data, tmp_path, capsys):
    train = with_canonical(trained.root / "dump/train", tmp_path / "train")
    canonical = read_table(data / "text.surface")
    first, second = sorted(canonical)[:2]
    canonical[first] = canonical[second]
    rows = "".join(f"{i} {text}\n" for i, text in canonical.items() if i != second)
    (data / "prompts").write_text(rows)
    model = ("--canonical_model", str(train), "--canonical", str(data / "prompts"))
    run(trained, data, tmp_path / "out", *model, "--canonical_weight", "50")
    stderr = capsys.readouterr().err
    assert (
        f"utterances are decoded without a canonical form: no text in the file ({second}" in stderr
    )
    texts = read_table(tmp_path / "out/text.surface", empty_ok=True)
    assert texts[first] == canonical[first]
    facts = json.loads((tmp_path / "out/decode.json").read_text())["canonical"]
    assert facts["model"] == str(train) and facts["weight"] == 50 and facts["prompt"] is True
    assert facts["utterances"] == len(canonical) - 1 and facts["source"] is None
    run(trained, data, tmp_path / "plain")
    plain = read_table(tmp_path / "plain/text.surface", empty_ok=True)
    assert texts[second] == plain[second]  # it has no canonical form
    assert json.loads((tmp_path / "plain/decode.json").read_text())["canonical"] is None


def test_canonical_forms_come_from_the_recognised_meaning(
    trained, data, tmp_path, monkeypatch, capsys
):
    train = with_canonical(trained.root / "dump/train", tmp_path / "train")
    prompts = read_table(data / "text.surface")
    form = max(prompts.values(), key=len)
    monkeypatch.setattr(
        "espnet_ext.decoding.canonical_command.pronouncer",
        lambda *_: lambda text: form if text.strip() else None,
    )
    options = ("--canonical_model", str(train), "--canonical_weight", "50")
    run(trained, data, tmp_path / "own", *options, "--canonical_from", "meaning")
    surfaces = read_table(tmp_path / "own/text.surface", empty_ok=True)
    meanings = read_table(tmp_path / "own/text.meaning", empty_ok=True)
    assert all(surfaces[i] == form for i, text in meanings.items() if text.strip())
    facts = json.loads((tmp_path / "own/decode.json").read_text())["canonical"]
    assert facts["source"] == "meaning" and facts["prompt"] is False
    lacking = [i for i, text in meanings.items() if not text.strip()]
    assert facts["utterances"] == len(meanings) - len(lacking)
    note = f"--canonical_from meaning: {len(lacking)} of {len(meanings)} utterances are decoded"
    assert (note in capsys.readouterr().err) == bool(lacking)
    (data / "meanings").write_text("".join(f"{i} a\n" for i in prompts))
    run(trained, data, tmp_path / "file", *options, "--canonical_from", str(data / "meanings"))
    other = read_table(tmp_path / "file/text.surface", empty_ok=True)
    assert all(other[i] == form for i in prompts if i != "s9-blip")


def test_canonical_forms_of_another_set_raise_user_error(trained, data, tmp_path):
    train = with_canonical(trained.root / "dump/train", tmp_path / "train")
    (tmp_path / "prompts").write_text("other-1 A B\n")
    model = ("--canonical_model", str(train), "--canonical", str(tmp_path / "prompts"))
    with pytest.raises(UserError, match="prompts: no utterance of the set has a canonical form"):
        run(trained, data, tmp_path / "out", *model)
    with pytest.raises(UserError, match="not a model of pronunciation errors|no such file"):
        run(trained, data, tmp_path / "out", *model[2:], "--canonical_model", str(data / "x.json"))


def test_canonical_forms_need_the_outputs_that_they_are_about(trained, data, tmp_path):
    train = with_canonical(trained.root / "dump/train", tmp_path / "train")
    model = ("--canonical_model", str(train))
    prompts = ("--canonical", str(data / "text.surface"))
    with pytest.raises(UserError, match="the output surface is not decoded: only meaning"):
        run(trained, data, tmp_path / "out", *model, *prompts, "--outputs", "meaning")
    for source, outputs in (("meaning", "surface"), ("menaing", "surface meaning")):
        options = ("--canonical_from", source, "--outputs", outputs)
        with pytest.raises(UserError, match=f"--canonical_from {source}: neither a file nor"):
            run(trained, data, tmp_path / "out", *model, *options)


def test_canonical_weight_is_chosen_on_a_validation_set(trained, data, tmp_path, capsys):
    train = with_canonical(trained.root / "dump/train", tmp_path / "train")
    shutil.copy(data / "text.surface", data / "text.canonical")
    output = tmp_path / "errors.json"
    options = ["--data", f"{train} {train}", "--output", str(output)]
    tuning = ["--tune", str(data), "--model_dir", str(trained.root / "exp")]
    weights = ["--weights", "0 50", "--criterion", "per"]
    assert canonical_model.main([*options, *tuning, *weights]) == 0
    facts = json.loads(output.read_text())["facts"]
    labelled = [text for text in read_table(train / "text.surface").values() if text != "<na>"]
    assert facts["weight"] == 50 and facts["utterances"] == 2 * len(labelled)
    rates = {row["weight"]: row["error rate"] for row in facts["tuning"]}
    assert rates[50] == 0 < rates[0]
    assert "weight 50: error rate 0.0" in capsys.readouterr().out
    shutil.copy(data / "text.surface", data / "prompts")
    model = ("--canonical_model", str(output), "--canonical", str(data / "prompts"))
    run(trained, data, tmp_path / "out", *model)
    assert json.loads((tmp_path / "out/decode.json").read_text())["canonical"]["weight"] == 50


def test_coupling_without_pairs_raises_user_error(trained, data, tmp_path):
    folder = tmp_path / "no_pairs"
    shutil.copytree(trained.root / "dump/train", folder)
    for name in ("surface", "meaning"):
        rows = sorted(read_table(folder / f"text.{name}").items())
        # The first utterance is unlabelled for meaning, the second for surface.
        kept = rows[:1] if name == "surface" else [(rows[0][0], "<na>"), rows[1]]
        (folder / f"text.{name}").write_text("".join(f"{i} {text}\n" for i, text in kept))
    with pytest.raises(UserError, match="no utterance has all of surface, meaning"):
        run(trained, data, tmp_path / "out", "--coupling", str(folder))


def test_decode_json_has_counts_and_options(trained, data, tmp_path, capsys):
    run(trained, data, tmp_path / "out", "--nbest", "2")
    facts = json.loads((tmp_path / "out/decode.json").read_text())
    assert facts["utterances"] == 5
    assert facts["outputs"] == ["surface", "meaning"]
    assert facts["audio_seconds"] == pytest.approx(4 * 0.5 + 0.01)
    assert facts["rtf"] == pytest.approx(facts["seconds"] / facts["audio_seconds"], abs=0.02)
    assert facts["options"]["meaning"]["beam_size"] == 2
    made = facts["provenance"]
    assert made["command"].startswith("python -m espnet_ext.bin.decode --model_dir ")
    assert {"commit", "date", "machine", "versions"} <= set(made)
    nbest = json.loads((tmp_path / "out/nbest.meaning.json").read_text())
    assert [len(nbest[i]) for i in sorted(nbest)] == [2, 2, 2, 2, 1]
    assert "5 utterances" in capsys.readouterr().out


def test_repeated_runs_write_the_same(trained, data, tmp_path):
    run(trained, data, tmp_path / "a")
    run(trained, data, tmp_path / "b")
    for name in ("text.surface", "text.meaning", "token.surface", "score.meaning"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nbest_lists_of_an_earlier_run_are_removed(trained, data, tmp_path):
    run(trained, data, tmp_path / "out", "--nbest", "2")
    assert list((tmp_path / "out").glob("nbest.*"))
    run(trained, data, tmp_path / "out")
    assert not list((tmp_path / "out").glob("nbest.*"))


BAD = {  # utterance with unusable audio → expected message
    "truncated": "cannot be read as audio",
    "cut": "is truncated",
    "missing": "no such audio file",
    "nan": "not finite",
    "stereo": "has 2 channels",
    "none": "has no samples",
    "text": "cannot be read as audio",
}
UNUSUAL = ("silent", "one", "clipped", "8k", "48k")  # usable


@pytest.fixture
def unusual_data(data, tmp_path):
    """The data with unusable and unusual audio in between."""
    noise = np.random.default_rng(0).standard_normal(8000) * 0.1
    folder = tmp_path / "unusual"
    folder.mkdir()
    write_audio(folder / "truncated.flac", noise, 16000)
    content = (folder / "truncated.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(content[: len(content) // 2])
    write_audio(folder / "cut.wav", noise, 16000)
    (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[:9000])
    soundfile.write(folder / "stereo.wav", np.stack([noise, noise], 1), 16000)
    soundfile.write(folder / "none.wav", np.zeros(0), 16000)
    (folder / "text.wav").write_text("not audio")
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
    for name in (*BAD, *UNUSUAL):
        suffix = ".flac" if name == "truncated" else ".wav"
        rows[f"s1-{name}"] = str(folder / (name + suffix))
    table = "".join(f"{utt_id} {path}\n" for utt_id, path in sorted(rows.items()))
    (data / "wav.scp").write_text(table)
    return data


def test_bad_audio_does_not_stop_the_other_utterances(trained, unusual_data, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(UserError) as caught:
        run(trained, unusual_data, out)
    assert f"{len(BAD)} of {5 + len(BAD) + len(UNUSUAL)} utterances" in caught.value.message
    assert str(out / "failed") in caught.value.message and "s1-missing" in caught.value.message
    failed = dict(line.split(" ", 1) for line in (out / "failed").read_text().splitlines())
    assert failed.keys() == {f"s1-{name}" for name in BAD}
    for name, message in BAD.items():
        assert message in failed[f"s1-{name}"]
    sources = read_table(unusual_data / "wav.scp")
    recogniser = load_recogniser(trained)
    for output in ("surface", "meaning"):
        texts = read_table(out / f"text.{output}", empty_ok=True)
        assert texts.keys() == sources.keys()
        assert not any(texts[f"s1-{name}"] for name in BAD)
        for utt_id in ("s1-8k", "s1-48k", "s1-clipped", "s1-silent"):
            assert texts[utt_id] == recogniser(sources[utt_id]).best[output].text.strip()
    assert "s1-one: too short (1 samples)" in capsys.readouterr().err
    assert json.loads((out / "decode.json").read_text())["failed"] == len(BAD)


def test_channel_of_stereo_recordings(trained, data, tmp_path):
    noise = np.random.default_rng(0).standard_normal((8000, 2)) * 0.1
    soundfile.write(tmp_path / "stereo.wav", noise, 16000)
    (data / "wav.scp").write_text(f"s1-stereo {tmp_path}/stereo.wav\n")
    with pytest.raises(UserError, match="has 2 channels.*--channel mix"):
        run(trained, data, tmp_path / "out")
    assert run(trained, data, tmp_path / "out", "--channel", "1") == 0
    assert json.loads((tmp_path / "out/decode.json").read_text())["channel"] == 1


def test_list_of_failures_is_removed_by_a_run_without_failures(trained, unusual_data, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError):
        run(trained, unusual_data, out)
    rows = (unusual_data / "wav.scp").read_text().splitlines()
    kept = [row for row in rows if row.split(" ")[0].removeprefix("s1-") not in BAD]
    (unusual_data / "wav.scp").write_text("\n".join(kept) + "\n")
    assert run(trained, unusual_data, out) == 0
    assert not (out / "failed").exists()


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not execute a primitive"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:30] or "MemoryError")
def test_only_the_utterance_that_exceeds_memory_fails(trained, data, tmp_path, monkeypatch, error):
    decode_batch = DualSpeech2Text._decode_batch

    def fail_above_half_a_second(self, waves, *inputs):
        if max(len(wave) for wave in waves) > 8000:
            raise error
        return decode_batch(self, waves, *inputs)

    add_utterance(data, "s9-long", tmp_path / "long.wav", np.full(9000, 0.1))
    monkeypatch.setattr(DualSpeech2Text, "_decode_batch", fail_above_half_a_second)
    with pytest.raises(UserError, match="1 of 6 utterances"):
        run(trained, data, tmp_path / "out")
    assert "out of memory" in (tmp_path / "out/failed").read_text()
    texts = read_table(tmp_path / "out/text.surface", empty_ok=True)
    assert len(texts) == 6 and texts["s9-long"] == ""


def test_other_errors_of_pytorch_are_not_taken_for_a_lack_of_memory(
    trained, data, tmp_path, monkeypatch
):
    def fail(self, *inputs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(DualSpeech2Text, "_decode_batch", fail)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run(trained, data, tmp_path / "out")


def test_segment_seconds_cuts_longer_utterances(trained, data, tmp_path, monkeypatch):
    monkeypatch.setattr("espnet_ext.decoding.segmentation.SHORTEST", 0.1)
    monkeypatch.setattr(
        "espnet_ext.decoding.api.speech_spans", lambda audio, longest: [(0.0, 0.2), (0.25, 0.5)]
    )
    run(trained, data, tmp_path / "whole")
    run(trained, data, tmp_path / "cut", "--segment_seconds", "0.3")
    facts = json.loads((tmp_path / "cut/decode.json").read_text())
    assert facts["segment_seconds"] == 0.3 and facts["audio_seconds"] == pytest.approx(2.01)
    recogniser = load_recogniser(trained)
    texts = read_table(tmp_path / "cut/text.surface", empty_ok=True)
    segments = (tmp_path / "cut/segments").read_text()
    for utt_id, source in read_table(data / "wav.scp").items():
        is_long = utt_id != "s9-blip"
        assert (utt_id in segments) == is_long
        result = recogniser.long(source, 0.3) if is_long else recogniser(source)
        assert texts[utt_id] == result.best["surface"].text.strip()


def test_canonical_forms_of_audio_that_is_cut_are_left_out_and_counted(
    trained, data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("espnet_ext.decoding.segmentation.SHORTEST", 0.1)
    monkeypatch.setattr(
        "espnet_ext.decoding.api.speech_spans", lambda audio, longest: [(0.0, 0.2), (0.25, 0.5)]
    )
    train = with_canonical(trained.root / "dump/train", tmp_path / "train")
    sources = read_table(data / "wav.scp")
    long = sorted(sources)[1]
    samples, rate = soundfile.read(sources[long])
    soundfile.write(data / "long.wav", np.tile(samples, 2), rate)
    write_table(data / "wav.scp", {**sources, long: str(data / "long.wav")})
    (data / "prompts").write_text(f"{long} A\n")
    model = ("--canonical_model", str(train), "--canonical_weight", "50")
    cutting = ("--segment_seconds", "0.6")
    options = ("--canonical", str(data / "prompts"), *model, *cutting)
    with pytest.raises(UserError, match="all 1 utterances with a canonical form are longer"):
        run(trained, data, tmp_path / "none", *options)
    shutil.copy(data / "text.surface", data / "prompts")
    run(trained, data, tmp_path / "prompt", *options)
    note = (
        f"--segment_seconds: 1 of {len(sources)} utterances are decoded without a canonical form: "
        f"longer than 0.6 s, so cut into segments ({long})"
    )
    assert note in capsys.readouterr().err
    facts = json.loads((tmp_path / "prompt/decode.json").read_text())["canonical"]
    assert facts["utterances"] == len(read_table(data / "prompts")) - 1
    run(trained, data, tmp_path / "plain", *cutting)
    texts, plain = (
        read_table(tmp_path / name / "text.surface", empty_ok=True) for name in ("prompt", "plain")
    )
    assert texts[long] == plain[long] and texts != plain


@pytest.mark.parametrize("seconds", ["-5", "nan", "0.2", "inf"])
def test_invalid_segment_seconds_raise_user_error(trained, data, tmp_path, seconds):
    with pytest.raises(UserError, match="--segment_seconds"):
        run(trained, data, tmp_path / "out", "--segment_seconds", seconds)


def test_files_of_other_outputs_are_removed(trained, data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("text.gist", "ctm.gist", "nbest.gist.json", "segments"):
        (out / name).write_text("s1 old\n")
    (out / "score.json").write_text("{}")
    with pytest.raises(UserError, match="would be overwritten, but `decode` did not write them"):
        run(trained, data, out)
    (out / "decode.json").write_text("{}")  # written by an earlier decoding
    run(trained, data, out)
    assert (out / "score.json").exists()
    assert not list(out.glob("*gist*")) and not (out / "segments").exists()


def test_references_of_a_data_directory_are_not_overwritten(trained, data, tmp_path):
    references = {path: path.read_bytes() for path in Path(data).iterdir() if path.is_file()}
    with pytest.raises(UserError, match="is both input and output"):
        run(trained, data, data)
    other = tmp_path / "other"
    other.mkdir()
    for path, content in references.items():
        (other / path.name).write_bytes(content)
    (other / "decode.json").write_text("{}")
    with pytest.raises(UserError, match="would be overwritten"):
        run(trained, data, other)
    assert {path.name: path.read_bytes() for path in other.glob("text.*")} == {
        path.name: content for path, content in references.items() if path.name[:5] == "text."
    }


@pytest.fixture
def arpa(trained, tmp_path):
    """An n-gram model of the surface's tokens."""
    tokens = load_recogniser(trained).model.heads["surface"].tokens
    write_arpa(tmp_path / "surface.arpa", estimate([tokens[2:-1]], 2))
    return tmp_path / "surface.arpa"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "decode.yaml"
    path.write_text("beam_size: 2\nngram_weight: 5.0\n")
    return path


def test_greedy_search_and_ngram_fusion(trained, data, arpa, config, tmp_path):
    run(trained, data, tmp_path / "greedy", "--greedy", "true")
    run(trained, data, tmp_path / "plain", "--config", str(config))
    ngram = "--ngram", f"surface={arpa}"
    run(trained, data, tmp_path / "fused", "--config", str(config), *ngram)
    facts = {
        kind: json.loads((tmp_path / kind / "decode.json").read_text())
        for kind in ("greedy", "fused")
    }
    assert facts["greedy"]["options"]["surface"]["greedy"] is True
    assert facts["greedy"]["ngrams"] == {}
    assert facts["fused"]["ngrams"] == {"surface": str(arpa)}
    plain, fused = (read_table(tmp_path / f"{kind}/score.surface") for kind in ("plain", "fused"))
    assert all(plain[utt_id] != fused[utt_id] for utt_id in plain if utt_id != "s9-blip")
    plain, fused = ((tmp_path / f"{kind}/score.meaning").read_text() for kind in ("plain", "fused"))
    assert plain == fused


def test_useless_language_model_raises_user_error(trained, data, arpa, config, tmp_path):
    ngram, with_weight = ("--ngram", f"surface={arpa}"), ("--config", str(config))
    twice = ("--ngram", f"surface={arpa} surface={arpa}")
    for options, message in (
        (ngram, "its ngram_weight is 0"),
        ((*with_weight, *ngram, "--greedy", "true"), "greedy decoding does not use it"),
        ((*with_weight, *twice), "duplicate output"),
        (("--ngram", "surface"), "--ngram surface: not OUTPUT=PATH"),
    ):
        with pytest.raises(UserError, match=message):
            run(trained, data, tmp_path / "out", *options)


@pytest.mark.parametrize(
    "options",
    [
        ("--greedy", "true", "--coupling", "x"),
        ("--threads", "-1"),
        ("--coupling_weight", "1"),
        ("--canonical", "x"),
        ("--canonical_weight", "1"),
        ("--canonical_model", "x", "--canonical", "x", "--canonical_from", "x"),
        ("--canonical_model", "x", "--canonical", "x", "--greedy", "true"),
        ("--canonical_model", "x", "--canonical", "x", "--lexicon", "x"),
    ],
    ids=" ".join,
)
def test_contradictory_options_are_usage_errors(trained, data, tmp_path, options):
    with pytest.raises(SystemExit):
        run(trained, data, tmp_path / "out", *options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_raises_user_error(trained, data, tmp_path):
    with pytest.raises(UserError, match="no GPU is visible to PyTorch"):
        run(trained, data, tmp_path / "out", "--ngpu", "1")
    with pytest.raises(UserError, match="no GPU is visible to PyTorch"):
        analyze.main(
            [
                "cka",
                *("--models", f"a={trained.root}/exp b={trained.root}/exp"),
                *("--data", str(data)),
                *("--output", str(tmp_path / "cka.json")),
                *("--ngpu", "1"),
            ]
        )


def test_language_model_of_an_output_that_the_system_lacks_is_ignored(
    trained, data, tmp_path, capsys
):
    """run.sh gives every system the language models of all outputs. Unknown names are errors."""
    outputs = {"meaning": tiny_recipe.OUTPUTS["meaning"]}
    model_dir = trained.train(
        str(tmp_path / "single"), outputs=outputs, options=["--max_epoch", "1"]
    )
    write_arpa(tmp_path / "x.arpa", estimate([["K", "AE"]], 2))
    command = [
        *("--model_dir", str(model_dir)),
        *("--data", str(data)),
        *("--output_dir", str(tmp_path / "out")),
        *("--beam_size", "2", "--ngram_weight", "0.3"),
    ]
    assert decode.main([*command, "--ngram", f"surface={tmp_path / 'x.arpa'}"]) == 0
    assert "single has no output surface" in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown key 'surfaces'"):
        decode.main([*command, "--ngram", f"surfaces={tmp_path / 'x.arpa'}"])
