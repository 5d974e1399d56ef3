"""Sequences of units: repeats, text layout, up-sampling, augmentation."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.errors import UserError
from espnet_ext.units.sequences import (
    MAX_UNITS,
    drop_randomly,
    flatten_codes,
    mask_spans,
    remove_repeats,
    replace_randomly,
    text_to_units,
    units_to_text,
    upsample,
)

CODES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=30)


@given(CODES)
def test_repeats_are_removed_as_groupby_does(codes):
    expected = [key for key, _ in groupby(codes)]
    array = np.array(codes, dtype=int).reshape(-1, 2)
    assert [tuple(code) for code in remove_repeats(array).tolist()] == expected
    single = remove_repeats(array[:, 0]).tolist()
    assert single == [key for key, _ in groupby(code[0] for code in codes)]


@given(st.lists(st.integers(0, MAX_UNITS - 1), min_size=1, max_size=20))
def test_text_layout_is_reversible(units):
    text = units_to_text(units)
    assert text_to_units(text, MAX_UNITS, "f").tolist() == units
    assert text[0] == chr(0x4E00 + units[0])  # as in ESPnet's asr2.sh


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "text.rm.units:3: u1: has no units"),
        ("一丅", "text.rm.units:3: u1: unit 5 '丅'"),
        ("一a", "text.rm.units:3: u1: character 'a'"),
    ],
)
def test_text_that_is_not_units_raises_user_error(text, message):
    with pytest.raises(UserError, match=message):
        text_to_units(text, 5, "text.rm.units:3: u1")


def test_units_of_two_codebooks_have_separate_ranges():
    codes = np.array([[0, 0], [1, 2]])
    assert flatten_codes(codes, [2, 3]).tolist() == [0, 2, 1, 4]


@given(st.lists(st.integers(), max_size=10), st.sampled_from([1, 2, 4, 6]))
def test_upsampling_repeats_each_item(ids, factor):
    longer = upsample(ids, factor)
    assert longer[::factor] == ids
    assert len(longer) == factor * len(ids)


def test_shares_of_masked_replaced_and_dropped_ids():
    ids = [5] * 20000
    random = np.random.default_rng(0)
    assert mask_spans(ids, 0.0, 4, 2, random) == ids
    masked = mask_spans(ids, 0.2, 4, 2, random)
    assert set(masked) == {2, 5}
    # 1 − (1 − 0.05)⁴: spans overlap
    assert masked.count(2) / len(ids) == pytest.approx(0.1855, abs=0.02)
    spans = [len(list(group)) for key, group in groupby(masked) if key == 2]
    assert min(spans[:-1]) == 4
    replaced = replace_randomly(ids, 0.3, 10, 12, random)
    assert {i for i in replaced if i != 5} == {10, 11, 12}
    assert replaced.count(5) / len(ids) == pytest.approx(0.7, abs=0.02)
    assert len(drop_randomly(ids, 0.25, random)) / len(ids) == pytest.approx(0.75, abs=0.02)
    assert drop_randomly([7, 8], 1.0, random) == [7]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_share_outside_0_to_1_raises_user_error(share):
    with pytest.raises(UserError, match="share"):
        mask_spans([1], share, 1, 2, np.random.default_rng(0))


def test_upsampling_factor_below_1_raises_user_error():
    with pytest.raises(UserError, match="upsample 0"):
        upsample([1], 0)
