"""Written words to phones, for cells that compare a written hypothesis with a phone reference."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from espnet_ext.errors import UserError


def read_lexicon(path: str | Path) -> dict[str, str]:
    """Read `word PHONE PHONE …` lines; the first pronunciation of a word counts, stress is dropped.

    UserError names the line of a word without phones.
    """
    lexicon: dict[str, str] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the lexicon: {error}", "check --lexicon") from None
    for number, line in enumerate(lines, start=1):
        word, *phones = line.split() or [""]
        if not word or word.startswith(";;;"):
            continue
        if not phones:
            raise UserError(f"{path}:{number}: '{word}' has no phones", "complete or remove it")
        lexicon.setdefault(word.lower(), " ".join(phone.rstrip("012") for phone in phones))
    return lexicon


def pronouncer(
    lexicon: dict[str, str] | None = None, g2p: bool = False
) -> Callable[[str], str | None]:
    """A function from a sentence to its phones, or to None if a word is not known.

    Words are looked up in `lexicon` first, then in the package's own English pronunciations; with
    `g2p`, any other word is pronounced by the CMU dictionary or, if it lacks it, by its letters.

    >>> pronouncer({"see": "S IY", "me": "M IY"})("see me")
    'S IY M IY'
    """

    @cache
    def word_phones(word: str) -> str | None:
        if lexicon and word in lexicon:
            return lexicon[word]
        from espnet_ext.text import english_lexicon

        try:
            return english_lexicon.pronounce(word)
        except UserError:
            if not g2p:
                return None
        from espnet_ext.text import english_g2p

        try:
            return english_g2p.pronounce(word)
        except UserError:
            return None

    def pronounce(sentence: str) -> str | None:
        phones = [word_phones(word) for word in sentence.lower().split()]
        return None if None in phones else " ".join(phones)

    return pronounce
