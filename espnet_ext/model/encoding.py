"""The request to the encoder and its result, in training and decoding.

Symbols: B utterances, T encoder frames, D encoder size, K tasks (outputs and inline tags).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from espnet_ext.errors import UserError

# Which tasks are active: (K,) for all utterances, or (B, K); true or false.
TaskMask = torch.Tensor


@dataclass(frozen=True)
class EncoderRequest:
    """What a call of `encode` is for."""

    # outputs that will be read; None: all
    outputs: Sequence[str] | None = None
    # tasks that are active, for all outputs, or output → those active while it is read; None: all.
    # It only matters to a model with a conditioner.
    active: TaskMask | Mapping[str, TaskMask] | None = None
    # labels of the utterances that the conditioner or the encoder reads: name → (B,), positions in
    # the condition's list of values (see `model.conditions`)
    conditions: Mapping[str, torch.Tensor] = field(default_factory=dict)
    # make the features of an utterance independent of the others in its batch (`model.padding`);
    # ESPnet's own are not
    batch_invariant: bool = False
    # also return the hidden states of every encoder layer
    keep_layers: bool = False


@dataclass(frozen=True)
class EncoderPass:
    """One run of the encoder: the outputs that read its result, and the tasks active in it."""

    outputs: tuple[str, ...]
    active: TaskMask | None  # None without a conditioner
    conditions: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderOutput:
    """What the encoder returns, by output. Outputs of one pass share the same tensors."""

    hidden: Mapping[str, torch.Tensor]  # output → (B, T, D)
    lengths: Mapping[str, torch.Tensor]  # output → (B,) frames
    # losses of the encoder and the conditioner by name, () each, averaged over the passes
    auxiliary: Mapping[str, torch.Tensor] = field(default_factory=dict)
    # output → layer → (B, T', D'), if requested: `embed`, then the blocks `0`, `1`, …
    layers: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    # output → (B,) frames of the layers, which a postencoder may change
    layer_lengths: Mapping[str, torch.Tensor] = field(default_factory=dict)
    # output → (B, T, D), the encoder layer that its CTC reads; only outputs with `ctc_layer`
    ctc_layers: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device, dtype: torch.dtype) -> "EncoderOutput":
        """Return the hidden states with a type, and the lengths, on a device."""
        return replace(
            self,
            hidden={name: states.to(device, dtype) for name, states in self.hidden.items()},
            ctc_layers={name: s.to(device, dtype) for name, s in self.ctc_layers.items()},
            lengths={name: lengths.to(device) for name, lengths in self.lengths.items()},
        )

    def shared(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the hidden states (B, T, D) and lengths (B,) that all outputs share.

        Raises:
            UserError: if outputs have separate encoder passes.
        """
        first = next(iter(self.hidden))
        if any(states is not self.hidden[first] for states in self.hidden.values()):
            raise UserError(
                "the outputs have separate encoder passes, so there is no shared encoder output",
                "choose a system whose outputs share the encoder pass",
            )
        return self.hidden[first], self.lengths[first]
