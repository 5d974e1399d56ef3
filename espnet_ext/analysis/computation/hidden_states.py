"""Hidden states of encoders and decoders: every layer, without padding, of the same utterances.

A decoder's states are those of reading given transcripts (teacher-forced). Given its own hypothesis
it has the very states in which it wrote it, so that free-running needs no second search.

Legend: B utterances, S samples, T encoder frames, L tokens, D width.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from espnet_ext.errors import UserError
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.heads.base import IGNORE, Head
from espnet_ext.model.layers import decoder_layers, encoder_layers, watch


@dataclass
class Encoded:
    """What one encoder made of a batch."""

    layers: list[str]
    frames: list[torch.Tensor]  # of each layer (ΣT, D)
    states: torch.Tensor  # (B, T, D), what the branches read
    counts: torch.Tensor  # (B,), frames of each utterance


def layer_modules(network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules whose outputs are the layers: `embed`, then the blocks `0`, `1`, …"""
    modules = encoder_layers(network) or decoder_layers(network)
    if not modules:
        raise UserError(
            f"a network of type {type(network).__name__} has no list of layers to compare",
            "use a Conformer, Transformer, Branchformer or E-Branchformer encoder, and "
            "Transformer decoders",
        )
    embed = getattr(network, "embed", None)
    return modules if embed is None else {"embed": embed, **modules}


def capture(network: torch.nn.Module) -> AbstractContextManager[dict[str, torch.Tensor]]:
    """Record every layer's output (B, T, D) while the network runs inside the `with`."""
    return watch(layer_modules(network))


def _inside(states: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """(B, T, D) → the rows within the counts (B,): (ΣT, D)."""
    steps = torch.arange(states.shape[1], device=states.device)
    return states[steps[None, :] < counts.to(states.device)[:, None]]


def require_finite(
    layers: Mapping[str, torch.Tensor], counts: torch.Tensor, what: str, ids: Sequence[str]
) -> None:
    """`UserError` naming the first layer and utterance with a NaN or infinite activation."""
    for name, states in layers.items():
        steps = torch.arange(states.shape[1], device=states.device)
        real = steps[None, :] < counts.to(states.device)[:, None]
        wrong = ~torch.isfinite(states).all(-1) & real
        if wrong.any():
            row = int(wrong.any(1).nonzero()[0])
            raise UserError(
                f"{ids[row]}: {what}, layer {name}, has activations that are not finite",
                "decode this utterance alone; if its audio is sound, train the system again",
            )


def encode(
    models: Mapping[str, torch.nn.Module], speech: Sequence[np.ndarray], ids: Sequence[str]
) -> dict[str, Encoded]:
    """Run all models' encoders on one batch.

    Args:
        models: in evaluation mode.
        speech: B waveforms (S,) at the rate that the models expect.
        ids: their names, for messages.
    Raises:
        UserError: if two systems give an utterance different numbers of frames: then frame n of one
            is another moment than frame n of the other; or if activations are not finite.
    """
    batch, lengths = _pad(speech)
    found: dict[str, Encoded] = {}
    for name, model in models.items():
        device = next(model.parameters()).device
        with torch.inference_mode(), capture(model.encoder) as seen:
            states, counts = model.encode(
                batch.to(device), lengths.to(device), EncoderRequest(batch_invariant=True)
            ).shared()
        counts = counts.cpu()
        first = next(iter(found), name)
        agreed = found[first].counts if found else counts
        for utt_id, mine, other in zip(ids, counts.tolist(), agreed.tolist(), strict=True):
            if mine != other:
                raise UserError(
                    f"{utt_id}: {name} has {mine} encoder frames and {first} has {other}",
                    "compare systems with the same frontend and subsampling",
                )
        require_finite(seen, counts, f"the encoder of {name}", ids)
        frames = [_inside(layer, counts) for layer in seen.values()]
        found[name] = Encoded(list(seen), frames, states, counts)
    return found


def decode(
    head: Head, encoded: Encoded, tokens: Sequence[Sequence[int]], ids: Sequence[str]
) -> tuple[list[str], list[torch.Tensor], torch.Tensor]:
    """A decoder's layers while it reads B transcripts: its states before each token and the end.

    Args:
        tokens: ids of each transcript, L of them; an empty one has one state, before the end.
    Returns:
        Layer names, of each layer (Σ(L + 1), D), and the counts L + 1 (B,).
    """
    decoder, device = head.decoder, encoded.states.device
    counts = torch.tensor([len(row) + 1 for row in tokens])
    text = torch.full((len(tokens), max(1, int(counts.max()) - 1)), IGNORE)
    for row, written in enumerate(tokens):
        text[row, : len(written)] = torch.as_tensor(written, dtype=text.dtype)
    with torch.inference_mode(), capture(decoder) as seen:
        head.teacher_forced(
            encoded.states, encoded.counts.to(device), text.to(device), (counts - 1).to(device)
        )
    require_finite(seen, counts, f"the decoder of {head.name}", ids)
    return list(seen), [_inside(layer, counts) for layer in seen.values()], counts


def pooled(rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Each utterance's mean: rows (ΣT, D) in order, counts (B,) → (B, D).

    >>> pooled(torch.tensor([[1.0], [3.0], [7.0]]), torch.tensor([2, 1]))
    tensor([[2.],
            [7.]])
    """
    return torch.segment_reduce(rows.contiguous(), "mean", lengths=counts.to(rows.device).long())


def _pad(speech: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms to a zero-padded batch (B, S) and its lengths (B,)."""
    tensors = [torch.from_numpy(np.ascontiguousarray(wave)) for wave in speech]
    lengths = torch.tensor([len(tensor) for tensor in tensors])
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths
