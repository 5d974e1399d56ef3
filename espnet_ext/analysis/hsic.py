"""The unbiased estimator of HSIC from sums by speaker: what leaving out speakers needs.

Song et al. (2012), eq. 5, for Gram matrices K, L with zero diagonals and n rows:

    HSIC₁ ∝ Σ_ij K_ij L_ij + (Σ K)(Σ L) / ((n−1)(n−2)) − 2/(n−2) · Σ_i (K1)_i (L1)_i

Sums over pairs of rows are kept by the groups of speakers that the rows are of, so that the
estimate without one group is exact and costs nothing. Leaving out is what intervals are made of: a
bootstrap would weigh pairs of rows of one speaker more than pairs of two (w² for a speaker drawn w
times), which makes any two layers that know the speaker more alike than they are.

Legend: G groups, R sets of weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Grouped:
    """Sums over rows i of group s and j of group t, i ≠ j, of two layers' Gram matrices K and L."""

    counts: torch.Tensor  # (G,), rows
    product: torch.Tensor  # (G, G), Σ K_ij L_ij
    first: torch.Tensor  # (G, G), Σ K_ij
    second: torch.Tensor  # (G, G), Σ L_ij
    middle: torch.Tensor  # (G, G, G), Σ over i in s, j in t, k in u of K_ij L_ik

    def hsic(self, weights: torch.Tensor) -> torch.Tensor:
        """HSIC₁ times n(n − 3) for weights (R, G) of 0 and 1 → (R,)."""
        n = weights @ self.counts
        product, first, second = (
            torch.einsum("rs,st,rt->r", weights, sums, weights)
            for sums in (self.product, self.first, self.second)
        )
        middle = torch.einsum("rs,rt,ru,stu->r", weights, weights, weights, self.middle)
        return product + first * second / ((n - 1) * (n - 2)) - 2 * middle / (n - 2)


def cka_of(pair: Grouped, own_x: Grouped, own_y: Grouped, weights: np.ndarray) -> np.ndarray:
    """Debiased CKA of the groups that each row of weights (R, G) keeps → (R,); NaN if undefined."""
    given = torch.as_tensor(np.asarray(weights), dtype=torch.float64)
    cross, x, y = (part.hsic(given) for part in (pair, own_x, own_y))
    both = x * y
    return torch.where(both > 0, cross / both.clamp_min(1e-300).sqrt(), torch.nan).numpy()


def jackknife(value: float, left_out: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a similarity from its values without each group, (G,), at most 1.

    Student's t with G − 1 degrees; None below three groups, or where a value is undefined.

    >>> [round(bound, 3) for bound in jackknife(0.5, [0.4, 0.5, 0.6])]
    [0.003, 0.997]
    """
    from scipy.stats import t

    without = np.asarray(left_out, dtype=np.float64)
    count = len(without)
    if count < 3 or not np.isfinite([value, *without]).all():
        return None
    error = ((count - 1) / count * np.square(without - without.mean()).sum()) ** 0.5
    reach = float(t.ppf(0.975, count - 1)) * error
    return float(value - reach), float(min(1.0, value + reach))
