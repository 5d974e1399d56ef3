"""Coupled decoding: of the n best of two outputs, the pair that fits best together.

What a learner says and what they mean are two views of one utterance. How well a surface and a
meaning fit is told by a memoryless stochastic transducer (Ristad & Yianilos, 1998) estimated from
training pairs: a pair is produced by edit operations, each of which writes a token of both, or of
one of them alone. Symbols: N pairs, X and Y tokens of meaning and surface, P and Q their kinds.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from espnet_ext.errors import UserError

WEIGHT = 0.3  # of a pair's consistency beside its scores, all in nats
NOTHING = 0  # the empty token, with which insertions and deletions pair
CHUNK = 512  # pairs estimated together
CELLS = 2_000_000  # of the tables of pairs held at once
FLOOR = 1e-6  # expected count of an operation that never occurs
NEVER = -1e30  # log probability of writing nothing at all; finite, so that gradients are


@dataclass(frozen=True)
class LearnerErrorModel:
    """Probabilities of edit operations between two outputs.

    Args:
        tokens: kinds of tokens of the two outputs, by output name; the empty one not among them.
        table: (P + 1, Q + 1) log probabilities; row and column 0 are the empty token.
    """

    tokens: Mapping[str, tuple[str, ...]]
    table: torch.Tensor

    @classmethod
    def estimate(
        cls, pairs: Mapping[str, Sequence[Sequence[str]]], rounds: int = 8
    ) -> "LearnerErrorModel":
        """Expectation maximisation over training pairs.

        Args:
            pairs: output → tokens of each pair, two outputs of the same number of pairs.
        """
        (first, rows), (second, columns) = pairs.items()
        if len(rows) != len(columns) or not rows:
            raise UserError(
                f"{len(rows)} transcripts of {first} and {len(columns)} of {second}",
                "give both of every pair, and at least one",
            )
        tokens = {first: _kinds(rows), second: _kinds(columns)}
        table = _start(len(tokens[first]), len(tokens[second]))
        ids = _numbers(rows, tokens[first]), _numbers(columns, tokens[second])
        for _ in range(rounds):
            counts = torch.full_like(table, FLOOR)
            for start in range(0, len(rows), CHUNK):
                counts += _expected(table, *(part[start : start + CHUNK] for part in ids))
            table = _logs(counts)
        return cls(tokens, table)

    def consistency(self, pairs: Mapping[str, Sequence[Sequence[str]]]) -> torch.Tensor:
        """How much likelier each pair is together than its two transcripts apart: (N,) in nats."""
        (first, rows), (second, columns) = ((name, pairs[name]) for name in self.tokens)
        x, y = _numbers(rows, self.tokens[first]), _numbers(columns, self.tokens[second])
        if not x:
            return torch.zeros(0, dtype=self.table.dtype)
        longest = (max(map(len, x)) + 1) * (max(map(len, y)) + 1)
        size = max(1, CELLS // longest)
        together = torch.cat(
            [
                _likelihood(self.table, x[i : i + size], y[i : i + size])
                for i in range(0, len(x), size)
            ]
        )
        alone = [
            torch.stack([single[one].sum() for one in ids])
            for single, ids in ((self._alone(1), x), (self._alone(0), y))
        ]
        return together - alone[0] - alone[1]

    def _alone(self, other: int) -> torch.Tensor:
        """Log probabilities of the tokens of one output, whatever the other has."""
        marginal = self.table.logsumexp(other)
        marginal[NOTHING] = NEVER
        return marginal.log_softmax(0)


Candidates = Sequence[tuple[Sequence[str], float]]  # tokens and score, best first


@dataclass(frozen=True)
class Coupling:
    """Ranks the n best of two outputs in pairs, by both scores and their consistency."""

    errors: LearnerErrorModel
    weight: float = WEIGHT

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.errors.tokens)

    def choose(
        self, first: Sequence[Candidates], second: Sequence[Candidates]
    ) -> list[tuple[int, int]]:
        """Which of the n best of the first and of the second output, for each utterance.

        Where one output has no candidate, the other keeps its best.
        """
        pairs: dict[str, list[Sequence[str]]] = {name: [] for name in self.outputs}
        for ours, theirs in zip(first, second, strict=True):
            for (one, _), (other, _) in itertools.product(ours, theirs):
                for name, tokens in zip(self.outputs, (one, other), strict=True):
                    pairs[name].append(tokens)
        consistency = self.errors.consistency(pairs)
        chosen = []
        for ours, theirs in zip(first, second, strict=True):
            own, consistency = consistency.tensor_split([len(ours) * len(theirs)])
            chosen.append(self._best(ours, theirs, own) if len(own) else (0, 0))
        return chosen

    def _best(self, ours: Candidates, theirs: Candidates, own: torch.Tensor) -> tuple[int, int]:
        one, other = (
            torch.tensor([score for _, score in nbest], dtype=torch.double)
            for nbest in (ours, theirs)
        )
        total = one[:, None] + other + self.weight * own.view(len(ours), len(theirs))
        best = int(total.argmax())
        return best // len(theirs), best % len(theirs)


def _kinds(transcripts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({token for transcript in transcripts for token in transcript}))


def _numbers(transcripts: Sequence[Sequence[str]], kinds: Sequence[str]) -> list[torch.Tensor]:
    """Token ids from 1; a token that no training pair has says nothing and is left out."""
    known = {kind: number for number, kind in enumerate(kinds, 1)}
    return [
        torch.tensor([known[token] for token in one if token in known], dtype=torch.long)
        for one in transcripts
    ]


def _start(rows: int, columns: int) -> torch.Tensor:
    """All operations alike, but that a token of both is likelier than two of one each."""
    table = torch.ones(rows + 1, columns + 1, dtype=torch.double)
    table[NOTHING] = table[:, NOTHING] = 0.1
    return _logs(table)


def _logs(counts: torch.Tensor) -> torch.Tensor:
    counts = counts.clone()
    counts[NOTHING, NOTHING] = 0.0
    table = (counts / counts.sum()).log()
    table[NOTHING, NOTHING] = NEVER
    return table


def _likelihood(table: torch.Tensor, x: Sequence, y: Sequence) -> torch.Tensor:
    """log probability of pairs (N,): the sum over all ways to edit one into the other."""
    x_lengths = torch.tensor([len(one) for one in x])
    y_lengths = torch.tensor([len(one) for one in y])
    xs = torch.nn.utils.rnn.pad_sequence(list(x), batch_first=True)
    ys = torch.nn.utils.rnn.pad_sequence(list(y), batch_first=True)
    deletes, inserts = table[xs, NOTHING], table[NOTHING, ys]  # (N, X), (N, Y)
    both = table[xs.unsqueeze(2), ys.unsqueeze(1)]  # (N, X, Y)
    start = torch.zeros(len(xs), 1, dtype=table.dtype)
    row = first = torch.cat([start, inserts.cumsum(1)], 1)  # (N, Y + 1): insertions alone
    ends = [row.gather(1, y_lengths.unsqueeze(1)).squeeze(1)]
    for i in range(xs.size(1)):
        enter = torch.logaddexp(
            row + deletes[:, i : i + 1],
            torch.nn.functional.pad(row[:, :-1] + both[:, i], (1, 0), value=NEVER),
        )
        # Insertions along the row: r(j) = log(exp r(j−1) · insert(j) + exp enter(j)).
        row = torch.logcumsumexp(enter - first, 1) + first
        ends.append(row.gather(1, y_lengths.unsqueeze(1)).squeeze(1))
    return torch.stack(ends, 1).gather(1, x_lengths.unsqueeze(1)).squeeze(1)


def _expected(table: torch.Tensor, x: Sequence, y: Sequence) -> torch.Tensor:
    """Expected number of times that each operation was used: the gradient of the likelihood."""
    leaf = table.clone().requires_grad_()
    with torch.enable_grad():
        (counts,) = torch.autograd.grad(_likelihood(leaf, x, y).sum(), leaf)
    return counts
