"""Columns of several sequences: nothing lost, order kept, costs the least there are."""

import functools

from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.scoring.columns import join
from espnet_ext.scoring.counts import align, counts_of

phones = st.lists(st.sampled_from("abc"), max_size=7)
batches = st.lists(st.tuples(phones, phones, phones), min_size=1, max_size=5)


def cost(columns):
    return sum(token != column[-1] for column in columns for token in column[:-1])


def least(columns, tokens, width):
    """By trying all ways."""

    @functools.cache
    def rest(n, m):
        ways = []
        if n < len(columns):
            ways.append(sum(token is not None for token in columns[n]) + rest(n + 1, m))
        if m < len(tokens):
            ways.append(width + rest(n, m + 1))
        if n < len(columns) and m < len(tokens):
            ways.append(sum(token != tokens[m] for token in columns[n]) + rest(n + 1, m + 1))
        return min(ways, default=0)

    return rest(0, 0)


def of(columns, field):
    return [column[field] for column in columns if column[field] is not None]


@given(batches)
def test_two_sequences_as_jiwer_aligns_them(batch):
    first, second, _ = map(list, zip(*batch, strict=True))
    found = join([[(token,) for token in tokens] for tokens in first], second)
    for a, b, columns, letters in zip(first, second, found, align(first, second), strict=True):
        assert of(columns, 0) == a and of(columns, 1) == b
        assert cost(columns) == counts_of(letters).errors


@given(batches)
def test_a_third_goes_where_it_fits_both_best(batch):
    first, second, third = map(list, zip(*batch, strict=True))
    pairs = join([[(token,) for token in tokens] for tokens in first], second)
    for own, tokens, columns in zip(pairs, third, join(pairs, third, width=2), strict=True):
        assert of(columns, 2) == tokens
        assert [c[:2] for c in columns if c[:2] != (None, None)] == own
        if own:
            assert cost(columns) == least(own, tokens, 2)


@given(batches)
def test_alone_and_together_are_the_same(batch):
    first, second, third = map(list, zip(*batch, strict=True))
    pairs = join([[(token,) for token in tokens] for tokens in first], second)
    together = join(pairs, third, beside=[0], width=2)
    for own, tokens, columns in zip(pairs, third, together, strict=True):
        assert join([own], [tokens], beside=[0], width=2) == [columns]


def test_nothing_at_all():
    assert join([], []) == []
    assert join([[], [("a",)]], [[], []]) == [[], [("a", None)]]
