"""The objective `dwa`: more weight for outputs whose losses fall slowly.

Dynamic weight average, Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention",
arXiv 1803.10704, eq. 7: λ_k(t) = K softmax_k(r_k(t) / T) with r_k(t) = L_k(t−1) / L_k(t−2), where
L_k(t) is the mean training loss of epoch t. The loss is Σ_k λ_k L_k. In the first two epochs all λ
are 1. The validation loss is the weighted sum, Σ_k L_k, which is comparable between epochs.

Symbols: K outputs.
"""

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.losses import (
    TrainingLosses,
    weighted_auxiliary,
    weighted_head_loss,
    weighted_sum,
)
from espnet_ext.objectives.base import Objective, check_several_outputs


class DynamicWeightAverage(Objective):
    """Dynamic weight average.

    Args:
        temperature: T > 0; the larger it is, the more equal are the weights.
    """

    previous: torch.Tensor  # (2, K), mean losses of the last two epochs; 0 if unknown
    sums: torch.Tensor  # (2, K), losses and shares of labelled utterances, of the present epoch
    task_weights: torch.Tensor  # (K,), λ

    def __init__(self, outputs, temperature: float = 2.0, auxiliary_weights=None):
        super().__init__(outputs, auxiliary_weights)
        is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
        if not is_number or not 0 < temperature < float("inf"):
            raise UserError(f"objective_conf.temperature: {temperature!r}", "give a number above 0")
        check_several_outputs(self.outputs, "dwa weights")
        self.temperature = temperature
        count = len(self.outputs)
        self.register_buffer("previous", torch.zeros(2, count, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(2, count, dtype=torch.float64))
        self.register_buffer("task_weights", torch.ones(count, dtype=torch.float64))

    def begin_epoch(self) -> None:
        if (self.sums[1] > 0).any():  # not before the first epoch
            means = (self.sums[0] / self.sums[1]).nan_to_num(0.0)  # NaN without labels
            self.previous.copy_(torch.stack([means, self.previous[0]]))
        self.sums.zero_()
        self.task_weights.copy_(weights_of(self.previous, self.temperature))

    def forward(self, losses: TrainingLosses) -> torch.Tensor:
        heads = [losses.heads[name] for name in self.outputs]
        if not torch.is_grad_enabled():
            return weighted_sum(losses, self.auxiliary_weights)
        values = torch.stack([weighted_head_loss(head) for head in heads])  # (K,)
        size = 1 if losses.labelled is None else losses.labelled.size(0)
        shares = torch.stack([head.share for head in heads])
        batch = size * torch.stack([values.detach().double(), shares.double()])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(batch)
        if torch.isfinite(batch).all():  # the trainer skips the update of another batch, too
            self.sums += batch
        total = (values * self.task_weights.to(values.dtype)).sum()
        return total + sum(weighted_auxiliary(losses, self.auxiliary_weights))

    def statistics(self) -> dict[str, torch.Tensor]:
        pairs = zip(self.outputs, self.task_weights, strict=True)
        return {f"weight_{name}": weight.clone() for name, weight in pairs}


def weights_of(losses: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return λ (K,) from the mean losses (2, K) of the last epoch and the one before.

    Outputs whose losses are unknown (0) have the ratio 1.
    """
    ratios = losses[0] / losses[1]
    ratios = torch.where((losses > 0).all(0), ratios, torch.ones_like(ratios))
    return len(ratios) * torch.softmax(ratios / temperature, 0)
