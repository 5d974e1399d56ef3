"""Cross-stitch units: private layers per output that exchange their results.

Misra et al., "Cross-stitch Networks for Multi-task Learning", arXiv 1604.03539, eq. 1: after a
private layer, output k continues with Σ_j α_kj x_j, where x_j is the result of output j's layer.
The α are learned, one matrix per layer.

The private layers are those of `tops`. All outputs run in every pass, also if one is requested.

Symbols: B utterances, K outputs, T frames, D width.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import Conditioner, ConditionerContext
from espnet_ext.model.conditioning.experts import WHERE
from espnet_ext.model.conditioning.layers import blocks_of
from espnet_ext.model.conditioning.tops import Tops, several_outputs
from espnet_ext.model.config import check_keys, check_weight
from espnet_ext.model.encoding import EncoderPass


class CrossStitch(Tops):
    """Private last layers per output, with cross-stitch units after each.

    Args:
        outputs: names, in the model's order.
        layers: how many of the last layers are private, or "all"; at least 1.
        other: α_kj of each other output j at the start; α_kk is 1 − (K − 1) · other. With 0 the
            initial model is that of `tops`. At most 1 / K, so that no other output has more weight.
    """

    def __init__(self, outputs: Sequence[str], layers: int | str = 1, other: float = 0.1):
        super().__init__(outputs, layers)
        check_weight(other, f"{WHERE}.other")
        if layers == 0:
            raise UserError(f"{WHERE}.layers: 0: there is nothing to exchange", "write at least 1")
        if other * len(self.outputs) > 1:
            raise UserError(
                f"{WHERE}.other: {other}: an output would start with a smaller weight for itself "
                "than for another",
                f"write at most {1 / len(self.outputs):.2g}",
            )
        self.other = other
        self.units = torch.nn.ParameterDict()  # layer → α (K, K)

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "CrossStitch":
        check_keys(conf, ["layers", "other"], WHERE)
        built = cls(several_outputs(context, "cross_stitch"), **conf)
        built.private(context.encoder)  # raises errors
        return built

    def attach(self, encoder: torch.nn.Module) -> None:
        super().attach(encoder)
        count = len(self.outputs)
        blocks = blocks_of(encoder, WHERE)
        for number in self.private(encoder):
            start = torch.full((count, count), float(self.other))
            start.fill_diagonal_(1 - (count - 1) * self.other)
            self.units[str(number)] = torch.nn.Parameter(start)
            # A partial of a method is copied with its object, unlike a nested function.
            hook = functools.partial(self._exchange, str(number))
            blocks[number].register_forward_hook(hook)

    def _exchange(self, layer: str, _module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
        """Mix the rows (K·B, T, D) of the outputs (a forward hook)."""

        def mix(states: torch.Tensor) -> torch.Tensor:
            unit = self.units[layer].to(states.dtype)
            rows = states.unflatten(0, (len(self.outputs), -1))  # (K, B, T, D)
            return torch.einsum("kj,jbtd->kbtd", unit, rows).flatten(0, 1)

        return map_states(output, mix)

    def passes(self, outputs, request, separate=False):
        every = self.active_set(self.outputs)
        return [EncoderPass(self.outputs, every, request.conditions)]

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return every α as `stitch_<layer>_<output>_<other output>`."""
        return {
            f"stitch_{layer}_{name}_{other}": unit.detach()[k, j]
            for layer, unit in self.units.items()
            for k, name in enumerate(self.outputs)
            for j, other in enumerate(self.outputs)
        }

    def fold(self, model, output, active):
        Conditioner.fold(self, model, output, active)


def map_states(output: Any, change: Any) -> Any:
    """Return a layer's output with changed hidden states, which are first in nested tuples."""
    if isinstance(output, tuple):
        return (map_states(output[0], change), *output[1:])
    return change(output)
