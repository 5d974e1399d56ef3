"""Pronunciations of written words, to compare written texts with phones."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.text.phones import strip_stress
from espnet_ext.text.unicode import normalize


def read_lexicon(path: str | Path) -> dict[str, str]:
    """Read a lexicon as word → its first pronunciation, see `read_pronunciations`."""
    return {word: variants[0] for word, variants in read_pronunciations(path).items()}


def read_pronunciations(path: str | Path) -> dict[str, list[str]]:
    """Read a lexicon of lines `word PHONE PHONE …` as word → phone strings.

    A word may have several lines, also as `word(2)`. Stress digits are removed, and words are
    normalised like transcripts. Lines that begin with `;;;` or with `#` and a space are comments.

    Raises:
        UserError: the file cannot be read, or a word has no phones.
    """
    lexicon: dict[str, list[str]] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the lexicon: {error}", "check --lexicon") from None
    for number, line in enumerate(lines, start=1):
        word, *phones = line.split() or [""]
        if not word or word == "#" or word.startswith(";;;"):
            continue
        if not phones:
            raise UserError(f"{path}:{number}: '{word}' has no phones", "complete or remove it")
        word = re.sub(r"(?<=.)\(\d+\)$", "", normalize(word).lower())
        variants = lexicon.setdefault(word, [])
        pronunciation = " ".join(map(strip_stress, phones))
        if pronunciation not in variants:
            variants.append(pronunciation)
    return lexicon


@dataclass(frozen=True)
class ListedWord:
    """The pronunciations of a word: phone strings, the most common one first.

    `is_listed` is false if no lexicon has the word, so that G2P guessed its pronunciation.
    """

    pronunciations: Sequence[str]
    is_listed: bool
    word: str = ""


def list_pronunciations(
    sentence: str, lexicon: Mapping[str, Sequence[str]] | None = None
) -> list[ListedWord] | None:
    """Return the pronunciations of every word of an English sentence.

    Args:
        lexicon: word → phone strings. Its words have no other pronunciations; those of other words
            are all that the CMU dictionary lists (`english_g2p`).

    Returns:
        One item per word, or None if a word cannot be pronounced.

    >>> list_pronunciations("I read")[1].pronunciations
    ['R IY D', 'R EH D']
    """

    try:
        return split_words(sentence, lexicon)
    except UserError:
        return None


def split_words(
    sentence: str, lexicon: Mapping[str, Sequence[str]] | None = None
) -> list[ListedWord]:
    """Return the words of an English sentence with their pronunciations.

    Arguments as in `list_pronunciations`.

    Raises:
        UserError: a word cannot be pronounced.

    >>> [word.word for word in split_words("I read 2")]
    ['I', 'read', 'two']
    """
    from espnet_ext.text import english_g2p

    lexicon = lexicon or {}
    listed_words = []
    for part in _parts(normalize(sentence), lexicon):
        words = [part] if part.lower() in lexicon else english_g2p.words(part)
        for word in words:
            if listed := lexicon.get(word.lower()):
                listed_words.append(ListedWord(listed, True, word))
            else:
                is_listed = english_g2p.look_up(word).source != english_g2p.NETWORK
                phones = english_g2p.pronunciations(word)
                listed_words.append(ListedWord(phones, is_listed, word))
    return listed_words


def _parts(sentence: str, lexicon: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Split a sentence into words of a lexicon, and the texts between them."""
    run: list[str] = []
    for token in sentence.split():
        if token.lower() in lexicon:
            if run:
                yield " ".join(run)
                run = []
            yield token
        else:
            run.append(token)
    if run:
        yield " ".join(run)


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
        for word in normalize(sentence).lower().split():
            if (pronunciation := word_phones(word)) is None:
                return None
            phones.append(pronunciation)
        return " ".join(phones)

    return pronounce
