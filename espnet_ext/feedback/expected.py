"""The expected pronunciation of a sentence: per word, the accepted pronunciations in units.

The units are those in which deviations are named: English phones, or Korean conjoining jamo, which
encode a letter with its position in the syllable.
"""

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from espnet_ext.errors import UserError
from espnet_ext.text import english_g2p, hangul, korean, unicode
from espnet_ext.text.lexicon import split_words
from espnet_ext.text.tags import split_tags

ENGLISH, KOREAN = "en", "ko"
Units = tuple[str, ...]


@dataclass(frozen=True)
class ExpectedWord:
    """A word of the sentence and how it may be pronounced.

    Args:
        text: the word as it is read: numbers are words.
        pronunciations: accepted pronunciations, the preferred one first.
        is_listed: false if no dictionary has the word, so that its pronunciation is a guess.
    """

    text: str
    pronunciations: tuple[Units, ...]
    is_listed: bool = True


@dataclass(frozen=True)
class ExpectedGroup:
    """Neighbouring words whose pronunciations depend on each other; most groups have one word.

    Args:
        words: the words.
        pronunciations: accepted pronunciations of the group, each with the units of every word; the
            preferred one comes first.
    """

    words: tuple[ExpectedWord, ...]
    pronunciations: tuple[tuple[Units, ...], ...]


@dataclass(frozen=True)
class ExpectedSentence:
    """A sentence with its accepted pronunciations.

    Args:
        text: the sentence.
        language: ENGLISH or KOREAN.
        groups: its words in groups.
    """

    text: str
    language: str
    groups: tuple[ExpectedGroup, ...]

    @property
    def guessed_words(self) -> list[str]:
        """Words that no dictionary has."""
        words = [word for group in self.groups for word in group.words]
        return [word.text for word in words if not word.is_listed]


def language_of(token_type: str) -> str:
    """Return the language of a surface with this token type: phones are English."""
    return ENGLISH if token_type == "phone" else KOREAN


def split_units(text: str, language: str) -> Units:
    """Return the units of a surface transcript, without spaces.

    >>> split_units("K AE T", "en"), len(split_units("한 글", "ko"))
    (('K', 'AE', 'T'), 6)
    """
    if language == ENGLISH:
        return tuple(text.split())
    return tuple(unicodedata.normalize("NFD", "".join(text.split())))


def expect(
    sentence: str, language: str, lexicon: Mapping[str, Sequence[str]] | None = None
) -> ExpectedSentence:
    """Return the accepted pronunciations of a sentence.

    English words have those of the lexicon or of the CMU dictionary, where G2P guesses words that
    it lacks. Korean words have the standard pronunciation, with the choices that the standard
    leaves open.

    Args:
        lexicon: English word → phone strings; see `text.lexicon.list_pronunciations`.

    Raises:
        UserError: the sentence has no words, or a word that cannot be pronounced. The message
            names it.
    """
    sentence = unicode.normalize(split_tags(sentence)[0])
    try:
        groups = _english(sentence, lexicon) if language == ENGLISH else _korean(sentence)
    except UserError as error:
        remedy = error.remedy or "write the sentence in words"
        raise UserError(f"prompt '{sentence}': {error.message}", remedy) from None
    if not groups:
        raise UserError(f"prompt '{sentence}': it has no words", "give the sentence that was read")
    return ExpectedSentence(sentence, language, tuple(groups))


def _english(sentence: str, lexicon: Mapping[str, Sequence[str]] | None) -> list[ExpectedGroup]:
    # The neighbouring words decide which of several pronunciations is preferred (live, the).
    preferred = [] if lexicon else [word.phones for word in english_g2p.transcribe(sentence)]
    groups = []
    for index, word in enumerate(split_words(sentence, lexicon)):
        texts = dict.fromkeys((*preferred[index : index + 1], *word.pronunciations))
        variants = tuple(tuple(phones.split()) for phones in texts)
        expected = ExpectedWord(word.word, variants, word.is_listed)
        groups.append(ExpectedGroup((expected,), tuple((units,) for units in variants)))
    return groups


# What the standard leaves open within a word; the style of the embedded corpus comes first.
_STYLES = tuple(
    korean.Style(saisiot=saisiot, neutral_itta=itta, tolerated=tolerated)
    for saisiot, itta, tolerated in itertools.product(("ㄷ", ""), (False, True), (False, True))
)


def _korean(sentence: str) -> list[ExpectedGroup]:
    words = korean.strip_punctuation(korean.spell_out(unicode.remove_silent(sentence))).split()
    by_word = _pronounce_styles(sentence, korean.WORD, len(words))
    by_phrase = _pronounce_styles(sentence, korean.PHRASE, len(words))
    groups: list[ExpectedGroup] = []
    # Neighbouring words that sandhi across spaces changes belong together: 옷 한 → 오 탄.
    runs: list[list[int]] = []
    for index in range(len(words)):
        is_linked = by_word[index] != by_phrase[index]
        if is_linked and index and by_word[index - 1] != by_phrase[index - 1]:
            runs[-1].append(index)
        else:
            runs.append([index])
    for run in runs:
        expected = tuple(
            ExpectedWord(words[i], tuple(dict.fromkeys((*by_word[i], *by_phrase[i])))) for i in run
        )
        variants = [
            pronunciation
            for table in (by_word, by_phrase)
            for pronunciation in itertools.product(*(table[i] for i in run))
        ]
        groups.append(ExpectedGroup(expected, tuple(dict.fromkeys(variants))))
    return groups


def _pronounce_styles(sentence: str, sandhi: str, count: int) -> list[tuple[Units, ...]]:
    """Return the pronunciations of every word in all styles with this sandhi.

    Raises:
        UserError: the pronounced words are not those of the sentence.
    """
    variants: list[list[Units]] = [[] for _ in range(count)]
    for style in _STYLES:
        pronounced = korean.pronounce(sentence, replace(style, sandhi=sandhi)).split()
        if len(pronounced) != count:
            raise UserError(
                f"{count} words have {len(pronounced)} pronunciations",
                "separate words by single spaces, without symbols",
            )
        for word, text in zip(variants, pronounced, strict=True):
            word.append(split_units(text, KOREAN))
    return [tuple(dict.fromkeys(word)) for word in variants]


def spelling_units(word: str) -> Units:
    """Return the units of a Korean word as it is written, with letters for lone jamo."""
    return split_units("".join(c for c in word if hangul.is_hangul(c)), KOREAN)
