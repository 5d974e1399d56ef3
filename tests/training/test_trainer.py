"""Additions to ESPnet's Trainer: atomic checkpoints and one progress line per epoch."""

import math

import pytest
import torch

from espnet_ext.training import step_progress
from espnet_ext.training.trainer import _epoch_line, atomic_torch_save


class Unsaveable:
    def __reduce__(self):
        raise RuntimeError("disk is full")


def test_failed_save_keeps_the_old_file_and_no_temporary_file(tmp_path):
    path = tmp_path / "checkpoint.pth"
    stock = torch.save
    with atomic_torch_save():
        torch.save({"epoch": 1}, path)
        with pytest.raises(RuntimeError, match="disk is full"):
            torch.save({"epoch": 2, "bad": Unsaveable()}, path)
        torch.save({"epoch": 3}, str(tmp_path / "other.pth"))
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.pth", "other.pth"]
    assert torch.save is stock


def test_torch_save_is_restored_after_an_error():
    stock = torch.save
    with pytest.raises(ValueError, match="stop"), atomic_torch_save():
        raise ValueError("stop")
    assert torch.save is stock


def test_saving_to_an_open_file(tmp_path):
    with atomic_torch_save(), open(tmp_path / "a.pth", "wb") as handle:
        torch.save({"a": 1}, handle)
    assert torch.load(tmp_path / "a.pth", weights_only=True) == {"a": 1}


def test_steps_loss_and_time_left_are_printed_within_an_epoch(monkeypatch, capsys):
    monkeypatch.setattr(step_progress, "SECONDS_BETWEEN_LINES", 0.0)
    reporter = pytest.importorskip("espnet2.train.reporter").SubReporter("train", 2, 0)
    watched = step_progress.StepProgress([1, 2, 3], reporter, 5)
    assert len(watched) == 3
    for number in watched:
        reporter.register({"loss": 2.0 * number}, 1)
        reporter.next()
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(", ")[0] for line in lines] == [
        "epoch 2/5: 1/3 steps, mean loss 2, 0 s",
        "epoch 2/5: 2/3 steps, mean loss 3, 0 s",
    ]
    assert all(line.endswith("s left") for line in lines)
    for _ in step_progress.StepProgress(iter([1, 2]), reporter, 5):
        pass
    assert "epoch 2/5: 1 steps, " in capsys.readouterr().err


def test_epoch_line_weights_batches_and_skips_unlabelled_batches():
    reporter = pytest.importorskip("espnet2.train.reporter").SubReporter("valid", 3, 0)
    for loss, accuracy, weight in ((2.0, math.nan, 1), (4.0, 0.5, 3)):
        reporter.register({"loss": loss, "acc_surface": accuracy}, weight)
        reporter.next()
    assert _epoch_line(reporter, 9) == "epoch 3/9: valid loss 3.500, acc_surface 0.500"
