"""The `outputs` of a configuration: options, mistakes, names of modules."""

import pytest

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_conf, construct, suggest
from espnet_ext.model.heads.joint import JointOptions
from espnet_ext.model.outputs import module_names, parse_outputs


def outputs(**entries):
    return {"outputs": entries}


CTC = {"branch": "ctc", "ctc_weight": 1.0}


def test_outputs_keep_their_order_and_options():
    parsed = parse_outputs(outputs(meaning=CTC, surface={**CTC, "token_type": "phone"}))
    assert list(parsed) == ["meaning", "surface"]
    assert parsed["surface"] == JointOptions(branch="ctc", ctc_weight=1.0, token_type="phone")


def test_number_of_outputs_is_not_limited():
    parsed = parse_outputs(outputs(**{f"view_{i}": CTC for i in range(5)}))
    assert len(parsed) == 5


@pytest.mark.parametrize("config", [{}, outputs(), {"outputs": None}, {"outputs": ["surface"]}])
def test_configuration_without_outputs_is_refused(config):
    with pytest.raises(UserError, match="no outputs"):
        parse_outputs(config)


@pytest.mark.parametrize("name", ["Surface", "1st", "a-b", "a b", "a__b", "_a", "a_", "a.b", ""])
def test_invalid_output_name_is_refused(name):
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
def test_loss_weights_must_fit_the_head(entry):
    with pytest.raises(UserError, match="outputs.surface"):
        parse_outputs(outputs(surface=entry))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1.0", None, [1], -0.5])
@pytest.mark.parametrize("key", ["ctc_weight", "attention_weight", "transducer_weight"])
def test_loss_weight_must_be_a_number(key, value):
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
def test_value_of_a_wrong_type_is_refused(key, value):
    with pytest.raises(UserError, match=rf"outputs.surface.{key}: "):
        parse_outputs(outputs(surface={**CTC, key: value}))


def test_module_name_that_is_a_prefix_of_another_is_refused():
    names = [
        m
        for o in ("surface", "meaning")
        for m in module_names(o, JointOptions(ctc_weight=1, attention_weight=1))
    ]
    assert not [(a, b) for a in names for b in names if a != b and b.startswith(a)]
    # the module `a_ctc` of output a would capture `a_ctc_decoder` of output a_ctc
    with pytest.raises(UserError):
        parse_outputs(outputs(a=CTC, a_ctc={"branch": "attention", "attention_weight": 1}))


def test_conf_is_checked_against_the_constructor():
    class Encoder:
        def __init__(self, size, depth=1):
            assert depth > 0, "depth must be positive"

    check_conf({"depth": 2}, Encoder, "encoder_conf", ("size",))
    with pytest.raises(UserError, match="encoder_conf: unknown key 'dept'") as caught:
        check_conf({"dept": 2}, Encoder, "encoder_conf", ("size",))
    assert "depth" in caught.value.remedy
    with pytest.raises(UserError, match="unknown key 'size'"):
        check_conf({"size": 2}, Encoder, "encoder_conf", ("size",))
    with pytest.raises(UserError, match="encoder_conf: not valid for Encoder: depth must be"):
        construct(Encoder, {"depth": 0}, "encoder_conf", {"size": 1})


def test_suggestion_is_the_nearest_name_or_all():
    assert suggest("beam_sise", ["beam_size", "nbest"]) == "did you mean 'beam_size'?"
    assert suggest("zzz", ["b", "a"]) == "use one of: a, b"
