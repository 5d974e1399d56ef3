"""Read, merge and check configurations; check the shared configurations."""

import re

import pytest
import yaml
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.training.checks import check_best_model_criterion, check_config
from espnet_ext.training.config import check_known, merge, naming_the_file
from espnet_ext.training.run import merged_config, parse_token_types

keys = st.sampled_from("abc")
trees = st.recursive(st.integers(), lambda t: st.dictionaries(keys, t), max_leaves=8)
mappings = st.dictionaries(keys, trees)


def leaves(tree, path=()):
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    return {k: v for key, value in tree.items() for k, v in leaves(value, (*path, key)).items()}


@given(mappings, mappings)
def test_merge_keeps_every_value_of_the_overlay(base, overlay):
    merged = leaves(merge(base, overlay)) if merge(base, overlay) else {}
    for path, value in leaves(overlay).items() if overlay else ():
        if value != {}:
            assert merged[path] == value
    assert merge(base, {}) == base
    assert merge(merge(base, overlay), overlay) == merge(base, overlay)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_exponent_notation_is_read_as_a_number(tmp_path_factory, number):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_text(f"a: {number:.3e}\n")
    assert read_yaml(path)["a"] == pytest.approx(float(f"{number:.3e}"))
    assert isinstance(read_yaml(path)["a"], float)


def test_yaml_builds_no_objects(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(UserError, match="a.yaml"):
        read_yaml(path)


def test_shared_configurations_are_valid(request):
    from espnet_ext.training.task import DualOutputTask

    conf = request.config.rootpath / "conf"
    parser = DualOutputTask.get_parser()
    systems = sorted((conf / "systems").glob("*.yaml"))
    assert {path.stem for path in systems} >= {"so_surface", "so_meaning", "do"}
    for name in ("train", "train_small"):
        for system in systems:
            merged = merged_config(conf / f"{name}.yaml", [system])
            check_config(merged, parser, name)
            check_best_model_criterion(merged, name)
            for output in parse_outputs(merged).values():
                keys = ("ctc_weight", "attention_weight", "transducer_weight")
                assert sum(getattr(output, key, 0) for key in keys) > 0
            if merged["encoder_conf"].get("pos_enc_layer_type", "rel_pos") == "rel_pos":
                assert merged["encoder_conf"]["rel_pos_type"] == "latest"


def test_configurations_choose_the_number_format_on_a_cpu(request):
    """So docs/speed.md says; use_amp acts on a GPU only."""
    float32 = {"train_lm.yaml", "train_units_byt5.yaml"}
    paths = sorted((request.config.rootpath / "conf").glob("train*.yaml"))
    assert float32 < {path.name for path in paths}
    for path in paths:
        expected = None if path.name in float32 else "auto"
        assert read_yaml(path).get("cpu_autocast") == expected, path


def test_xlsr_configuration_is_valid(request):
    from espnet_ext.training.task import DualOutputTask

    conf = request.config.rootpath / "conf"
    systems = sorted((conf / "systems").glob("*.yaml"))
    assert {path.stem for path in systems} >= {"do_transducer", "do_vectors_sum"}
    for system in systems:
        merged = merged_config(conf / "train_xlsr_transducer.yaml", [system])
        check_config(merged, DualOutputTask.get_parser(), "train_xlsr_transducer")
        check_best_model_criterion(merged, "train_xlsr_transducer")
        assert merged["frontend_conf"]["model"] == merged["encoder_conf"]["model"]


@pytest.mark.parametrize("branch", ["transducer", "ctc"])
def test_criterion_acc_with_an_output_without_accuracy_raises_user_error(branch):
    outputs = {
        "surface": {"branch": branch, f"{branch}_weight": 1.0},
        "meaning": {"branch": "attention", "attention_weight": 1.0},
    }
    for criteria in (
        [["valid", "acc", "max"]],
        [["valid", "loss", "min"], ["valid", "acc", "max"]],
        None,
    ):
        config = {"outputs": outputs, "best_model_criterion": criteria}
        with pytest.raises(UserError, match="acc measures .*'surface' has none") as caught:
            check_best_model_criterion(config, "train.yaml")
        assert "best_model_criterion: [[valid, loss, min]]" in caught.value.remedy
        assert "[[valid, acc_meaning, max]]" in caught.value.remedy
    for key in ("loss", "acc_meaning"):
        check_best_model_criterion(
            {**config, "best_model_criterion": [["valid", key, "max"]]}, "train.yaml"
        )
    with pytest.raises(UserError, match="this system computes"):
        check_best_model_criterion({"outputs": {"surface": outputs["surface"]}}, "train.yaml")


def test_loss_weights_are_the_published_weights(request):
    conf = request.config.rootpath / "conf/systems"
    do = yaml.safe_load((conf / "do.yaml").read_text())["outputs"]
    weights = [w for o in do.values() for k, w in o.items() if k.endswith("_weight")]
    assert sorted(weights) == [0.2, 0.3, 0.5]
    for name in ("so_surface", "so_meaning"):
        (output,) = yaml.safe_load((conf / f"{name}.yaml").read_text())["outputs"].values()
        assert (output["ctc_weight"], output["attention_weight"]) == (0.2, 0.8)


def test_unknown_key_raises_user_error_with_the_nearest_key():
    check_known({"optim": 1}, ["optim"], "a.yaml")
    with pytest.raises(UserError, match="a.yaml: unknown key 'optin'") as caught:
        check_known({"optin": 1}, ["optim", "seed"], "a.yaml")
    assert caught.value.remedy == "did you mean 'optim'?"


def test_token_types_are_parsed_and_checked():
    assert parse_token_types(["a=char", "b=bpe"]) == {"a": "char", "b": "bpe"}
    for wrong in ("a", "a=b=c"):
        with pytest.raises(UserError, match="OUTPUT=TYPE"):
            parse_token_types([wrong])


def test_documented_encoders_are_built(request, tmp_path):
    """Another class of encoder keeps no option of the training configuration's class."""
    root = request.config.rootpath
    text = (root / "docs/configure.md").read_text(encoding="utf-8").partition("## Another enc")[2]
    deep, other = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    for name, block in (("deep", deep), ("other", other)):
        (tmp_path / f"{name}.yaml").write_text(block)
    base = root / "conf/train_small.yaml"
    merged = merged_config(base, [tmp_path / "deep.yaml"])
    assert merged["encoder_conf"] == {**read_yaml(base)["encoder_conf"], "num_blocks": 6}
    merged = merged_config(base, [tmp_path / "other.yaml"])
    assert merged["encoder_conf"] == yaml.safe_load(other)["encoder_conf"]
    assert merged["decoder_conf"] == read_yaml(base)["decoder_conf"]
    assert EBranchformerEncoder(input_size=32, **merged["encoder_conf"]).output_size() == 128


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("outputs.surface.branch: unknown kind of head 'ctx'", "{system}: outputs.surface.branch"),
        ("outputs.surface: unknown key 'ctc_wieght'", "{system}: outputs.surface: unknown key"),
        ("{config}: optim_conf: unknown key 'lrr'", "{system}: optim_conf: unknown key 'lrr'"),
        ("{config}: optim_conf: unknown key 'ls'", "{config}: optim_conf: unknown key 'ls'"),
        ("{config}: unknown key 'output'", "{system}: unknown key 'output'"),
        ("encoder_conf: unknown key 'num_block'", "encoder_conf: unknown key 'num_block'"),
        ("dump/train/wav.scp: no such file", "dump/train/wav.scp: no such file"),
        ("{config}: output 1 does not work", "{system}: output 1 does not work"),
        ("seed 3 differs", "seed 3 differs"),  # no message about the key
        ("max_epoch: invalid value 'a'", "max_epoch: invalid value 'a'"),  # of an option
    ],
)
def test_message_about_a_key_names_the_file_that_sets_it(tmp_path, message, expected):
    config, system = tmp_path / "train.yaml", tmp_path / "do.yaml"
    config.write_text(
        "seed: 3\nmax_epoch: 1\noptim_conf: {lr: 1, ls: 2}\nencoder_conf: {num_blocks: 2}\n"
    )
    system.write_text(
        "outputs: {surface: {branch: ctx, ctc_wieght: 1}}\noutput: 1\noptim_conf: {lrr: 1}\n"
    )
    names = {"config": config, "system": system}
    options = ["--max_epoch", "a"]
    with pytest.raises(UserError) as caught, naming_the_file(config, [system], options):
        raise UserError(message.format(**names), "correct it")
    assert caught.value.message.startswith(expected.format(**names))
    assert caught.value.remedy == "correct it"
