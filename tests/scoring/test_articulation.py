"""Feature distances against the definition tried out in full, and against PanPhon's own."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.scoring.articulation import feature_distances, sounds_of
from espnet_ext.text import articulatory_features as features

segments = st.lists(st.sampled_from([*features.table()[1], "<x>", "<7>"]), max_size=6)


def by_definition(one, other):
    def exchange(a, b):
        if a == b:
            return 0.0
        x, y = features.vector_of(a), features.vector_of(b)
        if x is None or y is None:
            return 1.0
        return sum(abs(i - j) / 2 for i, j in zip(x, y, strict=True)) / len(x)

    def alone(a):
        vector = features.vector_of(a) or (1,)
        return sum(1.0 if value else 0.5 for value in vector) / len(vector)

    @functools.cache
    def rest(n, m):
        ways = []
        if n < len(one):
            ways.append(alone(one[n]) + rest(n + 1, m))
        if m < len(other):
            ways.append(alone(other[m]) + rest(n, m + 1))
        if n < len(one) and m < len(other):
            ways.append(exchange(one[n], other[m]) + rest(n + 1, m + 1))
        return min(ways, default=0.0)

    return rest(0, 0)


@given(st.lists(st.tuples(segments, segments), max_size=6))
def test_all_ways_tried(pairs):
    found = feature_distances([one for one, _ in pairs], [other for _, other in pairs])
    assert found == pytest.approx([by_definition(*pair) for pair in pairs])


def test_many_pairs_are_what_each_is_alone():
    words = ["S IY", "S IH T", "", "TH IH NG K", "D AH", "K AE T", "HH IY R"]
    pairs = [(a.split(), b.split()) for a in words for b in words] * 30  # several chunks
    sides = [[features.phones_to_segments(" ".join(p[i])) for p in pairs] for i in (0, 1)]
    alone = [feature_distances([a], [b])[0] for a, b in zip(*sides, strict=True)]
    assert feature_distances(*sides) == alone


def test_similar_sounds_are_near():
    th, s, m = ([x] for x in "θsm")
    assert feature_distances([th, th], [s, m])[0] < feature_distances([th, th], [s, m])[1] < 1


def test_what_has_no_sounds():
    assert sounds_of(["see", "me"], "char") is None
    assert sounds_of(["see 시"], "bpe")("시") == ["s", "i"]


def test_panphons_own_distance():
    distance = pytest.importorskip("panphon.distance", reason="panphon is not installed").Distance()
    known = [s for s in features.table()[1] if "\u0348" not in s and s != "ɝ"]
    words = [known[i : i + n] for n in (1, 3, 7) for i in range(0, len(known) - n, 3)]
    pairs = list(zip(words, reversed(words), strict=True))
    found = feature_distances([a for a, _ in pairs], [b for _, b in pairs])
    wanted = [distance.feature_edit_distance("".join(a), "".join(b)) for a, b in pairs]
    assert found == pytest.approx(wanted)
