"""The objective `gradnorm`: loss weights by which all outputs learn at similar rates.

Chen et al., "GradNorm", arXiv 1711.02257, eqs. 1, 2 and algorithm 1. The loss is Σ_k w_k L_k. Let
G_k = w_k ‖g_k‖ be the norm of a task's weighted gradient of the shared parameters, Ḡ its mean over
tasks, and r_k the loss relative to the first one, divided by the mean of that over tasks. The
weights minimise Σ_k |G_k − Ḡ r_k^α| with Ḡ r_k^α constant. Then they are scaled to the sum K.

One step of gradient descent per update changes the weights. Its gradient is divided by Ḡ, which
makes the step independent of the scale of the losses. Updates in which a task has no labels or no
gradient leave the weights as they are.

Symbols: K tasks.
"""

from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_weight
from espnet_ext.objectives.gradient_method import GradientMethod

LEAST = 0.01  # a weight never falls below


class GradNorm(GradientMethod):
    """GradNorm.

    Args:
        alpha: α, 0 or more. With 0 all norms become equal; the larger it is, the more weight has an
            output that learns slowly.
        weight_lr: learning rate of the weights.
        layers: where the norms are measured, as in `GradientMethod`.
    """

    name = "gradnorm"
    task_weights: torch.Tensor  # (K,), w for the next update
    first_losses: torch.Tensor  # (K,), 0 until there was a labelled utterance

    def __init__(
        self, outputs, alpha: float = 1.5, weight_lr: float = 0.025, layers="all", **shared
    ):
        if "granularity" in shared:
            raise UserError("objective_conf.granularity: gradnorm has none", "remove it")
        super().__init__(outputs, layers=layers, **shared)
        check_weight(alpha, "objective_conf.alpha")
        check_weight(weight_lr, "objective_conf.weight_lr")
        self.alpha, self.weight_lr = alpha, weight_lr
        self._present: torch.Tensor  # (K,), w of the present update
        self._first: torch.Tensor  # (K,), `first_losses` before it

    def attach(self, model: Any) -> None:
        super().attach(model)
        count = len(self.outputs)
        self.register_buffer("task_weights", torch.ones(count))
        self.register_buffer("first_losses", torch.zeros(count))

    def begin_update(self) -> None:
        self._present = self.task_weights.double().cpu()
        self._first = self.first_losses.double().cpu()

    def loss_weights(self) -> torch.Tensor:
        return self._present

    def coefficients(self, gram, tasks, group):
        return torch.ones(len(gram), dtype=gram.dtype)

    def observe(self, gram: torch.Tensor, means: torch.Tensor) -> None:
        finite = torch.isfinite(means)
        first = torch.where((self._first == 0) & finite, means, self._first)
        self.first_losses.copy_(first)
        norms = gram.diag().sqrt()  # (K,), ‖g_k‖
        is_known = finite.all() and (first > 0).all()
        if not (is_known and torch.isfinite(norms).all() and (norms > 0).all()):
            return
        self.task_weights.copy_(
            next_weights(self._present, norms, means / first, self.alpha, self.weight_lr)
        )

    def statistics(self) -> dict[str, torch.Tensor]:
        weights = self.task_weights.detach()
        return super().statistics() | {
            f"weight_{name}": weight for name, weight in zip(self.outputs, weights, strict=True)
        }


def next_weights(
    weights: torch.Tensor, norms: torch.Tensor, ratios: torch.Tensor, alpha: float, rate: float
) -> torch.Tensor:
    """Return the weights (K,) after one step.

    Args:
        weights: (K,), w.
        norms: (K,), ‖g_k‖ without the weights.
        ratios: (K,), losses relative to the first ones.
    """
    weighted = weights * norms  # G
    mean = weighted.mean()
    target = mean * (ratios / ratios.mean()) ** alpha
    gradient = torch.sign(weighted - target) * norms / mean
    changed = (weights - rate * gradient).clamp(min=LEAST)
    return changed * len(changed) / changed.sum()
