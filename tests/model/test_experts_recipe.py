"""Systems with experts and private layers from training to decoding, export and archive."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import tiny_recipe  # noqa: E402

from espnet_ext.data.audio import write_audio  # noqa: E402
from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.decoding.command import decode_directory  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.encoding import EncoderRequest  # noqa: E402
from espnet_ext.model.export import export_head  # noqa: E402
from espnet_ext.model.load import load_model  # noqa: E402
from espnet_ext.model.pack import pack_model  # noqa: E402

ENCODER = {**tiny_recipe.CONFIG["encoder_conf"], "num_blocks": 2}
EXPERTS = {
    "encoder_conf": ENCODER,
    "conditioning": "experts",
    "conditioning_conf": {"encoder_task": 1, "encoder_band": "all"},
}
TOPS = {"encoder_conf": ENCODER, "conditioning": "tops", "conditioning_conf": {"layers": 1}}
TASKS = {**EXPERTS, "conditioning_conf": {"encoder_task": 1}}
OPTIONS = {"greedy": False, "beam_size": 2, "maxlenratio": 0.2}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("recipe"))
    for name in ("train", "valid"):
        folder = recipe.data.dump / name
        ids = [line.split()[0] for line in (folder / "wav.scp").read_text().splitlines()]
        bands = [f"{utt_id} {['wide', 'narrow'][i % 2]}\n" for i, utt_id in enumerate(ids)]
        (folder / "utt2band").write_text("".join(bands))
    return recipe


@pytest.fixture(scope="module")
def experts(recipe):
    return recipe.train(exp="experts", config=EXPERTS, options=["--diagnose_every", "1"])


def test_training_trains_the_experts_of_both_bands(experts):
    config = yaml.safe_load((experts / "config.yaml").read_text())
    assert config["conditions"] == {"band": ["narrow", "wide"]}
    model, _ = load_model(experts)
    names = list(model.encoder.encoders[1].feed_forward.experts)
    assert names == [
        f"task-{t}+band-{b}" for t in ("surface", "meaning") for b in ("narrow", "wide")
    ]
    weights = [e.w_1.weight for e in model.encoder.encoders[1].feed_forward.experts.values()]
    assert all(not torch.equal(weights[0], other) for other in weights[1:])
    assert list(model.encoder.encoders[0].feed_forward.experts) == ["band-narrow", "band-wide"]


def test_resumed_training_equals_an_uninterrupted_one(recipe, experts):
    halves = recipe.train(exp="halves", config={**EXPERTS, "max_epoch": 1})
    recipe.train(exp="halves", config=EXPERTS)
    first, second = load_model(experts, "2epoch.pth"), load_model(halves, "2epoch.pth")
    for name, value in first[0].state_dict().items():
        assert torch.equal(second[0].state_dict()[name], value), name


def test_mixed_batch_decodes_as_single_utterances(recipe, experts, tmp_path):
    data = recipe.data.dump / "valid"
    decode_directory(str(experts), "model.pth", str(data), str(tmp_path), OPTIONS, {}, "cpu")
    recognise = DualSpeech2Text.from_pretrained(experts, **OPTIONS)
    rows = dict(line.split(maxsplit=1) for line in (data / "wav.scp").read_text().splitlines())
    bands = dict(line.split() for line in (data / "utt2band").read_text().splitlines())
    for output in ("surface", "meaning"):
        table = (tmp_path / f"score.{output}").read_text().splitlines()
        alone = DualSpeech2Text.from_pretrained(experts, only=[output], **OPTIONS)
        for utt_id, score in (line.split() for line in table):
            for api in (recognise, alone):
                result = api(rows[utt_id], conditions={"band": bands[utt_id]})
                expected = result.nbest[output][0].score
                assert float(score) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("conf", [TASKS, TOPS], ids=["experts", "tops"])
def test_exported_head_has_the_experts_of_its_output(recipe, tmp_path, conf):
    name = conf["conditioning"]
    options = ["--max_epoch", "1", "--narrowband_prob", "0.5"]
    exp = recipe.train(exp=f"export-{name}", config=conf, options=options)
    model, _ = load_model(exp)
    speech, lengths = torch.randn(2, 8000), torch.tensor([8000, 8000])
    with torch.no_grad():
        expected = model.encode(speech, lengths).hidden
        assert not torch.equal(expected["surface"], expected["meaning"])
        for output in expected:
            exported, _ = load_model(export_head(exp, output, tmp_path / output))
            assert exported.conditioning is None
            states, _ = exported.encode(speech, lengths).shared()
            torch.testing.assert_close(states, expected[output])
    names = pack_model(exp, tmp_path / "packed.zip", export=["meaning"])
    assert "packed/stock_meaning/model.pth" in names
    packed = DualSpeech2Text.from_pretrained(tmp_path / "packed.zip", **OPTIONS)
    assert set(packed.model.state_dict()) == set(model.state_dict())


def test_export_of_experts_per_band_is_an_error(experts, tmp_path):
    with pytest.raises(UserError, match="no experts per band"):
        export_head(experts, "surface", tmp_path / "stock")


def test_band_follows_from_the_sample_rate_of_a_file(experts, tmp_path):
    recognise = DualSpeech2Text.from_pretrained(experts, **OPTIONS)
    samples = 0.1 * np.random.default_rng(0).standard_normal(6000)
    for rate, band, other in ((8000, "narrow", "wide"), (16000, "wide", "narrow")):
        path = tmp_path / f"{band}.wav"
        write_audio(path, samples, rate)
        scores = [
            result.nbest["meaning"][0].score
            for result in (
                recognise(path),
                recognise(path, conditions={"band": band}),
                recognise(path, conditions={"band": other}),
            )
        ]
        assert scores[0] == scores[1] != scores[2]
    by_rate = recognise(samples, sample_rate=8000).nbest["meaning"][0].score
    assert by_rate == recognise(samples, 8000, {"band": "narrow"}).nbest["meaning"][0].score
    with pytest.raises(UserError, match="no value of the condition 'band'"):
        recognise(samples)


def test_encoder_without_a_band_is_an_error(experts):
    model, _ = load_model(experts)
    with pytest.raises(UserError, match="no value of the condition 'band'"):
        model.encode(torch.zeros(1, 8000), torch.tensor([8000]), EncoderRequest())
