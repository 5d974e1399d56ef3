"""The objective `cagrad`: the update with the best worst-case improvement near the mean gradient.

Liu et al., "Conflict-Averse Gradient Descent", arXiv 2110.14048, eq. 3 and algorithm 1: maximise
min_k g_k · d over ‖d − g₀‖ ≤ c ‖g₀‖, where g₀ is the mean gradient. With g_w = Σ_k w_k g_k and w on
the simplex, the dual problem is min_w g_w · g₀ + c ‖g₀‖ ‖g_w‖, and d = g₀ + c ‖g₀‖ / ‖g_w‖ · g_w.
The update is K d, so that c = 0 is the sum of the gradients.

Symbols: A active tasks.
"""

import numpy as np
import torch

from espnet_ext.model.config import check_weight
from espnet_ext.objectives.gradient_method import GradientMethod


class CAGrad(GradientMethod):
    """Conflict-averse gradient descent.

    Args:
        c: radius around the mean gradient, relative to its length.
    """

    name = "cagrad"

    def __init__(self, outputs, c: float = 0.5, **shared):
        super().__init__(outputs, **shared)
        check_weight(c, "objective_conf.c")
        self.c = c

    def coefficients(self, gram, tasks, group):
        count = len(gram)
        matrix = gram.numpy() / float(gram.diag().mean())
        mean = matrix.mean(1)  # (A,), g_k · g₀
        radius = self.c * np.sqrt(max(mean.mean(), 0.0))  # c ‖g₀‖
        if radius == 0:
            return torch.ones(count, dtype=gram.dtype)
        weights = solve_dual(matrix, mean, radius)  # (A,)
        length = np.sqrt(max(weights @ matrix @ weights, 0.0))  # ‖g_w‖
        if length < 1e-6:  # no direction improves all losses; d = 0 is too far from g₀ if c < 1
            return torch.full((count,), float(self.c < 1), dtype=gram.dtype)
        return torch.from_numpy(1 + count * radius / length * weights)


def solve_dual(matrix: np.ndarray, mean: np.ndarray, radius: float) -> np.ndarray:
    """Return w on the simplex that minimises w · mean + radius √(w · matrix w).

    Args:
        matrix: (A, A), Gram matrix; mean: (A,).
    """
    from scipy.optimize import minimize

    count = len(mean)

    def value(w: np.ndarray) -> tuple[float, np.ndarray]:
        product = matrix @ w
        length = np.sqrt(max(w @ product, 0.0) + 1e-16)
        return float(w @ mean + radius * length), mean + radius / length * product

    result = minimize(
        value,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": 200},
    )
    weights = np.clip(result.x, 0.0, None)
    return weights / weights.sum()
