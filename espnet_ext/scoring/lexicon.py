"""Pronunciation of written words, for cells that compare a written hypothesis with phones."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from espnet_ext.data.table import normalized
from espnet_ext.errors import UserError
from espnet_ext.text.phones import strip_stress


def read_lexicon(path: str | Path) -> dict[str, str]:
    """Read a lexicon of lines `word PHONE PHONE …` as word → phone string.

    Only the first pronunciation of a word is used. Stress digits are removed, and words are
    normalised like transcripts. Lines that begin with
    `;;;` are comments.

    Raises:
        UserError: the file cannot be read, or a word has no phones.
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
        word = normalized(word).lower()
        lexicon.setdefault(word, " ".join(map(strip_stress, phones)))
    return lexicon


def make_pronouncer(
    lexicon: dict[str, str] | None = None, g2p: bool = False
) -> Callable[[str], str | None]:
    """Return a function that converts a sentence to phones, or to None if a word is not known.

    Args:
        lexicon: word → phones. It is searched first, then the lexicon of the embedded corpus.
        g2p: whether words in neither lexicon are pronounced by `english_g2p`.

    >>> make_pronouncer({"see": "S IY", "me": "M IY"})("see me")
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
        phones = []
        for word in normalized(sentence).lower().split():
            if (pronunciation := word_phones(word)) is None:
                return None
            phones.append(pronunciation)
        return " ".join(phones)

    return pronounce
