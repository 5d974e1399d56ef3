"""A training that diverges ends with an error that names the epoch and the utterances."""

import math

import pytest
import tiny_recipe
import torch
from espnet2.train.reporter import Reporter, SubReporter

from espnet_ext.bin import cli
from espnet_ext.bin import train as command
from espnet_ext.errors import UserError
from espnet_ext.training import health

NAN = math.nan


def epoch_of(norms, limit=50, accum_grad=1):
    """Run the monitor over batches with these gradient norms (None: no step)."""
    reporter = SubReporter("train", 3, 0)
    monitor = health.StepMonitor(reporter, limit, accum_grad)
    batches = [([f"u{number}"], {}) for number in range(1, len(norms) + 1)]
    watched = monitor.watch(batches)
    assert len(watched) == len(norms)
    for (_, _), norm in zip(watched, norms, strict=True):
        reporter.register({"loss": 1.0 if norm is None else norm}, 1)
        if norm is not None and math.isfinite(norm):
            reporter.register({"grad_norm": norm})
        reporter.next()
    return monitor


def test_skipped_steps_are_reported_with_their_utterances(capsys):
    monitor = epoch_of([NAN, 1.0, math.inf, 1.0])
    monitor.finish(nothing_updated=False)
    warning = capsys.readouterr().err
    assert "epoch 3: 2 of 4 steps were skipped" in warning and "utterances: u1" in warning
    epoch_of([1.0]).finish(nothing_updated=False)
    assert capsys.readouterr().err == ""


def test_too_many_invalid_steps_in_a_row_raise_user_error():
    epoch_of([NAN, NAN, 1.0] * 3, limit=3)
    with pytest.raises(
        UserError, match=r"epoch 3, step 5: the gradients of 3 .* first of them: u3"
    ):
        epoch_of([NAN, 1.0, NAN, NAN, NAN, 1.0], limit=3)


def test_steps_of_several_batches_name_all_their_utterances():
    norms = [None, NAN] * 2
    with pytest.raises(UserError, match=r"step 2: the gradients of 2 steps .*: u1, u2"):
        epoch_of(norms, limit=2, accum_grad=2)


def test_epoch_without_update_raises_user_error():
    with pytest.raises(UserError, match="all 2 steps are not finite .* utterances: u1"):
        epoch_of([NAN, NAN]).finish(nothing_updated=True)
    with pytest.raises(UserError, match="fewer batches than accum_grad 4"):
        epoch_of([None, None], accum_grad=4).finish(nothing_updated=True)


def validation(losses, epoch):
    reporter = SubReporter("valid", epoch, 0)
    for loss in losses:
        reporter.register({"loss": torch.tensor(loss), "acc": torch.tensor(0.5)}, 2)
        reporter.next()
    return reporter


def test_validation_without_finite_losses_raises_user_error():
    with pytest.raises(UserError, match="epoch 7: the validation losses of 2 of 2 .*: u1, u2"):
        health.check_validation(validation([NAN, NAN], 7), [["u1"], ["u2"]], [])
    with pytest.raises(UserError, match="epoch 1: the validation losses of 1 of 2 .*: u2"):
        health.check_validation(validation([1.0, NAN], 1), [["u1"], ["u2"]], [])


def test_epoch_with_some_invalid_validation_losses_is_not_selected(capsys):
    sub = validation([1.0, NAN], 2)
    health.check_validation(sub, [["u1"], ["u2"]], [["valid", "acc", "max"]])
    assert "u2. This epoch is not used" in capsys.readouterr().err
    reporter = Reporter()
    reporter.set_epoch(2)
    reporter.finish_epoch(sub)
    assert math.isnan(reporter.get_value("valid", "acc"))
    assert reporter.get_value("valid", "loss") == 1.0


def test_weights_that_are_not_finite_or_absurd_raise_user_error():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    health.check_weights(model, "epoch 1")
    model[1].running_mean[0] = NAN
    with pytest.raises(UserError, match="epoch 1: values that are not finite in 1.running_mean"):
        health.check_weights(model, "epoch 1", ["u1"])
    model[1].running_mean[0] = 1e9  # statistics of features may be large
    health.check_weights(model, "epoch 1")
    with torch.no_grad():
        model[0].weight[0, 0] = 1e30
    with pytest.raises(UserError, match="a weight of 1e.30 in 0.weight.*; first utterances: u1"):
        health.check_weights(model, "epoch 1", ["u1"])


def test_diverged_training_ends_with_an_error(recipe, capfd):
    recipe.write_yaml("base", {**tiny_recipe.CONFIG, "optim_conf": {"lr": 1e30}, "max_epoch": 5})
    recipe.write_yaml("system", {"outputs": tiny_recipe.OUTPUTS})
    assert cli.run(command.main, recipe.arguments()) == 1
    message = capfd.readouterr().err
    assert "error: epoch 1: " in message and "utterances: s" in message
    assert "remedy: lower the learning rate" in message
    assert not list((recipe.root / "exp").glob("*.pth"))


def test_training_with_invalid_gradients_alone_ends_with_an_error(recipe, monkeypatch):
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda *args, **options: torch.tensor(NAN)
    )
    with pytest.raises(UserError, match=r"epoch 1: the gradients of all \d+ steps"):
        recipe.train()
    with pytest.raises(UserError, match="epoch 1, step 1: the gradients of 1 steps in a row"):
        recipe.train(config={"max_invalid_steps": 1})


def test_checkpoint_with_nan_weights_is_not_resumed(recipe):
    folder = recipe.train()
    saved = torch.load(folder / "checkpoint.pth", weights_only=True)
    saved["model"]["encoder.after_norm.weight"].fill_(NAN)
    torch.save(saved, folder / "checkpoint.pth")
    (folder / "checksums.json").unlink()
    with pytest.raises(UserError, match="checkpoint.pth: values that are not finite in encoder"):
        recipe.train(options=["--max_epoch", "3"])
