"""Hidden states of ESPnet encoders: every layer, without padding, same utterances for all systems.

Legend: B utterances, S samples, T encoder frames, D width, L layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from espnet_ext.errors import UserError


@dataclass
class Capture:
    """What the hooks of one forward pass saw: layer name → (B, T, D), and lengths (B,)."""

    layers: dict[str, torch.Tensor] = field(default_factory=dict)
    lengths: torch.Tensor | None = None

    def frames(self) -> list[torch.Tensor]:
        """Each layer's real frames, those within the lengths: L tensors (ΣT, D)."""
        steps = torch.arange(next(iter(self.layers.values())).shape[1], device=self.lengths.device)
        mask = steps[None, :] < self.lengths[:, None]  # (B, T)
        return [layer[mask] for layer in self.layers.values()]


def layer_modules(encoder: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules whose outputs are an encoder's layers: `embed`, then the blocks `0`, `1`, …"""
    blocks = getattr(encoder, "encoders", None)
    if blocks is None:
        raise UserError(
            f"an encoder of type {type(encoder).__name__} has no list of layers to compare",
            "use a Conformer, Transformer, Branchformer or E-Branchformer encoder",
        )
    modules = {str(number): block for number, block in enumerate(blocks)}
    embed = getattr(encoder, "embed", None)
    return modules if embed is None else {"embed": embed, **modules}


@contextmanager
def capture(encoder: torch.nn.Module) -> Iterator[Capture]:
    """Record every layer's output while the encoder runs inside the `with`."""
    seen = Capture()
    handles = [
        module.register_forward_hook(_keeper(seen, name))
        for name, module in layer_modules(encoder).items()
    ]

    def keep_lengths(_module, _inputs, output) -> None:
        seen.lengths = output[1]

    handles.append(encoder.register_forward_hook(keep_lengths))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _keeper(seen: Capture, name: str):
    def keep(_module, _inputs, output) -> None:
        # ESPnet's layers give (x, mask), and with relative positions ((x, positions), mask).
        while isinstance(output, tuple):
            output = output[0]
        seen.layers[name] = output.detach()

    return keep


def encoder_frames(
    models: Mapping[str, torch.nn.Module], speech: Sequence[np.ndarray], ids: Sequence[str]
) -> dict[str, tuple[list[str], list[torch.Tensor]]]:
    """Run all models on one batch: name → (layer names, their frames, L tensors (ΣT, D)).

    UserError if two systems give an utterance different numbers of frames: then frame n of one is
    not frame n of the other, and no comparison makes sense.
    """
    batch, lengths = _pad(speech)
    found, first = {}, None
    for name, model in models.items():
        device = next(model.parameters()).device
        with torch.inference_mode(), capture(model.encoder) as seen:
            model.encode(batch.to(device), lengths.to(device))
        counts = seen.lengths.tolist()
        first = first or (name, counts)
        for utt_id, mine, other in zip(ids, counts, first[1], strict=True):
            if mine != other:
                raise UserError(
                    f"{utt_id}: {name} has {mine} encoder frames and {first[0]} has {other}",
                    "compare systems with the same frontend and subsampling",
                )
        found[name] = (list(seen.layers), seen.frames())
    return found


def _pad(speech: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms to a zero-padded batch (B, S) and its lengths (B,)."""
    tensors = [torch.from_numpy(np.ascontiguousarray(wave)) for wave in speech]
    lengths = torch.tensor([len(tensor) for tensor in tensors])
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths


def choose(ids: Sequence[str], limit: int) -> list[str]:
    """At most `limit` ids, evenly spread over the sorted list and so over the speakers.

    >>> choose(["a-1", "a-2", "b-1", "b-2"], 2)
    ['a-1', 'b-1']
    """
    ordered = sorted(ids)
    if limit <= 0 or len(ordered) <= limit:
        return ordered
    return [ordered[i * len(ordered) // limit] for i in range(limit)]
