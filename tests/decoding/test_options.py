"""Search options: shared, per output, checked."""

import dataclasses

import pytest
import yaml

from espnet_ext.decoding.options import (
    ESPNET,
    SearchOptions,
    change_options,
    parse_options,
    read_options,
    suited,
)
from espnet_ext.errors import UserError


def test_own_options_go_over_shared_ones():
    config = {"beam_size": 5, "penalty": 1, "outputs": {"meaning": {"beam_size": 2}}}
    parsed = parse_options(config, ["surface", "meaning"])
    assert (parsed["surface"].beam_size, parsed["meaning"].beam_size) == (5, 2)
    assert parsed["meaning"].penalty == 1


def test_options_of_an_output_that_this_system_lacks_are_no_mistake():
    parsed = parse_options({"outputs": {"surface": {"beam_size": 2}}}, ["meaning"])
    assert parsed == {"meaning": SearchOptions()}


def test_shared_configurations_are_complete_and_right(request):
    for name in ("decode", "decode_lm"):
        options = read_options(request.config.rootpath / f"conf/{name}.yaml")
        assert parse_options(options, ["surface"])["surface"].beam_size == options["beam_size"]


def test_defaults_are_what_stock_decoding_uses():
    inference = pytest.importorskip("espnet2.bin.asr_inference")
    given = ["--output_dir", "x", "--data_path_and_name_and_type", "a,speech,sound"]
    stock = vars(inference.get_parser().parse_args(given))
    ours = dataclasses.asdict(SearchOptions())
    for key in ("penalty", "maxlenratio", "minlenratio", "normalize_length", "nbest"):
        assert ours[key] == stock[key]


@pytest.mark.parametrize(
    ("changes", "named"),
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
def test_wrong_ones_are_refused_wherever_they_come_from(changes, named):
    for attempt in (
        lambda: parse_options(changes, ["a"]),
        lambda: parse_options({"outputs": {"a": changes}}, ["a"]),
        lambda: change_options("a", SearchOptions(), changes),
    ):
        with pytest.raises(UserError) as caught:
            attempt()
        assert named in str(caught.value)


def test_reading(tmp_path):
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


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    path = tmp_path / "decode.yaml"
    path.write_text("ctc_weight: 3e-1\noutputs:\n  a:\n    penalty: -1E0\n")
    options = parse_options(read_options(path), ["a"])["a"]
    assert (options.ctc_weight, options.penalty) == (0.3, -1.0)


@pytest.mark.parametrize("outputs", [3, "surface", ["surface"], {"surface": 3}, {"surface": ["a"]}])
def test_outputs_are_a_mapping_of_mappings(outputs):
    with pytest.raises(UserError, match="outputs.*not a mapping"):
        parse_options({"outputs": outputs}, ["surface"])


@pytest.mark.parametrize("key", ["maxlenratio", "minlenratio"])
def test_a_constant_length_is_a_whole_number(key):
    with pytest.raises(UserError, match=f"{key} -0.5"):
        parse_options({key: -0.5}, ["a"])
    assert getattr(parse_options({key: -3}, ["a"])["a"], key) == -3


def test_unset_options_suit_the_heads():
    defaults = {"surface": {}, "meaning": {"normalize_length": True}}
    found = parse_options(suited({}, defaults), ["surface", "meaning"])
    assert (found["surface"].normalize_length, found["meaning"].normalize_length) == (False, True)
    assert all(o.maxlenratio == 2.0 and o.end_detect for o in found.values())
    given = {"maxlenratio": 0.0, "outputs": {"meaning": {"normalize_length": False}}}
    found = parse_options(suited(given, defaults), ["meaning"])
    assert found["meaning"] == SearchOptions()
    assert suited({**ESPNET}, {"meaning": {"normalize_length": True}})["outputs"]["meaning"] == {}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({1: 2}, "key 1"),
        ({"nbest": "many"}, "nbest"),
        ({"greedy": True, "nbest": 3}, "nbest 3"),
        ({"maxlenratio": -1.5}, "maxlenratio -1.5"),
        ({"maxlenratio": -1e9}, "maxlenratio"),
    ],
)
def test_values_that_mean_nothing(config, words):
    with pytest.raises(UserError, match=words):
        parse_options(config, ["surface"])


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_options(tmp_path)
