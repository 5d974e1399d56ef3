"""Parts that the encoders of all families share.

Symbols: B utterances, T encoder frames, D encoder size, N layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from espnet_ext.errors import UserError


class LayerSum(torch.nn.Module):
    """A learned weighted sum of hidden states (Yang et al., SUPERB, arXiv 2105.01051, sec. 3.2).

    Args:
        layers: N, the number of hidden states.
    """

    def __init__(self, layers: int):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(layers))

    def forward(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return Σ_n softmax(logits)_n · states_n: (B, T, D)."""
        weights = self.logits.softmax(0)  # (N,)
        # The layers above a branch have one row per utterance and output (`conditioning.routing`).
        rows = states[-1].size(0)
        states = [state.repeat(rows // state.size(0), 1, 1) for state in states]
        return sum(weight * state for weight, state in zip(weights, states, strict=True))


def inside(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Return whether a frame belongs to its utterance: (B, size) from lengths (B,)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def check_probability(value: float | None, where: str) -> None:
    """Raise `UserError` for a value that is given and is not a number from 0 to 1."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 <= value <= 1):
        raise UserError(f"{where}: {value!r}", "write a number from 0 to 1")


@dataclass(frozen=True)
class StateMasking:
    """SpecAugment on hidden states (Park et al., arXiv 1904.08779; Baevski et al., 2006.11477).

    Spans are drawn as transformers draws them, from numpy's random numbers.
    """

    time_prob: float = 0.0  # about the share of frames that are masked; spans may overlap
    feature_prob: float = 0.0  # the same for channels
    time_length: int = 10  # frames of a span
    feature_length: int = 10  # channels of a span
    time_min_masks: int = 2  # spans per utterance
    feature_min_masks: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any], time_prob: float, feature_prob: float) -> "StateMasking":
        """Return the masking with the span lengths of a checkpoint's config."""
        names = ("time_length", "feature_length", "time_min_masks", "feature_min_masks")
        spans = {name: config[f"mask_{name}"] for name in names if f"mask_{name}" in config}
        return cls(time_prob, feature_prob, **spans)

    def __call__(self, hidden: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Return hidden states (B, T, D) with masked spans set to zero.

        Args:
            frames: (B,) lengths. Time spans lie within an utterance.
        """
        batch, time, size = hidden.shape
        if self.time_prob > 0 and time >= self.time_length:  # else no span fits
            spans = _spans(
                (batch, time), self.time_prob, self.time_length, self.time_min_masks, frames
            )
            hidden = hidden.masked_fill(spans.to(hidden.device)[..., None], 0.0)
        if self.feature_prob > 0 and size >= self.feature_length:
            spans = _spans(
                (batch, size), self.feature_prob, self.feature_length, self.feature_min_masks
            )
            hidden = hidden.masked_fill(spans.to(hidden.device)[:, None], 0.0)
        return hidden


def _spans(
    shape: tuple[int, int],
    probability: float,
    length: int,
    min_masks: int,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return random spans of True in rows (B, N), within their lengths (B,)."""
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

    mask: Any = None if lengths is None else inside(lengths.cpu(), shape[1]).long()
    drawn = _compute_mask_indices(shape, probability, length, mask, min_masks)
    return torch.from_numpy(drawn)
