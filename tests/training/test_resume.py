"""A training that is interrupted inside an epoch continues as if it had not been interrupted."""

import os
import signal

import pytest
import tiny_recipe
import torch

from espnet_ext.errors import Interrupted
from espnet_ext.training import checkpoints, health

CONFIG = {
    "batch_type": "unsorted",
    "batch_size": 1,  # 8 batches per epoch
    "max_epoch": 2,
    "specaug": "specaug",
    "specaug_conf": {"apply_time_warp": True, "apply_time_mask": True, "time_mask_width_range": 5},
    "narrowband_prob": 0.5,
    "accum_grad": 3,  # and two batches per epoch that make no update
    "scheduler": "onecyclelr",
    "scheduler_conf": {"max_lr": 0.01},
}
TIMES = ("time", "_time")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A recipe and the folder of its uninterrupted training."""
    made = tiny_recipe.make(tmp_path_factory.mktemp("recipe"))
    return made, made.train("whole", CONFIG)


def states(folder):
    return torch.load(folder / "checkpoint.pth", weights_only=True)


def losses(folder):
    """Return the statistics of all epochs without the times."""
    stats = states(folder)["reporter"]["stats"]
    return {
        (epoch, phase, key): value
        for epoch, phases in stats.items()
        for phase, values in phases.items()
        for key, value in values.items()
        if not key.endswith(TIMES)
    }


def assert_equal_trainings(folder, whole):
    assert losses(folder) == pytest.approx(losses(whole), rel=0, abs=0, nan_ok=True)
    first, second = (torch.load(f / "model.pth", weights_only=True) for f in (folder, whole))
    assert all(torch.equal(first[key], second[key]) for key in second)


def signal_after(monkeypatch, count, number=signal.SIGTERM):
    """Send this process a signal after a number of batches of training."""
    original = health.StepMonitor.after_batch
    calls = []

    def after_batch(self, *args, **kwargs):
        original(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(health.StepMonitor, "after_batch", after_batch)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_interrupted_training_equals_an_uninterrupted_one(prepared, monkeypatch, workers, capfd):
    recipe, whole = prepared
    name, options = f"parts{workers}", ["--num_workers", workers]
    if workers != "0":
        whole = recipe.train(f"whole{workers}", CONFIG, options=options)
    # The second one comes in the batches that make no update: validation starts, then stops.
    for batches, position in ((2, "3 batches of epoch 1"), (4, "8 batches of epoch 1"), (5, "")):
        signal_after(monkeypatch, batches)
        with pytest.raises(Interrupted, match=f"{position}.*run the same command again"):
            recipe.train(name, CONFIG, options=options)
        monkeypatch.undo()
    folder = recipe.train(name, CONFIG, options=options)
    print(capfd.readouterr().err)
    assert_equal_trainings(folder, whole)


def test_checkpoint_of_a_stopped_training_is_flushed_although_flushing_is_slow(
    prepared, monkeypatch
):
    recipe, _ = prepared
    signal_after(monkeypatch, 2)
    monkeypatch.setattr(checkpoints._Writer, "_may_flush", lambda self: False)
    flushed = []
    monkeypatch.setattr(checkpoints, "_flush", lambda path: flushed.append(path.name))
    with pytest.raises(Interrupted):
        recipe.train("stopped", CONFIG)
    assert flushed == ["checkpoint.pth", "checksums.json", "stopped"]
