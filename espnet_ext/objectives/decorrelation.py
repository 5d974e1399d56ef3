"""The objective `decorrelation`: the streams of the outputs must differ.

The penalty compares the frames of one utterance in two streams, by their Gram matrices K and M:

- `cka`: linear CKA from unbiased HSIC₁ (Kornblith et al., arXiv 1905.00414; Song et al., JMLR 2012,
  eq. 5). It does not depend on the scale of a stream.
- `hsic`: HSIC₁ itself, of streams divided by √D.
- `orthogonality`: Σ_ij K_ij M_ij / T², of frames without their mean, scaled to length 1 (Bousmalis
  et al., "Domain Separation Networks", arXiv 1608.06019, eq. 5: ‖XᵀY‖²_F).

The penalty is a mean over pairs of outputs and over utterances. An utterance of fewer than four
frames, for which HSIC₁ is undefined, has the penalty 0. So has one with a negative HSIC₁: for
streams that are independent, the estimate varies around 0.

Symbols: B utterances, T encoder frames, D encoder size, K outputs.
"""

import itertools

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest
from espnet_ext.model.similarity import MIN_EXAMPLES, hsic_of_sums
from espnet_ext.objectives.penalty import StreamPenalty

MEASURES = ("cka", "hsic", "orthogonality")


class Decorrelation(StreamPenalty):
    """Penalty on the similarity of the outputs' streams.

    Args:
        measure: cka, hsic or orthogonality.
        strength: factor of the penalty.
    """

    name = "decorrelation"

    def __init__(self, outputs, measure: str = MEASURES[0], strength: float = 0.1, **shared):
        super().__init__(outputs, strength=strength, **shared)
        if measure not in MEASURES:
            raise UserError(
                f"objective_conf.measure: unknown '{measure}'", suggest(str(measure), MEASURES)
            )
        self.measure = measure

    def penalty(self, streams, valid):
        grams = [self._gram(stream, valid) for stream in streams]  # K times (B, T, T)
        frames = valid.sum(1).to(streams.dtype)  # (B,)
        pairs = [self._compare(a, b, frames) for a, b in itertools.combinations(grams, 2)]
        return torch.stack(pairs).mean()

    def _gram(self, stream: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the Gram matrices (B, T, T) of a stream (B, T, D), 0 for padding."""
        mask = valid[..., None].to(stream.dtype)  # (B, T, 1)
        means = (stream * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
        stream = (stream - means) * mask
        if self.measure == "orthogonality":
            stream = torch.nn.functional.normalize(stream, dim=-1, eps=1e-6)
            return stream @ stream.mT
        gram = stream @ stream.mT / stream.size(-1)
        return gram * (1 - torch.eye(gram.size(-1), device=gram.device, dtype=gram.dtype))

    def _compare(self, a: torch.Tensor, b: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Return the similarity () of two streams from their Gram matrices (B, T, T)."""
        if self.measure == "orthogonality":
            return ((a * b).sum((1, 2)) / frames.clamp(min=1).square()).mean()
        defined = frames >= MIN_EXAMPLES
        n = frames.clamp(min=MIN_EXAMPLES)
        cross = hsic(a, b, n)
        if self.measure == "cka":
            product = hsic(a, a, n) * hsic(b, b, n)
            defined = defined & (product > 0)
            cross = cross / torch.where(defined, product, torch.ones_like(product)).sqrt()
        return torch.where(defined, cross, torch.zeros_like(cross)).clamp(min=0).mean()


def hsic(a: torch.Tensor, b: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    """Return HSIC₁ (B,) of Gram matrices (B, T, T) with zero diagonals, of n (B,) rows each."""
    middle = (a.sum(2) * b.sum(2)).sum(1)
    total = hsic_of_sums(n, (a * b).sum((1, 2)), a.sum((1, 2)), b.sum((1, 2)), middle)
    return total / (n * (n - 3))
