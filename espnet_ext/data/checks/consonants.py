"""Consonant skeletons: English words and phone strings in one alphabet, without a lexicon.

A skeleton keeps the consonants that both the spelling and the phones show. Vowels and letters that
are often silent (h, w, y) are dropped, and voiced and unvoiced fricatives become one symbol.

The normalised edit distance between the skeletons of a sentence and of its canonical phones is
0 to 0.25 (L2-ARCTIC and the embedded corpus), and up to 0.62 for phones as a learner pronounced
them. For two different sentences it is 0.65 or more in nine of ten cases.
"""

import re

_FROM_PHONE = {
    **{"B": "b", "P": "p", "D": "d", "T": "t", "TH": "t", "DH": "t", "G": "g", "K": "k"},
    **{"F": "f", "V": "v", "S": "s", "Z": "s", "SH": "s", "ZH": "s", "CH": "s", "JH": "j"},
    **{"M": "m", "N": "n", "NG": "n", "L": "l", "R": "r", "ER": "r"},
}
# Longer spellings come first: the first alternative that matches wins.
_FROM_SPELLING = {
    **{"dge": "j", "gh": "", "ck": "k", "ch": "s", "sh": "s", "th": "t", "ph": "f", "wr": "r"},
    **{"kn": "n", "ng": "n", "ce": "s", "ci": "s", "cy": "s", "x": "ks", "c": "k", "q": "k"},
    "z": "s",
}
_CONSONANTS = "bpdtgkfvsjmnlr"  # letters that stand for themselves
_SPELLING = re.compile(f"{'|'.join(_FROM_SPELLING)}|[{_CONSONANTS}]|.", re.DOTALL)
_DOUBLED = re.compile(r"([a-z])\1")


def skeleton_of_phones(text: str) -> str:
    """Return the consonant skeleton of a phone transcript.

    >>> skeleton_of_phones("K AO L M IY"), skeleton_of_words("call me")
    ('klm', 'klm')
    """
    return "".join(_FROM_PHONE.get(phone, "") for phone in text.split())


def skeleton_of_words(text: str) -> str:
    """Return the consonant skeleton of English words, from their spelling.

    >>> skeleton_of_words("the white knight")
    'ttnt'
    """
    text = _DOUBLED.sub(r"\1", text.lower())

    def symbol(match: re.Match) -> str:
        spelling = match[0]
        return _FROM_SPELLING.get(spelling, spelling if spelling in _CONSONANTS else "")

    return _SPELLING.sub(symbol, text)
