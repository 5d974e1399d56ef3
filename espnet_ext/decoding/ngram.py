"""An n-gram language model as a scorer, for shallow fusion.

Scores are logarithms to base 10, as ESPnet's n-gram scorer has them, so that its weights serve
here; unlike there, eos is the model's </s> (ESPnet looks up `<sos/eos>`, which no model has).
Symbols: B utterances, K hypotheses of each, V tokens.
"""

from collections.abc import Sequence

import numpy as np
import torch

from espnet_ext.errors import UserError
from espnet_ext.text.ngram import BEGIN, END, UNKNOWN, Ngrams
from espnet_ext.text.tokenizers import BLANK, SOS_EOS, UNK

ROOM = 64_000_000  # bytes of rows that are remembered
NONE = -1  # before the first token


class NgramScorer:
    """Rows of V scores, one for each context that comes up, worked out once.

    Args:
        model: over tokens.
        tokens: V tokens of the output; the last is sos and eos.
    """

    def __init__(self, model: Ngrams, tokens: Sequence[str]):
        self.size, self.reach = len(tokens), model.order - 1
        content = [token for token in tokens if token not in (BLANK, UNK, SOS_EOS)]
        if not any((token,) in model.grams for token in content):
            some = ", ".join(content[:5])
            raise UserError(
                f"an n-gram model that has none of the output's tokens ({some} …)",
                "estimate it on transcripts of that output, in its units (stage 9)",
            )
        self.known = [token if (token,) in model.grams else UNKNOWN for token in tokens]
        said = [*self.known[:-1], END]  # what a token is called where it is predicted
        self.known[-1] = BEGIN  # and where it comes before
        index: dict[str, list[int]] = {}
        for i, token in enumerate(said):
            index.setdefault(token, []).append(i)
        self.backoff = {gram: weight for gram, (_, weight) in model.grams.items()}
        self.follow: dict[tuple[str, ...], tuple[list[int], list[float]]] = {(): ([], [])}
        for gram, (value, _) in model.grams.items():
            ids, values = self.follow.setdefault(gram[:-1], ([], []))
            for i in index.get(gram[-1], ()):
                ids.append(i)
                values.append(value)
        self.alone = np.full(self.size, -100.0)  # KenLM's, where a file has no <unk>
        self.alone[self.follow[()][0]] = self.follow[()][1]
        self.most = max(64, ROOM // (4 * self.size))
        self.table = torch.zeros(0, self.size)
        self._forget()

    def _forget(self) -> None:
        self.numbers: dict[tuple[str, ...], int] = {}
        self.rows: list[np.ndarray] = []
        self.table = self.table[:0]

    def start(self, states: torch.Tensor, lengths: torch.Tensor, width: int) -> None:
        """Begin a batch: encoder states (B, T, D), `width` hypotheses an utterance."""
        shape = len(states), width, self.reach
        self.history = torch.full(shape, NONE, dtype=torch.long, device=states.device)
        self.table = self.table.to(states)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """log10 probabilities (B, K, V) of what follows these last tokens (B, K)."""
        self.history = torch.cat([self.history[..., 1:], tokens.unsqueeze(-1)], -1)
        contexts = [
            self._context(tuple(self.known[i] for i in row if i != NONE))
            for row in self.history.flatten(0, 1).tolist()
        ]
        if len(self.numbers) + len(set(contexts) - self.numbers.keys()) > self.most:
            self._forget()
        rows = [self._number(context) for context in contexts]
        if len(self.rows) > len(self.table):
            new = torch.from_numpy(np.stack(self.rows[len(self.table) :])).to(self.history.device)
            self.table = torch.cat([self.table.to(new.device), new.to(self.table.dtype)])
        index = torch.tensor(rows, device=self.history.device)
        return self.table[index].unflatten(0, tokens.shape)

    def after(self, tokens: Sequence[int]) -> np.ndarray:
        """log10 probabilities (V,) of what follows a sequence that begins with sos; read-only."""
        context = self._context(tuple(self.known[i] for i in tokens[-self.reach :]))
        if context not in self.numbers and len(self.numbers) >= self.most:
            self._forget()
        return self.rows[self._number(context)]

    def reorder(self, parents: torch.Tensor) -> None:
        """Hypothesis k becomes a continuation of hypothesis parents[:, k] (B, K)."""
        index = parents.unsqueeze(-1).expand(-1, -1, self.reach)
        self.history = self.history.gather(1, index)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some utterances only."""
        self.history = self.history[rows]

    def _context(self, context: tuple[str, ...]) -> tuple[str, ...]:
        """The longest end of a context that the model knows anything about."""
        while context and context not in self.follow and context not in self.backoff:
            context = context[1:]
        return context

    def _number(self, context: tuple[str, ...]) -> int:
        if context not in self.numbers:
            self.numbers[context] = len(self.rows)
            self.rows.append(self._row(context))
        return self.numbers[context]

    def _row(self, context: tuple[str, ...]) -> np.ndarray:
        """What follows a context (V,): what the model has of it, else what a shorter one has."""
        if not context:
            return self.alone
        row = self._row(context[1:]) + np.float64(self.backoff.get(context, 0.0))
        ids, values = self.follow.get(context, ((), ()))
        row[list(ids)] = values
        return row
