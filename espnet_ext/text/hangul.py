"""Hangul arithmetic: syllables, jamo and letters (The Unicode Standard, section 3.12).

Korean is written in syllable blocks. A block has a lead (initial consonant), a vowel and optionally
a tail (final consonant or consonant cluster): 한 "han" is ㅎ h + ㅏ a + ㄴ n. A syllable that
begins with a vowel is written with the silent lead ㅇ: 아 "a". Unicode encodes the same sounds in
three ways:

- A *syllable* (한, U+D55C) is one precomposed character.
- *Conjoining jamo* (ᄒ ᅡ ᆫ, U+1112 U+1161 U+11AB) are the parts of a syllable. They encode the
  position: lead n (U+1102) and tail n (U+11AB) are different characters.
- *Letters* (ㅎ ㅏ ㄴ, U+314E U+314F U+3134, "compatibility jamo") stand alone, without a position.

In this package "letter" always means the last kind. Transcripts contain syllables, and letters
where a speaker said only part of a syllable.

Symbols: L lead index 0–18, V vowel index 0–20, T tail index 0–27 (0: no tail).
"""

import unicodedata

LEADS = tuple("ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ")
VOWELS = tuple("ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ")
TAILS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
_CLUSTERS = "ㄳㄱㅅ ㄵㄴㅈ ㄶㄴㅎ ㄺㄹㄱ ㄻㄹㅁ ㄼㄹㅂ ㄽㄹㅅ ㄾㄹㅌ ㄿㄹㅍ ㅀㄹㅎ ㅄㅂㅅ"
# Tail of two consonants → its two letters
CLUSTERS = {cluster: (first, second) for cluster, first, second in map(tuple, _CLUSTERS.split())}

_SYLLABLE, _LEAD, _VOWEL, _TAIL = 0xAC00, 0x1100, 0x1161, 0x11A7
_L, _V, _T = len(LEADS), len(VOWELS), len(TAILS)
_LETTER_OF = {
    **{chr(_LEAD + i): letter for i, letter in enumerate(LEADS)},
    **{chr(_VOWEL + i): letter for i, letter in enumerate(VOWELS)},
    **{chr(_TAIL + i): letter for i, letter in enumerate(TAILS) if letter},
}
_LETTERS = frozenset(_LETTER_OF.values())


def is_syllable(char: str) -> bool:
    """Return whether `char` is one precomposed syllable, 가–힣.

    >>> is_syllable("값"), is_syllable("ㄱ")
    (True, False)
    """
    return len(char) == 1 and _SYLLABLE <= ord(char) < _SYLLABLE + _L * _V * _T


def is_letter(char: str) -> bool:
    """Return whether `char` is one modern letter, ㄱ–ㅣ (including clusters such as ㄳ).

    >>> is_letter("ㄳ"), is_letter("가"), is_letter("\\u1100")
    (True, False, False)
    """
    return char in _LETTERS


def is_hangul(char: str) -> bool:
    """Return whether `char` is a syllable or a letter.

    >>> [is_hangul(c) for c in "가ㄱa1"]
    [True, True, False, False]
    """
    return is_syllable(char) or is_letter(char)


def decompose(syllable: str) -> tuple[int, int, int]:
    """Return (L, V, T), the indices into `LEADS`, `VOWELS` and `TAILS`.

    Raises:
        ValueError: the argument is not exactly one syllable.

    >>> decompose("한")
    (18, 0, 4)
    """
    if not is_syllable(syllable):
        raise ValueError(f"not a Hangul syllable: {syllable!r}")
    lead_vowel, tail = divmod(ord(syllable) - _SYLLABLE, _T)
    return (*divmod(lead_vowel, _V), tail)


def compose(lead: int, vowel: int, tail: int = 0) -> str:
    """Return the syllable with indices (L, V, T), the inverse of `decompose`.

    Raises:
        ValueError: an index is out of range.

    >>> compose(18, 0, 4)
    '한'
    """
    if not (0 <= lead < _L and 0 <= vowel < _V and 0 <= tail < _T):
        raise ValueError(f"no Hangul syllable has the indices {(lead, vowel, tail)}")
    return chr(_SYLLABLE + (lead * _V + vowel) * _T + tail)


def split(syllable: str) -> tuple[str, str, str]:
    """Return the letters (lead, vowel, tail) of a syllable. Without a tail, the tail is "".

    >>> split("값"), split("아")
    (('ㄱ', 'ㅏ', 'ㅄ'), ('ㅇ', 'ㅏ', ''))
    """
    lead, vowel, tail = decompose(syllable)
    return LEADS[lead], VOWELS[vowel], TAILS[tail]


def join(lead: str, vowel: str, tail: str = "") -> str:
    """Return the syllable made of letters, the inverse of `split`.

    Raises:
        ValueError: a letter cannot have this position.

    >>> join("ㄱ", "ㅏ", "ㅄ")
    '값'
    """
    return compose(LEADS.index(lead), VOWELS.index(vowel), TAILS.index(tail))


def to_jamo(text: str) -> str:
    """Replace every syllable by its two or three conjoining jamo. Other characters stay.

    Letters stay letters, so `from_jamo` restores the text exactly.

    >>> [f"{ord(c):x}" for c in to_jamo("각ㄱ")]
    ['1100', '1161', '11a8', '3131']
    """
    return "".join(unicodedata.normalize("NFD", c) if is_syllable(c) else c for c in text)


def from_jamo(text: str) -> str:
    """Compose conjoining jamo into syllables (NFC). Jamo that do not fit become letters.

    Any sequence is accepted, including recogniser output such as a tail without a vowel.

    >>> from_jamo("\\u1100\\u1161\\u11a8\\u11a8\\u1100")
    '각ㄱㄱ'
    """
    return "".join(_LETTER_OF.get(c, c) for c in unicodedata.normalize("NFC", text))


def to_letter(jamo: str) -> str:
    """Return the letter of a conjoining jamo in any position. Other characters stay.

    >>> to_letter("\\u1102"), to_letter("\\u11ab"), to_letter("ㄴ")
    ('ㄴ', 'ㄴ', 'ㄴ')
    """
    return _LETTER_OF.get(jamo, jamo)


def to_conjoining(letter: str, position: str) -> str:
    """Return the conjoining jamo of a letter in position "lead", "vowel" or "tail".

    Raises:
        ValueError: the letter cannot have this position (no syllable ends in ㄸ).

    >>> [f"{ord(to_conjoining('ㄴ', p)):x}" for p in ("lead", "tail")]
    ['1102', '11ab']
    """
    tables = {"lead": (_LEAD, LEADS), "vowel": (_VOWEL, VOWELS), "tail": (_TAIL, TAILS)}
    base, letters = tables[position]
    if not letter or letter not in letters:
        raise ValueError(f"{letter!r} cannot be the {position} of a syllable")
    return chr(base + letters.index(letter))
