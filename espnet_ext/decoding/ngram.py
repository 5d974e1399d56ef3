"""N-gram language models as scorers for shallow fusion.

Scores are logarithms to base 10, as in ESPnet's n-gram scorer, so that weights tuned for it can be
reused. Unlike there, eos is scored as the model's </s>; ESPnet looks up `<sos/eos>`, which is not a
word of any model.

Symbols:
    B: utterances
    K: hypotheses per utterance (beam size)
    N: order of the model
    V: vocabulary size
"""

from collections.abc import Sequence

import numpy as np
import torch

from espnet_ext.errors import UserError
from espnet_ext.text.ngram import BEGIN, END, UNKNOWN, Ngrams
from espnet_ext.text.tokenizers import BLANK, SOS_EOS, UNK

CACHE_BYTES = 64_000_000  # memory for rows of scores
MISSING_UNK_LOG10 = -100.0  # KenLM's log10 probability of <unk> if an ARPA file does not list it
ZERO_LOG10 = -99.0  # ARPA files write this and lower values for a probability of 0
NO_TOKEN = -1  # history before the first token

Context = tuple[str, ...]


class NgramScorer:
    """A scorer (see `scorers.Scorer`) that caches one row of V scores per context.

    Args:
        model: n-gram model over tokens.
        tokens: token list of the output (V); the last token is sos and eos.

    Raises:
        UserError: if the model knows none of the tokens.
    """

    def __init__(self, model: Ngrams, tokens: Sequence[str]):
        self.vocab_size, self.context_size = len(tokens), model.order - 1
        content = [token for token in tokens if token not in (BLANK, UNK, SOS_EOS)]
        if not any((token,) in model.grams for token in content):
            examples = ", ".join(content[:5])
            raise UserError(
                f"the n-gram model has none of the output's tokens ({examples} …)",
                "estimate it on transcripts of this output, in its token type (stage 9)",
            )
        words = [token if (token,) in model.grams else UNKNOWN for token in tokens]
        # The last token is <s> in a context, and </s> where it is predicted.
        self.context_words = [*words[:-1], BEGIN]
        predicted_words = [*words[:-1], END]
        ids_of_word: dict[str, list[int]] = {}
        for i, word in enumerate(predicted_words):
            ids_of_word.setdefault(word, []).append(i)
        self.backoffs = {gram: backoff for gram, (_, backoff) in model.grams.items()}
        # Context → ids of the tokens that the model lists after it, and their log10 probabilities.
        self.listed: dict[Context, tuple[list[int], list[float]]] = {(): ([], [])}
        for gram, (log_prob, _) in model.grams.items():
            ids, log_probs = self.listed.setdefault(gram[:-1], ([], []))
            for i in ids_of_word.get(gram[-1], ()):
                ids.append(i)
                log_probs.append(log_prob)
        self.unigrams = np.full(self.vocab_size, MISSING_UNK_LOG10)
        unigram_ids, unigram_log_probs = self.listed[()]
        self.unigrams[unigram_ids] = unigram_log_probs
        self.impossible_tokens = [  # a negative weight would reward them
            token
            for token, log_prob in zip(tokens, self.unigrams, strict=True)
            if log_prob <= ZERO_LOG10 and token not in (BLANK, UNK)
        ]
        self.max_rows = max(64, CACHE_BYTES // (4 * self.vocab_size))
        self.table = torch.zeros(0, self.vocab_size)  # `rows` as a tensor on the search's device
        self._clear_cache()

    def _clear_cache(self) -> None:
        self.row_of_context: dict[Context, int] = {}
        self.rows: list[np.ndarray] = []  # (V,) each
        self.table = self.table[:0]

    def start(self, encoder_out: torch.Tensor, lengths: torch.Tensor, beam_size: int) -> None:
        """Begin a batch; of the encoder output (B, T, D) only size, type and device matter."""
        shape = len(encoder_out), beam_size, self.context_size
        self.history = torch.full(  # (B, K, N − 1)
            shape, NO_TOKEN, dtype=torch.long, device=encoder_out.device
        )
        self.table = self.table.to(encoder_out)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return log10 probabilities (B, K, V) of the next token, given the last tokens (B, K)."""
        self.history = torch.cat([self.history[..., 1:], tokens.unsqueeze(-1)], -1)
        contexts = [
            self._known_suffix(tuple(self.context_words[i] for i in ids if i != NO_TOKEN))
            for ids in self.history.flatten(0, 1).tolist()
        ]
        if len(self.rows) + len(set(contexts) - self.row_of_context.keys()) > self.max_rows:
            self._clear_cache()
        row_numbers = [self._row_number(context) for context in contexts]
        if len(self.rows) > len(self.table):
            new_rows = torch.from_numpy(np.stack(self.rows[len(self.table) :]))
            new_rows = new_rows.to(self.history.device).to(self.table.dtype)
            self.table = torch.cat([self.table.to(new_rows.device), new_rows])
        index = torch.tensor(row_numbers, device=self.history.device)
        return self.table[index].unflatten(0, tokens.shape)

    def scores_after(self, tokens: Sequence[int]) -> np.ndarray:
        """Return log10 probabilities (V,) of the token after `tokens`, ids that begin with sos.

        The array is cached and must not be changed.
        """
        context = self._known_suffix(
            tuple(self.context_words[i] for i in tokens[-self.context_size :])
        )
        if context not in self.row_of_context and len(self.rows) >= self.max_rows:
            self._clear_cache()
        return self.rows[self._row_number(context)]

    def reorder(self, parents: torch.Tensor) -> None:
        """Let hypothesis k continue hypothesis parents[:, k]; parents: (B, K)."""
        index = parents.unsqueeze(-1).expand(-1, -1, self.context_size)
        self.history = self.history.gather(1, index)

    def keep(self, rows: torch.Tensor) -> None:
        """Continue with the utterances `rows` only."""
        self.history = self.history[rows]

    def _known_suffix(self, context: Context) -> Context:
        """Return the longest suffix of a context that occurs in the model."""
        while context and context not in self.listed and context not in self.backoffs:
            context = context[1:]
        return context

    def _row_number(self, context: Context) -> int:
        """Return where the scores after a context are in `rows`; compute them if necessary."""
        if context not in self.row_of_context:
            self.row_of_context[context] = len(self.rows)
            self.rows.append(self._compute_row(context))
        return self.row_of_context[context]

    def _compute_row(self, context: Context) -> np.ndarray:
        """Return log10 P(token | context) (V,): as listed, else backed off to a shorter context."""
        if not context:
            return self.unigrams
        backoff = np.float64(self.backoffs.get(context, 0.0))
        row = self._compute_row(context[1:]) + backoff
        ids, log_probs = self.listed.get(context, ((), ()))
        row[list(ids)] = log_probs
        return row
