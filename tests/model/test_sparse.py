"""The sparse autoencoder between encoder and heads."""

import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from test_experts import batch, loss_and_gradients  # noqa: E402

from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.build import build_model  # noqa: E402
from espnet_ext.model.conditioning.sparse import feature_stability  # noqa: E402
from espnet_ext.model.encoding import EncoderRequest  # noqa: E402
from espnet_ext.objectives.registry import build_objective  # noqa: E402

CTC = {"ctc_output": "surface", "ctc_encoder": 0.2, "ctc_latent": 0.3}


def build(config, objective=None, **conf):
    config = config | {"conditioning": "sparse", "conditioning_conf": {"latents": 24, **conf}}
    if objective is not None:
        config |= {"objective": objective}
    torch.manual_seed(0)
    return build_model(config, objective=build_objective(config)).double().eval()


def encode(model, made, rows=slice(None)):
    request = EncoderRequest(batch_invariant=True)
    return model.encode(made["speech"][rows], made["speech_lengths"][rows], request)


def test_frames_have_k_latents(config):
    model = build(config, k=3)
    states = torch.randn(2, 5, 16, dtype=torch.double)
    latents = model.conditioning.latents_of(states)
    assert ((latents > 0).sum(-1) <= 3).all() and (latents >= 0).all()
    dense = build(config, k=24).conditioning
    dense.load_state_dict(model.conditioning.state_dict())
    every = dense.latents_of(states)
    torch.testing.assert_close(latents.sum(-1), every.topk(3).values.sum(-1))


def test_reconstruction_equals_hand_computation(config):
    model = build(config, k=4)
    made = batch(bands=())
    encoded = encode(model, made)
    plain = model.conditioning
    model.conditioning = None
    states = encode(model, made).hidden["surface"]
    latents = (states @ plain.projection.weight.T).relu()  # offset and bias are 0 at the start
    values, positions = latents.topk(4)
    directions = plain.directions  # of length 1
    expected = sum(values[..., i, None] * directions[positions[..., i]] for i in range(4))
    torch.testing.assert_close(encoded.hidden["surface"], expected)
    assert encoded.hidden["surface"] is encoded.hidden["meaning"]
    errors = []
    for row, frames in enumerate(encoded.lengths["surface"].tolist()):
        h, r = states[row, :frames], expected[row, :frames]
        errors.append((h - r).square().sum() / (h - h.mean(0)).square().sum())
    mean = torch.stack(errors).mean()
    torch.testing.assert_close(encoded.auxiliary["reconstruction"], mean)


def test_weights_of_the_configuration_multiply_the_auxiliary_losses(config):
    made = batch(bands=())
    parts = {"reconstruction": 0.7, "l1": 0.01, **CTC}
    model = build(config, k=0, **parts)
    loss, stats, _ = model(**made)
    heads = sum(
        float(head.weighted()[i].detach())
        for head in model.losses(encode(model, made), made).values()
        for i in range(len(head.terms))
    )
    auxiliary = (
        0.7 * stats["loss_aux_reconstruction"]
        + 0.01 * stats["loss_aux_sparsity"]
        + 0.2 * stats["loss_aux_ctc_encoder"]
        + 0.3 * stats["loss_aux_ctc_latent"]
    )
    assert float(loss.detach()) == pytest.approx(heads + float(auxiliary), rel=1e-4)
    assert 0 < float(stats["latents_used"]) <= 1 and float(stats["latents_per_frame"]) > 0


def test_every_parameter_is_trained(config):
    model = build(config, k=4, **CTC)
    _, gradients = loss_and_gradients(model, batch(bands=()))
    names = ("directions", "offset", "projection.weight")
    for name in (*names, "ctc.encoder.ctc_lo.weight", "ctc.latent.ctc_lo.weight"):
        assert gradients[f"conditioning.{name}"].any(), name


def test_unlabelled_output_has_no_auxiliary_ctc(config):
    model, made = build(config, k=4, **CTC), batch(bands=())
    made["text_surface"] = torch.full((4, 1), -2)
    made["text_surface_lengths"] = torch.ones(4, dtype=torch.long)
    loss, stats, _ = model(**made)
    loss.backward()
    assert float(stats["loss_aux_ctc_latent"]) == 0
    assert model.conditioning.ctc["latent"].ctc_lo.weight.grad is not None  # in the graph


def test_utterance_alone_equals_the_batch(config):
    model, made = build(config, k=4), batch(bands=())
    together = encode(model, made)
    for row in range(4):
        alone = encode(model, made, slice(row, row + 1))
        frames = int(alone.lengths["surface"][0])
        states = together.hidden["surface"][row, :frames]
        torch.testing.assert_close(alone.hidden["surface"][0, :frames], states)


def test_gradient_method_adds_the_auxiliary_losses(config):
    made = batch(bands=())
    plain = build(config, k=4, **CTC)
    method = build(config, objective="gradnorm", k=4, **CTC)
    expected, gradients = loss_and_gradients(plain, made)
    loss, combined = loss_and_gradients(method, made)  # all weights are 1 in the first update
    torch.testing.assert_close(loss, expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(combined[name], gradient)


def test_stability_of_features():
    torch.manual_seed(0)
    directions = torch.randn(50, 32)
    order = torch.randperm(50)
    best, mean = feature_stability(directions, 3 * directions[order])
    assert mean == pytest.approx(1) and len(best) == 50
    _, other = feature_stability(directions, torch.randn(50, 32))
    assert other < 0.6


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"k": 0}, "nothing makes the latents sparse"),
        ({"k": 25}, "25 of 24 latents"),
        ({"latents": 0}, "conditioning_conf.latents: 0"),
        ({"k": 4, "ctc_latent": 0.1}, "ctc_output: not given"),
        ({"k": 4, "ctc_latent": 0.1, "ctc_output": "surfac"}, "ctc_output: surfac"),
        ({"k": 4, "l1": -1}, "conditioning_conf.l1: -1"),
        ({"top_k": 4}, "unknown key 'top_k'"),
    ],
)
def test_wrong_value_is_a_user_error(config, conf, message):
    with pytest.raises(UserError, match=message):
        build(config, **conf)


def test_utterance_of_one_frame_has_no_reconstruction_error(config):
    """Its variance is 0, so the relative error would be many orders of magnitude too large."""
    model, made = build(config, k=4), batch(bands=())
    made["speech_lengths"][1:] = 900
    _, stats, _ = model(**made)
    model(**{key: value[:1] for key, value in made.items()})
    alone = float(model(**{k: v[:1] for k, v in made.items()})[1]["loss_aux_reconstruction"])
    assert float(stats["loss_aux_reconstruction"]) == pytest.approx(alone / 4)
