"""The objective `uncertainty`: loss weights from learned variances.

Kendall, Gal & Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", arXiv 1705.07115,
eq. 10: Σ_k L_k / σ_k² + log σ_k. The parameters are s_k = log σ_k², 0 at the start, where the
gradients of the model are those of the weighted sum. At the optimum 1 / σ_k² is 1 / (2 L_k).

L_k is a sum over labelled utterances divided by the batch size. The regulariser log σ_k is
multiplied by their share of the batch, so an output without labels does not change its variance.
The validation loss is the weighted sum, Σ_k L_k, which is comparable between epochs.
"""

import torch

from espnet_ext.model.losses import (
    TrainingLosses,
    weighted_auxiliary,
    weighted_head_loss,
    weighted_sum,
)
from espnet_ext.objectives.base import Objective, check_several_outputs


class Uncertainty(Objective):
    """Uncertainty weighting, one variance per output."""

    def __init__(self, outputs, auxiliary_weights=None):
        super().__init__(outputs, auxiliary_weights)
        check_several_outputs(self.outputs, "uncertainty weights")
        self.log_variances = torch.nn.Parameter(torch.zeros(len(self.outputs)))  # (K,), s

    def forward(self, losses: TrainingLosses) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return weighted_sum(losses, self.auxiliary_weights)
        heads = [losses.heads[name] for name in self.outputs]
        values = torch.stack([weighted_head_loss(head) for head in heads])  # (K,)
        shares = torch.stack([head.share for head in heads]).to(values.dtype)
        total = (values * (-self.log_variances).exp() + 0.5 * shares * self.log_variances).sum()
        return total + sum(weighted_auxiliary(losses, self.auxiliary_weights))

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return 1 / σ² per output, as `weight_<output>`."""
        weights = (-self.log_variances.detach()).exp()
        return {f"weight_{name}": w for name, w in zip(self.outputs, weights, strict=True)}
