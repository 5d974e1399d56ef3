"""The `outputs` of a configuration: defaults, mistakes, names of modules."""

import pytest

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_conf, construct, suggest
from espnet_ext.model.heads.joint import JointOptions
from espnet_ext.model.outputs import module_names, parse_outputs


def outputs(**entries):
    return {"outputs": entries}


CTC = {"branch": "ctc", "ctc_weight": 1.0}


def test_order_and_types_are_kept():
    parsed = parse_outputs(outputs(meaning=CTC, surface={**CTC, "token_type": "phone"}))
    assert list(parsed) == ["meaning", "surface"]
    assert parsed["surface"] == JointOptions(branch="ctc", ctc_weight=1.0, token_type="phone")


def test_any_number_of_outputs_with_any_names():
    parsed = parse_outputs(outputs(**{f"view_{i}": CTC for i in range(5)}))
    assert len(parsed) == 5


@pytest.mark.parametrize("config", [{}, outputs(), {"outputs": None}, {"outputs": ["surface"]}])
def test_no_outputs(config):
    with pytest.raises(UserError, match="no outputs"):
        parse_outputs(config)


@pytest.mark.parametrize("name", ["Surface", "1st", "a-b", "a b", "a__b", "_a", "a_", "a.b", ""])
def test_names_that_cannot_name_a_module(name):
    with pytest.raises(UserError, match="not a name"):
        parse_outputs(outputs(**{name: CTC}))


@pytest.mark.parametrize(
    "entry",
    [
        {"branch": "ctc"},
        {"branch": "attention", "ctc_weight": 0.3, "attention_weight": 1},
        {"branch": "ctc_attention", "ctc_weight": 0.3},
        {"branch": "ctc", "ctc_weight": -1},
        {"branch": "ctc", "ctc_weight": None},
        {"branch": "transducr", "ctc_weight": 1},
        {"branch": ["ctc"], "ctc_weight": 1},
        {"branch": {"ctc": 1}, "ctc_weight": 1},
    ],
)
def test_weights_that_contradict_the_branch(entry):
    with pytest.raises(UserError, match="outputs.surface"):
        parse_outputs(outputs(surface=entry))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1.0", None, [1], -0.5])
@pytest.mark.parametrize("key", ["ctc_weight", "attention_weight", "transducer_weight"])
def test_weights_that_are_no_numbers(key, value):
    branch = {"ctc_weight": "ctc", "attention_weight": "attention"}.get(key, "transducer")
    with pytest.raises(UserError, match=rf"outputs.surface.{key}: "):
        parse_outputs(outputs(surface={"branch": branch, key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lsm_weight", float("nan")),
        ("lsm_weight", 1),
        ("lsm_weight", True),
        ("decoder_conf", [1]),
        ("ctc_conf", None),
        ("prediction_conf", 3),
        ("joint_conf", "tanh"),
    ],
)
def test_values_of_a_wrong_kind(key, value):
    with pytest.raises(UserError, match=rf"outputs.surface.{key}: "):
        parse_outputs(outputs(surface={**CTC, key: value}))


def test_no_module_name_begins_with_another():
    names = [
        m
        for o in ("surface", "meaning")
        for m in module_names(o, JointOptions(ctc_weight=1, attention_weight=1))
    ]
    assert not [(a, b) for a in names for b in names if a != b and b.startswith(a)]
    # the module `a_ctc` of output a would capture `a_ctc_decoder` of output a_ctc
    with pytest.raises(UserError):
        parse_outputs(outputs(a=CTC, a_ctc={"branch": "attention", "attention_weight": 1}))


def test_constructor_arguments():
    class Encoder:
        def __init__(self, size, depth=1):
            assert depth > 0, "depth must be positive"

    check_conf({"depth": 2}, Encoder, "encoder_conf", ("size",))
    with pytest.raises(UserError, match="encoder_conf: unknown key 'dept'") as caught:
        check_conf({"dept": 2}, Encoder, "encoder_conf", ("size",))
    assert "depth" in caught.value.remedy
    with pytest.raises(UserError, match="unknown key 'size'"):
        check_conf({"size": 2}, Encoder, "encoder_conf", ("size",))
    with pytest.raises(UserError, match="encoder_conf: Encoder refuses it: depth must be"):
        construct(Encoder, {"depth": 0}, "encoder_conf", {"size": 1})


def test_suggestions():
    assert suggest("beam_sise", ["beam_size", "nbest"]) == "did you mean 'beam_size'?"
    assert suggest("zzz", ["b", "a"]) == "known: a, b"
