"""The base class of objectives."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from espnet_ext.model.config import check_keys, check_mapping, check_weight
from espnet_ext.model.losses import TrainingLosses


class Objective(torch.nn.Module):
    """Combines the losses of a batch into the scalar that training calls `backward` on.

    An objective may have parameters. They are trained with the model and saved in its checkpoints
    as `objective.*`. Models that are loaded for inference ignore them.

    `forward` receives the losses of the heads with their weights, the auxiliary losses, the hidden
    states of every output, and a function `losses.parameters` that returns groups of parameters. An
    objective that computes gradients itself returns `objectives.gradients.surrogate_loss`.

    `objective_conf` contains the keyword arguments of the constructor of a subclass, except
    `outputs`.

    Args:
        outputs: names of the outputs, in order.
        auxiliary_weights: name of an auxiliary loss → weight. These weights replace those that the
            encoder and the conditioner define.
    """

    needs_layers: ClassVar[bool] = False  # whether `forward` uses `losses.encoded.layers`

    def __init__(
        self, outputs: tuple[str, ...], auxiliary_weights: Mapping[str, float] | None = None
    ):
        super().__init__()
        check_mapping(auxiliary_weights or {}, "objective_conf.auxiliary_weights")
        for name, weight in (auxiliary_weights or {}).items():
            check_weight(weight, f"objective_conf.auxiliary_weights.{name}")
        self.outputs = tuple(outputs)
        self.auxiliary_weights = dict(auxiliary_weights or {})

    def forward(self, losses: TrainingLosses) -> torch.Tensor:
        """Return the loss () of a batch; its value is also logged."""
        raise NotImplementedError

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return name → value () to log. The names must be the same for every batch."""
        return {}

    @classmethod
    def check_keys(cls, conf: Mapping[str, Any]) -> None:
        """Raise `UserError` for a key of `objective_conf` that the constructor does not accept."""
        known = [key for key in inspect.signature(cls).parameters if key != "outputs"]
        check_keys(conf, known, "objective_conf")
