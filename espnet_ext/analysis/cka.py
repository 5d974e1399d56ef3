"""Linear CKA between layers of two systems, streamed over batches of frames.

Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited", eq. 3 with linear
kernels: for centred X (N, D) and Y (N, E)

    CKA(X, Y) = ‖YᵀX‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F)

That is biased upwards where frames are few beside the widths: layers that have nothing in common
then come out alike. The debiased form has the unbiased estimator of HSIC (Song et al., 2012, eq. 5)
in the place of all three terms, as Nguyen, Raghu & Kornblith (2021) use it. Its K and L are Gram
matrices with zero diagonals; their sums are written here in terms of co-moments.

Only D×E co-moments and sums are kept, never N×N Gram matrices or the frames. Moments of batches
merge exactly about the common mean (Chan, Golub & LeVeque, 1983), in float64, so large means do not
cancel and the batching does not matter.

Legend: N frames, D and E widths, L and M numbers of layers of the first and second system.
"""

import math
from collections.abc import Sequence

import torch


class _Side:
    """What is kept of one system: means, co-moments of each layer with itself, sums."""

    def __init__(self, layers: Sequence[torch.Tensor]):
        options = {"dtype": torch.float64, "device": layers[0].device}
        self.widths = [layer.shape[1] for layer in layers]
        # sums are about the first batch's mean: the unbiased estimator does not depend on it
        self.origin = torch.cat([layer.double().mean(0) for layer in layers])
        self.mean = torch.zeros(sum(self.widths), **options)  # about the origin
        self.own = [torch.zeros(d, d, **options) for d in self.widths]
        self.norms = torch.zeros(len(layers), **options)  # Σ |x|²
        self.squares = torch.zeros(len(layers), **options)  # Σ |x|⁴
        self.cubes = torch.zeros(sum(self.widths), **options)  # Σ |x|² x, of a layer's own norm

    def prepare(self, layers: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """All layers side by side (N, ΣD) about the origin, and |x|² of each (N, L)."""
        x = torch.cat([layer.double() for layer in layers], 1) - self.origin
        norms = torch.stack([part.square().sum(1) for part in x.split(self.widths, 1)], 1)
        return x, norms

    def add(self, x: torch.Tensor, norms: torch.Tensor, weight: float, share: float) -> None:
        mean = x.mean(0)
        step, centred = mean - self.mean, x - mean
        parts = zip(self.own, centred.split(self.widths, 1), step.split(self.widths), strict=True)
        for moment, layer, shift in parts:
            moment += layer.T @ layer + weight * torch.outer(shift, shift)
        self.norms += norms.sum(0)
        self.squares += norms.square().sum(0)
        weights = norms.repeat_interleave(torch.tensor(self.widths, device=x.device), 1)
        self.cubes += (weights * x).sum(0)
        self.mean += step * share


class CkaGrid:
    """Accumulates frames of two systems' layers and gives the CKA of every pair of layers.

    >>> grid = CkaGrid()
    >>> x = torch.randn(50, 3)
    >>> grid.update([x], [2 * x + 7])
    >>> round(grid.values()[0][0], 6)  # neither scale nor shift matters
    1.0
    """

    def __init__(self) -> None:
        self.frames = 0
        self._sides: tuple[_Side, _Side] | None = None

    def update(self, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> None:
        """Add the same N frames of all layers: L tensors (N, D_l) and M tensors (N, E_m)."""
        count = len(first[0])
        if any(len(layer) != count for layer in [*first, *second]):
            raise ValueError("all layers must hold the same frames")
        if count == 0:
            return
        if self._sides is None:
            self._start(first, second)
        one, other = self._sides
        x, norms_x = one.prepare(first)
        y, norms_y = other.prepare(second)
        total = self.frames + count
        weight, share = self.frames * count / total, count / total
        mean_x, mean_y = x.mean(0), y.mean(0)
        self._cross += (x - mean_x).T @ (y - mean_y) + weight * torch.outer(
            mean_x - one.mean, mean_y - other.mean
        )
        self._both += norms_x.T @ norms_y
        self._norm_y += norms_x.T @ y
        self._norm_x += norms_y.T @ x
        one.add(x, norms_x, weight, share)
        other.add(y, norms_y, weight, share)
        self.frames = total

    def _start(self, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> None:
        self._sides = one, other = _Side(first), _Side(second)
        wide_x, wide_y, options = len(one.mean), len(other.mean), {"like": one.mean}
        self._cross = _zeros(wide_x, wide_y, **options)
        self._both = _zeros(len(first), len(second), **options)  # Σ |x|²|y|²
        self._norm_y = _zeros(len(first), wide_y, **options)  # Σ |x|² y
        self._norm_x = _zeros(len(second), wide_x, **options)  # Σ |y|² x

    def values(self, debiased: bool = False) -> list[list[float]]:
        """The grid of CKA values, L rows of M; NaN where undefined.

        That is a layer that never varies, and debiased, also fewer than four frames.
        """
        if self._sides is None:
            raise ValueError("no frames have been added")
        one, other = self._sides
        own_x, own_y = ([self._own(side, i, debiased) for i in range(len(side.widths))]
                        for side in (one, other))  # fmt: skip
        return [
            [_ratio(self._pair(i, j, debiased), own_x[i] * own_y[j]) for j in range(len(own_y))]
            for i in range(len(own_x))
        ]

    def _pair(self, i: int, j: int, debiased: bool) -> float:
        one, other = self._sides
        x, y = _span(one, i), _span(other, j)
        cross = self._cross[x, y]
        if not debiased:
            return float(cross.square().sum())
        return self._unbiased(
            cross, one.mean[x], other.mean[y], one.norms[i], other.norms[j], self._both[i, j],
            self._norm_y[i, y], self._norm_x[j, x],
        )  # fmt: skip

    def _own(self, side: _Side, i: int, debiased: bool) -> float:
        if not debiased:
            return float(side.own[i].square().sum())
        span = _span(side, i)
        mean, norm, cubes = side.mean[span], side.norms[i], side.cubes[span]
        return self._unbiased(side.own[i], mean, mean, norm, norm, side.squares[i], cubes, cubes)

    def _unbiased(self, cross, mean_x, mean_y, norm_x, norm_y, both, norm_of_y, norm_of_x) -> float:
        """HSIC₁ of a pair of layers, times N(N − 3); all sums about the origin."""
        n = self.frames
        if n < 4:
            return math.nan
        sum_x, sum_y = n * mean_x, n * mean_y
        raw = cross + n * torch.outer(mean_x, mean_y)  # Σ x yᵀ
        trace = raw.square().sum() - both
        whole_x, whole_y = sum_x @ sum_x - norm_x, sum_y @ sum_y - norm_y
        middle = sum_x @ raw @ sum_y - norm_of_y @ sum_y - norm_of_x @ sum_x + both
        return float(trace + whole_x * whole_y / ((n - 1) * (n - 2)) - 2 * middle / (n - 2))


def _zeros(*shape: int, like: torch.Tensor) -> torch.Tensor:
    return torch.zeros(*shape, dtype=like.dtype, device=like.device)


def _span(side: _Side, index: int) -> slice:
    start = sum(side.widths[:index])
    return slice(start, start + side.widths[index])


def _ratio(cross: float, product: float) -> float:
    return cross / math.sqrt(product) if product > 0 else math.nan


def linear_cka(x: torch.Tensor, y: torch.Tensor, debiased: bool = False) -> float:
    """CKA of two matrices of the same frames, (N, D) and (N, E).

    >>> linear_cka(torch.eye(4), torch.eye(4))
    1.0
    """
    grid = CkaGrid()
    grid.update([x], [y])
    return round(grid.values(debiased)[0][0], 12)
