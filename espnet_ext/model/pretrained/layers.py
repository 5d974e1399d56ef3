"""Parts that the encoders of all families share.

Symbols: B utterances, T encoder frames, D encoder size, N layers.
"""

from collections.abc import Sequence

import torch


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
        return sum(weight * state for weight, state in zip(weights, states, strict=True))


def inside(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Return whether a frame belongs to its utterance: (B, size) from lengths (B,)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
