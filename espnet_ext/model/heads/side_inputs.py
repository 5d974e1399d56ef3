"""What a head reads beside the encoder output: another output's decoder, an intermediate layer.

`reads: surface` lets the decoder of an output attend to the hidden states of the decoder of
`surface` as well, as in dual-decoder translation (Le et al., COLING 2020, arXiv 2011.00747). Here
one decoder finishes first, so the other one reads its states over the whole transcript, as the
second decoder of a multi-decoder model does (Dalmia et al., NAACL 2021, arXiv 2105.00573). The
states are appended to the encoder frames, and one attention reads both (the flat combination of
Libovický & Helcl, ACL 2017, arXiv 1704.06567).

`ctc_layer: k` lets the CTC of an output read the k-th encoder layer, as intermediate CTC does (Lee
& Watanabe, ICASSP 2021, arXiv 2102.03216), but in place of the last layer, also in decoding.

`side_input_options` checks these keys of a configuration.

Symbols: B utterances, N labelled ones among them, T encoder frames, L tokens, D encoder size.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from espnet_ext.errors import UserError


@dataclass(frozen=True)
class DecoderStates:
    """Hidden states of the last layer of a decoder, after its normalisation.

    An utterance without a transcript has no states: its length is 0.
    """

    states: torch.Tensor  # (B, L + 1, D): after sos, and after each token
    lengths: torch.Tensor  # (B,)


@dataclass(frozen=True)
class SideInputs:
    """What a head reads beside the encoder output; None where it reads nothing else."""

    decoder: DecoderStates | None = None  # decoder states of the output that `reads` names
    layer: torch.Tensor | None = None  # (B, T, D) of the encoder layer that `ctc_layer` names

    def select(self, rows: torch.Tensor) -> "SideInputs":
        """Return the same for the utterances `rows` (N,)."""
        decoder = self.decoder
        if decoder is not None:
            decoder = DecoderStates(decoder.states[rows], decoder.lengths[rows])
        return SideInputs(decoder, None if self.layer is None else self.layer[rows])


NOTHING = SideInputs()


class StateReader(torch.nn.Module):
    """Append the states of another decoder to the encoder frames, for a decoder to attend to.

    Args:
        size: D.
    """

    def __init__(self, size: int):
        super().__init__()
        self.norm = torch.nn.LayerNorm(size)
        self.projection = torch.nn.Linear(size, size)

    def forward(
        self, frames: torch.Tensor, lengths: torch.Tensor, other: DecoderStates
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the frames of each utterance with the states behind them, and their number.

        Args:
            frames: (N, T, D) encoder output; lengths: (N,).
            other: states (N, L + 1, D). An utterance that has none keeps its frames only.
        """
        states = other.states.to(self.projection.weight.dtype)
        states = self.projection(self.norm(states)).to(frames.dtype)
        joined = torch.cat([frames, states], 1)  # (N, T + L + 1, D), with padding in between
        other_lengths = other.lengths.to(lengths)
        total = lengths + other_lengths
        places = torch.arange(int(total.max()), device=frames.device)  # (M,)
        is_state = places >= lengths[:, None].to(places.device)  # (N, M)
        shift = frames.size(1) - lengths[:, None].to(places.device)
        index = torch.where(is_state, places + shift, places).clamp(max=joined.size(1) - 1)
        memory = joined.gather(1, index[..., None].expand(-1, -1, joined.size(2)))
        return memory, total


@contextlib.contextmanager
def record_states(decoder: Any) -> Iterator[list[torch.Tensor]]:
    """Collect the hidden states that a decoder projects to logits, while the context is open."""
    recorded: list[torch.Tensor] = []
    handle = decoder.output_layer.register_forward_pre_hook(
        lambda _module, inputs: recorded.append(inputs[0])
    )
    try:
        yield recorded
    finally:
        handle.remove()


def of_batch(
    recorded: Sequence[torch.Tensor], rows: torch.Tensor, text_lengths: torch.Tensor, like: Any
) -> DecoderStates:
    """Return the states of all utterances of a batch, from those of the labelled ones.

    Args:
        recorded: (N, L + 1, D) in a list; an empty list if no utterance is labelled.
        rows: (N,) the labelled utterances.
        text_lengths: (B,) tokens.
        like: (B, T, D) encoder output.
    """
    lengths = torch.zeros_like(text_lengths)
    if not recorded:
        return DecoderStates(like[:, :0], lengths)
    (states,) = recorded
    lengths[rows] = text_lengths[rows] + 1  # sos
    dense = states.new_zeros(len(text_lengths), *states.shape[1:])
    return DecoderStates(dense.index_copy(0, rows, states), lengths)


def check_decoder(where: str, decoder: Any, size: int) -> None:
    """Raise `UserError` unless a built decoder has hidden states of the encoder's size D."""
    layer = getattr(decoder, "output_layer", None)
    if not isinstance(layer, torch.nn.Linear) or layer.in_features != size:
        raise UserError(
            f"{where}: the hidden states of a {type(decoder).__name__} cannot be read",
            "use decoder: transformer, or remove reads",
        )
