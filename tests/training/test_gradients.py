"""Cosines and norms of the outputs' gradients, against torch's own backward pass by hand."""

import pytest
import torch
from small_models import OUTPUTS, batch, make, output

from espnet_ext.model.espnet import resolve
from espnet_ext.model.layers import parameter_groups
from espnet_ext.training.gradients import compare_gradients, output_gradients


def by_hand(model, given, name):
    """Every encoder parameter's gradient of one output's loss, by loss.backward()."""
    model.zero_grad()
    states, lengths = model.encode(given["speech"], given["speech_lengths"]).shared()
    loss = model.heads[name].losses(
        states,
        lengths,
        given[f"text_{name}"],
        given[f"text_{name}_lengths"],
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


def test_cosines_and_norms_of_all_pairs_are_those_of_backward():
    model = make().double()
    given = batch(OUTPUTS)
    given["speech"] = given["speech"].double()
    found = compare_gradients(model, given)
    hand = {name: by_hand(model, given, name) for name in OUTPUTS}
    layers = {
        "embed": "encoder.embed.",
        "0": "encoder.encoders.0.",
        "1": "encoder.encoders.1.",
        "all": "encoder.",
    }
    pairs = [(p["a"], p["b"]) for p in found["pairs"]]
    assert pairs == [("surface", "meaning"), ("surface", "third"), ("meaning", "third")]
    for pair in found["pairs"]:
        assert list(pair["cosine"]) == list(layers)
        for layer, start in layers.items():
            a, b = flat(hand[pair["a"]], start), flat(hand[pair["b"]], start)
            expected = torch.nn.functional.cosine_similarity(a, b, dim=0)
            assert pair["cosine"][layer] == pytest.approx(float(expected), abs=1e-9)
    for name, norms in found["norms"].items():
        for layer, start in layers.items():
            assert norms[layer] == pytest.approx(float(flat(hand[name], start).norm()), rel=1e-9)
    assert found["labelled"] == dict.fromkeys(OUTPUTS, 3) and found["notes"] == []


def test_the_outputs_gradients_add_up_to_that_of_the_training_loss():
    model = make()
    given = batch(OUTPUTS)
    gradients, _ = output_gradients(model, given)
    assert all(p.grad is None for p in model.parameters())
    model(**given)[0].backward()
    for i, parameter in enumerate(parameter_groups(model).shared["all"]):
        total = sum(one[i] for one in gradients.values())
        assert torch.allclose(total, parameter.grad, atol=1e-5, rtol=1e-4)


def test_twins_agree_and_a_scale_is_taken_out_again():
    model = make({"one": output(), "two": output(ctc=0.4, attention=1.0)})
    for part in ("decoder", "ctc"):
        twin = model.heads["one"].parts[part].state_dict()
        model.heads["two"].parts[part].load_state_dict(twin)
    given = batch(["one"])
    given |= {k.replace("one", "two"): v for k, v in given.items() if "one" in k}
    found = compare_gradients(model, given)
    assert found["pairs"][0]["cosine"]["all"] == pytest.approx(1.0, abs=1e-6)
    norms = found["norms"]
    assert norms["two"]["0"] == pytest.approx(2 * norms["one"]["0"], rel=1e-5)
    scaled = compare_gradients(model, given, scale=1024.0)["norms"]
    assert scaled["one"]["0"] == pytest.approx(norms["one"]["0"], rel=1e-5)


def test_an_unlabelled_output_has_no_cosine_rather_than_zero():
    found = compare_gradients(make(), batch(OUTPUTS, unlabelled=["meaning"]))
    cosines = {(p["a"], p["b"]): p["cosine"] for p in found["pairs"]}
    assert set(cosines["surface", "meaning"].values()) == {None}
    assert set(found["norms"]["meaning"].values()) == {None}
    assert None not in cosines["surface", "third"].values()
    assert found["labelled"]["meaning"] == 0
    assert found["notes"] == ["meaning: no labelled utterance in the batch"]


def test_a_frozen_layer_is_left_out_and_a_frozen_encoder_said():
    model = make()
    for parameter in model.encoder.encoders[0].parameters():
        parameter.requires_grad_(False)
    found = compare_gradients(model, batch(OUTPUTS))
    assert found["norms"]["surface"]["0"] is None and found["norms"]["surface"]["1"] > 0
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    found = compare_gradients(model, batch(OUTPUTS))
    assert set(found["pairs"][0]["cosine"].values()) == {None}
    assert found["notes"] == ["the outputs share no trainable parameter"]


def test_a_gradient_that_is_not_finite_is_undefined_and_said():
    model = make()
    with torch.no_grad():
        next(model.heads["meaning"].parts["decoder"].parameters()).fill_(float("nan"))
    found = compare_gradients(model, batch(OUTPUTS))
    assert found["norms"]["meaning"]["all"] is None and found["norms"]["surface"]["all"] > 0
    assert found["notes"] == ["meaning: its gradient is not finite"]


def test_an_encoder_without_blocks_is_one_layer():
    model = make()
    model.encoder = resolve("encoder", "rnn")(16, output_size=16, hidden_size=8, num_layers=1)
    found = compare_gradients(model, batch(OUTPUTS))
    assert list(found["norms"]["surface"]) == ["all"]
    assert found["norms"]["surface"]["all"] > 0
