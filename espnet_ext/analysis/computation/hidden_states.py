"""Hidden states of encoders and decoders: every layer, without padding, of the same utterances.

The outputs of a system read one encoder output, or each output has its own (`conditioning: tops`,
for example). What an output reads is a stream: the streams of one system share the layers below the
one where they part.

Decoders are teacher-forced: they read given transcripts. A decoder that reads its own hypothesis
has the states in which it wrote it, so free-running needs no second search.

Legend: B utterances, S samples, T encoder frames, L tokens, D width.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditions import ids_of, tensors_of
from espnet_ext.model.encoding import EncoderOutput, EncoderRequest
from espnet_ext.model.heads.base import IGNORE, Head
from espnet_ext.model.layers import decoder_layers, encoder_layers, token_states, watch

ENCODER_OUTPUT = "output"  # layer of a stream that parts from the others after the last block


class Stream(NamedTuple):
    """The encoder of a system as heads read it."""

    system: str
    output: str = ""  # the output that reads it; empty: all outputs share it


@dataclass
class Encoded:
    """The hidden states of one stream for a batch."""

    layers: list[str]
    frames: list[torch.Tensor]  # per layer (ΣT, D); the same tensor in all streams that share it
    states: torch.Tensor  # (B, T, D), the encoder output
    counts: torch.Tensor  # (B,), frames of each utterance

    def rows(self) -> torch.Tensor:
        """Return the encoder output without padding (ΣT, D)."""
        return without_padding(self.states, self.counts)


def layer_modules(network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return the modules whose outputs are the layers: `embed`, then the blocks `0`, `1`, …"""
    modules = encoder_layers(network) or decoder_layers(network)
    if not modules:
        raise UserError(
            f"a network of type {type(network).__name__} has no list of layers to compare",
            "use a Conformer, Transformer, Branchformer or E-Branchformer encoder, and "
            "Transformer decoders",
        )
    embed = getattr(network, "embed", None)
    if embed is not None and getattr(network, "prompt", None) is not None:
        embed = embed[-1]  # the positions, which are added to the prompt and the tokens together
    return modules if embed is None else {"embed": embed, **modules}


def capture(network: torch.nn.Module) -> AbstractContextManager[dict[str, torch.Tensor]]:
    """Record every layer's output (B, T, D) while the network runs inside the `with`."""
    return watch(layer_modules(network))


def is_frame(states: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return a mask (B, T) of what is not padding, for states (B, T, D) and counts (B,)."""
    steps = torch.arange(states.shape[1], device=states.device)
    return steps[None, :] < counts.to(states.device)[:, None]


def without_padding(states: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the frames of states (B, T, D) that are not padding, (ΣT, D)."""
    return states[is_frame(states, counts)]


def require_finite(
    layers: Mapping[str, torch.Tensor], counts: torch.Tensor, what: str, ids: Sequence[str]
) -> None:
    """Raise a `UserError` that names the first layer and utterance with a NaN or infinity."""
    for name, states in layers.items():
        wrong = ~torch.isfinite(states).all(-1) & is_frame(states, counts)
        if wrong.any():
            row = int(wrong.any(1).nonzero()[0])
            raise UserError(
                f"{ids[row]}: {what}, layer {name}, has activations that are not finite",
                "decode this utterance alone; if its audio is intact, train the system again",
            )


def encode(
    models: Mapping[str, torch.nn.Module],
    speech: Sequence[np.ndarray],
    ids: Sequence[str],
    *,
    conditions: Mapping[str, Mapping[str, str]] | None = None,
    all_layers: bool = True,
) -> dict[Stream, Encoded]:
    """Run the encoders of all models on one batch.

    Args:
        models: models in evaluation mode.
        speech: B waveforms (S,) at the rate of the models.
        ids: utterance ids.
        conditions: condition → utterance → label, for models that read conditions.
        all_layers: record every layer, else the encoder output only.
    Returns:
        One stream per system, or one per output of a system with separate encoder outputs.
    Raises:
        UserError: if two systems give an utterance different numbers of frames, so that frame n is
            not the same moment in both; or if activations are not finite.
    """
    batch, lengths = pad(speech)
    encoded: dict[Stream, Encoded] = {}
    for name, model in models.items():
        device = next(model.parameters()).device
        if all_layers:
            layer_modules(model.encoder)  # type: ignore[arg-type]  # raises errors
        request = EncoderRequest(
            conditions=condition_ids(model, conditions or {}, ids),
            batch_invariant=True,
            keep_layers=all_layers,
        )
        with torch.inference_mode():
            result = model.encode(  # type: ignore[operator]
                batch.to(device), lengths.to(device), request
            )
        rows: dict[int, torch.Tensor] = {}  # id of a layer → its frames, which streams share
        for stream, output in _streams(name, result).items():
            counts = result.lengths[output].cpu()
            first = next(iter(encoded), stream)
            expected = encoded[first].counts if encoded else counts
            for utt_id, count, other in zip(ids, counts.tolist(), expected.tolist(), strict=True):
                if count != other:
                    raise UserError(
                        f"{utt_id}: {name} has {count} encoder frames and {first.system} has "
                        f"{other}",
                        "compare systems with the same frontend and subsampling",
                    )
            layers, states = _layers(result, output), result.hidden[output]
            checked = {**layers, ENCODER_OUTPUT: states}
            require_finite(checked, counts, f"the encoder of {name}", ids)
            for layer in layers.values():
                if id(layer) not in rows:
                    rows[id(layer)] = without_padding(layer, counts)
            frames = [rows[id(layer)] for layer in layers.values()]
            encoded[stream] = Encoded(list(layers), frames, states, counts)
    return encoded


def _streams(system: str, result: EncoderOutput) -> dict[Stream, str]:
    """Return the streams of a system, each with an output that reads it."""
    outputs = list(result.hidden)
    shared = result.hidden[outputs[0]]
    if all(states is shared for states in result.hidden.values()):
        return {Stream(system): outputs[0]}
    return {Stream(system, output): output for output in outputs}


def _layers(result: EncoderOutput, output: str) -> dict[str, torch.Tensor]:
    """Return the layers (B, T, D) of the encoder as an output reads it.

    If outputs share the last block, but not the encoder output, that is a further layer.
    """
    layers = dict(result.layers.get(output, {}))
    for other, states in result.hidden.items():
        if layers and states is not result.hidden[output]:
            last = list(layers)[-1]
            if result.layers[other][last] is layers[last]:
                return {**layers, ENCODER_OUTPUT: result.hidden[output]}
    return layers


def stream_of(encoded: Mapping[Stream, Any], system: str, output: str) -> Stream:
    """Return the stream that an output of a system reads."""
    stream = Stream(system, output)
    return stream if stream in encoded else Stream(system)


def distinct_layers(encoded: Mapping[Stream, Encoded]) -> dict[Stream, dict[str, torch.Tensor]]:
    """Return the frames (ΣT, D) of every layer once.

    The layers that streams of a system share are those of `Stream(system)`.
    """
    distinct: dict[Stream, dict[str, torch.Tensor]] = {}
    for stream, one in encoded.items():
        shared = {
            id(rows)
            for other, part in encoded.items()
            if other.system == stream.system and other != stream
            for rows in part.frames
        }
        for name, rows in zip(one.layers, one.frames, strict=True):
            owner = Stream(stream.system) if id(rows) in shared else stream
            distinct.setdefault(owner, {})[name] = rows
    return distinct


def condition_ids(
    model: torch.nn.Module, conditions: Mapping[str, Mapping[str, str]], ids: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Return the labels of utterances as `EncoderRequest.conditions`, for what a model reads."""
    values: Mapping[str, Sequence[str]] = getattr(model, "condition_values", {})
    labels = {
        name: [conditions[name][utt_id] for utt_id in ids] for name in values if name in conditions
    }
    return tensors_of(ids_of(values, labels, len(ids)))


def decode(
    head: Head, encoded: Encoded, tokens: Sequence[Sequence[int]], ids: Sequence[str]
) -> tuple[list[str], list[torch.Tensor], torch.Tensor]:
    """Return a decoder's layers while it reads B transcripts: before each token and the end.

    Args:
        tokens: ids of each transcript, L of them; an empty one has one state, before the end.
    Returns:
        Layer names, states per layer (Σ(L + 1), D), and the counts L + 1 (B,).
    """
    decoder, device = head.decoder, encoded.states.device
    assert decoder is not None
    counts = torch.tensor([len(row) + 1 for row in tokens])
    text = torch.full((len(tokens), max(1, int(counts.max()) - 1)), IGNORE)
    for row, token_ids in enumerate(tokens):
        text[row, : len(token_ids)] = torch.as_tensor(token_ids, dtype=text.dtype)
    with torch.inference_mode(), capture(decoder) as layers:
        head.teacher_forced(
            encoded.states, encoded.counts.to(device), text.to(device), (counts - 1).to(device)
        )
    layers = {name: token_states(decoder, states) for name, states in layers.items()}
    require_finite(layers, counts, f"the decoder of {head.name}", ids)
    return list(layers), [without_padding(layer, counts) for layer in layers.values()], counts


def pooled(rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return each utterance's mean: rows (ΣT, D) in order, counts (B,) → (B, D).

    >>> pooled(torch.tensor([[1.0], [3.0], [7.0]]), torch.tensor([2, 1]))
    tensor([[2.],
            [7.]])
    """
    return torch.segment_reduce(rows.contiguous(), "mean", lengths=counts.to(rows.device).long())


def pad(speech: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return waveforms as a zero-padded batch (B, S) with its lengths (B,)."""
    tensors = [torch.from_numpy(np.ascontiguousarray(wave)) for wave in speech]
    lengths = torch.tensor([len(tensor) for tensor in tensors])
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths
