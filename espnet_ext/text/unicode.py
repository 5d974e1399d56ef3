"""One spelling per text: the Unicode form that every transcript has on disk and in memory."""

import unicodedata

from espnet_ext.errors import UserError
from espnet_ext.text import hangul

# What the normal form is; raised with every change, so that texts normalised before can be told.
# 1: NFC, invisible marks dropped, lone jamo as letters, white space squeezed.
# 2: also half-width letters (U+FFA1–FFDC) as letters, full-width ASCII as ASCII, fillers dropped.
# Left as they are: old letters, letters and syllables in circles and brackets (㉠, ㈎).
NORMAL_FORM = 2

# Invisible marks that editors leave behind. The joiners U+200C and U+200D are spelling in some
# scripts and stay.
_INVISIBLE = dict.fromkeys((0xFEFF, 0x200B, 0x2060))
_FILLERS = dict.fromkeys((0x115F, 0x1160, 0x3164, 0xFFA0))  # stand for a letter that is not there
_WIDTHS = {  # Unicode's own mapping: <narrow> and <wide>
    code: chr(int(unicodedata.decomposition(chr(code)).split()[1], 16))
    for code in (*range(0xFF01, 0xFF5F), *range(0xFFA1, 0xFFDD))
    if unicodedata.decomposition(chr(code))
}
_TABLE = {**_INVISIBLE, **_FILLERS, **_WIDTHS}


def normalize(text: str) -> str:
    """Return `text` in NFC, without byte-order marks, its white space squeezed to single spaces.

    A lone jamo is content (a learner says half a syllable): the compatibility letter survives,
    and a conjoining one that no syllable takes up becomes that letter, so that a sound has one
    spelling; so does a half-width one. Letters are never merged into a syllable. Full-width ASCII
    becomes ASCII. Idempotent; `NORMAL_FORM` counts the changes of these rules.

    >>> normalize(" \\u1112\\u1161\\u11ab\\u1100\\u1173\\u11af  ㄱ\\tㅏ \\n")
    '한글 ㄱ ㅏ'
    """
    text = hangul.from_jamo(text.translate(_TABLE))
    return " ".join(text.split())


def audible(text: str) -> str:
    """`normalize(text)` without joiners, soft hyphens and other marks that nobody hears."""
    return normalize("".join(c for c in text if not _soundless(c)))


def check_symbols(text: str, kinds: tuple[str, ...] = ("S", "Nd", "No")) -> None:
    """UserError for a symbol outside ASCII, or $, whose category begins with one of `kinds`.

    For text in which what has a reading (&, €5) is read: an emoji, an arrow or a digit of another
    script must not be passed over as punctuation and the signs of ASCII are.
    """
    for word in text.split():
        for char in word:
            kind = unicodedata.category(char)
            if kind.startswith(kinds) and (char == "$" or not char.isascii()):
                raise UserError(
                    f"cannot pronounce '{char}' in '{word}' of {text!r}: a symbol with no reading",
                    "write what is said instead, or remove it",
                )


def _soundless(char: str) -> bool:
    return unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f"


def is_normal(text: str) -> bool:
    """Whether `normalize` would leave `text` as it is.

    >>> is_normal("한글"), is_normal(hangul.to_jamo("한글")), is_normal("a  b")
    (True, False, False)
    """
    return normalize(text) == text
