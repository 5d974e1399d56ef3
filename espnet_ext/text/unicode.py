"""One spelling per text: the Unicode form that every transcript has on disk and in memory."""

from espnet_ext.text import hangul

# Invisible marks that editors leave behind. The joiners U+200C and U+200D are spelling in some
# scripts and stay.
_INVISIBLE = dict.fromkeys((0xFEFF, 0x200B, 0x2060))


def normalize(text: str) -> str:
    """Return `text` in NFC, without byte-order marks, its white space squeezed to single spaces.

    A lone jamo is content (a learner says half a syllable): the compatibility letter survives,
    and a conjoining one that no syllable takes up becomes that letter, so that a sound has one
    spelling. Letters are never merged into a syllable. Idempotent.

    >>> normalize(" \\u1112\\u1161\\u11ab\\u1100\\u1173\\u11af  ㄱ\\tㅏ \\n")
    '한글 ㄱ ㅏ'
    """
    text = hangul.from_jamo(text.translate(_INVISIBLE))
    return " ".join(text.split())


def is_normal(text: str) -> bool:
    """Whether `normalize` would leave `text` as it is.

    >>> is_normal("한글"), is_normal(hangul.to_jamo("한글")), is_normal("a  b")
    (True, False, False)
    """
    return normalize(text) == text
