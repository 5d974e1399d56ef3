"""Segments and features: complete, one to one, and PanPhon's own where that is installed."""

import itertools

import pytest

from espnet_ext.errors import UserError
from espnet_ext.text import features, hangul
from espnet_ext.text.phones import PHONES

NAMES, VECTORS = features.table()
# PanPhon has no ɝ, and reads the mark of glottalisation, not that of tenseness.
PANPHON = {"ɝ": "ɜ˞", **{s: s.replace("\u0348", "ʼ") for s in VECTORS if "\u0348" in s}}


def differing(one, other):
    pairs = zip(NAMES, features.vector_of(one), features.vector_of(other), strict=True)
    return {name for name, a, b in pairs if a != b}


def test_what_textbooks_say_of_pairs():
    for plain, voiced in (("p", "b"), ("t", "d"), ("k", "ɡ"), ("s", "z"), ("f", "v")):
        assert differing(plain, voiced) == {"voi"}
    for plain, aspirated in (("p", "pʰ"), ("t", "tʰ"), ("k", "kʰ"), ("t͡ɕ", "t͡ɕʰ")):
        assert differing(plain, aspirated) == {"sg"}
    for plain, tense in (("p", "p͈"), ("t", "t͈"), ("k", "k͈"), ("s", "s͈"), ("t͡ɕ", "t͡ɕ͈")):
        assert differing(plain, tense) == {"cg"}
    assert differing("m", "b") == {"son", "nas"}
    assert differing("i", "ɪ") == differing("e", "ɛ") == {"tense"}


def test_every_phone_and_syllable_has_features():
    for phone in PHONES:
        assert all(features.vector_of(s) for s in features.phones_to_segments(phone)), phone
    for syllable in map(chr, range(0xAC00, 0xD7A4)):
        segments = features.hangul_to_segments(syllable)
        assert segments and all(map(features.vector_of, segments)), syllable
    assert {s for p in PHONES for s in features.phones_to_segments(p)} | {
        s for c in map(chr, range(0xAC00, 0xD7A4)) for s in features.hangul_to_segments(c)
    } == set(VECTORS)  # and nothing is there that nothing needs


def test_vectors_and_segments_are_one_to_one():
    assert len(NAMES) == 24 and {len(v) for v in VECTORS.values()} == {24}
    assert {features.segment_of(v) for v in VECTORS.values()} == set(VECTORS)
    assert features.segment_of([0] * 24) is None


def test_phones_come_back():
    ambiguous = {("AO", "IH")}
    for pair in itertools.product(PHONES, repeat=2):
        text = " ".join(pair)
        back = features.segments_to_phones(features.phones_to_segments(text))
        assert back == text or pair in ambiguous
    assert features.segments_to_phones(features.phones_to_segments("AO IH")) == "OY"
    with pytest.raises(UserError, match="ɯ"):
        features.segments_to_phones(["ɯ"])


def test_phones_are_the_ipa_of_the_other_table():
    from espnet_ext.text.phones import to_ipa

    for phone in PHONES:
        joined = "".join(features.phones_to_segments(phone)).replace("\u0361", "")
        assert joined == to_ipa(phone)


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("값이", "k a p s i"),  # as written: underlying sounds
        ("갑씨", "k a p s͈ i"),  # as pronounced
        ("강아지", "k a ŋ a t͡ɕ i"),
        ("달라", "t a l ɾ a"),
        ("의자 왜", "ɰ i t͡ɕ a w ɛ"),
        ("ㅋ ㅏ ㅇ ㄳ", "kʰ a k s"),
        ("a7", "<a> <7>"),
    ],
)
def test_hangul(text, segments):
    assert features.hangul_to_segments(text) == segments.split()


def test_liaison_moves_no_sound():
    assert features.hangul_to_segments("음악이") == features.hangul_to_segments("으마기")


def test_all_letters_are_known():
    for letter in {*hangul.LEADS, *hangul.VOWELS, *hangul.TAILS} - {"", "ㅇ"}:
        assert all(map(features.vector_of, features.hangul_to_segments(letter))), letter


def test_the_table_is_panphons():
    panphon = pytest.importorskip("panphon", reason="the package panphon is not installed")
    table = panphon.FeatureTable()
    assert tuple(table.names) == NAMES
    for segment, vector in VECTORS.items():
        assert table.word_to_vector_list(PANPHON.get(segment, segment), numeric=True) == [
            list(vector)
        ], segment
