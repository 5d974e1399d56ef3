"""Search options: shared, overridden for one output, and checked."""

import dataclasses
import re

import pytest
import yaml

from espnet_ext.decoding.options import (
    ESPNET,
    SearchOptions,
    change_options,
    describe,
    parse_options,
    read_options,
    with_defaults,
)
from espnet_ext.errors import UserError
from espnet_ext.model.heads.base import Head
from espnet_ext.model.heads.registry import build_head
from espnet_ext.model.outputs import parse_outputs


def test_options_of_an_output_override_shared_options():
    config = {"beam_size": 5, "penalty": 1, "outputs": {"meaning": {"beam_size": 2}}}
    options = parse_options(config, ["surface", "meaning"])
    assert (options["surface"].beam_size, options["meaning"].beam_size) == (5, 2)
    assert options["meaning"].penalty == 1


def test_options_of_an_output_that_the_system_lacks_are_ignored():
    options = parse_options({"outputs": {"surface": {"beam_size": 2}}}, ["meaning"])
    assert options == {"meaning": SearchOptions()}


def test_configurations_in_conf_are_valid(request):
    for name in ("decode", "decode_lm"):
        config = read_options(request.config.rootpath / f"conf/{name}.yaml")
        options = parse_options(config, ["surface"])["surface"]
        assert {key: getattr(options, key) for key in config} == config


def test_defaults_equal_stock_espnet():
    inference = pytest.importorskip("espnet2.bin.asr_inference")
    arguments = ["--output_dir", "x", "--data_path_and_name_and_type", "a,speech,sound"]
    stock = vars(inference.get_parser().parse_args(arguments))
    ours = dataclasses.asdict(SearchOptions())
    for key in ("penalty", "maxlenratio", "minlenratio", "normalize_length", "nbest"):
        assert ours[key] == stock[key]
    stock_defaults = Head.stock_search_defaults(None)  # of models that ESPnet trained
    assert stock_defaults == {key: stock[key] for key in stock_defaults}
    assert stock_defaults.keys() == {"beam_size", "ctc_weight"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beam": 1}, "beam_size"),
        ({"beam_size": 0}, "positive"),
        ({"beam_size": 2.5}, "int"),
        ({"beam_size": True}, "int"),
        ({"ctc_weight": 1.01}, "0 to 1"),
        ({"normalize_length": 1}, "bool"),
        ({"penalty": float("nan")}, "finite"),
        ({"lm_weight": float("-inf")}, "finite"),
        ({"maxlenratio": "inf"}, "finite"),
        ({"penalty": "high"}, "float"),
    ],
)
def test_invalid_options_raise_user_error(changes, message):
    for attempt in (
        lambda: parse_options(changes, ["a"]),
        lambda: parse_options({"outputs": {"a": changes}}, ["a"]),
        lambda: change_options("a", SearchOptions(), changes),
    ):
        with pytest.raises(UserError) as caught:
            attempt()
        assert message in str(caught.value)


def test_read_options(tmp_path):
    path = tmp_path / "decode.yaml"
    path.write_text(yaml.safe_dump({"beam_size": 3}))
    assert read_options(path) == {"beam_size": 3}
    path.write_text("")
    assert read_options(path) == {}
    path.write_text("- beam_size\n")
    with pytest.raises(UserError, match="mapping"):
        read_options(path)
    with pytest.raises(UserError, match="no such"):
        read_options(tmp_path / "other.yaml")


def test_numbers_with_exponents_are_numbers(tmp_path):
    path = tmp_path / "decode.yaml"
    path.write_text("ctc_weight: 3e-1\noutputs:\n  a:\n    penalty: -1E0\n")
    options = parse_options(read_options(path), ["a"])["a"]
    assert (options.ctc_weight, options.penalty) == (0.3, -1.0)


@pytest.mark.parametrize("outputs", [3, "surface", ["surface"], {"surface": 3}, {"surface": ["a"]}])
def test_outputs_must_be_a_mapping_of_mappings(outputs):
    with pytest.raises(UserError, match="outputs.*not a mapping"):
        parse_options({"outputs": outputs}, ["surface"])


@pytest.mark.parametrize("key", ["maxlenratio", "minlenratio"])
def test_constant_length_must_be_a_whole_number(key):
    with pytest.raises(UserError, match=f"{key} -0.5"):
        parse_options({key: -0.5}, ["a"])
    assert getattr(parse_options({key: -3}, ["a"])["a"], key) == -3


def test_defaults_set_what_the_configuration_leaves_open():
    length = {"maxlenratio": 2.0, "end_detect": True}
    defaults = {"surface": length, "meaning": {**length, "normalize_length": True}}
    options = parse_options(with_defaults({}, defaults), ["surface", "meaning"])
    assert not options["surface"].normalize_length and options["meaning"].normalize_length
    assert all(o.maxlenratio == 2.0 and o.end_detect for o in options.values())
    config = {"maxlenratio": 0.0, "outputs": {"meaning": {"normalize_length": False}}}
    options = parse_options(with_defaults(config, defaults), ["meaning"])
    assert options["meaning"] == SearchOptions()
    config = with_defaults({**ESPNET}, {"meaning": defaults["meaning"]})
    assert config["outputs"]["meaning"] == {}


def test_configurations_in_conf_leave_the_defaults_to_the_heads(request):
    """What decode.yaml lists in comments are the defaults, and it sets nothing by name."""
    path = request.config.rootpath / "conf/decode.yaml"
    assert read_options(path) == {}
    assert "outputs" not in read_options(path.with_name("decode_lm.yaml"))
    listed = dict(re.findall(r"^#   (\w+): (\S+)", path.read_text(), re.M))
    values = {name: yaml.safe_load(value) for name, value in listed.items()}
    assert values == {
        name: {"maxlenratio": 2.0, "end_detect": True}.get(name, getattr(SearchOptions(), name))
        for name in values
    }
    assert len(values) == 7


@pytest.mark.parametrize(
    ("branch", "weights", "expected"),
    [
        ("ctc_attention", {"ctc_weight": 0.2, "attention_weight": 0.5}, {}),
        ("ctc", {"ctc_weight": 1.0}, {}),
        ("attention", {"attention_weight": 1.0}, {"normalize_length": True}),
    ],
)
@pytest.mark.parametrize("name", ["meaning", "surface", "text"])
def test_defaults_belong_to_the_kind_of_head(name, branch, weights, expected):
    tokens = ["<blank>", "<unk>", "a", "<sos/eos>"]
    parsed = parse_outputs({"outputs": {name: {"branch": branch, **weights}}})[name]
    config = {"decoder": "transformer", "decoder_conf": {"num_blocks": 1, "attention_heads": 2}}
    head = build_head(name, parsed, tokens, 8, config)
    assert head.default_search() == {"maxlenratio": 2.0, "end_detect": True, **expected}
    assert ("ctc_weight" in describe(head, SearchOptions())) == (branch == "ctc_attention")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({1: 2}, "key 1"),
        ({"nbest": "many"}, "nbest"),
        ({"greedy": True, "nbest": 3}, "nbest 3"),
        ({"maxlenratio": -1.5}, "maxlenratio -1.5"),
        ({"maxlenratio": -1e9}, "maxlenratio"),
    ],
)
def test_contradictory_options_raise_user_error(config, message):
    with pytest.raises(UserError, match=message):
        parse_options(config, ["surface"])


def test_folder_as_configuration_raises_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_options(tmp_path)
