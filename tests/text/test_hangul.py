"""Hangul arithmetic compared with unicodedata, for all 11,172 syllables."""

import unicodedata

import pytest

from espnet_ext.text import hangul

SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]


def test_decomposition_matches_unicode():
    for syllable in SYLLABLES:
        lead, vowel, tail = hangul.decompose(syllable)
        jamo = chr(0x1100 + lead) + chr(0x1161 + vowel) + (chr(0x11A7 + tail) if tail else "")
        assert jamo == unicodedata.normalize("NFD", syllable) == hangul.to_jamo(syllable)
        assert hangul.compose(lead, vowel, tail) == syllable
        assert hangul.join(*hangul.split(syllable)) == syllable
        assert hangul.from_jamo(jamo) == syllable


@pytest.mark.parametrize("position", ["lead", "vowel", "tail"])
def test_letters_and_jamo_match_unicode_names(position):
    # the names of the jamo ᄁ and the letter ㄲ end in the same word, SSANGKIYEOK
    word = {"lead": "CHOSEONG", "vowel": "JUNGSEONG", "tail": "JONGSEONG"}[position]
    letters = {"lead": hangul.LEADS, "vowel": hangul.VOWELS, "tail": hangul.TAILS[1:]}[position]
    for letter in letters:
        jamo = hangul.to_conjoining(letter, position)
        name = unicodedata.name(letter).removeprefix("HANGUL LETTER ")
        assert unicodedata.name(jamo) == f"HANGUL {word} {name}"
        assert hangul.to_letter(jamo) == letter


def test_letter_in_impossible_position_raises_value_error():
    wrong = [("ㄸ", "tail"), ("ㄳ", "lead"), ("ㅏ", "tail"), ("", "tail"), ("가", "lead")]
    for letter, position in wrong:
        with pytest.raises(ValueError, match="cannot be the"):
            hangul.to_conjoining(letter, position)


@pytest.mark.parametrize("wrong", ["", "ㄱ", "a", "가나", chr(0xABFF), chr(0xD7A4), "\u1100"])
def test_decompose_rejects_everything_but_one_syllable(wrong):
    assert not hangul.is_syllable(wrong)
    with pytest.raises(ValueError, match="not a Hangul syllable"):
        hangul.decompose(wrong)


@pytest.mark.parametrize("indices", [(-1, 0, 0), (19, 0, 0), (0, 21, 0), (0, 0, 28)])
def test_compose_rejects_indices_out_of_range(indices):
    with pytest.raises(ValueError, match="no Hangul syllable"):
        hangul.compose(*indices)


def test_letters_are_the_51_modern_letters():
    letters = [chr(code) for code in range(0x3000, 0x3200) if hangul.is_letter(chr(code))]
    assert letters == [chr(code) for code in range(0x3131, 0x3164)]
    assert not hangul.is_letter("")


def test_lone_letters_do_not_merge_into_syllables():
    assert hangul.from_jamo(hangul.to_jamo("가ㄴ ㄱㅏ")) == "가ㄴ ㄱㅏ"
