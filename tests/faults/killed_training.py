"""A training that is killed again and again ends with the losses of an uninterrupted one.

`KILLS=20 python -m pytest tests/faults/killed_training.py -s` kills it 20 times. `SEED=<number>`
repeats the kills of a run, which prints its seed.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402
from child_processes import fork  # noqa: E402

from espnet_ext.model import checksums  # noqa: E402
from espnet_ext.training import resume  # noqa: E402

KILLS = int(os.environ.get("KILLS", "3"))
MOST_SAVES = 3  # of a training before it is killed
BATCHES = 8  # of an epoch, each with an update and a checkpoint
# Enough for all kills: a training saves at most MOST_SAVES + 2 checkpoints before it is killed.
CONFIG = {
    "batch_type": "unsorted",
    "batch_size": 1,
    "max_epoch": 2 + KILLS * (MOST_SAVES + 2) // BATCHES,
    "save_interval_steps": 1,  # most of the time is spent in saving
    "narrowband_prob": 0.5,
}


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_and_be_killed(recipe: tiny_recipe.Recipe, saves: int, seconds: float) -> int:
    """Train in a copy of this process, which is killed; return its exit status.

    Args:
        saves: number of the checkpoint with which the time begins, from 1.
        seconds: from the moment when its content is written, but does not have its name yet, to the
            kill. It is killed at the same moment of the checkpoint after the next one at the
            latest.
    """
    original, saved = checksums.record, []

    def record(path, content):
        if Path(path).name == "checkpoint.pth":
            saved.append(path)
            if len(saved) == saves + 2 or (len(saved) == saves and not seconds):
                kill_this_process()
            if len(saved) == saves:
                threading.Timer(seconds, kill_this_process).start()
        original(path, content)

    def train() -> int:
        checksums.record = record
        recipe.train("parts", CONFIG)
        return 0

    process = fork(train, recipe.root / "parts.log")
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


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
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    print(f"SEED={seed} KILLS={KILLS}")
    chance = random.Random(seed)
    recipe = tiny_recipe.make(tmp_path)
    start = time.monotonic()
    whole = recipe.train("whole", CONFIG)
    per_save = (time.monotonic() - start) / (BATCHES * CONFIG["max_epoch"])  # at least
    # The first kill is inside the first epoch, while its second or third checkpoint is written.
    kills = [(chance.randint(2, MOST_SAVES), 0.0)]
    kills += [
        (chance.randint(1, MOST_SAVES), chance.uniform(0.0, per_save)) for _ in range(KILLS - 1)
    ]
    checkpoint = recipe.root / "parts/checkpoint.pth"
    while_saving = inside_epoch = 0
    for saves, seconds in kills:
        status = train_and_be_killed(recipe, saves, seconds)
        assert status == -signal.SIGKILL, (recipe.root / "parts.log").read_text()
        while_saving += checkpoint.with_name(".checkpoint.pth.tmp").exists()
        inside_epoch += resume.Position.read(checkpoint) is not None
    folder = recipe.train("parts", CONFIG)
    print(f"{KILLS} kills: {while_saving} while saving, {inside_epoch} inside an epoch")
    assert while_saving and inside_epoch
    ours, expected = losses(folder), losses(whole)
    assert repr(ours) == repr(expected)  # NaN equals NaN
    weights = [torch.load(f / "model.pth", weights_only=True) for f in (folder, whole)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
