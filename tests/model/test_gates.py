"""Cross-stitch units, mixtures of experts, adapters per output: when they equal a plain system."""

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from test_experts import batch, loss_and_gradients  # noqa: E402

from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.build import build_model  # noqa: E402
from espnet_ext.model.encoding import EncoderRequest  # noqa: E402
from espnet_ext.model.losses import weighted_head_loss  # noqa: E402

L1 = ["Hindi", "Korean"]
# name → kind, configuration; with these the initial model is the one without them
SYSTEMS = {
    "cross-stitch": ("cross_stitch", {"layers": 2, "other": 0.0}),
    "MMoE": ("mixture", {"shared": 3, "hidden": 8}),
    "PLE": ("mixture", {"shared": 1, "private": 2, "hidden": 8}),
    "adapters": ("adapters", {"kind": "adapter", "rank": 4}),
    "LoRA": ("adapters", {"kind": "lora", "rank": 4, "layers": 2}),
    "LoRA per L1": ("adapters", {"kind": "lora", "rank": 4, "per": "l1"}),
    "adapters per L1": ("adapters", {"kind": "adapter", "rank": 4, "per": "l1", "layers": 1}),
}


@pytest.fixture
def config(config):
    """Three Conformer layers, without dropout in the encoder."""
    rates = ("dropout_rate", "positional_dropout_rate", "attention_dropout_rate")
    config["encoder_conf"] |= {"num_blocks": 3, "macaron_style": True, **dict.fromkeys(rates, 0.0)}
    return config


def build(config, kind=None, conf=None):
    torch.manual_seed(0)
    if kind is not None:
        config = config | {"conditioning": kind, "conditioning_conf": conf or {}}
        if (conf or {}).get("per") == "l1":
            config["conditions"] = {"l1": L1}
    return build_model(config).double()


def made_batch(model=None, rows=4):
    made = batch(rows, bands=())
    if model is not None and model.conditions:
        made["l1"] = torch.tensor([0, 1, 1, 0])[:rows, None]
    return made


def randomise(model):
    """Make every part of the conditioner differ from its start."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.conditioning.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def encode(model, made, outputs=None, rows=slice(None)):
    conditions = {name: made[name][rows, 0] for name in model.conditions}
    request = EncoderRequest(outputs=outputs, conditions=conditions, batch_invariant=True)
    with torch.no_grad():
        return model.encode(made["speech"][rows], made["speech_lengths"][rows], request)


@pytest.mark.parametrize("name", SYSTEMS)
def test_initial_model_equals_the_plain_one(config, name):
    plain, gated = build(config).eval(), build(config, *SYSTEMS[name]).eval()
    expected, gradients = loss_and_gradients(plain, made_batch())
    loss, reached = loss_and_gradients(gated, made_batch(gated))
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=1e-10)
    for key in set(gradients) & set(reached):
        torch.testing.assert_close(reached[key], gradients[key], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", SYSTEMS)
def test_conditioner_changes_the_encoder_output_and_every_part_is_trained(config, name):
    plain, gated = build(config).eval(), randomise(build(config, *SYSTEMS[name])).eval()
    made = made_batch(gated)
    before, after = encode(plain, made), encode(gated, made)
    for output in ("surface", "meaning"):
        assert not torch.allclose(before.hidden[output], after.hidden[output])
    _, gradients = loss_and_gradients(gated, made)
    for key, gradient in gradients.items():
        assert gradient is not None, key
        if key.startswith("conditioning."):
            assert gradient.any(), key


@pytest.mark.parametrize("name", SYSTEMS)
def test_one_output_or_utterance_alone_equals_both_together(config, name):
    model = randomise(build(config, *SYSTEMS[name])).eval()
    made = made_batch(model)
    together = encode(model, made)
    alone = encode(model, made, outputs=["meaning"])
    torch.testing.assert_close(alone.hidden["meaning"], together.hidden["meaning"])
    assert alone.lengths["meaning"].tolist() == together.lengths["meaning"].tolist()
    for row in range(4):
        single = encode(model, made, rows=slice(row, row + 1))
        for output, states in single.hidden.items():
            frames = int(single.lengths[output][0])
            torch.testing.assert_close(states[0, :frames], together.hidden[output][row, :frames])


@pytest.mark.parametrize("name", ["cross-stitch", "adapters", "LoRA", "LoRA per L1"])
def test_copy_of_a_model_does_not_follow_the_original(config, name):
    model = randomise(build(config, *SYSTEMS[name])).eval()
    made = made_batch(model)
    expected = encode(model, made)
    twin = copy.deepcopy(model)
    encode(model, made, rows=slice(1))  # routes other rows
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for output, states in encode(twin, made).hidden.items():
        torch.testing.assert_close(states, expected.hidden[output])


@pytest.mark.parametrize("name", ["PLE", "adapters", "LoRA"])
def test_loss_of_one_output_does_not_reach_the_parts_of_the_other(config, name):
    model = randomise(build(config, *SYSTEMS[name])).eval()
    made = made_batch(model)
    encoded = model.encode(made["speech"], made["speech_lengths"])
    weighted_head_loss(model.losses(encoded, made)["meaning"]).backward()
    reached = {
        key: parameter.grad is not None and bool(parameter.grad.any())
        for key, parameter in model.conditioning.named_parameters()
    }
    of_surface = [value for key, value in reached.items() if "surface" in key]
    of_meaning = [value for key, value in reached.items() if "meaning" in key]
    assert of_surface and not any(of_surface) and all(of_meaning)


def test_utterance_reaches_only_the_lora_of_its_first_language(config):
    model = randomise(build(config, *SYSTEMS["LoRA per L1"])).eval()
    made = made_batch(model)
    made["l1"][:] = 1
    _, gradients = loss_and_gradients(model, made)
    for key, gradient in gradients.items():
        if key.startswith("conditioning."):
            reached = gradient is not None and bool(gradient.any())
            assert reached == ("l1-Korean" in key), key


def test_cross_stitch_unit_mixes_the_outputs(config):
    """With α = (0 1; 1 0) after the last layer, the outputs read each other's streams."""
    model = build(config, "cross_stitch", {"layers": 1, "other": 0.0}).eval()
    with torch.no_grad():
        for key, parameter in model.encoder.named_parameters():
            if "experts.task-meaning" in key and "after_norm" not in key:
                parameter.add_(0.1)
    made = made_batch()
    before = encode(model, made).hidden
    assert not torch.allclose(before["surface"], before["meaning"])
    with torch.no_grad():
        (unit,) = model.conditioning.units.values()
        unit.copy_(unit.flip(0))
    after = encode(model, made).hidden
    torch.testing.assert_close(after["surface"], before["meaning"])
    torch.testing.assert_close(after["meaning"], before["surface"])


def test_gate_of_an_output_is_logged(config):
    model = build(config, *SYSTEMS["PLE"])
    _, statistics, _ = model(**made_batch())
    weights = [float(statistics[f"gate_surface_{number}"]) for number in range(3)]
    assert sum(weights) == pytest.approx(1)


def test_padding_does_not_enter_the_mean_weight_of_an_expert(config):
    model = randomise(build(config, *SYSTEMS["PLE"])).eval()
    made = made_batch(model)
    totals, frames = torch.zeros(3), 0
    for row in range(4):
        count = int(encode(model, made, rows=slice(row, row + 1)).lengths["surface"])
        totals += count * model.conditioning._weights["surface"]
        frames += count
    encode(model, made)
    torch.testing.assert_close(model.conditioning._weights["surface"], totals / frames)


@pytest.mark.parametrize(
    ("kind", "conf", "message"),
    [
        ("cross_stitch", {"layers": 0}, "nothing to exchange"),
        ("cross_stitch", {"other": -1}, "conditioning_conf.other: -1"),
        ("cross_stitch", {"other": 0.6}, "a smaller weight for itself"),
        ("cross_stitch", {"layers": 9}, "9, but there are 3 layers"),
        ("mixture", {"shared": 1}, "the gate of an output has no choice"),
        ("mixture", {"hidden": 0}, "conditioning_conf.hidden: 0"),
        ("mixture", {"experts": 3}, "unknown key 'experts'"),
        ("adapters", {"kind": "lorra"}, "kind: unknown 'lorra'"),
        ("adapters", {"rank": 0}, "conditioning_conf.rank: 0"),
        ("adapters", {"layers": 0}, "nothing is adapted"),
        ("adapters", {"kind": "lora", "alpha": 0}, "LoRA has no effect"),
        ("adapters", {"kind": "adapter", "alpha": 8}, "kind: adapter has none"),
        ("adapters", {"per": ["l1"]}, "conditioning_conf.per"),
    ],
)
def test_wrong_value_is_a_user_error(config, kind, conf, message):
    with pytest.raises(UserError, match=message):
        build(config, kind, conf)


@pytest.mark.parametrize("kind", ["cross_stitch", "mixture", "adapters"])
def test_single_output_system_is_refused(config, kind):
    config["outputs"] = {"meaning": config["outputs"]["meaning"]}
    with pytest.raises(UserError, match=f"conditioning: {kind} .* has one"):
        build(config, kind)


def test_single_output_system_may_have_a_lora_per_first_language(config):
    config["outputs"] = {"meaning": config["outputs"]["meaning"]}
    model = build(config, "adapters", {"kind": "lora", "per": "l1"})
    made = {key: value for key, value in made_batch(model).items() if "surface" not in key}
    loss, _ = loss_and_gradients(model, made)
    assert torch.isfinite(loss)
