"""The base class of objectives."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from espnet_ext.model.config import check_keys, check_mapping, check_weight
from espnet_ext.model.losses import TrainingLosses


class Objective(torch.nn.Module):
    """Turns the losses of a batch into the scalar that training calls `backward` on.

    It may have parameters: they are trained with the model and kept in its checkpoints, as
    `objective.*`, and are ignored where a model is loaded for inference.

    It sees the losses of the heads with their weights, the auxiliary losses, the hidden states of
    every output, and, by `losses.parameters()`, groups of parameters. To use gradients that it
    computed itself, it returns `objectives.gradients.surrogate_loss`.

    The signature of a subclass's constructor is its configuration: `objective_conf` gives its
    keyword arguments, all but `outputs`.

    Args:
        outputs: names of the outputs, in order.
        auxiliary_weights: name of an auxiliary loss → its weight, over those that encoder and
            conditioner give.
    """

    needs_layers: ClassVar[bool] = False  # whether `losses.encoded.layers` must be filled

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
        """Return the scalar (); its value is the loss that is logged."""
        raise NotImplementedError

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return values to log by name, () each; the names never vary."""
        return {}

    @classmethod
    def check_keys(cls, conf: Mapping[str, Any]) -> None:
        """Raise `UserError` for a key of `objective_conf` that the constructor does not have."""
        known = [key for key in inspect.signature(cls).parameters if key != "outputs"]
        check_keys(conf, known, "objective_conf")
