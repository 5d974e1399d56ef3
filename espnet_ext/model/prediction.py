"""Prediction networks of a transducer: from the labels so far to a representation of the next one.

Symbols: N hypotheses or utterances, U labels, H hidden size. N is the first dimension of every
tensor of a state, so a search selects, copies and drops hypotheses by indexing.
"""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import construct, suggest

State = tuple[torch.Tensor, ...]


def _supported_precision(device_type: str) -> AbstractContextManager:
    """Return a context without autocast on CPUs whose oneDNN has no recurrent layers in bfloat16.

    PyTorch computes other layers in bfloat16 on every CPU, but its LSTM fails without AVX-512.
    """
    if device_type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return contextlib.nullcontext()
    return torch.autocast("cpu", enabled=False)


class Stateless(torch.nn.Module):
    """An embedding and a convolution over the last `context` labels (Ghodsi et al., ICASSP 2020).

    With a context of 1 there is no convolution.

    Args:
        vocab_size: V; label 0 is blank, which also precedes the first label.
        hidden_size: H.
        context: number of labels that it sees.
        dropout: on embeddings.
    """

    def __init__(
        self, vocab_size: int, hidden_size: int = 256, context: int = 2, dropout: float = 0.0
    ):
        super().__init__()
        if context < 1:
            raise ValueError(f"context {context}: at least one label")
        self.output_size, self.context = hidden_size, context
        self.embed = torch.nn.Embedding(vocab_size, hidden_size, padding_idx=0)
        self.dropout = torch.nn.Dropout(dropout)
        groups = hidden_size // 4 if hidden_size % 4 == 0 else 1
        self.mix = None
        if context > 1:
            self.mix = torch.nn.Conv1d(hidden_size, hidden_size, context, groups=groups, bias=False)

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        """Return (N, U+1, H) for labels (N, U+1) that begin with a blank."""
        return self._embed_and_mix(torch.nn.functional.pad(labels, (self.context - 1, 0)))

    def _embed_and_mix(self, labels: torch.Tensor) -> torch.Tensor:
        embedded = self.dropout(self.embed(labels))  # (N, context − 1 + U+1, H)
        if self.mix is None:
            return embedded
        return self.mix(embedded.transpose(1, 2)).transpose(1, 2).relu()

    def start(self, count: int) -> State:
        """Return the initial state of N = `count` hypotheses: blanks (N, context − 1)."""
        weight = self.embed.weight
        return (torch.zeros(count, self.context - 1, dtype=torch.long, device=weight.device),)

    def step(self, labels: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Read one more label per hypothesis (N,); return the output (N, H) and the new state."""
        context = torch.cat([state[0], labels.unsqueeze(1)], 1)  # (N, context)
        return self._embed_and_mix(context)[:, -1], (context[:, 1:],)


class Recurrent(torch.nn.Module):
    """LSTM or GRU over the embeddings of all labels; parameters as in ESPnet's TransducerDecoder.

    Args:
        vocab_size: V; label 0 is blank, which also precedes the first label.
        rnn_type: "lstm" or "gru".
        num_layers: number of recurrent layers.
        hidden_size: H, size of the layers and the embeddings.
        dropout: on the output of each layer.
        dropout_embed: on embeddings.
    """

    def __init__(
        self,
        vocab_size: int,
        rnn_type: str = "lstm",
        num_layers: int = 1,
        hidden_size: int = 256,
        dropout: float = 0.0,
        dropout_embed: float = 0.0,
    ):
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers {num_layers}: at least one")
        build = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[rnn_type]
        self.output_size, self.has_cell = hidden_size, rnn_type == "lstm"
        self.embed = torch.nn.Embedding(vocab_size, hidden_size, padding_idx=0)
        self.dropout_embed = torch.nn.Dropout(dropout_embed)
        self.decoder = torch.nn.ModuleList(
            build(hidden_size, hidden_size, batch_first=True) for _ in range(num_layers)
        )
        self.dropout_dec = torch.nn.ModuleList(torch.nn.Dropout(dropout) for _ in self.decoder)

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        """Return (N, U+1, H) for labels (N, U+1) that begin with a blank."""
        hidden = self.dropout_embed(self.embed(labels))
        with _supported_precision(hidden.device.type):
            for layer, dropout in zip(self.decoder, self.dropout_dec, strict=True):
                hidden = dropout(layer(hidden)[0])
        return hidden

    def start(self, count: int) -> State:
        """Return the initial state of N = `count` hypotheses: zeros (N, layers, H)."""
        weight = self.embed.weight
        zero = weight.new_zeros(count, len(self.decoder), self.output_size)
        return (zero, zero) if self.has_cell else (zero,)

    def step(self, labels: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Read one more label per hypothesis (N,); return the output (N, H) and the new state."""
        hidden = self.dropout_embed(self.embed(labels)).unsqueeze(1)
        new_states: list[State] = []  # by layer
        for number, (layer, dropout) in enumerate(zip(self.decoder, self.dropout_dec, strict=True)):
            old = [part[:, number].unsqueeze(0).contiguous() for part in state]  # (1, N, H) each
            hidden, new = layer(hidden, tuple(old) if self.has_cell else old[0])
            hidden = dropout(hidden)
            new_states.append(new if self.has_cell else (new,))
        return hidden[:, 0], tuple(
            torch.cat(parts).transpose(0, 1) for parts in zip(*new_states, strict=True)
        )


PREDICTIONS: dict[str, type[Stateless | Recurrent]] = {
    "stateless": Stateless,
    "lstm": Recurrent,
    "gru": Recurrent,
}


def build_prediction(
    kind: object, conf: Mapping[str, Any], vocab_size: int, where: str
) -> Stateless | Recurrent:
    """Build the prediction network of an output.

    Args:
        kind: "stateless", "lstm" or "gru".
        conf: its options.
        vocab_size: V.
        where: names the output in messages.
    """
    if not isinstance(kind, str) or kind not in PREDICTIONS:
        raise UserError(
            f"{where}.prediction: unknown network '{kind}'", suggest(str(kind), list(PREDICTIONS))
        )
    arguments: dict[str, Any] = {"vocab_size": vocab_size}
    if PREDICTIONS[kind] is Recurrent:
        arguments["rnn_type"] = kind
    return construct(PREDICTIONS[kind], conf, f"{where}.prediction_conf", arguments)
