"""Cosines and norms of the outputs' gradients, compared with `loss.backward()`."""

import pytest
import torch
from small_models import OUTPUTS, batch, make, output

from espnet_ext.model.espnet import resolve
from espnet_ext.model.layers import parameter_groups
from espnet_ext.training.gradients import compare_gradients, output_gradients


def by_hand(model, data, name):
    """Return the gradient of one output's loss for each encoder parameter, by loss.backward()."""
    model.zero_grad()
    states, lengths = model.encode(data["speech"], data["speech_lengths"]).shared()
    loss = model.heads[name].losses(
        states,
        lengths,
        data[f"text_{name}"],
        data[f"text_{name}_lengths"],
        torch.autocast("cpu", enabled=False),
    )
    settings = OUTPUTS[name]
    total = 0
    if "ctc" in loss.terms:
        total = total + settings["ctc_weight"] * loss.terms["ctc"]
    if "att" in loss.terms:
        total = total + settings["attention_weight"] * loss.terms["att"]
    total.backward()
    return {k: p.grad.clone() for k, p in model.named_parameters() if k.startswith("encoder.")}


def flat(gradients, start):
    return torch.cat([g.flatten() for k, g in gradients.items() if k.startswith(start)])


def test_cosines_and_norms_of_all_pairs_equal_those_of_backward():
    model = make().double()
    data = batch(OUTPUTS)
    data["speech"] = data["speech"].double()
    result = compare_gradients(model, data)
    hand = {name: by_hand(model, data, name) for name in OUTPUTS}
    layers = {
        "embed": "encoder.embed.",
        "0": "encoder.encoders.0.",
        "1": "encoder.encoders.1.",
        "all": "encoder.",
    }
    pairs = [(p["a"], p["b"]) for p in result["pairs"]]
    assert pairs == [("surface", "meaning"), ("surface", "third"), ("meaning", "third")]
    for pair in result["pairs"]:
        assert list(pair["cosine"]) == list(layers)
        for layer, start in layers.items():
            a, b = flat(hand[pair["a"]], start), flat(hand[pair["b"]], start)
            expected = torch.nn.functional.cosine_similarity(a, b, dim=0)
            assert pair["cosine"][layer] == pytest.approx(float(expected), abs=1e-9)
    for name, norms in result["norms"].items():
        for layer, start in layers.items():
            assert norms[layer] == pytest.approx(float(flat(hand[name], start).norm()), rel=1e-9)
    assert result["labelled"] == dict.fromkeys(OUTPUTS, 3) and result["notes"] == []


def test_the_outputs_gradients_add_up_to_that_of_the_training_loss():
    model = make()
    data = batch(OUTPUTS)
    gradients, _ = output_gradients(model, data)
    assert all(p.grad is None for p in model.parameters())
    model(**data)[0].backward()
    for i, parameter in enumerate(parameter_groups(model).shared["all"]):
        total = sum(gradient[i] for gradient in gradients.values())
        assert torch.allclose(total, parameter.grad, atol=1e-5, rtol=1e-4)


def test_equal_heads_have_cosine_one_and_scale_has_no_effect():
    model = make({"one": output(), "two": output(ctc=0.4, attention=1.0)})
    for part in ("decoder", "ctc"):
        twin = model.heads["one"].parts[part].state_dict()
        model.heads["two"].parts[part].load_state_dict(twin)
    data = batch(["one"])
    data |= {k.replace("one", "two"): v for k, v in data.items() if "one" in k}
    result = compare_gradients(model, data)
    assert result["pairs"][0]["cosine"]["all"] == pytest.approx(1.0, abs=1e-6)
    norms = result["norms"]
    assert norms["two"]["0"] == pytest.approx(2 * norms["one"]["0"], rel=1e-5)
    scaled = compare_gradients(model, data, scale=1024.0)["norms"]
    assert scaled["one"]["0"] == pytest.approx(norms["one"]["0"], rel=1e-5)


def test_cosine_of_unlabelled_output_is_none():
    result = compare_gradients(make(), batch(OUTPUTS, unlabelled=["meaning"]))
    cosines = {(p["a"], p["b"]): p["cosine"] for p in result["pairs"]}
    assert set(cosines["surface", "meaning"].values()) == {None}
    assert set(result["norms"]["meaning"].values()) == {None}
    assert None not in cosines["surface", "third"].values()
    assert result["labelled"]["meaning"] == 0
    assert result["notes"] == ["meaning: no labelled utterance in the batch"]


def test_values_of_frozen_layers_are_none_and_a_frozen_encoder_is_reported():
    model = make()
    for parameter in model.encoder.encoders[0].parameters():
        parameter.requires_grad_(False)
    result = compare_gradients(model, batch(OUTPUTS))
    assert result["norms"]["surface"]["0"] is None and result["norms"]["surface"]["1"] > 0
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    result = compare_gradients(model, batch(OUTPUTS))
    assert set(result["pairs"][0]["cosine"].values()) == {None}
    assert result["notes"] == ["the outputs share no trainable parameter"]


def test_values_of_non_finite_gradients_are_none_and_reported():
    model = make()
    with torch.no_grad():
        next(model.heads["meaning"].parts["decoder"].parameters()).fill_(float("nan"))
    result = compare_gradients(model, batch(OUTPUTS))
    assert result["norms"]["meaning"]["all"] is None and result["norms"]["surface"]["all"] > 0
    assert result["notes"] == ["meaning: the gradient is not finite"]


def test_encoder_without_blocks_is_compared_as_a_whole():
    model = make()
    model.encoder = resolve("encoder", "rnn")(16, output_size=16, hidden_size=8, num_layers=1)
    result = compare_gradients(model, batch(OUTPUTS))
    assert list(result["norms"]["surface"]) == ["all"]
    assert result["norms"]["surface"]["all"] > 0


def test_private_layers_do_not_enter_the_cosine():
    """Each output has its own copy of the last layer, which starts with the same weights."""
    plain = make()
    data = batch(OUTPUTS)
    expected = compare_gradients(plain, data)["pairs"][0]["cosine"]
    result = compare_gradients(make(conditioning="tops"), data)
    cosine = result["pairs"][0]["cosine"]
    assert cosine["1"] is None and result["norms"]["surface"]["1"] > 0
    for layer in ("embed", "0"):
        assert cosine[layer] == pytest.approx(expected[layer], abs=1e-4)
