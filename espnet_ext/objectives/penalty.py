"""The base class of objectives that add a penalty on the streams to the weighted sum.

A stream is the encoder output that one output reads. The penalty is a mean over utterances, so that
two processes have together the gradient of one with all utterances. The validation loss is the
weighted sum alone; `penalty_<name>` is a statistic of its own.

Symbols: B utterances, T encoder frames, D encoder size, K outputs.
"""

from typing import Any, ClassVar

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_weight
from espnet_ext.model.losses import Objective, TrainingLosses, weighted_sum


class StreamPenalty(Objective):
    """The weighted sum of all losses, and a penalty on the streams of the outputs.

    Args:
        strength: factor of the penalty. With 0 the gradients of the model are those of the weighted
            sum.
    """

    name: ClassVar[str]  # in the table of objectives

    def __init__(self, outputs, strength: float = 1.0, auxiliary_weights=None):
        super().__init__(outputs, auxiliary_weights)
        check_weight(strength, "objective_conf.strength")
        self.strength = strength
        self._penalty = torch.tensor(torch.nan)  # of the last batch

    def penalty(self, streams: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the penalty () of a batch.

        Args:
            streams: (K, B, T, D), float32 or better.
            valid: (B, T), true for frames, false for padding.
        """
        raise NotImplementedError

    def add(self, total: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
        """Return the loss () from the weighted sum () and the penalty ()."""
        return total + self.strength * penalty

    def attach(self, model: Any) -> None:
        """Raise `UserError` unless every output has a stream of its own."""
        if len(self.outputs) < 2 or not model.separates_outputs:
            reason = "one output" if len(self.outputs) < 2 else "one encoder output for all outputs"
            raise UserError(
                f"objective: {self.name} compares what the outputs read of the encoder, but this "
                f"system has {reason}",
                "add conditioning that separates the outputs, for example tops or experts with "
                "encoder_task",
            )

    def forward(self, losses: TrainingLosses) -> torch.Tensor:
        assert losses.encoded is not None
        hidden, lengths = losses.encoded.hidden, losses.encoded.lengths
        first = lengths[self.outputs[0]]
        if any(not torch.equal(first, lengths[name]) for name in self.outputs):
            raise UserError(
                f"objective: {self.name}: the outputs' encoder outputs have different lengths",
                "use the same subsampling for all outputs",
            )
        streams = torch.stack([hidden[name] for name in self.outputs])  # (K, B, T, D)
        with torch.autocast(streams.device.type, enabled=False):
            if streams.dtype in (torch.bfloat16, torch.float16):
                streams = streams.float()
            frames = torch.arange(streams.size(2), device=streams.device)
            penalty = self.penalty(streams, frames < first.to(streams.device)[:, None])
        self._penalty = penalty.detach()
        total = weighted_sum(losses, self.auxiliary_weights)
        return self.add(total, penalty) if torch.is_grad_enabled() else total

    def statistics(self) -> dict[str, torch.Tensor]:
        return {f"penalty_{self.name}": self._penalty}
