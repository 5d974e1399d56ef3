"""Unbiased HSIC and linear CKA of hidden states, as functions on tensors.

For Gram matrices K and M with zero diagonals and N rows (Song et al., JMLR 2012, eq. 5):

    HSIC₁ ∝ Σ_ij K_ij M_ij + (Σ K)(Σ M) / ((N−1)(N−2)) − 2/(N−2) · Σ_i (K1)_i (M1)_i

CKA(X, Y) = HSIC(X, Y) / √(HSIC(X, X) · HSIC(Y, Y)) (Kornblith et al., arXiv 1905.00414). The
minibatch form averages HSIC₁ over minibatches before it takes the quotient (Nguyen, Raghu &
Kornblith, arXiv 2010.15327).

Symbols: N examples (frames or utterances), D and E widths, G groups of examples, R sets of weights.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MINIBATCH = 256
MIN_EXAMPLES = 4  # unbiased HSIC is undefined below


def hsic_of_sums(n: Any, product: Any, first: Any, second: Any, middle: Any) -> Any:
    """Return HSIC₁ times N(N − 3), from sums over Gram matrices K and M without their diagonals.

    Args:
        n: N, the number of examples.
        product: Σ_ij K_ij M_ij.
        first: Σ_ij K_ij.
        second: Σ_ij M_ij.
        middle: Σ_i (K1)_i (M1)_i.

    All are numbers or tensors of one shape, as is the result.
    """
    return product + first * second / ((n - 1) * (n - 2)) - 2 * middle / (n - 2)


def u_centred(gram: torch.Tensor) -> torch.Tensor:
    """Return a U-centred Gram matrix (N, N) (Székely & Rizzo, Annals of Statistics 2014, eq. 2.1).

    The sum of the products of two such matrices is N(N − 3) HSIC₁.
    """
    n = len(gram)
    k = gram - gram.diag().diag()
    rows = k.sum(1) / (n - 2)
    k = k - rows[:, None] - rows[None, :] + k.sum() / ((n - 1) * (n - 2))
    return k - k.diag().diag()


def unbiased_hsic(k: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """Return HSIC₁ of two Gram matrices (N, N) with N ≥ 4. Their diagonals are ignored."""
    n = len(k)
    k, m = k - k.diag().diag(), m - m.diag().diag()
    total = hsic_of_sums(n, (k * m).sum(), k.sum(), m.sum(), k.sum(0) @ m.sum(0))
    return total / (n * (n - 3))


def minibatch_cka(x: torch.Tensor, y: torch.Tensor, size: int = MINIBATCH) -> float | None:
    """Return linear CKA of the same N examples in two layers.

    Args:
        x: (N, D); y: (N, E). Shuffle first if neighbouring examples resemble each other.
        size: approximate examples per minibatch; minibatches are consecutive.
    Returns:
        The similarity, or None where it is undefined: fewer than four examples, a layer that is
        constant, or a value that is not finite.
    """
    x, y = x.double(), y.double()
    if len(x) < MIN_EXAMPLES or not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        return None
    if _is_constant(x) or _is_constant(y):
        return None
    x, y = x - x.mean(0), y - y.mean(0)
    count = max(1, len(x) // max(size, MIN_EXAMPLES))
    sums = torch.zeros(3, dtype=torch.float64)
    for x_part, y_part in zip(x.tensor_split(count), y.tensor_split(count), strict=True):
        k, m = x_part @ x_part.T, y_part @ y_part.T
        sums += torch.stack([unbiased_hsic(k, m), unbiased_hsic(k, k), unbiased_hsic(m, m)]).cpu()
    cross, own_x, own_y = sums.tolist()
    return cross / math.sqrt(own_x * own_y) if own_x > 0 and own_y > 0 else None


def _is_constant(x: torch.Tensor) -> bool:
    spread = (x - x[0]).square().sum()
    return bool(spread <= 1e-20 * x.square().sum())


@dataclass(frozen=True)
class Grouped:
    """Sums over rows i of group s and j of group t, i ≠ j, of two layers' Gram matrices K and M.

    With sums kept by group (of speakers), the estimate without one group is exact, and the
    data need not be read again.
    """

    counts: torch.Tensor  # (G,), rows
    product: torch.Tensor  # (G, G), Σ K_ij M_ij
    first: torch.Tensor  # (G, G), Σ K_ij
    second: torch.Tensor  # (G, G), Σ M_ij
    middle: torch.Tensor  # (G, G, G), Σ over i in s, j in t, k in u of K_ij M_ik

    def hsic(self, weights: torch.Tensor) -> torch.Tensor:
        """Return HSIC₁ times N(N − 3) for weights (R, G) of 0 and 1: (R,)."""
        n = weights @ self.counts
        product, first, second = (
            torch.einsum("rs,st,rt->r", weights, sums, weights)
            for sums in (self.product, self.first, self.second)
        )
        middle = torch.einsum("rs,rt,ru,stu->r", weights, weights, weights, self.middle)
        return hsic_of_sums(n, product, first, second, middle)


def cka_of(pair: Grouped, own_x: Grouped, own_y: Grouped, weights: np.ndarray) -> np.ndarray:
    """Return debiased CKA over the groups that each row of weights (R, G) keeps: (R,).

    It is NaN where it is undefined.
    """
    kept = torch.as_tensor(np.asarray(weights), dtype=torch.float64)
    cross, x, y = (sums.hsic(kept) for sums in (pair, own_x, own_y))
    product = x * y
    return torch.where(product > 0, cross / product.clamp_min(1e-300).sqrt(), torch.nan).numpy()
