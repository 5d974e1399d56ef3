"""The unbiased estimator of HSIC under weights of speakers: what a bootstrap over speakers needs.

Song et al. (2012), eq. 5, for Gram matrices K, L with zero diagonals and n rows:

    HSIC₁ ∝ Σ_ij K_ij L_ij + (Σ K)(Σ L) / ((n−1)(n−2)) − 2/(n−2) · Σ_i (K1)_i (L1)_i

With a weight a row (how often its speaker was drawn) each sum becomes a weighted one over pairs of
*different* rows. A speaker drawn twice thus does not meet itself in the sums as if it were another:
copies of a row would be rows that both systems find alike, and CKA would come out too high.

Weights are the same for all rows of a group, so group-wise sums are all there is to keep.
Legend: G groups, R resamples.
"""

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
        """HSIC₁ times n(n − 3) for weights (R, G) → (R,)."""
        n = weights @ self.counts
        product, first, second = (
            torch.einsum("rs,st,rt->r", weights, sums, weights)
            for sums in (self.product, self.first, self.second)
        )
        middle = torch.einsum("rs,rt,ru,stu->r", weights, weights, weights, self.middle)
        return product + first * second / ((n - 1) * (n - 2)) - 2 * middle / (n - 2)


def cka_of(pair: Grouped, own_x: Grouped, own_y: Grouped, weights: np.ndarray) -> np.ndarray:
    """Debiased CKA for each resample's weights (R, G) → (R,); NaN where undefined."""
    given = torch.as_tensor(np.asarray(weights), dtype=torch.float64)
    cross, x, y = (part.hsic(given) for part in (pair, own_x, own_y))
    both = x * y
    return torch.where(both > 0, cross / both.clamp_min(1e-300).sqrt(), torch.nan).numpy()
