"""A training that is killed again and again ends with the losses of an uninterrupted one.

`KILLS=20 python -m pytest tests/faults/killed_training.py -s` kills it 20 times.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402
from child_processes import fork  # noqa: E402

KILLS = int(os.environ.get("KILLS", "3"))
CONFIG = {
    "batch_type": "unsorted",
    "batch_size": 1,  # 8 updates per epoch
    "max_epoch": 2 + KILLS // 2,
    "save_interval_steps": 1,  # most of the time is spent in saving
    "narrowband_prob": 0.5,
}


def train_in_child(recipe: tiny_recipe.Recipe, name: str) -> int:
    """Start a training in a copy of this process; return its id."""

    def train() -> int:
        recipe.train(name, CONFIG)
        return 0

    return fork(train, recipe.root / f"{name}.log")


def kill_after(process: int, checkpoint: Path, saves: int, seconds: float) -> int:
    """Kill a process some seconds after it has saved some checkpoints.

    Returns:
        Its exit status, as `os.waitstatus_to_exitcode` does.
    """
    latest = _changed_at(checkpoint)
    while saves:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
        if _changed_at(checkpoint) != latest:
            latest, saves = _changed_at(checkpoint), saves - 1
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def losses(folder: Path) -> dict:
    """Return the statistics of all epochs without the times."""
    states = torch.load(folder / "checkpoint.pth", weights_only=True)
    return {
        (epoch, phase, key): value
        for epoch, phases in states["reporter"]["stats"].items()
        for phase, values in phases.items()
        for key, value in values.items()
        if not key.endswith("time")
    }


def test_training_that_is_killed_repeatedly_has_the_losses_of_an_uninterrupted_one(tmp_path):
    recipe = tiny_recipe.make(tmp_path)
    start = time.monotonic()
    whole = recipe.train("whole", CONFIG)
    per_save = (time.monotonic() - start) / (8 * CONFIG["max_epoch"])  # at least
    chance = random.Random()
    killed = 0
    while killed < KILLS:
        process = train_in_child(recipe, "parts")
        delay = chance.uniform(0.0, per_save)
        status = kill_after(
            process, recipe.root / "parts/checkpoint.pth", chance.randint(1, 5), delay
        )
        if status == 0:
            break  # it ended before that
        assert status == -signal.SIGKILL, (recipe.root / "parts.log").read_text()
        killed += 1
    folder = recipe.train("parts", CONFIG)
    log = (recipe.root / "parts.log").read_text()
    print(f"{killed} kills, {log.count('training continues in epoch')} times inside an epoch")
    assert killed
    ours, expected = losses(folder), losses(whole)
    assert repr(ours) == repr(expected)  # NaN equals NaN
    weights = [torch.load(f / "model.pth", weights_only=True) for f in (folder, whole)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
