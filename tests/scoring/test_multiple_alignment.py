"""Multiple alignment keeps all tokens in order and has minimum cost."""

import functools

from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.scoring.counts import align, count_edits
from espnet_ext.scoring.multiple_alignment import add_sequence

phones = st.lists(st.sampled_from("abc"), max_size=7)
batches = st.lists(st.tuples(phones, phones, phones), min_size=1, max_size=5)


def cost_of(columns):
    return sum(token != column[-1] for column in columns for token in column[:-1])


def minimum_cost(columns, tokens, width):
    """Try all alignments."""

    @functools.cache
    def remaining_cost(n, m):
        costs = []
        if n < len(columns):
            costs.append(sum(token is not None for token in columns[n]) + remaining_cost(n + 1, m))
        if m < len(tokens):
            costs.append(width + remaining_cost(n, m + 1))
        if n < len(columns) and m < len(tokens):
            costs.append(
                sum(token != tokens[m] for token in columns[n]) + remaining_cost(n + 1, m + 1)
            )
        return min(costs, default=0)

    return remaining_cost(0, 0)


def tokens_of(columns, field):
    return [column[field] for column in columns if column[field] is not None]


@given(batches)
def test_two_sequences_have_the_minimum_cost(batch):
    first, second, _ = map(list, zip(*batch, strict=True))
    aligned = add_sequence([[(token,) for token in tokens] for tokens in first], second)
    for a, b, columns, alignment in zip(first, second, aligned, align(first, second), strict=True):
        assert tokens_of(columns, 0) == a and tokens_of(columns, 1) == b
        assert cost_of(columns) == count_edits(alignment).errors


@given(batches)
def test_third_sequence_has_the_minimum_cost_to_both(batch):
    first, second, third = map(list, zip(*batch, strict=True))
    pairs = add_sequence([[(token,) for token in tokens] for tokens in first], second)
    for pair_columns, tokens, columns in zip(
        pairs, third, add_sequence(pairs, third, width=2), strict=True
    ):
        assert tokens_of(columns, 2) == tokens
        assert [c[:2] for c in columns if c[:2] != (None, None)] == pair_columns
        if pair_columns:
            assert cost_of(columns) == minimum_cost(pair_columns, tokens, 2)


@given(batches)
def test_batching_does_not_change_the_alignment(batch):
    first, second, third = map(list, zip(*batch, strict=True))
    pairs = add_sequence([[(token,) for token in tokens] for tokens in first], second)
    together = add_sequence(pairs, third, compare_with=[0], width=2)
    for pair_columns, tokens, columns in zip(pairs, third, together, strict=True):
        assert add_sequence([pair_columns], [tokens], compare_with=[0], width=2) == [columns]


def test_empty_sequences():
    assert add_sequence([], []) == []
    assert add_sequence([[], [("a",)]], [[], []]) == [[], [("a", None)]]
