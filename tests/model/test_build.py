"""From a configuration to a model: names, sizes, shapes, speech that is too short."""

import pytest
import torch

from espnet_ext.errors import UserError
from espnet_ext.model.build import autocast_dtype, build_model
from espnet_ext.model.frames import frontend_frames, min_feature_frames, min_samples


def test_modules_stand_flat_under_their_outputs(config):
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


def test_one_output_is_the_same_model_without_the_other(config):
    del config["outputs"]["meaning"]
    model = build_model(config)
    assert list(model.heads) == ["surface"]
    states, lengths = model.encode(torch.randn(2, 8000), torch.tensor([8000, 6000])).shared()
    assert states.shape == (2, int(lengths[0]), 16)


def test_features_without_a_frontend(config):
    config.update(frontend=None, input_size=16)
    model = build_model(config)
    states, lengths = model.encode(torch.randn(1, 50, 16), torch.tensor([50])).shared()
    assert states.shape[:2] == (1, int(lengths[0]))


def test_unused_parts_of_no_configuration(config):
    config["model_conf"] = {"ctc_weight": 0.3}
    with pytest.raises(UserError, match="model_conf: unknown key 'ctc_weight'"):
        build_model(config)


@pytest.mark.parametrize("layers", [[1], [2, 4]])
def test_intermediate_ctc_is_refused(config, layers):
    config["encoder_conf"]["interctc_layer_idx"] = layers
    with pytest.raises(UserError, match="intermediate CTC"):
        build_model(config)


def test_tokens_must_be_there(config):
    config["outputs"]["surface"]["token_list"] = "tokens.txt"
    with pytest.raises(UserError, match="outputs.surface.token_list"):
        build_model(config)


def test_autocast_choices():
    assert autocast_dtype(None) is None
    assert autocast_dtype("bfloat16") is torch.bfloat16
    assert autocast_dtype("auto") in (None, torch.bfloat16)


@pytest.mark.parametrize("layer", ["conv2d2", "conv2d", "conv2d6", "conv2d8", "linear"])
def test_shortest_speech_is_what_the_encoder_says(config, layer):
    """The bound is tight: the encoder itself takes that many frames, and not one fewer."""
    config["encoder_conf"]["input_layer"] = layer
    model = build_model(config).eval()
    fewest = min_feature_frames(None, model.encoder)
    feats = torch.zeros(1, fewest, 16)
    assert model.encoder(feats, torch.tensor([fewest]))[0].size(1) >= 1
    if fewest > 1:
        with pytest.raises(Exception, match="too short"):
            model.encoder(feats[:, 1:], torch.tensor([fewest - 1]))


def test_frames_are_counted_as_the_frontend_makes_them(config):
    frontend = build_model(config).frontend
    for samples in (min_samples(frontend), 400, 959, 960, 961, 8000):
        _, lengths = frontend(torch.zeros(1, samples), torch.tensor([samples]))
        assert frontend_frames(samples, frontend) == int(lengths[0])
    with pytest.raises(RuntimeError):
        too_few = min_samples(frontend) - 1
        frontend(torch.zeros(1, too_few), torch.tensor([too_few]))


@pytest.mark.parametrize("lengths", [(1, 1), (100,), (900, 400), (16000, 100)])
@pytest.mark.parametrize("training", [True, False])
def test_too_short_speech_trains(config, lengths, training):
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
