"""Hangul arithmetic against Unicode's own tables (unicodedata), over all 11,172 syllables."""

import unicodedata

import pytest

from espnet_ext.text import hangul

SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]


def test_decomposition_is_unicodes():
    for syllable in SYLLABLES:
        lead, vowel, tail = hangul.decompose(syllable)
        jamo = chr(0x1100 + lead) + chr(0x1161 + vowel) + (chr(0x11A7 + tail) if tail else "")
        assert jamo == unicodedata.normalize("NFD", syllable) == hangul.to_jamo(syllable)
        assert hangul.compose(lead, vowel, tail) == syllable
        assert hangul.join(*hangul.split(syllable)) == syllable
        assert hangul.from_jamo(jamo) == syllable


@pytest.mark.parametrize("position", ["lead", "vowel", "tail"])
def test_letters_and_jamo_agree_with_unicodes_names(position):
    # Unicode names ᄁ SSANGKIYEOK in the standard's own romanisation, and the letter ㄲ likewise.
    word = {"lead": "CHOSEONG", "vowel": "JUNGSEONG", "tail": "JONGSEONG"}[position]
    letters = {"lead": hangul.LEADS, "vowel": hangul.VOWELS, "tail": hangul.TAILS[1:]}[position]
    for letter in letters:
        jamo = hangul.to_conjoining(letter, position)
        name = unicodedata.name(letter).removeprefix("HANGUL LETTER ")
        assert unicodedata.name(jamo) == f"HANGUL {word} {name}"
        assert hangul.to_letter(jamo) == letter


def test_a_letter_that_cannot_stand_there():
    wrong = [("ㄸ", "tail"), ("ㄳ", "lead"), ("ㅏ", "tail"), ("", "tail"), ("가", "lead")]
    for letter, position in wrong:
        with pytest.raises(ValueError, match="cannot be the"):
            hangul.to_conjoining(letter, position)


@pytest.mark.parametrize("wrong", ["", "ㄱ", "a", "가나", chr(0xABFF), chr(0xD7A4), "\u1100"])
def test_only_one_syllable_decomposes(wrong):
    assert not hangul.is_syllable(wrong)
    with pytest.raises(ValueError, match="not a Hangul syllable"):
        hangul.decompose(wrong)


@pytest.mark.parametrize("indices", [(-1, 0, 0), (19, 0, 0), (0, 21, 0), (0, 0, 28)])
def test_no_syllable_outside_the_tables(indices):
    with pytest.raises(ValueError, match="no Hangul syllable"):
        hangul.compose(*indices)


def test_letters_are_the_51_modern_ones():
    letters = [chr(code) for code in range(0x3000, 0x3200) if hangul.is_letter(chr(code))]
    assert letters == [chr(code) for code in range(0x3131, 0x3164)]
    assert not hangul.is_letter("")


def test_lone_letters_are_not_taken_into_syllables():
    assert hangul.from_jamo(hangul.to_jamo("가ㄴ ㄱㅏ")) == "가ㄴ ㄱㅏ"
