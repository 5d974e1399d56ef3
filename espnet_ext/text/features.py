"""Phones and Hangul as IPA segments, and segments as articulatory features.

A segment is one sound: an affricate is one (t͡ʃ), a diphthong two (a ʊ). Its features are those of
PanPhon (`features.tsv`; Mortensen et al., COLING 2016): +1 present, -1 absent, 0 not specified.
The table is kept here because PanPhon itself takes seconds to load, brings pandas and a compiled
library without wheels for every Python, and passes silently over sounds needed here (ɝ, k͈).

Korean is transcribed letter by letter, broadly (Lee, Handbook of the IPA, 1999): what a text spells
is what is compared, so that a pronounced text gives sounds and a written one its underlying ones.
"""

import functools
from collections.abc import Iterable
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.text import hangul
from espnet_ext.text.phones import IPA

TABLE = Path(__file__).with_name("features.tsv")
_VALUES = {"+": 1, "-": -1, "0": 0}

Vector = tuple[int, ...]

_SPLIT = {
    "AW": ("a", "ʊ"),
    "AY": ("a", "ɪ"),
    "EY": ("e", "ɪ"),
    "OW": ("o", "ʊ"),
    "OY": ("ɔ", "ɪ"),
    "CH": ("t͡ʃ",),
    "JH": ("d͡ʒ",),
}
_OF_PHONE = {phone: _SPLIT.get(phone, (ipa,)) for phone, ipa in IPA.items()}

_LEAD = {
    **{"ㄱ": "k", "ㄲ": "k͈", "ㅋ": "kʰ", "ㄷ": "t", "ㄸ": "t͈", "ㅌ": "tʰ", "ㅂ": "p", "ㅃ": "p͈"},
    **{"ㅍ": "pʰ", "ㅈ": "t͡ɕ", "ㅉ": "t͡ɕ͈", "ㅊ": "t͡ɕʰ", "ㅅ": "s", "ㅆ": "s͈", "ㅎ": "h"},
    **{"ㄴ": "n", "ㅁ": "m", "ㄹ": "ɾ", "ㅇ": ""},
}
_TAIL = {**_LEAD, "ㅇ": "ŋ", "ㄹ": "l"}
_VOWEL = {
    **{"ㅏ": "a", "ㅐ": "ɛ", "ㅑ": "ja", "ㅒ": "jɛ", "ㅓ": "ʌ", "ㅔ": "e", "ㅕ": "jʌ"},
    **{"ㅖ": "je", "ㅗ": "o", "ㅘ": "wa", "ㅙ": "wɛ", "ㅚ": "we", "ㅛ": "jo"},
    **{"ㅜ": "u", "ㅝ": "wʌ", "ㅞ": "we", "ㅟ": "wi", "ㅠ": "ju", "ㅡ": "ɯ", "ㅢ": "ɰi", "ㅣ": "i"},
}


@functools.cache
def table() -> tuple[tuple[str, ...], dict[str, Vector]]:
    """The features' names, and every segment's values; read once.

    >>> names, vectors = table()
    >>> dict(zip(names, vectors["b"]))["voi"], dict(zip(names, vectors["p"]))["voi"]
    (1, -1)
    """
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    head, *rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return tuple(head[1:]), {name: tuple(map(_VALUES.get, values)) for name, *values in rows}


def vector_of(segment: str) -> Vector | None:
    """A segment's features, or None for one that the table has not.

    >>> len(vector_of("t͡ʃ")), vector_of("7")
    (24, None)
    """
    return table()[1].get(segment)


def segment_of(vector: Iterable[int]) -> str | None:
    """The segment with these features, or None; no two have the same.

    >>> segment_of(vector_of("ŋ"))
    'ŋ'
    """
    return _by_vector().get(tuple(vector))


@functools.cache
def _by_vector() -> dict[Vector, str]:
    return {vector: segment for segment, vector in table()[1].items()}


def phones_to_segments(text: str) -> list[str]:
    """A text of CMU phones as IPA segments; what is no phone stays as it is.

    >>> phones_to_segments("CH OW Z")
    ['t͡ʃ', 'o', 'ʊ', 'z']
    """
    return [segment for phone in text.split() for segment in _OF_PHONE.get(phone, (phone,))]


def segments_to_phones(segments: Iterable[str]) -> str:
    """The CMU phones of IPA segments, the longest first; `UserError` for what is no phone.

    Two vowels that make a diphthong are taken for it: AO IH comes back as OY.

    >>> segments_to_phones(["t͡ʃ", "o", "ʊ", "z"])
    'CH OW Z'
    """
    left, found = list(segments), []
    phone_of = {parts: phone for phone, parts in _OF_PHONE.items()}
    while left:
        two, one = tuple(left[:2]), tuple(left[:1])
        length = 2 if two in phone_of else 1
        if length == 1 and one not in phone_of:
            raise UserError(f"'{left[0]}' is no part of an English phone", "write IPA segments")
        found.append(phone_of[two if length == 2 else one])
        del left[:length]
    return " ".join(found)


def hangul_to_segments(text: str) -> list[str]:
    """A Korean text as IPA segments, spaces left out; what is not Hangul stands in angles.

    A lone letter is the sound that it begins a syllable with; ㅇ has none there.

    >>> hangul_to_segments("국물"), hangul_to_segments("좋아 ㅋb")
    (['k', 'u', 'k', 'm', 'u', 'l'], ['t͡ɕ', 'o', 'h', 'a', 'kʰ', '<b>'])
    """
    found: list[str] = []
    for char in text:
        if hangul.is_syllable(char):
            lead, vowel, tail = hangul.split(char)
            found += [_LEAD[lead], *_VOWEL[vowel]]
            found += [_TAIL[one] for one in hangul.CLUSTERS.get(tail, tail)]
        elif char in _VOWEL:
            found += _VOWEL[char]
        elif hangul.is_letter(char):
            found += [_LEAD[one] for one in hangul.CLUSTERS.get(char, char)]
        elif not char.isspace():
            found.append(f"<{char}>")  # not a segment of that name
    return [segment for segment in found if segment]
