"""English transcripts as corpora publish them: phone labels and sentences, normalised."""

import re

from espnet_ext.text import phones

UNIDENTIFIED = "ERR"  # label of a phone that the annotators could not identify
SILENCES = frozenset(("", "SIL", "SP", "SPN"))
# Symbols beyond the 39 phones of the CMU dictionary that annotators use, and their nearest phone.
NEAREST = {"AX": "AH"}
_PHONE = re.compile(r"[\W\d_]*([A-Za-z]*)[\W\d_]*")


def read_phone(label: str) -> tuple[str | None, bool]:
    """Parse a phone label as annotators write it.

    Case, stress digits, and whitespace and punctuation around the letters are ignored.

    Returns:
        The phone, and whether the label has a deviation mark (`*`). The phone is "" for silence,
        "ERR" for a phone that could not be identified, and None for a label that is not understood.

    >>> read_phone(" ah0"), read_phone("R*"), read_phone("sp"), read_phone("err"), read_phone("Q")
    (('AH', False), ('R', True), ('', False), ('ERR', False), (None, False))
    """
    marked = "*" in label
    match = _PHONE.fullmatch(label)
    if not match:
        return None, marked
    letters = match[1].upper()
    if letters in SILENCES:
        # A label of spaces only is silence; one of marks or digits only is not a label.
        return ("" if letters or not label.strip() else None), marked
    if letters == UNIDENTIFIED:
        return UNIDENTIFIED, marked
    letters = NEAREST.get(letters, letters)
    return (letters if phones.is_phone(letters) else None), marked


def english_words(text: str) -> str:
    """Return a sentence as lower-case words without punctuation.

    Apostrophes inside and in front of words are kept.

    >>> english_words("God bless 'em -- I'M \\u201chere\\u201d, well-known.")
    "god bless 'em i'm here well known"
    """
    text = text.replace("\u2019", "'").replace("\u2018", "'").lower()
    words = re.sub(r"[^\w']|_", " ", text).split()
    # Marks on both sides are quotation marks; a mark on one side is an apostrophe ('em, dogs').
    words = [word.strip("'") if word[0] == word[-1] == "'" else word for word in words]
    return " ".join(word for word in words if word)
