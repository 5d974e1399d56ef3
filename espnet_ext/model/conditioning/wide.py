"""A wider encoder: the control of experts, with as many parameters and without routing.

Experts per output multiply the feed-forward parts of the encoder. A gain over the dense system can
come from the routing or from the number of parameters. This one has the parameters and no routing:
the hidden layer of each feed-forward part is `factor` times as wide.

Symbols: D encoder size, H width of the hidden layer.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import Conditioner, ConditionerContext
from espnet_ext.model.conditioning.experts import HALVES, WHERE
from espnet_ext.model.conditioning.layers import (
    ALL,
    BOTH,
    blocks_of,
    feed_forward_names,
    last_layers,
)
from espnet_ext.model.config import check_count, check_keys, suggest


class Wide(Conditioner):
    """Widen feed-forward parts of the encoder.

    Args:
        outputs: names, in the model's order.
        factor: the hidden layer has factor · H units; the number of outputs for as many parameters
            as experts per output have.
        layers: how many of the last layers are widened, or "all".
        halves: "both" feed-forward halves of a block with macaron style, or the "second" only.
    """

    uses_active = False

    def __init__(
        self, outputs: Sequence[str], factor: int = 2, layers: int | str = ALL, halves: str = BOTH
    ):
        super().__init__(outputs)
        check_count(factor, f"{WHERE}.factor", 2)
        if halves not in HALVES:
            raise UserError(f"{WHERE}.halves: unknown '{halves}'", suggest(str(halves), HALVES))
        self.factor, self.layers, self.halves = factor, layers, halves

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "Wide":
        check_keys(conf, list(inspect.signature(cls).parameters)[1:], WHERE)
        wide = cls(list(context.tokens), **conf)
        if not list(wide.widened(context.encoder)):  # raises errors
            raise UserError(f"{WHERE}.layers: 0: nothing is widened", "write at least 1, or all")
        return wide

    def widened(self, encoder: torch.nn.Module) -> Iterator[Any]:
        """Yield the feed-forward parts to widen: modules with the layers `w_1` and `w_2`."""
        blocks = blocks_of(encoder, "conditioning: wide")
        for number in last_layers(self.layers, len(blocks), f"{WHERE}.layers"):
            for name in feed_forward_names(blocks[number], self.halves, "conditioning: wide"):
                part: Any = getattr(blocks[number], name)
                layers = (getattr(part, "w_1", None), getattr(part, "w_2", None))
                if not all(isinstance(layer, torch.nn.Linear) for layer in layers):
                    raise UserError(
                        f"conditioning: wide: {type(blocks[number]).__name__}.{name} cannot be "
                        "widened, because its weights are pre-trained or convolutions",
                        "use encoder: conformer, transformer or e_branchformer with linear layers",
                    )
                yield part

    def attach(self, encoder: torch.nn.Module) -> None:
        for part in self.widened(encoder):
            hidden = self.factor * part.w_1.out_features  # factor · H
            part.w_1 = torch.nn.Linear(part.w_1.in_features, hidden).to(part.w_1.weight)
            part.w_2 = torch.nn.Linear(hidden, part.w_2.out_features).to(part.w_2.weight)

    def encode(self, encoder, run, encoder_pass):
        return run()

    def fold(self, model, output, active):
        raise UserError(
            "conditioning: wide changes the encoder, which its configuration does not say",
            "train with encoder_conf.linear_units, times the factor, in place of conditioning",
        )
