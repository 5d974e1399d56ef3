"""Articulatory distances compared with their definition and with PanPhon."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.scoring.articulatory_distance import feature_distances, segmenter
from espnet_ext.text import articulatory_features as features

segments = st.lists(st.sampled_from([*features.table()[1], "<x>", "<7>"]), max_size=6)


def distance_by_definition(reference, hypothesis):
    def substitution(a, b):
        if a == b:
            return 0.0
        x, y = features.vector_of(a), features.vector_of(b)
        if x is None or y is None:
            return 1.0
        return sum(abs(i - j) / 2 for i, j in zip(x, y, strict=True)) / len(x)

    def insertion(a):
        vector = features.vector_of(a) or (1,)
        return sum(1.0 if value else 0.5 for value in vector) / len(vector)

    @functools.cache
    def remaining_cost(n, m):
        costs = []
        if n < len(reference):
            costs.append(insertion(reference[n]) + remaining_cost(n + 1, m))
        if m < len(hypothesis):
            costs.append(insertion(hypothesis[m]) + remaining_cost(n, m + 1))
        if n < len(reference) and m < len(hypothesis):
            costs.append(substitution(reference[n], hypothesis[m]) + remaining_cost(n + 1, m + 1))
        return min(costs, default=0.0)

    return remaining_cost(0, 0)


@given(st.lists(st.tuples(segments, segments), max_size=6))
def test_distances_match_the_definition(pairs):
    distances = feature_distances([r for r, _ in pairs], [h for _, h in pairs])
    assert distances == pytest.approx([distance_by_definition(*pair) for pair in pairs])


def test_batching_does_not_change_distances():
    words = ["S IY", "S IH T", "", "TH IH NG K", "D AH", "K AE T", "HH IY R"]
    pairs = [(a.split(), b.split()) for a in words for b in words] * 30  # several batches
    sides = [[features.phones_to_segments(" ".join(p[i])) for p in pairs] for i in (0, 1)]
    one_by_one = [feature_distances([a], [b])[0] for a, b in zip(*sides, strict=True)]
    assert feature_distances(*sides) == one_by_one


def test_similar_sounds_have_small_distances():
    th, s, m = ([x] for x in "θsm")
    assert feature_distances([th, th], [s, m])[0] < feature_distances([th, th], [s, m])[1] < 1


def test_segmenter_of_unsupported_text_is_none():
    assert segmenter(["see", "me"], "char") is None
    assert segmenter(["see 시"], "bpe")("시") == ["s", "i"]


def test_distances_match_panphon():
    distance = pytest.importorskip("panphon.distance", reason="panphon is not installed").Distance()
    segments_in_panphon = [s for s in features.table()[1] if "\u0348" not in s and s != "ɝ"]
    words = [
        segments_in_panphon[i : i + n]
        for n in (1, 3, 7)
        for i in range(0, len(segments_in_panphon) - n, 3)
    ]
    pairs = list(zip(words, reversed(words), strict=True))
    distances = feature_distances([a for a, _ in pairs], [b for _, b in pairs])
    expected = [distance.feature_edit_distance("".join(a), "".join(b)) for a, b in pairs]
    assert distances == pytest.approx(expected)
