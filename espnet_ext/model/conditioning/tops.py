"""Task-specific tops: a shared trunk of encoder layers, and private layers per output above it.

Splitting the layers whose gradients conflict most reduces the conflicts, which gradient surgery
does not (Recon: Shi et al., ICLR 2023). Each output has its own last layers and its own final
normalisation. The trunk runs once, and all tops run in the same encoder pass.

Private layers start as copies of the layers that they replace, so the initial model is the one
without them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import ConditionerContext
from espnet_ext.model.conditioning.experts import WHERE, RoutedConditioner
from espnet_ext.model.conditioning.layers import blocks_of, final_norm, last_layers
from espnet_ext.model.conditioning.routing import TASK
from espnet_ext.model.config import check_keys


class Tops(RoutedConditioner):
    """Give every output its own last encoder layers.

    Args:
        outputs: names, in the model's order.
        layers: how many of the last layers are private, or "all". With 0 the outputs part above the
            last layer: the model is the one without this conditioner.
    """

    def __init__(self, outputs: Sequence[str], layers: int | str = 1):
        super().__init__(outputs, by_task=layers != 0)
        self.layers = layers

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "Tops":
        check_keys(conf, ["layers"], WHERE)
        tops = cls(several_outputs(context, "tops"), **conf)
        tops.private(context.encoder)  # raises errors
        return tops

    def private(self, encoder: torch.nn.Module) -> Sequence[int]:
        """Return the numbers of the private layers."""
        blocks = blocks_of(encoder, "conditioning: tops")
        return last_layers(self.layers, len(blocks), f"{WHERE}.layers")

    def attach(self, encoder: torch.nn.Module) -> None:
        blocks = blocks_of(encoder, WHERE)
        numbers = self.private(encoder)
        for number in numbers:
            self.route(blocks, str(number), (TASK,))
        norm = final_norm(encoder)
        layers = [blocks[number] for number in numbers]
        if layers and norm is not None:
            self.route(encoder, norm, (TASK,))
            layers.append(getattr(encoder, norm))
        if layers:
            self.repeat_rows_before(encoder, layers)


def several_outputs(context: ConditionerContext, kind: str) -> list[str]:
    """Return the outputs; raise `UserError` if there is only one."""
    if len(context.tokens) < 2:
        raise UserError(
            f"conditioning: {kind} gives every output modules of its own, but this system has one "
            "output",
            "remove conditioning, or add an output",
        )
    return list(context.tokens)
