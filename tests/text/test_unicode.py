"""Unicode normalisation of transcripts."""

import unicodedata

import pytest

from espnet_ext.text import hangul
from espnet_ext.text.unicode import NORMAL_FORM, is_normal, normalize


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("", ""),
        (" \t\n", ""),
        ("  물\u00a0좀\u3000주세요\r\n", "물 좀 주세요"),
        ("\ufeff값", "값"),  # a byte-order mark
        ("물\u200b좀", "물좀"),  # a zero-width space is dropped
        ("\u1100\u200b\u1161", "가"),
        ("cafe\u0301", "café"),
        ("ㄱㅏ ㄳ", "ㄱㅏ ㄳ"),  # letters never merge
        ("\u1100", "ㄱ"),  # a lone conjoining jamo becomes a letter
        ("\u1161", "ㅏ"),
        ("\u11aa가", "ㄳ가"),
        ("가\u11a8\u11ab", "각ㄴ"),
        ("\uffa1\uffc2\uffa4", "ㄱㅏㄴ"),  # half-width letters become letters and do not merge
        ("\uff34\uff36\uff12", "TV2"),  # full-width ASCII
        ("가\u3164나\u115f\u1161", "가나ㅏ"),  # fillers
        ("㉠ ㈎ ㆍ", "㉠ ㈎ ㆍ"),
        ("नहीं\u200d", "नहीं\u200d"),  # joiners stay
    ],
)
def test_normal_form(text, normal):
    assert normalize(text) == normal
    assert is_normal(normal)
    assert is_normal(text) == (text == normal)


def test_decomposed_korean_is_composed():
    text = "국물이 좋은 값싼 식당 ㄱ"
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text and not is_normal(decomposed)
    assert normalize(decomposed) == text


def test_half_width_letters_match_unicode_names():
    assert NORMAL_FORM == 2  # increase NORMAL_FORM when the cases above change
    for code in range(0xFFA1, 0xFFDD):
        name = unicodedata.name(chr(code), "")
        if name:
            letter = normalize(chr(code))
            assert hangul.is_letter(letter)
            assert unicodedata.name(letter) == name.replace("HALFWIDTH ", "")


@pytest.mark.parametrize("code", range(0x21, 0x7F))
def test_full_width_ascii(code):
    assert normalize(chr(code + 0xFEE0)) == chr(code)
