"""Objectives in ESPnet's Trainer."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402
from test_gradient_methods import model_with  # noqa: E402

from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.training.trainer import _check_objective  # noqa: E402


def test_training_accumulates_gradients_and_resumes(tmp_path):
    recipe = tiny_recipe.make(tmp_path)
    config = {"objective": "gradnorm", "accum_grad": 2, "max_epoch": 1}
    folder = recipe.train(config=config)
    first = torch.load(folder / "1epoch.pth", weights_only=True)
    weights = first["objective.task_weights"]
    assert float(weights.sum()) == pytest.approx(2) and float(weights[0]) != 1
    recipe.train(config=config, options=["--max_epoch", "2"])
    second = torch.load(folder / "2epoch.pth", weights_only=True)
    assert int(second["objective.updates"]) == 2 * int(first["objective.updates"])
    assert torch.equal(second["objective.first_losses"], first["objective.first_losses"])


def options(**changes):
    values = {"finetune_conf": {}, "encoder_cache": None, "max_epoch": 3}
    return SimpleNamespace(**{**values, **changes})


@pytest.mark.parametrize(
    "changes", [{"encoder_cache": "cache"}, {"finetune_conf": {"freeze_epochs": 3}}]
)
def test_training_with_a_frozen_encoder_refuses_gradient_methods(changes):
    _check_objective(model_with("pcgrad"), options())
    _check_objective(model_with("uncertainty"), options(**changes))
    with pytest.raises(UserError, match="objective: pcgrad .* which is frozen"):
        _check_objective(model_with("pcgrad"), options(**changes))


def test_frozen_parameters_refuse_gradient_methods():
    model = model_with("pcgrad")
    model.encoder.requires_grad_(False)
    model.private.requires_grad_(False)
    with pytest.raises(UserError, match="objective: pcgrad .* which is frozen"):
        _check_objective(model, options())
