"""Building a model from a configuration: names, sizes, shapes, speech that is too short."""

import pytest
import torch

from espnet_ext.errors import UserError
from espnet_ext.model.build import autocast_dtype, build_model
from espnet_ext.model.frames import frontend_frames, min_feature_frames, min_samples


def test_modules_are_named_by_output_and_part(config):
    model = build_model(config)
    tops = {name for name, _ in model.named_children()}
    assert tops == {
        "frontend",
        "normalize",
        "encoder",
        "surface_decoder",
        "surface_ctc",
        "meaning_decoder",
    }
    for name, size in (("surface", 6), ("meaning", 8)):
        assert getattr(model, f"{name}_decoder").output_layer.out_features == size


def test_model_with_one_output(config):
    del config["outputs"]["meaning"]
    model = build_model(config)
    assert list(model.heads) == ["surface"]
    states, lengths = model.encode(torch.randn(2, 8000), torch.tensor([8000, 6000])).shared()
    assert states.shape == (2, int(lengths[0]), 16)


def test_features_are_encoded_without_a_frontend(config):
    config.update(frontend=None, input_size=16)
    model = build_model(config)
    states, lengths = model.encode(torch.randn(1, 50, 16), torch.tensor([50])).shared()
    assert states.shape[:2] == (1, int(lengths[0]))


def test_unknown_key_of_model_conf_is_refused(config):
    config["model_conf"] = {"ctc_weight": 0.3}
    with pytest.raises(UserError, match="unknown key 'ctc_weight'.*\n.*outputs.<name>.ctc_weight"):
        build_model(config)


@pytest.mark.parametrize("layers", [[1], [2, 4]])
def test_intermediate_ctc_is_refused(config, layers):
    config["encoder_conf"]["interctc_layer_idx"] = layers
    with pytest.raises(UserError, match="intermediate CTC"):
        build_model(config)


def test_token_list_must_be_a_list(config):
    config["outputs"]["surface"]["token_list"] = "tokens.txt"
    with pytest.raises(UserError, match="outputs.surface.token_list"):
        build_model(config)


def test_autocast_dtype():
    assert autocast_dtype(None) is None
    assert autocast_dtype("bfloat16") is torch.bfloat16
    assert autocast_dtype("auto") in (None, torch.bfloat16)


@pytest.mark.parametrize("layer", ["conv2d2", "conv2d", "conv2d6", "conv2d8", "linear"])
def test_min_feature_frames_is_the_bound_of_the_encoder(config, layer):
    """ESPnet's encoder accepts this number of frames, and raises an error for one frame less."""
    config["encoder_conf"]["input_layer"] = layer
    model = build_model(config).eval()
    fewest = min_feature_frames(None, model.encoder)
    feats = torch.zeros(1, fewest, 16)
    assert model.encoder(feats, torch.tensor([fewest]))[0].size(1) >= 1
    if fewest > 1:
        with pytest.raises(Exception, match="too short"):
            model.encoder(feats[:, 1:], torch.tensor([fewest - 1]))


def test_frontend_frames_equal_those_of_the_frontend(config):
    frontend = build_model(config).frontend
    for samples in (min_samples(frontend), 400, 959, 960, 961, 8000):
        _, lengths = frontend(torch.zeros(1, samples), torch.tensor([samples]))
        assert frontend_frames(samples, frontend) == int(lengths[0])
    with pytest.raises(RuntimeError):
        too_few = min_samples(frontend) - 1
        frontend(torch.zeros(1, too_few), torch.tensor([too_few]))


@pytest.mark.parametrize("lengths", [(1, 1), (100,), (900, 400), (16000, 100)])
@pytest.mark.parametrize("training", [True, False])
def test_speech_that_is_too_short_is_padded_and_trains(config, lengths, training):
    model = build_model(config).train(training)
    speech = torch.randn(len(lengths), max(lengths))
    text, one = torch.full((len(lengths), 1), 3), torch.ones(len(lengths), dtype=torch.long)
    loss, _, _ = model(
        speech,
        torch.tensor(lengths),
        text_surface=text,
        text_surface_lengths=one,
        text_meaning=text,
        text_meaning_lengths=one,
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
