"""Linear CKA of every pair of layers, with what the jackknife over speakers needs.

Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited", eq. 3 with linear
kernels, for centred X (N, D) and Y (N, E):

    CKA(X, Y) = ‖YᵀX‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F)

It is biased upwards if N is small beside the widths: unrelated layers then look similar. The
debiased form replaces all three terms by the unbiased estimator of HSIC (Song et al., 2012, eq. 5),
as in Nguyen, Raghu & Kornblith (2021).

`StreamedCka` keeps sums and D×E moments, never frames or N×N Gram matrices, so its memory does not
grow with the number of frames. `GramCka` is for fewer rows than the layers are wide.

Legend: N rows, D and E widths of two layers, W all widths together, L layers, G groups of speakers.
"""

import math
from collections.abc import Iterable, Sequence

import torch

from espnet_ext.model.similarity import MIN_EXAMPLES, Grouped, hsic_of_sums, u_centred


class StreamedCka:
    """Accumulates rows of any number of layers, and returns the CKA of every pair of them.

    Sums are float64 and relative to the first batch's mean, so that large means do not cancel; the
    result does not depend on the batches. For 36 layers of width 256 they take 0.7 GB.

    Args:
        tracked: pairs of layers for `grouped`, whose sums are kept per group too: G·D·E further
            float64 for each.
        groups: the number of groups.

    >>> cka = StreamedCka()
    >>> x = torch.randn(50, 3)
    >>> cka.update([x, 2 * x + 7])
    >>> round(cka.values()[0][1], 6)  # neither scale nor shift matters
    1.0
    """

    def __init__(self, tracked: Iterable[tuple[int, int]] = (), groups: int = 1):
        self.rows = 0
        self.groups = groups
        pairs = {(min(pair), max(pair)) for pair in tracked}
        self._tracked = sorted(pairs | {(i, i) for pair in pairs for i in pair})
        self._spans: list[slice] = []

    def update(self, layers: Sequence[torch.Tensor], group: int = 0) -> None:
        """Add the same N rows of all layers, L tensors (N, D_l), from one group of speakers."""
        count = len(layers[0])
        if any(len(layer) != count for layer in layers):
            raise ValueError("all layers must hold the same rows")
        if count == 0:
            return
        if not self._spans:
            self._start(layers)
        x = torch.cat([layer.double() for layer in layers], 1) - self._origin  # (N, W)
        norms = torch.stack([x[:, span].square().sum(1) for span in self._spans], 1)  # (N, L)
        for span in self._spans:  # the moments are symmetric: upper blocks only
            self._cross[span, span.start :].addmm_(x[:, span].T, x[:, span.start :])
        for i, j in self._tracked:
            left, right = self._spans[i], self._spans[j]
            self._part[i, j][group].addmm_(x[:, left].T, x[:, right])
        self._sum[group] += x.sum(0)
        self._norm[group] += norms.sum(0)
        self._both[group] += norms.T @ norms
        self._cube[group] += norms.T @ x
        self._count[group] += count
        self.rows += count

    def _start(self, layers: Sequence[torch.Tensor]) -> None:
        width, groups, device = 0, self.groups, layers[0].device
        for layer in layers:
            self._spans.append(slice(width, width + layer.shape[1]))
            width += layer.shape[1]

        def zeros(*size: int) -> torch.Tensor:
            return torch.zeros(*size, dtype=torch.float64, device=device)

        self._origin = torch.cat([layer.double().mean(0) for layer in layers])
        self._cross = zeros(width, width)  # Σ x xᵀ
        self._part = {
            (i, j): zeros(groups, layers[i].shape[1], layers[j].shape[1]) for i, j in self._tracked
        }
        self._sum = zeros(groups, width)  # Σ x
        self._norm = zeros(groups, len(layers))  # Σ |x|²
        self._both = zeros(groups, len(layers), len(layers))  # Σ |x|²|y|²
        self._cube = zeros(groups, len(layers), width)  # Σ |x|² y
        self._count = [0] * groups

    def values(self, debiased: bool = False) -> list[list[float]]:
        """Return the CKA of every pair of layers, L×L.

        It is NaN for a constant layer, and for all layers if debiased with fewer than 4 rows.
        """
        if not self._spans:
            raise ValueError("no rows have been added")
        size = range(len(self._spans))
        hsic = self._unbiased if debiased else self._biased
        variances = [hsic(i, i) for i in size]
        upper = {
            (i, j): _ratio(hsic(i, j), variances[i] * variances[j])
            for i in size
            for j in size
            if i <= j
        }
        return [[upper[min(i, j), max(i, j)] for j in size] for i in size]

    def _biased(self, i: int, j: int) -> float:
        left, right = self._spans[i], self._spans[j]
        total = self._sum.sum(0)
        cross = self._cross[left, right] - torch.outer(total[left], total[right] / self.rows)
        return float(cross.square().sum())

    def _unbiased(self, i: int, j: int) -> float:
        """Return HSIC₁ of two layers i ≤ j, times N(N − 3)."""
        n = self.rows
        if n < MIN_EXAMPLES:
            return math.nan
        left, right = self._spans[i], self._spans[j]
        total, cube = self._sum.sum(0), self._cube.sum(0)
        norm, both = self._norm.sum(0), self._both.sum(0)[i, j]
        raw, sum_x, sum_y = self._cross[left, right], total[left], total[right]
        trace = raw.square().sum() - both
        whole_x, whole_y = sum_x @ sum_x - norm[i], sum_y @ sum_y - norm[j]
        middle = sum_x @ raw @ sum_y - cube[i, right] @ sum_y - cube[j, left] @ sum_x + both
        return float(hsic_of_sums(n, trace, whole_x, whole_y, middle))

    def grouped(self, i: int, j: int) -> Grouped:
        """Return the sums of a tracked pair by group, for leaving groups out."""
        i, j = min(i, j), max(i, j)
        left, right = self._spans[i], self._spans[j]
        raw = self._part[i, j]  # (G, D, E)
        sum_x, sum_y = self._sum[:, left], self._sum[:, right]  # (G, D), (G, E)
        both, eye = self._both[:, i, j], torch.eye(self.groups, dtype=raw.dtype, device=raw.device)
        flat = raw.flatten(1)
        middle = torch.einsum("td,sde,ue->stu", sum_x, raw, sum_y)
        middle -= torch.einsum("st,se,ue->stu", eye, self._cube[:, i, right], sum_y)
        middle -= torch.einsum("su,sd,td->stu", eye, self._cube[:, j, left], sum_x)
        middle += torch.einsum("st,su,s->stu", eye, eye, both)
        return Grouped(
            counts=torch.tensor(self._count, dtype=torch.float64),
            product=(flat @ flat.T - torch.diag(both)).cpu(),
            first=(sum_x @ sum_x.T - torch.diag(self._norm[:, i])).cpu(),
            second=(sum_y @ sum_y.T - torch.diag(self._norm[:, j])).cpu(),
            middle=middle.cpu(),
        )


class GramCka:
    """The same with all rows held as Gram matrices, for fewer rows than the layers are wide.

    Args:
        layers: L tensors (N, D_l) of the same rows.
        owners: the group of each row, (N,).
        groups: the number of groups.
    """

    def __init__(self, layers: Sequence[torch.Tensor], owners: Sequence[int], groups: int):
        self.rows, self.groups = len(owners), groups
        self._members = torch.nn.functional.one_hot(torch.as_tensor(owners), groups).double()
        centred = [layer.double().cpu() - layer.double().cpu().mean(0) for layer in layers]
        self._gram = [(x @ x.T).contiguous() for x in centred]

    def values(self, debiased: bool = False) -> list[list[float]]:
        """Return the CKA of every pair of layers, L×L, as `StreamedCka.values` does."""
        if debiased and self.rows < MIN_EXAMPLES:
            return [[math.nan] * len(self._gram) for _ in self._gram]
        grams = [u_centred(k) for k in self._gram] if debiased else self._gram
        flat = torch.stack([k.flatten() for k in grams])
        inner = (flat @ flat.T).tolist()  # sums of products of all pairs at once
        size = range(len(grams))
        return [[_ratio(inner[i][j], inner[i][i] * inner[j][j]) for j in size] for i in size]

    def grouped(self, i: int, j: int) -> Grouped:
        """Return the sums of any pair by group, as `StreamedCka.grouped`."""
        z = self._members  # (N, G)
        k, m = (self._gram[index] - self._gram[index].diag().diag() for index in (i, j))
        return Grouped(
            counts=z.sum(0),
            product=z.T @ (k * m) @ z,
            first=z.T @ k @ z,
            second=z.T @ m @ z,
            middle=torch.einsum("ns,nt,nu->stu", z, k @ z, m @ z),
        )


def _ratio(cross: float, product: float) -> float:
    return cross / math.sqrt(product) if product > 0 else math.nan


def linear_cka(x: torch.Tensor, y: torch.Tensor, debiased: bool = False) -> float:
    """Return the CKA of two matrices of the same rows, (N, D) and (N, E).

    >>> linear_cka(torch.eye(4), torch.eye(4))
    1.0
    """
    cka = StreamedCka()
    cka.update([x, y])
    return round(cka.values(debiased)[0][1], 12)
