"""The small English lexicon of the embedded corpus, with one pronunciation per word.

The entries are a selection from the CMU Pronouncing Dictionary without stress digits. The licence
is at the head of `english_lexicon.txt`. For other English text use `english_g2p`.
"""

import functools
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.text.phones import is_phone

LEXICON = Path(__file__).with_name("english_lexicon.txt")


@functools.cache
def lexicon() -> dict[str, str]:
    """Return the lexicon: lower-case word → phones separated by spaces.

    Raises:
        UserError: a line of the file is not a word followed by phones.

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
                f"{LEXICON}:{number}: '{line}' is not a word followed by phones",
                "write the word, then phones of the CMU dictionary without stress digits",
            )
        entries[word] = phones
    return entries


def pronounce(sentence: str) -> str:
    """Return the phones of a sentence, without word boundaries.

    Raises:
        UserError: a word is not in the lexicon.

    >>> pronounce("my fish")
    'M AY F IH SH'
    """
    entries = lexicon()
    phones = []
    for word in sentence.split():
        if word.lower() not in entries:
            raise UserError(
                f"'{word}' in '{sentence}' is not in the English lexicon",
                f"add the word and its phones to {LEXICON.name} in espnet_ext/text",
            )
        phones.append(entries[word.lower()])
    return " ".join(phones)
