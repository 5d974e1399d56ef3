"""A condition of utterances (band) from utt2band to the encoder, in training and decoding."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import tiny_recipe  # noqa: E402
from toy_condition import BandGate  # noqa: E402

from espnet_ext.analysis.computation.encoder_probes import probe_encoders  # noqa: E402
from espnet_ext.analysis.computation.encoder_swaps import swap  # noqa: E402
from espnet_ext.analysis.computation.layer_similarity import compare_systems  # noqa: E402
from espnet_ext.bin import cli, transcribe  # noqa: E402
from espnet_ext.decoding import api  # noqa: E402
from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.decoding.command import decode_directory  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.conditioning.registry import CONDITIONERS  # noqa: E402
from espnet_ext.model.encoding import EncoderRequest  # noqa: E402
from espnet_ext.model.frames import EncoderFrames  # noqa: E402
from espnet_ext.model.load import load_model  # noqa: E402

CONFIG = {"conditioning": "band_gate"}
OPTIONS = {"greedy": False, "beam_size": 2, "maxlenratio": 0.2}


@pytest.fixture(autouse=True, scope="module")
def registered():
    CONDITIONERS["band_gate"] = BandGate
    yield
    del CONDITIONERS["band_gate"]


def write_bands(folder: Path, band=lambda number: ["wide", "narrow"][number % 2]) -> Path:
    path = folder / "utt2band"
    ids = [line.split()[0] for line in (folder / "wav.scp").read_text().splitlines()]
    path.write_text("".join(f"{utt_id} {band(i)}\n" for i, utt_id in enumerate(ids)))
    return path


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("recipe"))
    for name in ("train", "valid"):
        write_bands(recipe.data.dump / name)
    return recipe


@pytest.fixture(scope="module")
def trained(recipe):
    return recipe.train(config=CONFIG)


@pytest.fixture(scope="module")
def plain(recipe):
    """A trained system that reads no conditions."""
    return recipe.train(exp="plain", options=["--max_epoch", "1"])


@pytest.fixture
def recognise(trained):
    return DualSpeech2Text.from_pretrained(trained, **OPTIONS)


@pytest.fixture
def wave():
    return np.random.default_rng(3).standard_normal(9000).astype(np.float32) * 0.1


def scores(result):
    return {name: nbest[0].score for name, nbest in result.nbest.items()}


def test_training_stores_the_values_and_trains_the_gate_of_each(trained):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["conditions"] == {"band": ["narrow", "wide"]}
    model, _ = load_model(trained)
    gates = model.conditioning.gates
    assert not torch.equal(gates[0], torch.ones_like(gates[0]))
    assert not torch.equal(gates[1], torch.full_like(gates[1], 3.0))
    assert EncoderFrames.measure(model)(16000) > 0


def test_batch_of_mixed_values_equals_single_utterances(recognise, wave):
    waves, bands = [wave, wave, wave[:8000]], ["narrow", "wide", "wide"]
    mixed = recognise.batch(waves, conditions={"band": bands})
    assert recognise.model.conditioning.bands_seen[-1] == [0, 1, 1]
    for result, one, band in zip(mixed, waves, bands, strict=True):
        alone = scores(recognise(one, conditions={"band": band}))
        assert scores(result) == pytest.approx(alone, abs=1e-4)
    assert scores(mixed[0]) != pytest.approx(scores(mixed[1]), abs=1e-3)
    same = recognise.batch(waves, conditions={"band": "wide"})
    assert recognise.model.conditioning.bands_seen[-1] == [1, 1, 1]
    assert scores(same[1]) == pytest.approx(scores(mixed[1]), abs=1e-4)


def test_command_reads_the_condition_of_each_utterance(trained, recipe, recognise, tmp_path):
    data = recipe.data.dump / "valid"
    facts = decode_directory(
        str(trained), "model.pth", str(data), str(tmp_path), OPTIONS, {}, "cpu"
    )
    assert facts["failed"] == 0
    rows = dict(line.split(maxsplit=1) for line in (data / "wav.scp").read_text().splitlines())
    bands = dict(line.split() for line in (data / "utt2band").read_text().splitlines())
    written = dict(line.split() for line in (tmp_path / "score.surface").read_text().splitlines())
    for utt_id, path in rows.items():
        expected = scores(recognise(path, conditions={"band": bands[utt_id]}))["surface"]
        assert float(written[utt_id]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("conditions", "message", "remedy"),
    [
        (None, "no value of the condition 'band'", "the values are narrow, wide"),
        ({"band": "narow"}, "'narow' was not in the training data", "did you mean 'narrow'"),
        ({"band": "wide", "l1": "x"}, "unknown key 'l1'", "band"),
        ({"band": ["wide", "wide"]}, "2 values for 1 utterances", "one per utterance"),
    ],
)
def test_wrong_conditions_of_the_api_are_errors(recognise, wave, conditions, message, remedy):
    with pytest.raises(UserError, match=message) as caught:
        recognise.batch([wave], conditions=conditions)
    assert remedy in caught.value.remedy


def test_conditions_of_all_utterances_are_given_once(trained, recognise, wave):
    narrow = DualSpeech2Text.from_pretrained(trained, conditions={"band": "narrow"}, **OPTIONS)
    expected = {b: scores(recognise(wave, conditions={"band": b})) for b in ("narrow", "wide")}
    assert expected["narrow"] != pytest.approx(expected["wide"], abs=1e-3)
    assert scores(narrow(wave)) == expected["narrow"]
    assert scores(narrow(wave, sample_rate=16000)) == expected["narrow"]  # not that of the rate
    assert scores(narrow(wave, conditions={"band": "wide"})) == expected["wide"]
    assert scores(narrow.restricted("surface", [])(wave)) == {
        "surface": expected["narrow"]["surface"]
    }


@pytest.mark.parametrize(
    ("conditions", "message"),
    [({"band": "narow"}, "'narow' was not in the training"), ({"l1": "ko"}, "unknown key 'l1'")],
)
def test_wrong_conditions_of_all_utterances_are_errors(trained, conditions, message):
    with pytest.raises(UserError, match=message):
        DualSpeech2Text.from_pretrained(trained, conditions=conditions, **OPTIONS)


@pytest.mark.parametrize(("pairs", "band"), [([], "narrow"), (["band=wide"], "wide")])
@pytest.mark.parametrize("is_cut", [False, True])
def test_transcribe_takes_conditions(trained, tmp_path, capsys, monkeypatch, pairs, band, is_cut):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(5).standard_normal(16000), 8000)
    loaded = []
    load = DualSpeech2Text.from_pretrained
    monkeypatch.setattr(
        DualSpeech2Text,
        "from_pretrained",
        lambda *a, **o: loaded.append(load(*a, **o)) or loaded[0],
    )
    monkeypatch.setattr(api, "speech_spans", lambda *_: [(0.0, 1.0), (1.0, 2.0)])
    arguments = [str(trained), str(path), "--json", "true", "--beam_size", "2"]
    arguments += ["--conditions", *pairs] if pairs else []
    arguments += ["--segment_seconds", "1"] if is_cut else []
    assert cli.run(transcribe.main, arguments) == 0
    last = loaded[0].model.conditioning.bands_seen[-1]  # others measure the model
    values = loaded[0].model.condition_values["band"]
    assert [values[index] for index in last] == [band] * (2 if is_cut else 1)
    assert json.loads(capsys.readouterr().out)["transcripts"].keys() == {"surface", "meaning"}


def test_a_condition_without_a_value_is_wrong_usage(trained, capsys):
    with pytest.raises(SystemExit):
        transcribe.main([str(trained), "a.wav", "--conditions", "band"])
    assert "'band' is not NAME=VALUE" in capsys.readouterr().err


def test_encoder_without_its_conditions_is_an_error(trained):
    model, _ = load_model(trained)
    with pytest.raises(UserError, match="no value of the condition 'band'"):
        model.encode(torch.zeros(1, 8000), torch.tensor([8000]), EncoderRequest())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "utt2band: no such file"),
        ("s0-valid0 wide\n", "utt2band: s1-valid1: no label"),
        (
            "".join(f"s{i}-valid{i} {b}\n" for i, b in enumerate(["wide", "hd", "wide", "wide"])),
            "utt2band: s1-valid1: unknown label 'hd'",
        ),
    ],
)
def test_missing_or_unknown_values_of_a_set_are_errors(trained, recipe, tmp_path, text, message):
    root = tmp_path / "recipe"
    shutil.copytree(recipe.data.dump, root / "dump")
    band = root / "dump/valid/utt2band"
    band.unlink() if text is None else band.write_text(text)
    with pytest.raises(UserError, match=message):
        folder, out = str(root / "dump/valid"), str(tmp_path / "out")
        decode_directory(str(trained), "model.pth", folder, out, OPTIONS, {}, "cpu")
    other = tiny_recipe.Recipe(root, recipe.token_types)
    for name in ("tokens", "stats"):
        shutil.copytree(recipe.root / name, root / name)
    with pytest.raises(UserError, match=message):
        other.train(config=CONFIG)


class BandEncoder(torch.nn.Module):
    """An encoder that reads the band itself."""

    conditions = ("band",)

    def __init__(self, encoder):
        super().__init__()
        self.inner, self.bands = encoder, None

    def begin_pass(self, encoder_pass):
        self.bands = encoder_pass.conditions["band"]

    def forward(self, feats, lengths):
        states, lengths, third = self.inner(feats, lengths)
        return states * (1 + self.bands[:, None, None]), lengths, third


def test_encoder_reads_conditions_too(plain):
    model, _ = load_model(plain)
    speech, lengths = torch.randn(2, 8000), torch.tensor([8000, 8000])
    before = model.encode(speech, lengths).hidden["surface"]
    model.encoder = BandEncoder(model.encoder)
    request = EncoderRequest(conditions={"band": torch.tensor([0, 1])})
    after = model.encode(speech, lengths, request).hidden["surface"]
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1], 2 * before[1])


def test_conditions_that_nothing_reads_are_errors(recipe, plain, wave):
    with pytest.raises(UserError, match="neither conditioning nor encoder reads 'band'"):
        recipe.train(exp="unread", config={"conditions": {"band": ["a"]}})
    unconditional = DualSpeech2Text.from_pretrained(plain)
    with pytest.raises(UserError, match="the model reads no conditions"):
        unconditional(wave, conditions={"band": "wide"})


def test_analyses_read_the_condition_of_each_utterance(trained, plain, recipe, monkeypatch):
    seen = []
    encode_with_bands = BandGate.encode

    def record(self, encoder, run, encoder_pass):
        seen.append(encoder_pass.conditions["band"].tolist())
        return encode_with_bands(self, encoder, run, encoder_pass)

    monkeypatch.setattr(BandGate, "encode", record)
    data, train = recipe.data.dump / "valid", recipe.data.dump / "train"
    bands = dict(line.split() for line in (data / "utt2band").read_text().splitlines())
    count = len(bands)
    narrow = sum(band == "narrow" for band in bands.values())
    models = {"gate": str(trained), "plain": str(plain)}
    compare_systems(models, data, measures=[], permutations=0)
    assert sorted(sum(seen, [])) == [0] * narrow + [1] * (count - narrow)
    seen.clear()
    swap(models, data, train, OPTIONS)
    both = dict(line.split() for line in (train / "utt2band").read_text().splitlines()) | bands
    assert len(sum(seen, [])) >= len(both) and set(sum(seen, [])) == {0, 1}
    seen.clear()
    probe_encoders(models, data, train)
    assert set(sum(seen, [])) == {0, 1}
    (data / "utt2band").rename(data / "kept")
    try:
        with pytest.raises(UserError, match="utt2band: no such file, but the model reads"):
            compare_systems(models, data, measures=[], permutations=0)
    finally:
        (data / "kept").rename(data / "utt2band")
