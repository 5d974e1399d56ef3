"""Prediction networks of a transducer: from the labels said so far to what is likely to follow.

Symbols: N hypotheses or utterances, U labels, H size. A state is a tuple of tensors that have N
first, so that a search can pick, copy and drop hypotheses by indexing.
"""

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import construct, suggest

State = tuple[torch.Tensor, ...]


class Stateless(torch.nn.Module):
    """Knows the last `context` labels only: embedding, then a convolution over them.

    Ghodsi et al., ICASSP 2020. With a context of 1 it is the embedding alone.

    Args:
        vocab_size: V; label 0 is blank, which also stands before the first label.
        hidden_size: H.
        context: labels that it sees.
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
        """Labels (N, U+1), a blank before the first, to (N, U+1, H)."""
        return self._of(torch.nn.functional.pad(labels, (self.context - 1, 0)))

    def _of(self, labels: torch.Tensor) -> torch.Tensor:
        embedded = self.dropout(self.embed(labels))  # (N, context − 1 + U+1, H)
        if self.mix is None:
            return embedded
        return self.mix(embedded.transpose(1, 2)).transpose(1, 2).relu()

    def start(self, count: int) -> State:
        """The state before anything was said, of `count` hypotheses."""
        weight = self.embed.weight
        return (torch.zeros(count, self.context - 1, dtype=torch.long, device=weight.device),)

    def step(self, labels: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """One label more (N,) to (N, H), and the state after it."""
        seen = torch.cat([state[0], labels.unsqueeze(1)], 1)  # (N, context)
        return self._of(seen)[:, -1], (seen[:, 1:],)


class Recurrent(torch.nn.Module):
    """LSTM or GRU over the embeddings of all labels; parameters as in ESPnet's TransducerDecoder.

    Args:
        vocab_size: V; label 0 is blank, which also stands before the first label.
        rnn_type: lstm or gru.
        num_layers, hidden_size: of it; H is its size, and the embeddings'.
        dropout: on the output of each layer; dropout_embed: on embeddings.
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
        """Labels (N, U+1), a blank before the first, to (N, U+1, H)."""
        hidden = self.dropout_embed(self.embed(labels))
        for layer, dropout in zip(self.decoder, self.dropout_dec, strict=True):
            hidden = dropout(layer(hidden)[0])
        return hidden

    def start(self, count: int) -> State:
        """The state before anything was said, of `count` hypotheses: (N, layers, H) each."""
        weight = self.embed.weight
        zero = weight.new_zeros(count, len(self.decoder), self.output_size)
        return (zero, zero) if self.has_cell else (zero,)

    def step(self, labels: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """One label more (N,) to (N, H), and the state after it."""
        hidden = self.dropout_embed(self.embed(labels)).unsqueeze(1)
        after = []
        for number, (layer, dropout) in enumerate(zip(self.decoder, self.dropout_dec, strict=True)):
            before = [part[:, number].unsqueeze(0).contiguous() for part in state]  # (1, N, H)
            hidden, new = layer(hidden, tuple(before) if self.has_cell else before[0])
            hidden = dropout(hidden)
            after.append(new if self.has_cell else (new,))
        return hidden[:, 0], tuple(
            torch.cat(parts).transpose(0, 1) for parts in zip(*after, strict=True)
        )


PREDICTIONS = {"stateless": Stateless, "lstm": Recurrent, "gru": Recurrent}


def build_prediction(kind: str, conf, vocabulary: int, where: str) -> torch.nn.Module:
    """The prediction network of an output, by its kind: stateless, lstm or gru."""
    if not isinstance(kind, str) or kind not in PREDICTIONS:
        raise UserError(f"{where}.prediction: '{kind}'", suggest(str(kind), list(PREDICTIONS)))
    given = {"vocab_size": vocabulary}
    if PREDICTIONS[kind] is Recurrent:
        given["rnn_type"] = kind
    return construct(PREDICTIONS[kind], conf, f"{where}.prediction_conf", given)
