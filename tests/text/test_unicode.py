"""The normal form of transcripts."""

import unicodedata

import pytest

from espnet_ext.text.unicode import is_normal, normalize


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("", ""),
        (" \t\n", ""),
        ("  물\u00a0좀\u3000주세요\r\n", "물 좀 주세요"),
        ("\ufeff값", "값"),  # a byte-order mark
        ("물\u200b좀", "물좀"),  # a zero-width space is no space
        ("\u1100\u200b\u1161", "가"),
        ("cafe\u0301", "café"),
        ("ㄱㅏ ㄳ", "ㄱㅏ ㄳ"),  # letters never merge
        ("\u1100", "ㄱ"),  # a conjoining lead, vowel, tail on its own
        ("\u1161", "ㅏ"),
        ("\u11aa가", "ㄳ가"),
        ("가\u11a8\u11ab", "각ㄴ"),
        ("नहीं\u200d", "नहीं\u200d"),  # joiners are spelling
    ],
)
def test_normal_form(text, normal):
    assert normalize(text) == normal
    assert is_normal(normal)
    assert is_normal(text) == (text == normal)


def test_decomposed_korean_comes_back_whole():
    text = "국물이 좋은 값싼 식당 ㄱ"
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text and not is_normal(decomposed)
    assert normalize(decomposed) == text
