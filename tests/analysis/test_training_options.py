"""Options of two trainings are compared as far as they affect one output."""

import json

import pytest

from espnet_ext.analysis.training_options import shortened, training_differences

SURFACE = {"branch": "ctc_attention", "ctc_weight": 0.2, "token_list": ["a", "b"], "lr": 1}
CONFIG = {
    "max_epoch": 5,
    "output_dir": "exp/so",
    "seed": 0,
    "accum_grad": 1,
    "optim_conf": {"lr": 0.001, "fused": True},
    "scheduler_conf": {"total_steps": 1000, "max_lr": [0.001, 0.0001]},
    "train_data_path_and_name_and_type": [["dump/train/wav.scp", "speech", "sound"]],
    "outputs": {"surface": SURFACE},
}
JOINT = {
    "output_dir": "exp/do",
    "seed": 1,
    "optim_conf": {"lr": 0.001, "fused": False},
    "scheduler_conf": {"total_steps": 1030, "max_lr": [0.001, 0.0001, 0.0001]},
    "train_data_path_and_name_and_type": [
        ["dump/train/wav.scp", "speech", "sound"],
        ["dump/train/text.meaning", "text_meaning", "text"],
    ],
    "outputs": {
        "surface": {**SURFACE, "branch": "attention", "ctc_weight": 0.1},
        "meaning": {"branch": "attention", "lr": 7},
    },
}


def training(folder, **changes):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps({**CONFIG, **changes}))
    return folder


def test_outputs_heads_paths_and_seeds_are_not_differences(tmp_path):
    first, second = training(tmp_path / "a"), training(tmp_path / "b", **JOINT)
    assert training_differences(first, second, "surface") == []
    assert training_differences(first, tmp_path / "c", "surface") is None


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"max_epoch": 6}, ("max_epoch", "5", "6")),
        ({"accum_grad": 4}, ("accum_grad", "1", "4")),
        ({"optim_conf": {"lr": 0.002}}, ("optim_conf.lr", "0.001", "0.002")),
        ({"grad_clip": 5}, ("grad_clip", "not set", "5")),
        ({"max_epoch": None}, ("max_epoch", "5", "not set")),
        ({"conditioning": "experts"}, ("conditioning", "not set", "experts")),
        (
            {"scheduler_conf": {"total_steps": 2000, "max_lr": [0.001]}},
            ("scheduler_conf.total_steps", "1000", "2000"),
        ),
        (
            {"train_data_path_and_name_and_type": [["dump/more/wav.scp", "speech", "sound"]]},
            ("training set", "dump/train", "dump/more"),
        ),
        ({"outputs": {"surface": {**SURFACE, "lr": 2}}}, ("outputs.surface.lr", "1", "2")),
    ],
)
def test_options_that_differ_are_named(tmp_path, changes, difference):
    first = training(tmp_path / "a")
    second = training(tmp_path / "b", **{**JOINT, **changes})
    assert training_differences(first, second, "surface") == [difference]


def test_other_tokens_are_a_difference(tmp_path):
    first = training(tmp_path / "a")
    outputs = {"surface": {**SURFACE, "token_list": ["a", "c"]}}
    ((name, *values),) = training_differences(
        first, training(tmp_path / "b", outputs=outputs), "surface"
    )
    assert name == "outputs.surface.token_list" and values[0].startswith("2 tokens, SHA-256")


def test_trainings_of_the_initial_weights_are_compared(tmp_path):
    training(tmp_path / "pre/a", max_epoch=2)
    training(tmp_path / "pre/b", max_epoch=3)
    first, second, third = (
        training(tmp_path / name, init_param=[f"{tmp_path}/pre/{source}/model.pth:encoder"])
        for name, source in (("a", "a"), ("b", "b"), ("c", "c"))
    )
    name = "max_epoch of the initial weights"
    assert training_differences(first, second, "surface") == [(name, "2", "3")]
    names = [name for name, *_ in training_differences(first, third, "surface")]
    assert "init_param 1" in names  # its training is not known


def test_many_differences_are_shortened():
    options = [(name, "1", "2") for name in "abcdef"]
    assert shortened(options, "x", "y").endswith("d (x 1, y 2) and 2 further options")
    assert shortened(options[:5], "x", "y").endswith("and 1 further options")
