"""The one-cycle schedule ends exactly with the training."""

import pytest
import tiny_recipe
import torch

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
def test_counted_steps_are_the_updates_made(recipe, config):
    state = schedulers(recipe.train(config={**CYCLE, **config, "max_epoch": 3}))
    # One count more than total_steps would raise, one fewer would end before the cycle does.
    assert state["last_epoch"] == state["total_steps"]


def test_a_rise_of_a_single_step(recipe):
    """Five steps, a fifth of them rising: PyTorch would divide by zero."""
    conf = {"scheduler": "onecyclelr", "scheduler_conf": {"max_lr": 0.01, "pct_start": 0.2}}
    state = schedulers(recipe.train(config={**conf, "num_iters_per_epoch": 1, "max_epoch": 5}))
    assert state["total_steps"] == 6 and state["last_epoch"] == 5


def test_given_steps_are_kept(recipe):
    conf = {"max_lr": 0.01, "total_steps": 1000}
    state = schedulers(recipe.train(config={**CYCLE, "scheduler_conf": conf}))
    assert state["total_steps"] == 1000


def test_other_schedules_are_left_alone(recipe):
    class Arguments:
        scheduler = "warmuplr"
        scheduler_conf = {"warmup_steps": 3}

    schedule.fill_total_steps(Arguments)
    assert Arguments.scheduler_conf == {"warmup_steps": 3}
    assert tiny_recipe.CONFIG.get("scheduler") is None
