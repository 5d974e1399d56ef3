"""The control of experts: as many parameters, no routing."""

from pathlib import Path

import pytest

from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.model.build import build_model
from espnet_ext.training.config import merge

CONF = Path(__file__).parents[2] / "conf"
TOKENS = ["<blank>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "<sos/eos>"]


def parameters(train, system):
    config = merge(read_yaml(CONF / train), read_yaml(CONF / f"systems/{system}.yaml"))
    for output in config["outputs"].values():
        output["token_list"] = TOKENS
    model = build_model({**config, "specaug": None, "init": None, "normalize": None})
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("train", ["train_small.yaml", "train.yaml"])
def test_wide_system_has_the_parameters_of_experts_per_output(train):
    counts = {system: parameters(train, system) for system in ("do", "do_experts", "do_wide")}
    assert counts["do_wide"] > 1.1 * counts["do"]
    assert counts["do_wide"] == pytest.approx(counts["do_experts"], rel=0.05)


def test_only_the_chosen_parts_are_wider(config):
    config["encoder_conf"] |= {"num_blocks": 2, "macaron_style": True}
    conf = {"factor": 3, "layers": 1, "halves": "second"}
    first, last = build_model(
        config | {"conditioning": "wide", "conditioning_conf": conf}
    ).encoder.encoders
    hidden = config["encoder_conf"]["linear_units"]
    assert first.feed_forward.w_1.out_features == hidden
    assert last.feed_forward.w_1.out_features == last.feed_forward.w_2.in_features == 3 * hidden
    assert last.feed_forward_macaron.w_1.out_features == hidden


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"factor": 1}, "factor: 1"),
        ({"layers": 0}, "nothing is widened"),
        ({"halves": "first"}, "halves: unknown 'first'"),
        ({"width": 2}, "unknown key 'width'"),
    ],
)
def test_wrong_configuration_is_an_error(config, conf, message):
    with pytest.raises(UserError, match=message):
        build_model(config | {"conditioning": "wide", "conditioning_conf": conf})


def test_convolutions_cannot_be_widened(config):
    config["encoder_conf"] |= {"positionwise_layer_type": "conv1d"}
    with pytest.raises(UserError, match="cannot be widened"):
        build_model(config | {"conditioning": "wide"})
