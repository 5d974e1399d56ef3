"""The objective `gradvac`: raise the cosines of gradients to their running means.

Wang et al., "Gradient Vaccine", arXiv 2010.05874, algorithm 1 and eq. 6. Let φ be the cosine of g_i
and g_j, and φ̂ its running mean. For every other task j in random order, if φ < φ̂, then

    g_i ← g_i + ‖g_i‖ (φ̂ √(1 − φ²) − φ √(1 − φ̂²)) / (‖g_j‖ √(1 − φ̂²)) · g_j

and φ̂ ← (1 − β) φ̂ + β φ. The g_j are the original gradients, and φ̂ starts at 0, where the change
is that of PCGrad. There is one φ̂ per pair and group of parameters.

Symbols: A active tasks, K tasks, N groups.
"""

import math
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.objectives.gradient_method import GradientMethod
from espnet_ext.objectives.pcgrad import task_orders


class GradVac(GradientMethod):
    """Gradient Vaccine.

    Args:
        beta: β, 0 to 1.
    """

    name = "gradvac"
    targets: torch.Tensor  # (N, K, K), φ̂

    def __init__(self, outputs, beta: float = 0.01, granularity: str = "layer", **shared):
        super().__init__(outputs, granularity=granularity, **shared)
        is_number = isinstance(beta, int | float) and not isinstance(beta, bool)
        if not is_number or not 0 <= beta <= 1:
            raise UserError(f"objective_conf.beta: {beta!r}", "give a number from 0 to 1")
        self.beta = beta
        self._before: torch.Tensor  # (N, K, K), `targets` before the present update

    def attach(self, model: Any) -> None:
        super().attach(model)
        count = len(self.outputs)
        self.register_buffer("targets", torch.zeros(self.groups, count, count))

    def begin_update(self) -> None:
        self._before = self.targets.cpu().double()

    def coefficients(self, gram, tasks, group):
        changed = torch.eye(len(gram), dtype=gram.dtype)  # (A, A), as in PCGrad
        for i, others in enumerate(task_orders(len(gram), int(self.updates))):
            for j in others:
                products = changed[i] @ gram  # (A,), of g_i and the original gradients
                norm = float((products @ changed[i]).clamp(min=0).sqrt())
                other = math.sqrt(gram[j, j])
                if norm == 0:
                    continue
                cosine = max(-1.0, min(1.0, float(products[j]) / (norm * other)))
                target = float(self._before[group, tasks[i], tasks[j]])
                if cosine < target:
                    sine, target_sine = math.sqrt(1 - cosine**2), math.sqrt(1 - target**2)
                    change = norm * (target * sine - cosine * target_sine)
                    changed[i, j] += change / (other * max(target_sine, 1e-8))
                mean = (1 - self.beta) * target + self.beta * cosine
                self.targets[group, tasks[i], tasks[j]] = mean
        return changed.sum(0)
