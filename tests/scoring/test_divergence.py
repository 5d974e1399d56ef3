"""Distances between references: units, undefined distances, bins, origins."""

import random
import unicodedata

import pytest
from brute_force import edit_distance

from espnet_ext.errors import UserError
from espnet_ext.scoring import divergence
from espnet_ext.scoring.divergence import measure_references

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


@pytest.mark.parametrize(("unit", "form"), [("char", "NFC"), ("jamo", "NFD")])
def test_distances_match_brute_force_in_the_unit(unit, form):
    source = random.Random(1)
    texts = {
        str(i): {
            kind: "".join(source.choices("가나다 각낙", k=9)).strip()
            for kind in ("surface", "canonical", "meaning")
        }
        for i in range(40)
    }
    measured = measure_references(texts, WRITTEN, unit)
    assert set(measured.pairs) == {"surface-meaning", "surface-canonical", "canonical-meaning"}
    for name, rows in measured.pairs.items():
        compared, reference = name.split("-")
        for utt_id, distance in rows.items():
            a, b = (
                unicodedata.normalize(form, " ".join(texts[utt_id][kind].split()))
                for kind in (compared, reference)
            )
            assert distance.edits == edit_distance(a, b)
            assert distance.tokens == len(b)


def test_whole_distance_is_at_most_the_sum_of_parts():
    measured = measure_references(TEXTS, WRITTEN).pairs
    for utt_id, whole in measured["surface-meaning"].items():
        parts = (measured[n][utt_id].edits for n in ("surface-canonical", "canonical-meaning"))
        assert whole.edits <= sum(parts)


def test_origins_and_bins():
    measured = measure_references(TEXTS, WRITTEN)
    # e has a learner error for any meaning; the regular phonology of d is not known
    assert measured.bins["origin"] == {
        "a": "regular phonology only",
        "b": "learner error",
        "c": "neither",
        "e": "learner error",
    }
    assert set(measured.bins["distance"]) == {"a", "b", "c"}
    assert measured.bins["normalised"] == {"a": ">0.3", "b": ">0.3", "c": "0"}
    assert measured.main == "surface-meaning" and measured.lacks == {}


def test_no_distance_between_letters_and_phones():
    texts = {
        "a": {"surface": "S IY", "canonical": "S IH", "meaning": "see"},
        "b": {"surface": "S IY", "canonical": "S IY", "meaning": "see"},
    }
    measured = measure_references(texts, PHONES)
    assert set(measured.pairs) == {"surface-canonical"} == {measured.main}
    assert "no distance is defined" in measured.lacks["surface-meaning"]
    assert "no distance is defined" in measured.lacks["canonical-meaning"]
    assert measured.bins["origin"] == {"a": "learner error", "b": "no learner error"}
    assert divergence.bin_names("origin", measured) == ("no learner error", "learner error")


def test_reasons_for_missing_distances():
    texts = {"a": {"surface": "궁물", "meaning": "국물"}}
    measured = measure_references(texts, WRITTEN)
    assert measured.main == "surface-meaning" and "origin" not in measured.bins
    assert measured.lacks["surface-canonical"] == "no utterance has a canonical reference"
    unpaired = measure_references({"a": {"meaning": "국물"}, "b": {"surface": "궁물"}}, WRITTEN)
    assert unpaired.main is None and unpaired.bins == {}
    assert unpaired.lacks["surface-meaning"] == "no utterance has both surface and meaning"
    assert measure_references({}, WRITTEN).main is None


@pytest.mark.parametrize(
    ("types", "unit", "message"),
    [
        (PHONES, "char", "surface is phones"),
        (WRITTEN, "phone", "surface is written"),
        (WRITTEN, "word", "unknown unit"),
    ],
)
def test_invalid_unit_raises_user_error(types, unit, message):
    with pytest.raises(UserError, match=message):
        measure_references(TEXTS, types, unit)


def test_bin_edges():
    expected = {0: "0", 1: "1-3", 3: "1-3", 4: "4-10", 10: "4-10", 11: ">=11", 400: ">=11"}
    assert {d: divergence.distance_bin(d) for d in expected} == expected
    normalised = {
        (0, 7): "0",
        (1, 10): "<=0.1",
        (11, 100): "<=0.3",
        (3, 10): "<=0.3",
        (31, 100): ">0.3",
    }
    assert {k: divergence.normalised_bin(*k) for k in normalised} == normalised


def test_empty_reference_has_no_distance_per_token():
    measured = measure_references({"a": {"surface": "가", "meaning": ""}}, WRITTEN)
    assert measured.bins["distance"] == {"a": "1-3"} and measured.bins["normalised"] == {}


@pytest.mark.parametrize("types", [{"meaning": "char"}, {"surface": "phone"}])
def test_references_without_a_token_type_are_not_measured(types):
    """Phones against letters have no distance, also if only one of them is scored."""
    texts = {"a": {"surface": "S IY", "canonical": "S IY", "meaning": "see"}}
    measured = measure_references(texts, types)
    assert "surface-meaning" not in measured.pairs and "canonical-meaning" not in measured.pairs
    assert ("surface-canonical" in measured.pairs) is ("surface" in types)
    missing = "meaning" if "surface" in types else "surface"
    assert measured.lacks["surface-meaning"] == f"{missing} has no token type"
