"""Coupled re-ranking: choose the best pair of hypotheses from the n-best lists of two outputs.

A pair is ranked by the sum of its two scores and a weighted consistency: how much more probable the
two transcripts are together than independently of each other. The joint probability is given by a
memoryless stochastic transducer (Ristad & Yianilos, 1998), estimated from training pairs: edit
operations write a token of both transcripts (match or substitution) or of one of them (deletion or
insertion).

Symbols:
    N: pairs
    X, Y: tokens of the first and of the second transcript (such as meaning and surface)
    P, Q: token types of the first and of the second output
"""

import hashlib
import itertools
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_ext.errors import UserError
from espnet_ext.files import atomic_write
from espnet_ext.model.heads.search import RawHypothesis
from espnet_ext.model.heads.search_options import SearchOptions
from espnet_ext.progress import say, track
from espnet_ext.text.tokenizers import Tokenizer

CACHE_VERSION = 1  # of the estimation; raise it if the same pairs give another model
DEFAULT_WEIGHT = 0.3  # of the consistency; it and the scores are in nats
EMPTY = 0  # id of the empty token in deletions and insertions
PAIRS_PER_CHUNK = 512  # pairs per batch of the estimation
MAX_CELLS = 2_000_000  # N · X · Y per batch of `consistency`
COUNT_FLOOR = 1e-6  # added to the expected count of each operation
LOG_ZERO = -1e30  # log probability of the impossible; finite, so that gradients are finite


@dataclass(frozen=True)
class LearnerErrorModel:
    """Probabilities of edit operations between the transcripts of two outputs.

    Args:
        tokens: output → its token types, without the empty token; P and Q of them.
        table: (P + 1, Q + 1) log probabilities; row 0 and column 0 belong to the empty token.
    """

    tokens: Mapping[str, tuple[str, ...]]
    table: torch.Tensor

    @classmethod
    def estimate(
        cls, pairs: Mapping[str, Sequence[Sequence[str]]], rounds: int = 8
    ) -> "LearnerErrorModel":
        """Estimate the model by expectation maximisation (Ristad & Yianilos, 1998).

        Args:
            pairs: output → the tokens of each of its N transcripts, for two outputs.
            rounds: iterations.

        Raises:
            UserError: if the numbers of transcripts differ, or are 0.
        """
        (first, first_texts), (second, second_texts) = pairs.items()
        if len(first_texts) != len(second_texts) or not first_texts:
            raise UserError(
                f"{len(first_texts)} transcripts of {first} and {len(second_texts)} of {second}",
                "give the same number of transcripts for both outputs, at least one",
            )
        tokens = {first: _token_types(first_texts), second: _token_types(second_texts)}
        table = _initial_table(len(tokens[first]), len(tokens[second]))
        ids = zip(
            _token_ids(first_texts, tokens[first]),
            _token_ids(second_texts, tokens[second]),
            strict=True,
        )
        # Pairs of similar length share a batch, which then needs little padding.
        pairs_by_length = sorted(ids, key=lambda pair: (len(pair[0]), len(pair[1])))
        starts = range(0, len(pairs_by_length), PAIRS_PER_CHUNK)
        steps = [(number, start) for number in range(rounds) for start in starts]
        counts = torch.full_like(table, COUNT_FLOOR)
        for _, start in track(steps, "estimating the coupling", unit="batch"):
            x, y = zip(*pairs_by_length[start : start + PAIRS_PER_CHUNK], strict=True)
            counts += expected_counts(table, x, y)
            if start == starts[-1]:  # the end of a round
                table = _normalized_log(counts)
                counts = torch.full_like(table, COUNT_FLOOR)
        return cls(tokens, table)

    @classmethod
    def estimate_or_load(
        cls, pairs: Mapping[str, Sequence[Sequence[str]]], folder: Path
    ) -> "LearnerErrorModel":
        """Return the model of `estimate`; load it if the same pairs were estimated before.

        Args:
            pairs: as for `estimate`.
            folder: where the model is cached, as `.coupling-<digest of the pairs>.npz`. If it
                cannot be written, the model is estimated each time.
        """
        key = json.dumps([CACHE_VERSION, list(pairs.items())]).encode()
        path = folder / f".coupling-{hashlib.sha256(key).hexdigest()[:32]}.npz"
        try:
            with np.load(path) as arrays:
                return cls._parse(json.loads(str(arrays["tokens"])), arrays["table"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            say(f"warning: {path}: not readable, estimated again: {error}")
        model = cls.estimate(pairs)
        try:
            with atomic_write(path, "wb") as handle:
                np.savez(handle, tokens=json.dumps(model.tokens), table=model.table.numpy())
        except UserError as error:
            say(f"warning: the estimated coupling is not kept: {error.message}")
        return model

    @classmethod
    def _parse(cls, token_types: Any, log_probs: np.ndarray) -> "LearnerErrorModel":
        """Return a model that `estimate_or_load` has written; raise `ValueError` if it is none."""
        tokens = {name: tuple(types) for name, types in dict(token_types).items()}
        table = torch.from_numpy(log_probs.astype(np.float64))
        sizes = tuple(len(types) + 1 for types in tokens.values())
        if len(tokens) != 2 or table.shape != sizes or not table.isfinite().all():
            raise ValueError("not a model of two outputs")
        return cls(tokens, table)

    def consistency(self, pairs: Mapping[str, Sequence[Sequence[str]]]) -> torch.Tensor:
        """Return log P(x, y) − log P(x) − log P(y) of each pair, (N,) in nats.

        Tokens that did not occur in the training pairs are ignored.

        Args:
            pairs: output → the tokens of each of its N transcripts.
        """
        first, second = self.tokens
        x = _token_ids(pairs[first], self.tokens[first])
        y = _token_ids(pairs[second], self.tokens[second])
        if not x:
            return torch.zeros(0, dtype=self.table.dtype)
        max_cells_per_pair = (max(map(len, x)) + 1) * (max(map(len, y)) + 1)
        size = max(1, MAX_CELLS // max_cells_per_pair)
        joint = torch.cat(
            [
                log_likelihood(self.table, x[start : start + size], y[start : start + size])
                for start in range(0, len(x), size)
            ]
        )
        x_log_probs, y_log_probs = self._marginal(sum_over=1), self._marginal(sum_over=0)
        x_alone = torch.stack([x_log_probs[ids].sum() for ids in x])
        y_alone = torch.stack([y_log_probs[ids].sum() for ids in y])
        return joint - x_alone - y_alone

    def _marginal(self, sum_over: int) -> torch.Tensor:
        """Return the log probabilities of one output's tokens: (P + 1,), or (Q + 1,)."""
        marginal = self.table.logsumexp(sum_over)
        marginal[EMPTY] = LOG_ZERO
        return marginal.log_softmax(0)


Candidates = Sequence[tuple[Sequence[str], float]]  # n-best list: tokens and score, best first


@dataclass(frozen=True)
class Coupling:
    """Ranks the pairs of two n-best lists by both scores and their consistency.

    Args:
        errors: model of the two outputs.
        weight: weight of the consistency.
    """

    errors: LearnerErrorModel
    weight: float = DEFAULT_WEIGHT

    @classmethod
    def fit(
        cls,
        texts: Mapping[str, Sequence[str]],
        tokenizers: Mapping[str, Tokenizer],
        options: Mapping[str, SearchOptions],
        weight: float = DEFAULT_WEIGHT,
        cache: Path | None = None,
    ) -> "Coupling":
        """Return the coupling of two outputs.

        Args:
            texts: two outputs → their transcripts of the same training utterances.
            tokenizers, options: tokenizer and search options by output.
            weight: weight of the consistency.
            cache: folder where the estimated model is kept; None: it is not.
        """
        if len(texts) != 2:
            raise UserError(f"coupling of {len(texts)} outputs", "give the transcripts of two")
        check_weight(weight, "coupling weight")
        if all(options[name].nbest == 1 for name in texts):
            raise UserError("coupling of n-best lists with one hypothesis", "give nbest=10")
        pairs = {
            name: [tokenizers[name].encode(text) for text in transcripts]
            for name, transcripts in texts.items()
        }
        if cache is None:
            return cls(LearnerErrorModel.estimate(pairs), weight)
        return cls(LearnerErrorModel.estimate_or_load(pairs, cache), weight)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The two outputs, in the order of `choose`."""
        return tuple(self.errors.tokens)

    def choose(
        self, first: Sequence[Candidates], second: Sequence[Candidates]
    ) -> list[tuple[int, int]]:
        """Return the indices of the best pair of each utterance.

        If one of the lists is empty, the pair is (0, 0): the other output keeps its best.

        Args:
            first: n-best lists of the first output, one per utterance.
            second: those of the second output.
        """
        pairs: dict[str, list[Sequence[str]]] = {name: [] for name in self.outputs}
        for first_nbest, second_nbest in zip(first, second, strict=True):
            for candidates in itertools.product(first_nbest, second_nbest):
                for name, (tokens, _) in zip(self.outputs, candidates, strict=True):
                    pairs[name].append(tokens)
        sizes = [len(a) * len(b) for a, b in zip(first, second, strict=True)]
        consistencies = self.errors.consistency(pairs).split(sizes)
        return [
            self._best_pair(first_nbest, second_nbest, consistency) if len(consistency) else (0, 0)
            for first_nbest, second_nbest, consistency in zip(
                first, second, consistencies, strict=True
            )
        ]

    def rerank(
        self,
        nbest_lists: Mapping[str, list[list[RawHypothesis]]],
        tokens: Mapping[str, Sequence[str]],
        options: Mapping[str, SearchOptions],
    ) -> None:
        """Move the best pair of each utterance to the front of the two n-best lists.

        Args:
            nbest_lists: output → one n-best list per utterance.
            tokens: token list by output.
            options: search options by output.
        """
        first, second = (
            [_candidates(nbest, tokens[name], options[name]) for nbest in nbest_lists[name]]
            for name in self.outputs
        )
        pairs = self.choose(first, second)
        for name, indices in zip(self.outputs, zip(*pairs, strict=True), strict=True):
            for nbest, index in zip(nbest_lists[name], indices, strict=True):
                if nbest:
                    nbest.insert(0, nbest.pop(index))

    def _best_pair(
        self, first_nbest: Candidates, second_nbest: Candidates, consistency: torch.Tensor
    ) -> tuple[int, int]:
        first_scores, second_scores = (
            torch.tensor([score for _, score in nbest], dtype=torch.double)
            for nbest in (first_nbest, second_nbest)
        )
        consistency = consistency.view(len(first_nbest), len(second_nbest))
        total = first_scores[:, None] + second_scores + self.weight * consistency
        best = int(total.argmax())
        return best // len(second_nbest), best % len(second_nbest)


def check_weight(weight: Any, name: str) -> None:
    """Raise a `UserError` if the weight of a model is not a finite number, 0 or more."""
    is_number = isinstance(weight, Real) and not isinstance(weight, bool)
    if not is_number or not 0 <= weight < float("inf"):
        raise UserError(f"{name} {weight!r}", "give a number, 0 or more")


def _candidates(
    nbest: Sequence[RawHypothesis], tokens: Sequence[str], options: SearchOptions
) -> Candidates:
    """Return the tokens and scores of an n-best list for re-ranking.

    With `normalize_length`, the search ranks by score per token. To be added to another score, it
    is multiplied by the length of the best hypothesis.
    """
    candidates = []
    for hypothesis in nbest:
        score = hypothesis.score
        if options.normalize_length:
            score = score / (len(hypothesis.token_ids) + 1) * (len(nbest[0].token_ids) + 1)
        candidates.append(([tokens[i] for i in hypothesis.token_ids], score))
    return candidates


def _token_types(transcripts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({token for transcript in transcripts for token in transcript}))


def _token_ids(
    transcripts: Sequence[Sequence[str]], token_types: Sequence[str]
) -> list[torch.Tensor]:
    """Return token ids, counted from 1; unknown tokens are left out."""
    id_of = {token: i for i, token in enumerate(token_types, 1)}
    return [
        torch.tensor([id_of[token] for token in tokens if token in id_of], dtype=torch.long)
        for tokens in transcripts
    ]


def _initial_table(num_first: int, num_second: int) -> torch.Tensor:
    """Return a table in which matches and substitutions are ten times as probable as the others."""
    counts = torch.ones(num_first + 1, num_second + 1, dtype=torch.double)
    counts[EMPTY] = counts[:, EMPTY] = 0.1
    return _normalized_log(counts)


def _normalized_log(counts: torch.Tensor) -> torch.Tensor:
    """Return log probabilities; an operation that writes nothing is impossible."""
    counts = counts.clone()
    counts[EMPTY, EMPTY] = 0.0
    table = (counts / counts.sum()).log()
    table[EMPTY, EMPTY] = LOG_ZERO
    return table


def log_likelihood(
    table: torch.Tensor, x: Sequence[torch.Tensor], y: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return log P(x, y) of pairs of token ids (N,), summed over all sequences of edit operations.

    It is the forward algorithm of Ristad & Yianilos (1998), one row of the lattice at a time.
    """
    x_lengths = torch.tensor([len(ids) for ids in x])
    y_lengths = torch.tensor([len(ids) for ids in y])
    x_ids = torch.nn.utils.rnn.pad_sequence(list(x), batch_first=True)  # (N, X)
    y_ids = torch.nn.utils.rnn.pad_sequence(list(y), batch_first=True)  # (N, Y)
    deletions, insertions = table[x_ids, EMPTY], table[EMPTY, y_ids]  # (N, X), (N, Y)
    substitutions = table[x_ids.unsqueeze(2), y_ids.unsqueeze(1)]  # (N, X, Y)
    zero = torch.zeros(len(x_ids), 1, dtype=table.dtype)
    insertion_sums = torch.cat([zero, insertions.cumsum(1)], 1)  # (N, Y + 1)
    row = insertion_sums  # (N, Y + 1) forward variables of a prefix of x; now of the empty one
    ends = [row.gather(1, y_lengths.unsqueeze(1)).squeeze(1)]
    for i in range(x_ids.size(1)):
        without_insertion = torch.logaddexp(
            row + deletions[:, i : i + 1],
            torch.nn.functional.pad(row[:, :-1] + substitutions[:, i], (1, 0), value=LOG_ZERO),
        )
        # row(j) = log(exp row(j−1) · P(insertion of y_j) + exp without_insertion(j)), solved by a
        # cumulative sum.
        row = torch.logcumsumexp(without_insertion - insertion_sums, 1) + insertion_sums
        ends.append(row.gather(1, y_lengths.unsqueeze(1)).squeeze(1))
    return torch.stack(ends, 1).gather(1, x_lengths.unsqueeze(1)).squeeze(1)


def expected_counts(
    table: torch.Tensor, x: Sequence[torch.Tensor], y: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return the expected count of each operation (P + 1, Q + 1).

    It is the gradient of the log-likelihood with respect to the log probabilities.
    """
    leaf = table.clone().requires_grad_()
    with torch.enable_grad():
        (counts,) = torch.autograd.grad(log_likelihood(leaf, x, y).sum(), leaf)
    return counts
