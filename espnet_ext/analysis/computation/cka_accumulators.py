"""Linear CKA of every pair of layers, streamed over batches, with what leaving out speakers needs.

Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited", eq. 3 with linear
kernels: for centred X (N, D) and Y (N, E)

    CKA(X, Y) = ‖YᵀX‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F)

That is biased upwards where rows are few beside the widths: layers that have nothing in common then
come out alike. The debiased form has the unbiased estimator of HSIC (Song et al., 2012, eq. 5) in
the place of all three terms, as Nguyen, Raghu & Kornblith (2021) use it.

`CkaGrid` keeps sums and D×E moments, never the frames or N×N Gram matrices, so its memory does not
grow with the number of frames; `gram_grid` is for rows fewer than the widths, such as utterances.

Legend: N rows, D and E widths of two layers, W all widths together, L layers, G groups of speakers.
"""

import math
from collections.abc import Iterable, Sequence

import torch

from espnet_ext.model.similarity import Grouped


class CkaGrid:
    """Accumulates rows of any number of layers and gives the CKA of every pair of them.

    Sums are float64 and about the first batch's mean, so that large means do not cancel; the
    batching does not matter. At the paper's size (36 layers of 256) they take 0.7 GB.

    Args:
        tracked: pairs of layers whose sums are kept for each group too, for `grouped`; with G
            groups, G·D·E further float64 each.
        groups: how many groups (of speakers) there are.

    >>> grid = CkaGrid()
    >>> x = torch.randn(50, 3)
    >>> grid.update([x, 2 * x + 7])
    >>> round(grid.values()[0][1], 6)  # neither scale nor shift matters
    1.0
    """

    def __init__(self, tracked: Iterable[tuple[int, int]] = (), groups: int = 1):
        self.rows = 0
        self.groups = groups
        pairs = {(min(pair), max(pair)) for pair in tracked}
        self._tracked = sorted(pairs | {(i, i) for pair in pairs for i in pair})
        self._spans: list[slice] = []

    def update(self, layers: Sequence[torch.Tensor], group: int = 0) -> None:
        """Add the same N rows of all layers, L tensors (N, D_l), all of one group of speakers."""
        count = len(layers[0])
        if any(len(layer) != count for layer in layers):
            raise ValueError("all layers must hold the same rows")
        if count == 0:
            return
        if not self._spans:
            self._start(layers)
        x = torch.cat([layer.double() for layer in layers], 1) - self._origin  # (N, W)
        norms = torch.stack([x[:, span].square().sum(1) for span in self._spans], 1)  # (N, L)
        for span in self._spans:  # of the symmetric moments, the upper blocks
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
        start = 0
        for layer in layers:
            self._spans.append(slice(start, start + layer.shape[1]))
            start += layer.shape[1]
        options = {"dtype": torch.float64, "device": layers[0].device}
        self._origin = torch.cat([layer.double().mean(0) for layer in layers])
        self._cross = torch.zeros(start, start, **options)  # Σ x xᵀ
        self._part = {
            (i, j): torch.zeros(self.groups, layers[i].shape[1], layers[j].shape[1], **options)
            for i, j in self._tracked
        }
        self._sum = torch.zeros(self.groups, start, **options)  # Σ x
        self._norm = torch.zeros(self.groups, len(layers), **options)  # Σ |x|²
        self._both = torch.zeros(self.groups, len(layers), len(layers), **options)  # Σ |x|²|y|²
        self._cube = torch.zeros(self.groups, len(layers), start, **options)  # Σ |x|² y
        self._count = [0] * self.groups

    def values(self, debiased: bool = False) -> list[list[float]]:
        """The L×L values; NaN where undefined.

        That is a layer that never varies, and debiased, also fewer than four rows.
        """
        if not self._spans:
            raise ValueError("no rows have been added")
        size = range(len(self._spans))
        pair = self._unbiased if debiased else self._centred
        own = [pair(i, i) for i in size]
        upper = {(i, j): _ratio(pair(i, j), own[i] * own[j]) for i in size for j in size if i <= j}
        return [[upper[min(i, j), max(i, j)] for j in size] for i in size]

    def _centred(self, i: int, j: int) -> float:
        left, right = self._spans[i], self._spans[j]
        total = self._sum.sum(0)
        cross = self._cross[left, right] - torch.outer(total[left], total[right] / self.rows)
        return float(cross.square().sum())

    def _unbiased(self, i: int, j: int) -> float:
        """HSIC₁ of two layers, times N(N − 3), with i ≤ j."""
        n = self.rows
        if n < 4:
            return math.nan
        left, right = self._spans[i], self._spans[j]
        total, cube = self._sum.sum(0), self._cube.sum(0)
        norm, both = self._norm.sum(0), self._both.sum(0)[i, j]
        raw, sum_x, sum_y = self._cross[left, right], total[left], total[right]
        trace = raw.square().sum() - both
        whole_x, whole_y = sum_x @ sum_x - norm[i], sum_y @ sum_y - norm[j]
        middle = sum_x @ raw @ sum_y - cube[i, right] @ sum_y - cube[j, left] @ sum_x + both
        return float(trace + whole_x * whole_y / ((n - 1) * (n - 2)) - 2 * middle / (n - 2))

    def grouped(self, i: int, j: int) -> Grouped:
        """What HSIC of a tracked pair needs of each group, for leaving groups out."""
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


class GramGrid:
    """The same for rows fewer than the layers are wide: all rows are held, as Gram matrices.

    Args:
        layers: L tensors (N, D_l) of the same rows.
        owners: (N,), each row's group; groups: G.
    """

    def __init__(self, layers: Sequence[torch.Tensor], owners: Sequence[int], groups: int):
        self.rows, self.groups = len(owners), groups
        number = torch.as_tensor(owners)
        self._members = torch.nn.functional.one_hot(number, groups).double()  # (N, G)
        self._gram = []
        for layer in layers:
            x = layer.double().cpu() - layer.double().cpu().mean(0)
            self._gram.append((x @ x.T).contiguous())

    def values(self, debiased: bool = False) -> list[list[float]]:
        """As `CkaGrid.values`."""
        grams = [_without_bias(k) for k in self._gram] if debiased else self._gram
        if debiased and self.rows < 4:
            return [[math.nan] * len(grams) for _ in grams]
        flat = torch.stack([k.flatten() for k in grams])
        inner = flat @ flat.T  # sums of products of all pairs at once
        own = inner.diagonal()
        return [
            [_ratio(float(inner[i, j]), float(own[i] * own[j])) for j in range(len(grams))]
            for i in range(len(grams))
        ]

    def grouped(self, i: int, j: int) -> Grouped:
        """As `CkaGrid.grouped`, for any pair."""
        z = self._members
        k, m = (self._gram[index] - torch.diag(self._gram[index].diagonal()) for index in (i, j))
        return Grouped(
            counts=z.sum(0),
            product=z.T @ (k * m) @ z,
            first=z.T @ k @ z,
            second=z.T @ m @ z,
            middle=torch.einsum("ns,nt,nu->stu", z, k @ z, m @ z),
        )


def _without_bias(gram: torch.Tensor) -> torch.Tensor:
    """U-centred, diagonal zero: sums of products of two such are N(N − 3) HSIC₁ (Székely, 2014)."""
    n = len(gram)
    if n < 4:
        return gram
    k = gram - torch.diag(gram.diagonal())
    rows = k.sum(1) / (n - 2)
    k = k - rows[:, None] - rows[None, :] + k.sum() / ((n - 1) * (n - 2))
    return k - torch.diag(k.diagonal())


def _ratio(cross: float, product: float) -> float:
    return cross / math.sqrt(product) if product > 0 else math.nan


def linear_cka(x: torch.Tensor, y: torch.Tensor, debiased: bool = False) -> float:
    """CKA of two matrices of the same rows, (N, D) and (N, E).

    >>> linear_cka(torch.eye(4), torch.eye(4))
    1.0
    """
    grid = CkaGrid()
    grid.update([x, y])
    return round(grid.values(debiased)[0][1], 12)
