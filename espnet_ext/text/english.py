"""English words to phones: a small lexicon, one pronunciation a word.

The lexicon covers the sentences of the embedded corpus. It is a selection of the CMU Pronouncing
Dictionary, without stress; its licence stands at its head.
"""

import functools
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.text.phones import is_phone

LEXICON = Path(__file__).with_name("lexicon_en.txt")


@functools.cache
def lexicon() -> dict[str, str]:
    """Word (lower case) → its phones, separated by spaces; read once.

    >>> lexicon()["fish"]
    'F IH SH'
    """
    entries = {}
    for number, line in enumerate(LEXICON.read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        word, _, phones = line.partition(" ")
        if not phones or not all(map(is_phone, phones.split())):
            raise UserError(
                f"{LEXICON}:{number}: '{line}' is not a word and its phones",
                "write the word, then phones of the CMU dictionary without stress digits",
            )
        entries[word] = phones
    return entries


def pronounce(sentence: str) -> str:
    """The phones of a sentence, words joined without a boundary.

    A word that the lexicon has not is a `UserError` that names it.

    >>> pronounce("my fish")
    'M AY F IH SH'
    """
    known = lexicon()
    phones = []
    for word in sentence.split():
        if word.lower() not in known:
            raise UserError(
                f"'{word}' in '{sentence}' is not in the English lexicon",
                f"add the word and its phones to {LEXICON.name} in espnet_ext/text",
            )
        phones.append(known[word.lower()])
    return " ".join(phones)
