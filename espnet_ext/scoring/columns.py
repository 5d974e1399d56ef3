"""Aligning more than two sequences: each further one to the columns of those before it.

A column holds a token of every sequence, or a gap. The next sequence goes where the sum of its
pairwise costs (a mismatch 1, a token against a gap 1) over the columns is least, so that all
comparisons in a column speak of the same place. All utterances are aligned at once.
Symbols: B utterances, N columns, M tokens.
"""

from collections.abc import Sequence

import numpy as np

GAP = None
CHUNK = 256  # utterances aligned together
_GAP, _PAD = -1, -2
_DIAGONAL, _SKIP, _INSERT = 0, 1, 2

Column = tuple[str | None, ...]


def join(
    columns: Sequence[Sequence[Column]],
    further: Sequence[Sequence[str]],
    beside: Sequence[int] | None = None,
    width: int = 1,
) -> list[list[Column]]:
    """The columns of every utterance with one more sequence in them.

    Args:
        columns: of each utterance, all with `width` fields.
        further: tokens of each utterance.
        beside: which fields of a column the new token is compared with; all without.

    >>> join([[("a",), ("b",), ("c",)]], [["b", "c", "d"]])
    [[('a', None), ('b', 'b'), ('c', 'c'), (None, 'd')]]
    """
    found: list[list[Column]] = [[] for _ in columns]
    order = sorted(range(len(columns)), key=lambda i: (len(columns[i]), len(further[i])))
    for start in range(0, len(order), CHUNK):
        chosen = order[start : start + CHUNK]
        part = _join([columns[i] for i in chosen], [further[i] for i in chosen], beside, width)
        for index, own in zip(chosen, part, strict=True):
            found[index] = own
    return found


def _join(columns, further, beside, width) -> list[list[Column]]:
    fields = range(width) if beside is None else beside
    numbers: dict[str, int] = {}

    def number(token: str | None) -> int:
        return _GAP if token is GAP else numbers.setdefault(token, len(numbers))

    most, longest = max(map(len, columns)), max(map(len, further))
    ours = np.full((len(columns), most, len(fields)), _PAD)
    theirs = np.full((len(columns), longest), _PAD)
    for row, (own, tokens) in enumerate(zip(columns, further, strict=True)):
        if own:
            ours[row, : len(own)] = [[number(column[f]) for f in fields] for column in own]
        theirs[row, : len(tokens)] = [number(token) for token in tokens]
    moves = _moves(ours, theirs)
    lengths = [(len(own), len(tokens)) for own, tokens in zip(columns, further, strict=True)]
    paths = _paths(moves, lengths)
    return [
        _columns(own, tokens, path, width)
        for own, tokens, path in zip(columns, further, paths, strict=True)
    ]


def _moves(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The best last move into every cell (N + 1, B, M + 1), by dynamic programming."""
    batch, most, fields = ours.shape
    longest = theirs.shape[1]
    skips = (ours != _GAP).sum(-1)  # (B, N) a gap in the new sequence
    steps = np.arange(longest + 1) * fields  # a new token beside gaps: one a field
    moves = np.full((most + 1, batch, longest + 1), _INSERT, np.int8)
    costs = np.broadcast_to(steps, (batch, longest + 1)).copy()
    for n in range(most):
        match = sum((ours[:, n, f, None] != theirs) for f in range(fields))  # (B, M)
        skip = costs + skips[:, n, None]
        diagonal = np.full_like(skip, np.iinfo(skip.dtype).max // 2)
        diagonal[:, 1:] = costs[:, :-1] + match
        best = np.minimum(diagonal, skip)
        # what an insertion gives is the best of all to the left, a token's cost further each
        costs = np.minimum.accumulate(best - steps, axis=1) + steps
        moves[n + 1] = np.where(
            costs == diagonal, _DIAGONAL, np.where(costs == skip, _SKIP, _INSERT)
        )
    return moves


def _paths(moves: np.ndarray, lengths: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The moves of each utterance from the start to its last cell."""
    paths = []
    for row, (n, m) in enumerate(lengths):
        path = []
        while n or m:
            move = int(moves[n, row, m]) if n else _INSERT
            path.append(move)
            n -= move != _INSERT
            m -= move != _SKIP
        paths.append(path[::-1])
    return paths


def _columns(own, tokens, path, width: int) -> list[Column]:
    here, there = iter(own), iter(tokens)
    gaps = (GAP,) * width
    return [
        (*(gaps if move == _INSERT else next(here)), GAP if move == _SKIP else next(there))
        for move in path
    ]
