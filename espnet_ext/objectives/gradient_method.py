"""The base class of objectives that combine the gradients of the outputs' losses.

Each output is a task with the loss L_k = Σ_i weight_ki · loss_ki. One backward pass per task gives
its gradient g_k of the parameters that the outputs share. The update is d = Σ_k c_k g_k. A method
computes the coefficients c_k from the inner products of the gradients (the Gram matrix), so the
gradients themselves are stored once, K times the size of the shared parameters. Parameters of
heads, and shared parameters that only one task reaches, have the gradient of Σ_k L_k.

- Several ranks: the gradients are averaged over ranks before the coefficients are computed. The
  update is that of one rank with the joint batch.
- Gradient accumulation: the coefficients are computed from the gradients summed over the batches
  of an update. Each batch contributes the difference to the update of the batches before it. A
  new update begins when the parameters have no `.grad`.
- Mixed precision: losses are scaled in the backward passes as in the Trainer's own.

Symbols: K tasks, N groups of parameters, R regions (encoder layers, and the other parameters).
"""

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest
from espnet_ext.model.layers import ALL, parameter_groups
from espnet_ext.model.losses import (
    Objective,
    ParameterGroups,
    TrainingLosses,
    weighted_auxiliary,
    weighted_head_loss,
    weighted_sum,
)
from espnet_ext.objectives.base import check_several_outputs
from espnet_ext.objectives.gradients import average_over_ranks, surrogate_loss

REST = "rest"  # shared parameters that belong to no encoder layer
GRANULARITIES = ("whole", "layer")
COSINE_DECAY = 0.99  # of the running mean by which the most conflicting layers are chosen
UNKNOWN = 2.0  # in place of the cosine of a region that two tasks have never reached


class GradientMethod(Objective):
    """Combines the tasks' gradients of the shared parameters.

    Args:
        outputs: names of the outputs, at least two.
        layers: where the method acts: "all" (all shared parameters), a list of encoder layers
            (`embed`, `0`, `1`, …), or a number n: the n layers whose gradients have had the lowest
            cosines so far (cf. Recon, Shi et al., ICLR 2023). Elsewhere the gradients are added.
        granularity: "whole" (one vector of all these parameters) or "layer" (one vector each).
        auxiliary_weights: name of an auxiliary loss → weight. The gradients of these losses are
            added unchanged.
    """

    name: ClassVar[str]  # in the table of objectives
    changes_shared_gradients = True
    # (R,), running mean over updates of the mean cosine of pairs of tasks, or UNKNOWN
    cosines: torch.Tensor
    updates: torch.Tensor  # (), number of updates so far

    def __init__(
        self,
        outputs: tuple[str, ...],
        layers: str | int | Sequence[str | int] = ALL,
        granularity: str = GRANULARITIES[0],
        auxiliary_weights=None,
    ):
        super().__init__(outputs, auxiliary_weights)
        check_several_outputs(self.outputs, f"{self.name} combines the gradients of")
        if granularity not in GRANULARITIES:
            raise UserError(
                f"objective_conf.granularity: unknown '{granularity}'",
                suggest(str(granularity), GRANULARITIES),
            )
        self.layers = layers
        self.granularity = granularity
        self._regions: list[str] = []  # R names
        self._sums: _Sums | None = None  # over the batches of the present update
        self._applied: list[torch.Tensor] = []  # what they have contributed to `.grad`
        count = len(self.outputs)
        # (K, K), of the tasks' gradients in the present update
        self._task_cosines = torch.full((count, count), torch.nan, dtype=torch.float64)

    # -- what a method defines

    def coefficients(self, gram: torch.Tensor, tasks: Sequence[int], group: int) -> torch.Tensor:
        """Return c (A,) for the Gram matrix (A, A) of A ≥ 2 gradients that are not zero.

        It may be called several times per update; `begin_update` is called before the first call.

        Args:
            gram: Gram matrix (A, A) in float64, on the CPU.
            tasks: A positions in `outputs`. The other tasks have no gradient.
            group: index of the group of parameters, below `self.groups`.
        """
        raise NotImplementedError

    def begin_update(self) -> None:
        """Prepare the state of the method for the next update."""

    def loss_weights(self) -> torch.Tensor:
        """Return the factors (K,) of the tasks' losses in the present update.

        They scale the gradients of all parameters, those of the heads too.
        """
        return torch.ones(len(self.outputs), dtype=torch.float64)

    def observe(self, gram: torch.Tensor, means: torch.Tensor) -> None:
        """Read the Gram matrix (K, K) of all groups, and the losses per labelled utterance (K,).

        `means` is NaN for a task without labels. Called after the coefficients are computed.
        """

    # -- the model

    @property
    def groups(self) -> int:
        """N, the number of groups of parameters that have their own coefficients."""
        return len(self._regions) if self.granularity == "layer" else 1

    def attach(self, model: Any) -> None:
        """Check `layers`, and create the state."""
        names = [name for name in parameter_groups(model).shared if name != ALL]
        self._regions = [*names, REST]
        self.layers = self._checked_layers(names, type(model.encoder).__name__)
        self.register_buffer("cosines", torch.full((len(self._regions),), UNKNOWN))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def _checked_layers(self, known: Sequence[str], encoder: str) -> str | int | list[str]:
        where, layers = "objective_conf.layers", self.layers
        if layers == ALL and (self.granularity == "whole" or known):
            return ALL
        if not known:
            raise UserError(
                f"objective: {self.name}: the {encoder} has no list of layers",
                "write layers: all and granularity: whole",
            )
        if isinstance(layers, int) and not isinstance(layers, bool):
            if not 1 <= layers <= len(known):
                raise UserError(
                    f"{where}: {layers}: the encoder has {len(known)} layers",
                    f"write a number from 1 to {len(known)}, or all",
                )
            return layers
        if isinstance(layers, str) or not isinstance(layers, Sequence) or not layers:
            raise UserError(f"{where}: {layers!r}", "write all, a number, or a list of layers")
        names = [str(layer) for layer in layers]
        for name in names:
            if name not in known:
                raise UserError(
                    f"{where}: the encoder has no layer '{name}'",
                    f"its layers are {', '.join(known)}",
                )
        return names

    # -- training

    def forward(self, losses: TrainingLosses) -> torch.Tensor:
        tasks = [weighted_head_loss(losses.heads[name]) for name in self.outputs]
        if not torch.is_grad_enabled() or losses.parameters is None:
            self._task_cosines = torch.full_like(self._task_cosines, torch.nan)
            return weighted_sum(losses, self.auxiliary_weights)
        groups = losses.parameters()
        shared = groups.shared[ALL]
        is_new = self._sums is None or not self._sums.belongs_to(shared)
        if is_new or self.accum_grad == 1 or all(p.grad is None for p in shared):
            self._sums = _Sums(shared, len(tasks))
            self._applied = [torch.zeros((), device=p.device) for p in shared]
            self.updates += 1
            self.begin_update()
        assert self._sums is not None
        weights = self.loss_weights()
        extra = self._auxiliary(losses)
        value = sum(w * task.detach() for w, task in zip(weights.tolist(), tasks, strict=True))
        value = value + (0.0 if extra is None else extra.detach())
        others = _unique([p for head in groups.heads.values() for p in head])
        rows, other_gradients, added = self._backward(tasks, extra, shared, others, weights)
        size = 1.0 if losses.labelled is None else float(losses.labelled.size(0))
        heads = [losses.heads[name] for name in self.outputs]
        self._sums.add(rows, tasks, [head.share for head in heads], size)
        if not shared:
            return surrogate_loss(value, others, other_gradients)
        combined = self._combine(groups, weights)
        change = [c - p for c, p in zip(combined, self._applied, strict=True)]
        self._applied = combined
        if self.accum_grad == 1:  # nothing of the gradients is needed any more
            self._sums, self._applied = None, []
        change = [c if a is None else c + a for c, a in zip(change, added, strict=True)]
        return surrogate_loss(value, [*shared, *others], [*change, *other_gradients])

    def _auxiliary(self, losses: TrainingLosses) -> torch.Tensor | None:
        """Return the weighted sum of the auxiliary losses; None if there are none."""
        terms = weighted_auxiliary(losses, self.auxiliary_weights)
        return torch.stack(terms).sum() if terms else None

    def _backward(
        self,
        tasks: Sequence[torch.Tensor],
        extra: torch.Tensor | None,
        shared: Sequence[torch.nn.Parameter],
        others: Sequence[torch.nn.Parameter],
        weights: torch.Tensor,
    ) -> tuple[list[list[torch.Tensor | None]], list[torch.Tensor], list[torch.Tensor | None]]:
        """Run one backward pass per task, and one for the auxiliary losses.

        Returns:
            - per task: gradients of the shared parameters, None where the task does not reach one;
            - gradients of the other parameters, summed over tasks times `weights`;
            - gradients of the auxiliary losses with respect to the shared parameters.
        """
        scale, parameters = self.loss_scale(), [*shared, *others]
        sums = [torch.zeros_like(p) for p in others]
        passes = [*zip(tasks, weights.tolist(), strict=True)]
        if extra is not None:
            passes.append((extra, 1.0))
        rows: list[list[torch.Tensor | None]] = []
        for number, (loss, weight) in enumerate(passes, start=1):
            gradients: Sequence[torch.Tensor | None] = [None] * len(parameters)
            if loss.requires_grad and parameters:
                # Backward operations have the types of the forward ones, so without autocast.
                with torch.autocast(loss.device.type, enabled=False):
                    gradients = torch.autograd.grad(
                        loss * scale,
                        parameters,
                        retain_graph=number < len(passes),
                        allow_unused=True,
                    )
            rows.append([None if g is None else g / scale for g in gradients[: len(shared)]])
            for total, gradient in zip(sums, gradients[len(shared) :], strict=True):
                if gradient is not None:
                    total += gradient * (weight / scale)
        added: list[torch.Tensor | None] = [None] * len(shared)
        if extra is not None:
            added = rows.pop()
        return rows, sums, added

    def _combine(self, groups: ParameterGroups, weights: torch.Tensor) -> list[torch.Tensor]:
        """Return the combined gradient of each shared parameter in the present update."""
        sums = self._sums
        assert sums is not None
        grams = sums.grams()  # (parameters, K, K)
        region_of = self._region_of(groups, grams)
        counted = torch.stack([grams[region_of == r].sum(0) for r in range(len(self._regions))])
        chosen = self._chosen()
        members = [[r] for r in chosen] if self.granularity == "layer" else [chosen]
        factors = torch.ones(len(grams), 1, dtype=torch.float64) * weights  # (parameters, K)
        for regions in members:
            gram = counted[regions].sum(0)
            group = regions[0] if self.granularity == "layer" else 0
            inside = torch.isin(region_of, torch.tensor(regions))
            factors[inside] = weights * self._active_coefficients(gram, group)
        total = counted[chosen].sum(0)
        self.observe(total, sums.means())
        self._record(counted, total)
        return sums.combined(factors)

    def _region_of(self, groups: ParameterGroups, grams: torch.Tensor) -> torch.Tensor:
        """Return the region of each shared parameter; −1 if fewer than two tasks reach it.

        A task does not reach a parameter if its gradient is zero: the private layers of another
        output, for example.

        Args:
            grams: (parameters, K, K).
        """
        of_layers = {
            id(p): number
            for number, name in enumerate(self._regions)
            for p in groups.shared.get(name, ())
        }
        outside = len(self._regions) - 1
        regions = torch.tensor([of_layers.get(id(p), outside) for p in groups.shared[ALL]])
        has_gradient = grams.diagonal(dim1=1, dim2=2) > 0  # (parameters, K)
        return regions.masked_fill(has_gradient.sum(1) < 2, -1)

    def _chosen(self) -> list[int]:
        """Return the regions that the method acts on."""
        if self.layers == ALL:
            return list(range(len(self._regions)))
        if isinstance(self.layers, int):
            cosines = self.cosines[:-1].cpu()
            return sorted(cosines.argsort(stable=True)[: self.layers].tolist())
        return [self._regions.index(str(name)) for name in self.layers]

    def _active_coefficients(self, gram: torch.Tensor, group: int) -> torch.Tensor:
        """Return coefficients (K,): 1 for a task without a gradient, and if one is not finite."""
        coefficients = torch.ones(len(gram), dtype=torch.float64)
        active = (gram.diag() > 0).nonzero().squeeze(1)
        if len(active) > 1 and torch.isfinite(gram).all():
            part = gram[active][:, active]
            coefficients[active] = self.coefficients(part, active.tolist(), group)
        return coefficients

    def _record(self, counted: torch.Tensor, total: torch.Tensor) -> None:
        """Update the running means of cosines, and the cosines of the present update."""
        means = torch.stack([_mean_cosine(gram) for gram in counted]).to(self.cosines)
        before = torch.where(self.cosines == UNKNOWN, means, self.cosines)
        mixed = COSINE_DECAY * before + (1 - COSINE_DECAY) * means
        self.cosines.copy_(torch.where(means.isnan(), self.cosines, mixed))
        self._task_cosines = cosines_of(total)

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return the cosines of the tasks' gradients of the parameters that the method acts on.

        They are NaN in validation, where there are no gradients.
        """
        return {
            f"cosine_{self.outputs[a]}_{self.outputs[b]}": self._task_cosines[a, b].to(
                self.cosines.device
            )
            for a, b in itertools.combinations(range(len(self.outputs)), 2)
        }


class _Sums:
    """Gradients and losses of the tasks, summed over the batches of an update."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], tasks: int):
        self._ids = [id(p) for p in parameters]
        self._rows = [[torch.zeros_like(p) for p in parameters] for _ in range(tasks)]
        self._losses = torch.zeros(tasks, dtype=torch.float64)
        self._shares = torch.zeros(tasks, dtype=torch.float64)

    def belongs_to(self, parameters: Sequence[torch.nn.Parameter]) -> bool:
        return self._ids == [id(p) for p in parameters]

    def add(
        self,
        rows: Sequence[Sequence[torch.Tensor | None]],
        losses: Sequence[torch.Tensor],
        shares: Sequence[torch.Tensor],
        size: float,
    ) -> None:
        """Add a batch: gradients per task, weighted losses (), shares of labelled utterances ()."""
        numbers = torch.stack([loss.detach().double() for loss in losses])
        parts = torch.stack([share.detach().double() for share in shares])
        numbers, parts = average_over_ranks([numbers, parts], size)
        self._losses += numbers.cpu()
        self._shares += parts.cpu()
        for row, total in zip(rows, self._rows, strict=True):
            present = [
                torch.zeros_like(t) if g is None else g for g, t in zip(row, total, strict=True)
            ]
            if present:
                for into, gradient in zip(total, average_over_ranks(present, size), strict=True):
                    into += gradient

    def means(self) -> torch.Tensor:
        """Return the weighted losses per labelled utterance (K,); NaN without labels."""
        return self._losses / self._shares

    def grams(self) -> torch.Tensor:
        """Return the inner products of the gradients of each parameter: (parameters, K, K)."""
        count, parameters = len(self._rows), len(self._ids)
        products = [
            (self._rows[a][p].double() * self._rows[b][p].double()).sum()
            for p in range(parameters)
            for a in range(count)
            for b in range(a + 1)
        ]
        lower = torch.stack(products).cpu().view(parameters, -1)
        grams = torch.zeros(parameters, count, count, dtype=torch.float64)
        first, second = torch.tril_indices(count, count)
        grams[:, first, second] = lower
        grams[:, second, first] = lower
        return grams

    def combined(self, factors: torch.Tensor) -> list[torch.Tensor]:
        """Return Σ_k factors[p, k] · gradient of task k, for each parameter p."""
        combined = []
        for row, gradients in zip(factors.tolist(), zip(*self._rows, strict=True), strict=True):
            total = gradients[0] * row[0]
            for factor, gradient in zip(row[1:], gradients[1:], strict=True):
                total.add_(gradient, alpha=factor)
            combined.append(total)
        return combined


def cosines_of(gram: torch.Tensor) -> torch.Tensor:
    """Return the cosines (K, K) of vectors with a Gram matrix (K, K); NaN for a vector of zeros."""
    norms = gram.diag().sqrt()
    return gram / (norms[:, None] * norms)


def _mean_cosine(gram: torch.Tensor) -> torch.Tensor:
    """Return the mean cosine () over pairs of vectors; NaN if it is undefined for every pair."""
    first, second = torch.triu_indices(len(gram), len(gram), 1)
    return cosines_of(gram)[first, second].nanmean()


def _unique(parameters: Sequence[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    return list({id(p): p for p in parameters}.values())
