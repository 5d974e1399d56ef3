"""Hangul arithmetic (The Unicode Standard, section 3.12): syllables, jamo, letters.

Three spellings of a sound live in Unicode. A *syllable* 한 is one character. *Conjoining jamo*
ᄒ ᅡ ᆫ are its parts and know their position: ᄂ (lead) is not ᆫ (tail). *Letters* (compatibility
jamo) ㅎ ㅏ ㄴ stand alone and know no position. Here "letter" always means the latter; a
transcript holds syllables and, for half a syllable, letters.

Symbols: L lead index 0–18, V vowel index 0–20, T tail index 0–27 (0: no tail).
"""

import unicodedata

LEADS = tuple("ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ")
VOWELS = tuple("ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ")
TAILS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
CLUSTERS = {  # tails of two letters
    **{"ㄳ": "ㄱㅅ", "ㄵ": "ㄴㅈ", "ㄶ": "ㄴㅎ", "ㄺ": "ㄹㄱ", "ㄻ": "ㄹㅁ", "ㄼ": "ㄹㅂ"},
    **{"ㄽ": "ㄹㅅ", "ㄾ": "ㄹㅌ", "ㄿ": "ㄹㅍ", "ㅀ": "ㄹㅎ", "ㅄ": "ㅂㅅ"},
}

_SYLLABLE, _LEAD, _VOWEL, _TAIL = 0xAC00, 0x1100, 0x1161, 0x11A7
_L, _V, _T = len(LEADS), len(VOWELS), len(TAILS)
_LETTER_OF = {
    **{chr(_LEAD + i): letter for i, letter in enumerate(LEADS)},
    **{chr(_VOWEL + i): letter for i, letter in enumerate(VOWELS)},
    **{chr(_TAIL + i): letter for i, letter in enumerate(TAILS) if letter},
}
_LETTERS = frozenset(_LETTER_OF.values())


def is_syllable(char: str) -> bool:
    """Whether `char` is one precomposed syllable, 가–힣.

    >>> is_syllable("값"), is_syllable("ㄱ")
    (True, False)
    """
    return len(char) == 1 and _SYLLABLE <= ord(char) < _SYLLABLE + _L * _V * _T


def is_letter(char: str) -> bool:
    """Whether `char` is one modern letter standing alone, ㄱ–ㅣ (clusters such as ㄳ included).

    >>> is_letter("ㄳ"), is_letter("가"), is_letter("\\u1100")
    (True, False, False)
    """
    return char in _LETTERS


def is_hangul(char: str) -> bool:
    """Whether `char` may stand in a Korean transcript: a syllable or a letter.

    >>> [is_hangul(c) for c in "가ㄱa1"]
    [True, True, False, False]
    """
    return is_syllable(char) or is_letter(char)


def decompose(syllable: str) -> tuple[int, int, int]:
    """Return (L, V, T), the indices into `LEADS`, `VOWELS` and `TAILS`.

    Raises ValueError for anything but one syllable.

    >>> decompose("한")
    (18, 0, 4)
    """
    if not is_syllable(syllable):
        raise ValueError(f"not a Hangul syllable: {syllable!r}")
    lead_vowel, tail = divmod(ord(syllable) - _SYLLABLE, _T)
    return (*divmod(lead_vowel, _V), tail)


def compose(lead: int, vowel: int, tail: int = 0) -> str:
    """Return the syllable of indices (L, V, T), the inverse of `decompose`.

    >>> compose(18, 0, 4)
    '한'
    """
    if not (0 <= lead < _L and 0 <= vowel < _V and 0 <= tail < _T):
        raise ValueError(f"no Hangul syllable has the indices {(lead, vowel, tail)}")
    return chr(_SYLLABLE + (lead * _V + vowel) * _T + tail)


def split(syllable: str) -> tuple[str, str, str]:
    """Return the letters (lead, vowel, tail); the tail is "" where there is none.

    >>> split("값"), split("아")
    (('ㄱ', 'ㅏ', 'ㅄ'), ('ㅇ', 'ㅏ', ''))
    """
    lead, vowel, tail = decompose(syllable)
    return LEADS[lead], VOWELS[vowel], TAILS[tail]


def join(lead: str, vowel: str, tail: str = "") -> str:
    """Return the syllable of letters, the inverse of `split`; ValueError if there is none.

    >>> join("ㄱ", "ㅏ", "ㅄ")
    '값'
    """
    return compose(LEADS.index(lead), VOWELS.index(vowel), TAILS.index(tail))


def to_jamo(text: str) -> str:
    """Spell syllables as conjoining jamo, two or three each; everything else stays.

    Letters stay letters, so that `from_jamo` gives back exactly what was there.

    >>> [f"{ord(c):x}" for c in to_jamo("각ㄱ")]
    ['1100', '1161', '11a8', '3131']
    """
    return "".join(unicodedata.normalize("NFD", c) if is_syllable(c) else c for c in text)


def from_jamo(text: str) -> str:
    """Compose conjoining jamo to syllables (NFC); what is left over becomes a letter.

    Takes any sequence, a recogniser's output too: a tail without a vowel is no error.

    >>> from_jamo("\\u1100\\u1161\\u11a8\\u11a8\\u1100")
    '각ㄱㄱ'
    """
    return "".join(_LETTER_OF.get(c, c) for c in unicodedata.normalize("NFC", text))


def to_letter(jamo: str) -> str:
    """Return the letter of a conjoining jamo, whatever its position; others stay.

    >>> to_letter("\\u1102"), to_letter("\\u11ab"), to_letter("ㄴ")
    ('ㄴ', 'ㄴ', 'ㄴ')
    """
    return _LETTER_OF.get(jamo, jamo)


def to_conjoining(letter: str, position: str) -> str:
    """Return the conjoining jamo of a letter as "lead", "vowel" or "tail".

    Raises ValueError where the letter cannot stand there (no syllable ends in ㄸ).

    >>> [f"{ord(to_conjoining('ㄴ', p)):x}" for p in ("lead", "tail")]
    ['1102', '11ab']
    """
    tables = {"lead": (_LEAD, LEADS), "vowel": (_VOWEL, VOWELS), "tail": (_TAIL, TAILS)}
    base, letters = tables[position]
    if not letter or letter not in letters:
        raise ValueError(f"{letter!r} cannot be the {position} of a syllable")
    return chr(base + letters.index(letter))
