"""Alignment of three or more token sequences, by adding one sequence at a time.

A column holds one token or gap of every sequence. The next sequence is aligned with the columns of
the previous ones so that the sum of pairwise costs over all columns is minimal: 1 for a mismatch,
1 for a token next to a gap. All utterances are aligned together, by dynamic programming.

Symbols: B utterances, N columns, M tokens of the new sequence, F compared fields of a column.
"""

from collections.abc import Sequence

import numpy as np

GAP = None
_BATCH = 256  # utterances aligned together
_GAP_ID, _PADDING = -1, -2
# Moves of the alignment: column and token; column and gap; gap in all fields and token
_MATCH, _SKIP_COLUMN, _INSERT_TOKEN = 0, 1, 2

Column = tuple[str | None, ...]


def add_sequence(
    columns: Sequence[Sequence[Column]],
    sequences: Sequence[Sequence[str]],
    compare_with: Sequence[int] | None = None,
    width: int = 1,
) -> list[list[Column]]:
    """Align one more sequence with the columns of every utterance.

    Args:
        columns: the columns of each utterance, each with `width` fields.
        sequences: the new sequence of each utterance.
        compare_with: indices of the fields that the new tokens are compared with. None: all fields.
        width: number of fields.

    Returns:
        The columns of each utterance with `width` + 1 fields.

    >>> add_sequence([[("a",), ("b",), ("c",)]], [["b", "c", "d"]])
    [[('a', None), ('b', 'b'), ('c', 'c'), (None, 'd')]]
    """
    fields = range(width) if compare_with is None else compare_with
    result: list[list[Column]] = [[] for _ in columns]
    by_length = sorted(range(len(columns)), key=lambda i: (len(columns[i]), len(sequences[i])))
    for start in range(0, len(by_length), _BATCH):
        indices = by_length[start : start + _BATCH]
        aligned = _align_batch(
            [columns[i] for i in indices], [sequences[i] for i in indices], fields, width
        )
        for index, utterance_columns in zip(indices, aligned, strict=True):
            result[index] = utterance_columns
    return result


def _align_batch(
    columns: Sequence[Sequence[Column]],
    sequences: Sequence[Sequence[str]],
    fields: Sequence[int],
    width: int,
) -> list[list[Column]]:
    token_ids: dict[str, int] = {}

    def id_of(token: str | None) -> int:
        return _GAP_ID if token is None else token_ids.setdefault(token, len(token_ids))

    lengths = [(len(rows), len(tokens)) for rows, tokens in zip(columns, sequences, strict=True)]
    max_columns, max_tokens = (max(sizes) for sizes in zip(*lengths, strict=True))
    column_ids = np.full((len(columns), max_columns, len(fields)), _PADDING)  # (B, N, F)
    sequence_ids = np.full((len(columns), max_tokens), _PADDING)  # (B, M)
    for index, (rows, tokens) in enumerate(zip(columns, sequences, strict=True)):
        if rows:
            column_ids[index, : len(rows)] = [[id_of(row[f]) for f in fields] for row in rows]
        sequence_ids[index, : len(tokens)] = [id_of(token) for token in tokens]
    paths = _trace_back(_best_moves(column_ids, sequence_ids), lengths)
    return [
        _merge(rows, tokens, path, width)
        for rows, tokens, path in zip(columns, sequences, paths, strict=True)
    ]


def _best_moves(column_ids: np.ndarray, sequence_ids: np.ndarray) -> np.ndarray:
    """Return the last move of the best alignment up to each position, (N + 1, B, M + 1)."""
    batch, n_columns, n_fields = column_ids.shape
    n_tokens = sequence_ids.shape[1]
    skip_costs = (column_ids != _GAP_ID).sum(-1)  # (B, N): token of each field next to a gap
    insert_costs = np.arange(n_tokens + 1) * n_fields  # (M + 1,): gap of each field next to a token
    moves = np.full((n_columns + 1, batch, n_tokens + 1), _INSERT_TOKEN, np.int8)
    costs = np.broadcast_to(insert_costs, (batch, n_tokens + 1)).copy()
    for n in range(n_columns):
        mismatches = (column_ids[:, n, None] != sequence_ids[:, :, None]).sum(-1)  # (B, M)
        skip = costs + skip_costs[:, n, None]
        match = np.full_like(skip, np.iinfo(skip.dtype).max // 2)
        match[:, 1:] = costs[:, :-1] + mismatches
        best = np.minimum(match, skip)
        # the cheapest insertion is a running minimum over all positions to the left
        costs = np.minimum.accumulate(best - insert_costs, axis=1) + insert_costs
        moves[n + 1] = np.where(
            costs == match, _MATCH, np.where(costs == skip, _SKIP_COLUMN, _INSERT_TOKEN)
        )
    return moves


def _trace_back(moves: np.ndarray, lengths: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the moves of each utterance from start to end."""
    paths = []
    for index, (n, m) in enumerate(lengths):
        path = []
        while n or m:
            move = int(moves[n, index, m]) if n else _INSERT_TOKEN
            path.append(move)
            n -= move != _INSERT_TOKEN
            m -= move != _SKIP_COLUMN
        paths.append(path[::-1])
    return paths


def _merge(
    columns: Sequence[Column], tokens: Sequence[str], path: Sequence[int], width: int
) -> list[Column]:
    """Return the columns that a path of moves makes."""
    next_column, next_token = iter(columns), iter(tokens)
    gaps: Column = (GAP,) * width
    return [
        (
            *(gaps if move == _INSERT_TOKEN else next(next_column)),
            GAP if move == _SKIP_COLUMN else next(next_token),
        )
        for move in path
    ]
