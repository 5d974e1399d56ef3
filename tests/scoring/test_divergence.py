"""Distances between references: units, what is undefined, bins, origins."""

import functools
import random
import unicodedata

import pytest

from espnet_ext.errors import UserError
from espnet_ext.scoring import divergence
from espnet_ext.scoring.divergence import measure

WRITTEN = {"surface": "jamo", "meaning": "char"}
PHONES = {"surface": "phone", "meaning": "char"}
TEXTS = {
    "a": {"surface": "궁물 조아요", "canonical": "궁물 조아요", "meaning": "국물 좋아요"},
    "b": {"surface": "군물", "canonical": "궁물", "meaning": "국물"},
    "c": {"surface": "나무", "canonical": "나무", "meaning": "나무"},
    "d": {"surface": "나무", "canonical": "나무"},
    "e": {"surface": "너무", "canonical": "나무"},
    "f": {"meaning": "나무"},
}


def levenshtein(one, other):
    @functools.cache
    def rest(n, m):
        if not n or not m:
            return n + m
        return min(
            rest(n - 1, m) + 1,
            rest(n, m - 1) + 1,
            rest(n - 1, m - 1) + (one[n - 1] != other[m - 1]),
        )

    return rest(len(one), len(other))


@pytest.mark.parametrize(("unit", "form"), [("char", "NFC"), ("jamo", "NFD")])
def test_edits_are_levenshteins_in_the_unit(unit, form):
    source = random.Random(1)
    texts = {
        str(i): {
            kind: "".join(source.choices("가나다 각낙", k=9)).strip()
            for kind in ("surface", "canonical", "meaning")
        }
        for i in range(40)
    }
    found = measure(texts, WRITTEN, unit)
    assert set(found.pairs) == {"surface-meaning", "surface-canonical", "canonical-meaning"}
    for name, rows in found.pairs.items():
        said, intended = name.split("-")
        for utt_id, distance in rows.items():
            one, other = (
                unicodedata.normalize(form, " ".join(texts[utt_id][kind].split()))
                for kind in (said, intended)
            )
            assert distance.edits == levenshtein(one, other)
            assert distance.tokens == len(other)


def test_parts_are_never_less_than_the_whole():
    found = measure(TEXTS, WRITTEN).pairs
    for utt_id, whole in found["surface-meaning"].items():
        parts = (found[n][utt_id].edits for n in ("surface-canonical", "canonical-meaning"))
        assert whole.edits <= sum(parts)


def test_origins_and_who_is_left_out():
    found = measure(TEXTS, WRITTEN)
    # e is an error whatever was meant; of d, regular phonology is not known
    assert found.places["origin"] == {
        "a": "regular phonology only",
        "b": "learner error",
        "c": "neither",
        "e": "learner error",
    }
    assert set(found.places["distance"]) == {"a", "b", "c"}
    assert found.places["normalised"] == {"a": ">0.3", "b": ">0.3", "c": "0"}
    assert found.main == "surface-meaning" and found.lacks == {}


def test_letters_and_phones_have_no_distance():
    texts = {
        "a": {"surface": "S IY", "canonical": "S IH", "meaning": "see"},
        "b": {"surface": "S IY", "canonical": "S IY", "meaning": "see"},
    }
    found = measure(texts, PHONES)
    assert set(found.pairs) == {"surface-canonical"} == {found.main}
    assert "no distance is defined" in found.lacks["surface-meaning"]
    assert "no distance is defined" in found.lacks["canonical-meaning"]
    assert found.places["origin"] == {"a": "learner error", "b": "no learner error"}
    assert divergence.labels_of("origin", found) == ("no learner error", "learner error")


def test_without_canonical_forms_it_is_said():
    texts = {"a": {"surface": "궁물", "meaning": "국물"}}
    found = measure(texts, WRITTEN)
    assert found.main == "surface-meaning" and "origin" not in found.places
    assert found.lacks["surface-canonical"] == "no utterance has a canonical reference"
    nothing = measure({"a": {"meaning": "국물"}, "b": {"surface": "궁물"}}, WRITTEN)
    assert nothing.main is None and nothing.places == {}
    assert nothing.lacks["surface-meaning"] == "no utterance has both surface and meaning"
    assert measure({}, WRITTEN).main is None


@pytest.mark.parametrize(
    ("types", "unit", "said"),
    [
        (PHONES, "char", "surface is phones"),
        (WRITTEN, "phone", "surface is written"),
        (WRITTEN, "word", "no unit"),
    ],
)
def test_units_that_the_texts_are_not_made_of(types, unit, said):
    with pytest.raises(UserError, match=said):
        measure(TEXTS, types, unit)


def test_edges_of_bins():
    whole = {0: "0", 1: "1-3", 3: "1-3", 4: "4-10", 10: "4-10", 11: ">=11", 400: ">=11"}
    assert {d: divergence.bin_of(d) for d in whole} == whole
    each = {(0, 7): "0", (1, 10): "<=0.1", (11, 100): "<=0.3", (3, 10): "<=0.3", (31, 100): ">0.3"}
    assert {k: divergence.normalised_bin_of(*k) for k in each} == each


def test_a_reference_without_tokens_has_no_distance_per_token():
    found = measure({"a": {"surface": "가", "meaning": ""}}, WRITTEN)
    assert found.places["distance"] == {"a": "1-3"} and found.places["normalised"] == {}
