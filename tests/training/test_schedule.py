"""The one-cycle schedule ends with the training; weights are selected by labelled outputs."""

import json
import subprocess
import sys

import pytest
import tiny_recipe
import torch

from espnet_ext.errors import UserError
from espnet_ext.training import schedule

CYCLE = {"scheduler": "onecyclelr", "scheduler_conf": {"max_lr": 0.01}}


def schedulers(folder):
    return torch.load(folder / "checkpoint.pth", weights_only=True)["schedulers"][0]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"batch_bins": 20000},
        {"batch_bins": 17000, "accum_grad": 2},
        {"batch_type": "sorted", "batch_size": 3},
        {"batch_type": "folded", "batch_size": 2, "fold_length": [80000, 150, 150]},
        {"num_iters_per_epoch": 3},
    ],
)
def test_counted_steps_equal_the_updates_of_the_training(recipe, config):
    state = schedulers(recipe.train(config={**CYCLE, **config, "max_epoch": 3}))
    # With too few total_steps PyTorch raises; with too many, the cycle would not be complete.
    assert state["last_epoch"] == state["total_steps"]


def test_warm_up_of_a_single_step(recipe):
    """With five steps, a fifth of them warm-up, PyTorch would divide by zero."""
    conf = {"scheduler": "onecyclelr", "scheduler_conf": {"max_lr": 0.01, "pct_start": 0.2}}
    state = schedulers(recipe.train(config={**conf, "num_iters_per_epoch": 1, "max_epoch": 5}))
    assert state["total_steps"] == 6 and state["last_epoch"] == 5


def test_configured_total_steps_are_kept(recipe):
    conf = {"max_lr": 0.01, "total_steps": 1000}
    state = schedulers(recipe.train(config={**CYCLE, "scheduler_conf": conf}))
    assert state["total_steps"] == 1000


def test_total_steps_are_none_for_other_schedulers(recipe):
    class Arguments:
        scheduler = "warmuplr"
        scheduler_conf = {"warmup_steps": 3}

    assert schedule.total_steps(Arguments) is None
    assert tiny_recipe.CONFIG.get("scheduler") is None


def test_recorded_command_repeats_the_training(recipe):
    """The command contains the steps of the schedule, which are in no configuration file."""
    folder = recipe.train(exp="first", config={**CYCLE, "max_epoch": 2})
    command = json.loads((folder / "train.json").read_text())["command"]
    again = command.replace(f"--output_dir {folder}", f"--output_dir {folder}_again")
    assert again != command
    done = subprocess.run([sys.executable, *again.split()[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    repeated = schedulers(folder.with_name("first_again"))
    assert repeated["total_steps"] == schedulers(folder)["total_steps"]


@pytest.mark.parametrize(
    ("unlabelled", "criterion", "message"),
    [
        (["surface"], "acc_surface", "no utterance has a label for surface, but best"),
        (["surface", "meaning"], "acc", "no utterance has a label for surface or meaning"),
        (["surface", "meaning"], "loss", "no utterance has a label for surface or meaning"),
        (["surface"], "acc", None),
    ],
)
def test_selection_by_an_unlabelled_output_raises_user_error(
    tmp_path, unlabelled, criterion, message, capsys
):
    recipe = tiny_recipe.make(tmp_path)
    for name in unlabelled:
        path = tmp_path / f"dump/valid/text.{name}"
        path.write_text("".join(f"{row.split()[0]} <na>\n" for row in path.open()))
    config = {"best_model_criterion": [["valid", criterion, "max"]], "max_epoch": 1}
    if message is None:
        recipe.train(config=config)
        assert "text.surface: every utterance is unlabelled, so output" in capsys.readouterr().err
    else:
        with pytest.raises(UserError, match=message):
            recipe.train(config=config)
