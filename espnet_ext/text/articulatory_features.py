"""Phones and Hangul as IPA segments, and articulatory features of segments.

A segment is one sound. An affricate is one segment (t͡ʃ), a diphthong two (a ʊ). A segment has 24
features from PanPhon (Mortensen et al., COLING 2016): +1 present, -1 absent, 0 not specified. The
values are in `articulatory_features.tsv` and not read from the package panphon, because panphon
takes seconds to import, needs pandas and a compiled library without wheels for every Python, and
silently ignores segments that are needed here (ɝ, k͈).

Hangul is transcribed letter by letter in a broad transcription (Lee, Handbook of the IPA, 1999).
The letters are taken as they are: a pronounced form (see `korean`) gives the sounds, an ordinary
spelling gives the underlying sounds.
"""

import functools
from collections.abc import Iterable
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.text import hangul
from espnet_ext.text.phones import IPA

TABLE = Path(__file__).with_name("articulatory_features.tsv")
_VALUES = {"+": 1, "-": -1, "0": 0}

Vector = tuple[int, ...]

_AFFRICATES_AND_DIPHTHONGS = {
    "AW": ("a", "ʊ"),
    "AY": ("a", "ɪ"),
    "EY": ("e", "ɪ"),
    "OW": ("o", "ʊ"),
    "OY": ("ɔ", "ɪ"),
    "CH": ("t͡ʃ",),
    "JH": ("d͡ʒ",),
}
_PHONE_SEGMENTS = {
    phone: _AFFRICATES_AND_DIPHTHONGS.get(phone, (ipa,)) for phone, ipa in IPA.items()
}

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
    """Return the names of the features, and segment → feature values.

    >>> names, vectors = table()
    >>> dict(zip(names, vectors["b"]))["voi"], dict(zip(names, vectors["p"]))["voi"]
    (1, -1)
    """
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    header, *rows = (line.split("\t") for line in lines if not line.startswith("#"))
    vectors = {segment: tuple(_VALUES[value] for value in values) for segment, *values in rows}
    return tuple(header[1:]), vectors


def vector_of(segment: str) -> Vector | None:
    """Return the features of a segment, or None for an unknown one.

    >>> len(vector_of("t͡ʃ")), vector_of("7")
    (24, None)
    """
    return table()[1].get(segment)


def segment_of(vector: Iterable[int]) -> str | None:
    """Return the segment with these features, or None. No two segments have the same features.

    >>> segment_of(vector_of("ŋ"))
    'ŋ'
    """
    return _segments_by_vector().get(tuple(vector))


@functools.cache
def _segments_by_vector() -> dict[Vector, str]:
    return {vector: segment for segment, vector in table()[1].items()}


def phones_to_segments(text: str) -> list[str]:
    """Return a phone string as IPA segments. Symbols that are not phones stay unchanged.

    >>> phones_to_segments("CH OW Z")
    ['t͡ʃ', 'o', 'ʊ', 'z']
    """
    return [segment for phone in text.split() for segment in _PHONE_SEGMENTS.get(phone, (phone,))]


def segments_to_phones(segments: Iterable[str]) -> str:
    """Return IPA segments as a phone string, the inverse of `phones_to_segments`.

    Two vowels that can be a diphthong become one phone: AO IH is returned as OY.

    Raises:
        UserError: a segment does not belong to an English phone.

    >>> segments_to_phones(["t͡ʃ", "o", "ʊ", "z"])
    'CH OW Z'
    """
    remaining, phones = list(segments), []
    phone_of = {parts: phone for phone, parts in _PHONE_SEGMENTS.items()}
    while remaining:
        length = 2 if tuple(remaining[:2]) in phone_of else 1
        parts = tuple(remaining[:length])
        if parts not in phone_of:
            raise UserError(
                f"'{remaining[0]}' is not a segment of an English phone", "write IPA segments"
            )
        phones.append(phone_of[parts])
        del remaining[:length]
    return " ".join(phones)


def hangul_to_segments(text: str) -> list[str]:
    """Return Korean text as IPA segments, without spaces.

    A lone consonant letter is transcribed as a lead, so ㅇ alone is silent. A character that is not
    Hangul is returned in angle brackets.

    >>> hangul_to_segments("국물"), hangul_to_segments("좋아 ㅋb")
    (['k', 'u', 'k', 'm', 'u', 'l'], ['t͡ɕ', 'o', 'h', 'a', 'kʰ', '<b>'])
    """
    segments: list[str] = []
    for char in text:
        if hangul.is_syllable(char):
            lead, vowel, tail = hangul.split(char)
            segments += [_LEAD[lead], *_VOWEL[vowel]]
            segments += [_TAIL[letter] for letter in hangul.CLUSTERS.get(tail, tuple(tail))]
        elif char in _VOWEL:
            segments += _VOWEL[char]
        elif hangul.is_letter(char):
            segments += [_LEAD[letter] for letter in hangul.CLUSTERS.get(char, (char,))]
        elif not char.isspace():
            segments.append(f"<{char}>")  # in brackets, because "a" is also the name of a segment
    return [segment for segment in segments if segment]
