"""The objective `uncertainty`: loss weights from learned variances.

Kendall, Gal & Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", arXiv 1705.07115,
eq. 10: Σ_k L_k / σ_k² + log σ_k. The parameters are s_k = log σ_k², 0 at the start, where the
gradients of the model are those of the weighted sum. At the optimum 1 / σ_k² is 1 / (2 L_k).

L_k is a sum over labelled utterances divided by the batch size. The regulariser log σ_k is
multiplied by their share of the batch, so an output without labels does not change its variance.
"""

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.losses import TrainingLosses, weighted_head_loss
from espnet_ext.objectives.base import Objective


class Uncertainty(Objective):
    """Uncertainty weighting, one variance per output."""

    def __init__(self, outputs, auxiliary_weights=None):
        super().__init__(outputs, auxiliary_weights)
        if len(self.outputs) < 2:
            raise UserError(
                "objective: uncertainty weights at least two outputs, and the system has one",
                "remove objective, or choose a system with two outputs",
            )
        self.log_variances = torch.nn.Parameter(torch.zeros(len(self.outputs)))  # (K,), s

    def forward(self, losses: TrainingLosses) -> torch.Tensor:
        heads = [losses.heads[name] for name in self.outputs]
        values = torch.stack([weighted_head_loss(head) for head in heads])  # (K,)
        shares = torch.stack([head.share for head in heads]).to(values.dtype)
        total = (values * (-self.log_variances).exp() + 0.5 * shares * self.log_variances).sum()
        weights = {**losses.auxiliary_weights, **self.auxiliary_weights}
        return total + sum(weights.get(n, 0.0) * loss for n, loss in losses.auxiliary.items())

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return 1 / σ² per output, as `weight_<output>`."""
        weights = (-self.log_variances.detach()).exp()
        return {f"weight_{name}": w for name, w in zip(self.outputs, weights, strict=True)}
