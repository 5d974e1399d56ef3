"""Unicode normalisation: the one form that transcripts have in files and in memory."""

import unicodedata

from espnet_ext.errors import UserError
from espnet_ext.text import hangul

# Version of the rules of `normalize`. Increase it whenever the rules change.
# 1: NFC; invisible marks dropped; lone conjoining jamo become letters; white space squeezed.
# 2: also half-width letters (U+FFA1–FFDC) become letters, full-width ASCII becomes ASCII, and
#    Hangul fillers are dropped.
# Not changed: obsolete letters, and letters and syllables in circles or brackets (㉠, ㈎).
NORMAL_FORM = 2

# Invisible marks that editors leave behind. The joiners U+200C and U+200D are kept, because they
# are part of the spelling in some scripts.
_INVISIBLE = dict.fromkeys((0xFEFF, 0x200B, 0x2060))
_FILLERS = dict.fromkeys((0x115F, 0x1160, 0x3164, 0xFFA0))  # placeholders for an absent letter
_WIDTHS = {  # half-width and full-width characters, by Unicode's own <narrow> and <wide> mappings
    code: chr(int(unicodedata.decomposition(chr(code)).split()[1], 16))
    for code in (*range(0xFF01, 0xFF5F), *range(0xFFA1, 0xFFDD))
    if unicodedata.decomposition(chr(code))
}
_TABLE = {**_INVISIBLE, **_FILLERS, **_WIDTHS}


def normalize(text: str) -> str:
    """Return `text` in NFC, without invisible marks, with white space squeezed to single spaces.

    A lone Hangul letter is content, because learners say half syllables. Lone letters stay and are
    never merged into a syllable. A half-width letter, and a conjoining jamo that is not part of a
    complete syllable, become the ordinary letter (see `hangul`). Full-width ASCII becomes ASCII.
    The function is idempotent. `NORMAL_FORM` is the version of these rules.

    >>> normalize(" \\u1112\\u1161\\u11ab\\u1100\\u1173\\u11af  ㄱ\\tㅏ \\n")
    '한글 ㄱ ㅏ'
    """
    text = hangul.from_jamo(text.translate(_TABLE))
    return " ".join(text.split())


def is_normal(text: str) -> bool:
    """Return whether `normalize` leaves `text` unchanged.

    >>> is_normal("한글"), is_normal(hangul.to_jamo("한글")), is_normal("a  b")
    (True, False, False)
    """
    return normalize(text) == text


def remove_silent(text: str) -> str:
    """Return `normalize(text)` without format characters and variation selectors.

    These characters (joiners, soft hyphens, …) have no pronunciation.

    >>> remove_silent("co\\u00adoperate")
    'cooperate'
    """
    return normalize("".join(char for char in text if not _is_silent(char)))


def _is_silent(char: str) -> bool:
    return unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f"


def reject_symbols(text: str, categories: tuple[str, ...] = ("S", "Nd", "No")) -> None:
    """Raise `UserError` if `text` contains `$` or a non-ASCII symbol of the given categories.

    G2P calls this after it has replaced symbols that have a reading (&, €5). Remaining symbols
    (emoji, arrows, digits of other scripts) would otherwise be dropped like punctuation.

    Args:
        categories: prefixes of Unicode general categories.
    """
    for word in text.split():
        for char in word:
            category = unicodedata.category(char)
            if category.startswith(categories) and (char == "$" or not char.isascii()):
                raise UserError(
                    f"cannot pronounce '{char}' in '{word}' of {text!r}: a symbol with no reading",
                    "replace it with the words that are spoken, or remove it",
                )
