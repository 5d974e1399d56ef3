"""The objective `weighted_sum`: the weighted sum of all losses.

Cho & Kim, arXiv 2606.06065: α·CTC + β·surface + γ·meaning.
"""

import torch

from espnet_ext.model.losses import TrainingLosses, weighted_sum
from espnet_ext.objectives.base import Objective


class WeightedSum(Objective):
    def forward(self, losses: TrainingLosses) -> torch.Tensor:
        return weighted_sum(losses, self.auxiliary_weights)
