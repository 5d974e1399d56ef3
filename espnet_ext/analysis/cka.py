"""Linear CKA between layers of two systems, streamed over batches of frames.

Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited", eq. 3 with linear
kernels: for centred X (N, D) and Y (N, E)

    CKA(X, Y) = ‖YᵀX‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F)

Only the D×E co-moments are kept, never the N×N Gram matrices or the frames. Co-moments of batches
merge exactly about the common mean (Chan, Golub & LeVeque, 1983), in float64, so large means do not
cancel and the batching does not matter.

Legend: N frames, D and E widths, L and M numbers of layers of the first and second system.
"""

from collections.abc import Sequence

import torch


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
        self._widths: tuple[list[int], list[int]] | None = None

    def update(self, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> None:
        """Add the same N frames of all layers: L tensors (N, D_l) and M tensors (N, E_m)."""
        count = len(first[0])
        if any(len(layer) != count for layer in [*first, *second]):
            raise ValueError("all layers must hold the same frames")
        if count == 0:
            return
        if self._widths is None:
            self._start(first, second)
        x = torch.cat([layer.double() for layer in first], dim=1)  # (N, ΣD)
        y = torch.cat([layer.double() for layer in second], dim=1)  # (N, ΣE)
        mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
        x, y = x - mean_x, y - mean_y
        step_x, step_y = mean_x - self._mean_x, mean_y - self._mean_y
        total = self.frames + count
        weight = self.frames * count / total
        self._cross += x.T @ y + weight * torch.outer(step_x, step_y)  # (ΣD, ΣE)
        self._add_own(self._own_x, x, step_x, weight, 0)
        self._add_own(self._own_y, y, step_y, weight, 1)
        self._mean_x += step_x * count / total
        self._mean_y += step_y * count / total
        self.frames = total

    def _start(self, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> None:
        self._widths = ([t.shape[1] for t in first], [t.shape[1] for t in second])
        options = {"dtype": torch.float64, "device": first[0].device}
        total_x, total_y = map(sum, self._widths)
        self._mean_x = torch.zeros(total_x, **options)
        self._mean_y = torch.zeros(total_y, **options)
        self._cross = torch.zeros(total_x, total_y, **options)
        self._own_x = [torch.zeros(d, d, **options) for d in self._widths[0]]
        self._own_y = [torch.zeros(e, e, **options) for e in self._widths[1]]

    def _add_own(self, own, centred, step, weight: float, side: int) -> None:
        """Add to the D×D co-moments of each layer; pairs within a system are not needed."""
        widths = self._widths[side]
        parts = zip(own, centred.split(widths, dim=1), step.split(widths), strict=True)
        for moment, layer, shift in parts:
            moment += layer.T @ layer + weight * torch.outer(shift, shift)

    def values(self) -> list[list[float]]:
        """The grid of CKA values, L rows of M; NaN for a layer that never varies."""
        if self._widths is None:
            raise ValueError("no frames have been added")
        norms_x = [moment.norm() for moment in self._own_x]
        norms_y = [moment.norm() for moment in self._own_y]
        grid = []
        for i, rows in enumerate(self._cross.split(self._widths[0], dim=0)):
            blocks = rows.split(self._widths[1], dim=1)
            pairs = zip(blocks, norms_y, strict=True)
            grid.append([float(b.square().sum() / (norms_x[i] * n)) for b, n in pairs])
        return grid


def linear_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """CKA of two matrices of the same frames, (N, D) and (N, E).

    >>> linear_cka(torch.eye(4), torch.eye(4))
    1.0
    """
    grid = CkaGrid()
    grid.update([x], [y])
    return round(grid.values()[0][0], 12)
