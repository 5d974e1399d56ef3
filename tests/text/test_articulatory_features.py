"""Segments and articulatory features, compared with PanPhon if it is installed."""

import itertools

import pytest

from espnet_ext.errors import UserError
from espnet_ext.text import articulatory_features as features
from espnet_ext.text import hangul
from espnet_ext.text.phones import PHONES, to_ipa

NAMES, VECTORS = features.table()
# Segments with another spelling in PanPhon: it has no ɝ, and writes tense consonants as glottalised
PANPHON_SPELLING = {"ɝ": "ɜ˞", **{s: s.replace("\u0348", "ʼ") for s in VECTORS if "\u0348" in s}}


def differing_features(segment1, segment2):
    pairs = zip(NAMES, features.vector_of(segment1), features.vector_of(segment2), strict=True)
    return {name for name, a, b in pairs if a != b}


def test_feature_differences_of_textbook_pairs():
    for plain, voiced in (("p", "b"), ("t", "d"), ("k", "ɡ"), ("s", "z"), ("f", "v")):
        assert differing_features(plain, voiced) == {"voi"}
    for plain, aspirated in (("p", "pʰ"), ("t", "tʰ"), ("k", "kʰ"), ("t͡ɕ", "t͡ɕʰ")):
        assert differing_features(plain, aspirated) == {"sg"}
    for plain, tense in (("p", "p͈"), ("t", "t͈"), ("k", "k͈"), ("s", "s͈"), ("t͡ɕ", "t͡ɕ͈")):
        assert differing_features(plain, tense) == {"cg"}
    assert differing_features("m", "b") == {"son", "nas"}
    assert differing_features("i", "ɪ") == differing_features("e", "ɛ") == {"tense"}


def test_every_phone_and_syllable_has_features():
    for phone in PHONES:
        assert all(features.vector_of(s) for s in features.phones_to_segments(phone)), phone
    for syllable in map(chr, range(0xAC00, 0xD7A4)):
        segments = features.hangul_to_segments(syllable)
        assert segments and all(map(features.vector_of, segments)), syllable
    assert {s for p in PHONES for s in features.phones_to_segments(p)} | {
        s for c in map(chr, range(0xAC00, 0xD7A4)) for s in features.hangul_to_segments(c)
    } == set(VECTORS)  # and the table has no unused segment


def test_vectors_identify_segments():
    assert len(NAMES) == 24 and {len(v) for v in VECTORS.values()} == {24}
    assert {features.segment_of(v) for v in VECTORS.values()} == set(VECTORS)
    assert features.segment_of([0] * 24) is None


def test_phones_round_trip():
    ambiguous = {("AO", "IH")}
    for pair in itertools.product(PHONES, repeat=2):
        text = " ".join(pair)
        back = features.segments_to_phones(features.phones_to_segments(text))
        assert back == text or pair in ambiguous
    assert features.segments_to_phones(features.phones_to_segments("AO IH")) == "OY"
    with pytest.raises(UserError, match="ɯ"):
        features.segments_to_phones(["ɯ"])


def test_segments_agree_with_the_ipa_of_phones():
    for phone in PHONES:
        joined = "".join(features.phones_to_segments(phone)).replace("\u0361", "")
        assert joined == to_ipa(phone)


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("값이", "k a p s i"),  # spelling: underlying sounds
        ("갑씨", "k a p s͈ i"),  # as pronounced
        ("강아지", "k a ŋ a t͡ɕ i"),
        ("달라", "t a l ɾ a"),
        ("의자 왜", "ɰ i t͡ɕ a w ɛ"),
        ("ㅋ ㅏ ㅇ ㄳ", "kʰ a k s"),
        ("a7", "<a> <7>"),
    ],
)
def test_hangul_to_segments(text, segments):
    assert features.hangul_to_segments(text) == segments.split()


def test_linked_spelling_has_the_same_segments():
    assert features.hangul_to_segments("음악이") == features.hangul_to_segments("으마기")


def test_every_letter_has_features():
    for letter in {*hangul.LEADS, *hangul.VOWELS, *hangul.TAILS} - {"", "ㅇ"}:
        assert all(map(features.vector_of, features.hangul_to_segments(letter))), letter


def test_table_equals_panphon():
    panphon = pytest.importorskip("panphon", reason="the package panphon is not installed")
    table = panphon.FeatureTable()
    assert tuple(table.names) == NAMES
    for segment, vector in VECTORS.items():
        assert table.word_to_vector_list(PANPHON_SPELLING.get(segment, segment), numeric=True) == [
            list(vector)
        ], segment
