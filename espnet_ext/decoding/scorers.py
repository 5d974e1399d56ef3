"""Scorers of the next token: decoders and language models in a beam search.

`CachedTransformer` is used for ESPnet's transformer decoders. Any other decoder or language model
is scored by its own `batch_score` (or `score`), which is slower.

Symbols:
    B: utterances
    K: hypotheses per utterance (beam size)
    T: encoder frames
    D: encoder output size
    L: tokens of a hypothesis so far
    V: vocabulary size
"""

import inspect
import warnings
from pathlib import Path
from typing import Any, Protocol

import torch

from espnet_ext.decoding.cached import CachedTransformer
from espnet_ext.decoding.packed import pack_linears
from espnet_ext.errors import UserError
from espnet_ext.model.heads.shared_decoder import GuidedDecoder
from espnet_ext.model.load import check_finite, search_device
from espnet_ext.progress import say


class Scorer(Protocol):
    """Scores the next token of all hypotheses of a batch, and keeps their states."""

    def start(self, encoder_out: torch.Tensor, lengths: torch.Tensor, beam_size: int) -> None:
        """Begin a batch.

        Args:
            encoder_out: (B, T, D).
            lengths: (B,) frames per utterance.
            beam_size: K.
        """

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return log probabilities (B, K, V) of the next token, given the last tokens (B, K)."""

    def reorder(self, parents: torch.Tensor) -> None:
        """Let hypothesis k continue hypothesis parents[:, k]; parents: (B, K)."""

    def keep(self, rows: torch.Tensor) -> None:
        """Continue with the utterances `rows` only."""


def add_weighted(total: torch.Tensor, scores: torch.Tensor, weight: float) -> torch.Tensor:
    """Return total + weight · scores; −inf where a score is −inf, also if the weight is negative.

    What one scorer rules out is impossible. A negative weight, such as that of a density ratio,
    must not make it infinitely probable.

    >>> add_weighted(torch.zeros(2), torch.tensor([-1.0, -torch.inf]), -0.5).tolist()
    [0.5, -inf]
    """
    total = total.add(scores, alpha=weight)
    return total if weight >= 0 else total.masked_fill(scores == -torch.inf, -torch.inf)


def build_scorer(module: torch.nn.Module, int8: bool = False) -> Scorer:
    """Return the fastest scorer for an ESPnet decoder or language model.

    Args:
        module: the decoder or language model.
        int8: quantise the linear layers (CPU). Only `CachedTransformer` does so; other modules
            stay exact.
    """
    if isinstance(module, GuidedDecoder):
        module = module.search_copy()
    cached = CachedTransformer.from_decoder(module)
    if cached is None:
        return EspnetScorer(module)
    return quantise(cached) if int8 else pack_linears(cached)


def quantise[Module: torch.nn.Module](module: Module) -> Module:
    """Quantise the linear layers to 8 bits in place, activations dynamically; return the module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch announces a move to another package
        return torch.ao.quantization.quantize_dynamic(
            module, {torch.nn.Linear}, dtype=torch.qint8, inplace=True
        )


class EspnetScorer:
    """Scores with the module's own `batch_score`, or hypothesis by hypothesis with `score`.

    The B · K hypotheses of a batch are the rows of its tensors.
    """

    def __init__(self, module: Any):
        self.module = module
        self.is_batched = hasattr(module, "batch_score")
        parameters = inspect.signature(module.batch_score).parameters if self.is_batched else {}
        self.takes_memory_mask = "xs_mask" in parameters

    def start(self, encoder_out: torch.Tensor, lengths: torch.Tensor, beam_size: int) -> None:
        self.beam_size = beam_size
        batch, frames, _ = encoder_out.shape
        device = encoder_out.device
        is_frame = torch.arange(frames, device=device) < lengths.to(device).unsqueeze(1)  # (B, T)
        self.memory = encoder_out.repeat_interleave(beam_size, 0)  # (B · K, T, D)
        self.memory_mask = is_frame.repeat_interleave(beam_size, 0).unsqueeze(1)  # (B · K, 1, T)
        self.history = torch.zeros(len(self.memory), 0, dtype=torch.long, device=device)
        if self.is_batched:
            initial_states = [self.module.batch_init_state(encoder_out)] * batch
        else:
            initial_states = [
                self.module.init_state(row[:length])
                for row, length in zip(encoder_out, lengths.tolist(), strict=True)
            ]
        self.states = [state for state in initial_states for _ in range(beam_size)]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        self.history = torch.cat([self.history, tokens.reshape(-1, 1)], 1)  # (B · K, L)
        if self.is_batched:
            has_padding = not bool(self.memory_mask.all())
            mask = {"xs_mask": self.memory_mask} if self.takes_memory_mask and has_padding else {}
            scores, self.states = self.module.batch_score(
                self.history, self.states, self.memory, **mask
            )
        else:
            lengths = self.memory_mask.sum(-1).flatten().tolist()
            scored = [
                self.module.score(ids, state, memory[:length])
                for ids, state, memory, length in zip(
                    self.history, self.states, self.memory, lengths, strict=True
                )
            ]
            scores = torch.stack([row for row, _ in scored])
            self.states = [state for _, state in scored]
        return scores.unflatten(0, tokens.shape)

    def reorder(self, parents: torch.Tensor) -> None:
        first_rows = torch.arange(0, len(self.memory), self.beam_size, device=parents.device)
        index = (parents + first_rows.unsqueeze(1)).flatten()
        self.history = self.history[index]
        self.states = [self._state(row) for row in index.tolist()]

    def _state(self, row: int) -> Any:
        if self.is_batched:
            return self.module.select_state(self.states, row)
        return self.states[row]

    def keep(self, rows: torch.Tensor) -> None:
        places = torch.arange(self.beam_size, device=rows.device)
        index = (rows.unsqueeze(1) * self.beam_size + places).flatten()
        self.memory, self.memory_mask = self.memory[index], self.memory_mask[index]
        self.history = self.history[index]
        self.states = [self.states[row] for row in index.tolist()]


def load_lm(folder: str | Path, device: str) -> torch.nn.Module:
    """Load the best weights of an ESPnet language model, to where `device` searches."""
    from espnet_ext.model import checksums, espnet

    folder = Path(folder)
    candidates = (folder / "valid.loss.ave.pth", folder / "valid.loss.best.pth")
    weights = next((path for path in candidates if path.exists()), None)
    if weights is None or not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: no trained language model", "run stages 6 to 8")
    if note := checksums.check(weights, "restore the file, or train the language model again"):
        say(note)
    where = str(search_device(device))
    model, _ = espnet.load("LMTask").build_model_from_file(folder / "config.yaml", weights, where)
    check_finite(model.state_dict(), weights)
    return model.lm.eval()
