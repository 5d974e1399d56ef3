"""A mixture of experts after the encoder, with a learned gate per output.

MMoE: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts", KDD 2018, eqs. 6 and 7: output k reads Σ_e g_ke(h) f_e(h), where the gate g_k
is a softmax over the experts, for each frame h. PLE: Tang et al., "Progressive Layered Extraction",
RecSys 2020, eqs. 3–5: besides shared experts, each output has private ones, and its gate chooses
among both. `private: 0` is MMoE.

Here the sum is added to h, and the last layer of each expert starts at zero. The initial model is
the one without the mixture.

Symbols: B utterances, G requested outputs, E experts of an output, T frames, D encoder size.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import Conditioner, ConditionerContext
from espnet_ext.model.conditioning.experts import WHERE, RoutedConditioner
from espnet_ext.model.conditioning.tops import several_outputs
from espnet_ext.model.config import check_count, check_keys


class Mixture(RoutedConditioner):
    """Experts after the encoder, and one gate per output.

    Args:
        outputs: names, in the model's order.
        size: D.
        shared: number of experts that all outputs use.
        private: number of further experts per output.
        hidden: width of the experts' hidden layer.
    """

    def __init__(
        self,
        outputs: Sequence[str],
        size: int,
        shared: int = 4,
        private: int = 0,
        hidden: int = 256,
    ):
        super().__init__(outputs, by_task=True)
        for key, value, least in (
            ("shared", shared, 0),
            ("private", private, 0),
            ("hidden", hidden, 1),
        ):
            check_count(value, f"{WHERE}.{key}", least)
        if shared + private < 2:
            raise UserError(
                f"{WHERE}: {shared + private} experts: the gate of an output has no choice",
                "write a larger number for shared or private",
            )
        self.shared = torch.nn.ModuleList(_expert(size, hidden) for _ in range(shared))
        private_experts = {
            name: torch.nn.ModuleList(_expert(size, hidden) for _ in range(private))
            for name in outputs
        }
        self.private = torch.nn.ModuleDict(private_experts)  # output → list
        self.gates = torch.nn.ModuleDict(
            {name: torch.nn.Linear(size, shared + private) for name in outputs}
        )
        self._weights = {name: torch.full((shared + private,), torch.nan) for name in outputs}

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "Mixture":
        check_keys(conf, ["shared", "private", "hidden"], WHERE)
        return cls(several_outputs(context, "mixture"), context.output_size, **conf)

    def encode(self, encoder, run, encoder_pass):
        states, lengths, auxiliary = run()  # (B, T, D)
        common = [expert(states) for expert in self.shared]
        is_frame = torch.arange(states.size(1), device=states.device) < lengths[:, None]  # (B, T)
        streams = [self._stream(name, states, common, is_frame) for name in encoder_pass.outputs]
        return torch.cat(streams), lengths.repeat(len(streams)), auxiliary

    def _stream(
        self,
        name: str,
        states: torch.Tensor,
        common: Sequence[torch.Tensor],
        is_frame: torch.Tensor,
    ) -> torch.Tensor:
        """Return what an output reads: (B, T, D).

        Args:
            states: (B, T, D) encoder output.
            common: results (B, T, D) of the shared experts.
            is_frame: (B, T), false for padding.
        """
        private_experts: Any = self.private[name]
        experts = [*common, *(expert(states) for expert in private_experts)]
        gate = self.gates[name](states).softmax(-1)  # (B, T, E)
        self._weights[name] = gate.detach()[is_frame].float().mean(0)
        total = states
        for number, result in enumerate(experts):
            total = total + gate[..., number, None] * result
        return total

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return the mean weight of every expert in the last batch: `gate_<output>_<expert>`."""
        return {
            f"gate_{name}_{number}": weight
            for name, weights in self._weights.items()
            for number, weight in enumerate(weights)
        }

    def fold(self, model, output, active):
        Conditioner.fold(self, model, output, active)


def _expert(size: int, hidden: int) -> torch.nn.Sequential:
    """Return a feed-forward network whose result is zero at the start."""
    last = torch.nn.Linear(hidden, size)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return torch.nn.Sequential(torch.nn.Linear(size, hidden), torch.nn.ReLU(), last)
