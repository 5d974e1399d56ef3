"""What scores the next token of every hypothesis: decoders and language models.

A scorer is `CachedTransformer` where the module is of a build that it knows, and `Stepwise` around
ESPnet's own `batch_score` for all others: slower, and right for whatever ESPnet can decode with.
"""

import inspect
from typing import Protocol

import torch

from espnet_ext.decoding.cached import CachedTransformer


class Scorer(Protocol):
    """B utterances, K hypotheses of each, T frames, D encoder size, V tokens."""

    def start(self, states: torch.Tensor, lengths: torch.Tensor, width: int) -> None:
        """Begin a batch: encoder states (B, T, D), lengths (B,), K."""

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Log probabilities (B, K, V) of what follows these last tokens (B, K)."""

    def reorder(self, parents: torch.Tensor) -> None:
        """Hypothesis k becomes a continuation of hypothesis parents[:, k] (B, K)."""

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some utterances only: their numbers."""


def build_scorer(module: torch.nn.Module, int8: bool = False) -> Scorer:
    """The fastest scorer for a decoder or language model of ESPnet.

    Args:
        int8: linear layers in 8 bits (CPU), where the fast scorer serves; exact without.
    """
    cached = CachedTransformer.of(module)
    if cached is None:
        return Stepwise(module)
    return quantise(cached) if int8 else cached


def quantise(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its linear layers in 8 bits, activations as they come; in place."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's coming move to another package
        return torch.ao.quantization.quantize_dynamic(
            module, {torch.nn.Linear}, dtype=torch.qint8, inplace=True
        )


class Stepwise:
    """ESPnet's own scorer, hypothesis states in lists; one by one if it has no `batch_score`."""

    def __init__(self, module: torch.nn.Module):
        self.module = module
        self.batched = hasattr(module, "batch_score")
        known = inspect.signature(module.batch_score).parameters if self.batched else {}
        self.takes_mask = "xs_mask" in known

    def start(self, states: torch.Tensor, lengths: torch.Tensor, width: int) -> None:
        self.width = width
        lengths = lengths.to(states.device)
        inside = torch.arange(states.size(1), device=states.device) < lengths.unsqueeze(1)
        self.memory = states.repeat_interleave(width, 0)
        self.mask = inside.repeat_interleave(width, 0).unsqueeze(1)
        self.history = torch.zeros(len(self.memory), 0, dtype=torch.long, device=states.device)
        if self.batched:
            first = [self.module.batch_init_state(states)] * len(states)
        else:
            first = [
                self.module.init_state(row[:length])
                for row, length in zip(states, lengths.tolist(), strict=True)
            ]
        self.states = [state for state in first for _ in range(width)]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        self.history = torch.cat([self.history, tokens.reshape(-1, 1)], 1)
        if self.batched:
            mask = {"xs_mask": self.mask} if self.takes_mask and not bool(self.mask.all()) else {}
            scores, self.states = self.module.batch_score(
                self.history, self.states, self.memory, **mask
            )
        else:
            lengths = self.mask.sum(-1).flatten().tolist()
            found = [
                self.module.score(self.history[i], self.states[i], self.memory[i, : lengths[i]])
                for i in range(len(lengths))
            ]
            scores = torch.stack([score for score, _ in found])
            self.states = [state for _, state in found]
        return scores.unflatten(0, tokens.shape)

    def reorder(self, parents: torch.Tensor) -> None:
        first = torch.arange(0, len(self.memory), self.width, device=parents.device)
        index = (parents + first.unsqueeze(1)).flatten()
        self.history = self.history[index]
        self.states = [self._state(i) for i in index.tolist()]

    def _state(self, index: int):
        return self.module.select_state(self.states, index) if self.batched else self.states[index]

    def keep(self, rows: torch.Tensor) -> None:
        slots = torch.arange(self.width, device=rows.device)
        index = (rows.unsqueeze(1) * self.width + slots).flatten()
        self.memory, self.mask = self.memory[index], self.mask[index]
        self.history = self.history[index]
        self.states = [self.states[i] for i in index.tolist()]
