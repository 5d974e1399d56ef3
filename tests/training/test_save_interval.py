"""How often checkpoints are written inside an epoch, and how often they are flushed to the disk."""

import types

import pytest
import torch

from espnet_ext.training import checkpoints, resume, signals


@pytest.mark.parametrize(
    ("minutes", "seconds_per_save", "earlier", "expected"),
    [
        (1, 0.1, 0, [3, 6, 9, 12]),  # batches of 25 s; the first one after a minute is the third
        (1, 1, 0, [3, 11]),  # after 200 s
        (1, 1, 1, [8]),  # the epoch before had a checkpoint
        (3, 0.1, 0, [8]),
        (0, 0.1, 0, []),
    ],
)
def test_checkpoints_by_time_take_a_two_hundredth_of_it(
    tmp_path, monkeypatch, minutes, seconds_per_save, earlier, expected
):
    clock, saved = [1000.0], []
    monkeypatch.setattr(resume, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))

    def state(self, random_states):
        clock[0] += seconds_per_save
        return {}

    monkeypatch.setattr(resume.ResumableEpoch, "_state", state)
    monkeypatch.setattr(torch, "save", lambda *_: saved.append(epoch._number))
    epoch = resume.ResumableEpoch(
        list(range(14)),
        resume.Parts(torch.nn.Identity(), [], [], None, None, None),
        resume.Saving(tmp_path, minutes, 0, 1),
        signals.StopRequest(),
        seconds_per_save=earlier,
    )
    for _ in epoch:
        clock[0] += 25
    assert saved == expected


def test_the_previous_checkpoint_is_on_a_disk_that_is_too_slow_for_all(tmp_path, monkeypatch):
    clock, flushed, previous = [0.0], [], []
    monkeypatch.setattr(checkpoints, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))

    def flush(path):
        clock[0] += 1
        flushed.extend([number] if path.name == ".checkpoint.pth.tmp" else [])

    monkeypatch.setattr(checkpoints, "_flush", flush)
    with checkpoints.atomic_torch_save(tmp_path):
        for number, pause in enumerate((0, 10, 10, 1600, 10)):
            clock[0] += pause
            torch.save({"number": number}, tmp_path / "checkpoint.pth")
            path = tmp_path / "checkpoint.previous.pth"
            previous.append(torch.load(path, weights_only=True)["number"] if number else None)
    assert flushed == [0, 3]
    assert previous == [None, 0, 0, 0, 3]


def test_seconds_of_a_checkpoint_are_known_in_the_next_epoch(recipe, monkeypatch):
    original, known = resume.ResumableEpoch.__iter__, []

    def begin(self):
        known.append(self.seconds_per_save)
        return original(self)

    monkeypatch.setattr(resume.ResumableEpoch, "__iter__", begin)
    recipe.train(config={"max_epoch": 2, "save_interval_steps": 1})
    assert known[0] == 0 < known[1]
