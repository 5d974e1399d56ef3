"""Korean spelling to Standard Pronunciation, in Hangul: 국물 → 궁물.

The rules are those of the Standard Pronunciation (표준 발음법, 1988; `korean_rules` gives the
article at each). What spelling alone cannot tell is in lists and shapes of words (`korean_words`).
Digits, units and Latin letters are read as Korean says them (`korean_reading`). No assimilation of
place (감기, never 강기), no vowel length.

`Style` chooses among what the standard leaves open. A compound that the lists do not know is
pronounced by its letters, although its lead may be tense (art. 28) or ㄴ inserted (art. 29).
"""

import re
from dataclasses import dataclass

from espnet_ext.errors import UserError
from espnet_ext.text import hangul, unicode
from espnet_ext.text.korean_reading import spell_out
from espnet_ext.text.korean_rules import Syllable, apply
from espnet_ext.text.korean_words import AMBIGUOUS, between, split_word, verb_in_context

WORD, PHRASE = "word", "phrase"


@dataclass(frozen=True)
class Style:
    """What the standard leaves open."""

    # Whether words sound together across a space (옷 한 벌 [오탄벌]), as when they are spoken
    # without a pause, up to the next punctuation; "word": nothing changes across a space.
    sandhi: str = WORD
    saisiot: str = ""  # art. 30: the tail in 냇가, "" for [내까] or the admitted "ㄷ" for [낻까]
    neutral_itta: bool = False  # art. 15: 맛있다, 멋있다 as [마딛따], not as the admitted [마싣따]
    tolerated: bool = False  # art. 5: 시계 as [시게], 주의 as [주이], the particle 의 as [에]


LEARNER = Style(saisiot="ㄷ")  # of the embedded corpus: word by word, every letter sounded
SPOKEN = Style(sandhi=PHRASE)  # connected speech, the first of the standard's forms

_ITTA = re.compile("^[맛멋]있")
# Nouns in 의: elsewhere it is the particle at a word's end.
_UI_NOUNS = re.compile("(?:[주회문논협강동정합토거예건심결항명본편신창호열성탄의]의|의의)$")


def pronounce(sentence: str, style: Style = Style()) -> str:  # noqa: B008 - it is frozen
    """Return the standard pronunciation of `sentence` in Hangul, word spaces kept.

    Punctuation is dropped; lone letters (ㅋㅋ) stay and are nobody's neighbours. Raises
    `UserError` for what has no Korean reading (漢字, é, ♪).

    >>> pronounce("국물이 좋습니다."), pronounce("같이 앉아 있는데요")
    ('궁무리 조씀니다', '가치 안자 인는데요')
    >>> pronounce("3시에 옷 한 벌", SPOKEN)
    '세시에 오 탄 벌'
    """
    text = spell_out(unicode.audible(sentence))
    unicode.check_symbols(text)
    said = [_phrase(words, style) for words in _phrases(text, sentence)]
    return " ".join(one for one in said if one)


def strip_punctuation(sentence: str) -> str:
    """Return `sentence` normalised, without punctuation and symbols of any script.

    >>> strip_punctuation("네, 좋아요… 「정말」?")
    '네 좋아요 정말'
    """
    return unicode.normalize(re.sub(r"[^\w\s]|_", " ", unicode.normalize(sentence)))


def _phrases(text: str, sentence: str) -> list[list[str]]:
    """Words between punctuation; UserError names a character that is not Hangul."""
    phrases = []
    for part in re.split(r"[^\w\s'‘’“”\"]|_", text):
        words = strip_punctuation(part).split()
        for word in words:
            for char in word:
                if not hangul.is_hangul(char):
                    raise UserError(
                        f"cannot pronounce {char!r} in '{word}' of {sentence!r}: not Hangul",
                        "spell foreign words out in Hangul",
                    )
        phrases.append(words)
    return phrases


def _phrase(words: list[str], style: Style) -> str:
    """Pronounce words that are spoken without a pause (or, by `style`, one by one)."""
    pieces = [_pieces(word) for word in words]  # of each word: letters, or syllables
    run: list[Syllable] = []  # what is pronounced as one
    for number, own in enumerate(pieces):
        if own and isinstance(own[0], list):
            _mark_context(words, number, own[0], style)
        for place, piece in enumerate(own):
            joined = style.sandhi == PHRASE and run and place == 0 and isinstance(piece, list)
            if joined:
                run[-1].mark = run[-1].mark or between(words[number - 1], words[number])
            elif run:
                apply(run, style.saisiot)
                run = []
            if isinstance(piece, list):
                run = run + piece
    if run:
        apply(run, style.saisiot)
    said = [
        "".join(p if isinstance(p, str) else "".join(map(str, p)) for p in own) for own in pieces
    ]
    if style.tolerated:
        said = [_tolerate(one, word) for one, word in zip(said, words, strict=True)]
    return " ".join(said)


def _pieces(word: str) -> list[str | list[Syllable]]:
    """Runs of letters as they are, runs of syllables split and marked."""
    runs = [run for run in re.split(r"([ㄱ-ㅣ]+)", word) if run]
    return [split_word(run) if hangul.is_syllable(run[0]) else run for run in runs]


def _mark_context(words: list[str], number: int, syllables: list[Syllable], style: Style) -> None:
    """Marks on a word that depend on its neighbours or on the style."""
    word = words[number]
    if word in AMBIGUOUS:
        before = words[number - 1] if number else ""
        after = words[number + 1] if number + 1 < len(words) else ""
        syllables[0].mark = "'" if verb_in_context(before, word, after) else ""
    if style.neutral_itta and _ITTA.match(word):
        syllables[0].mark = "|"


def _tolerate(said: str, word: str) -> str:
    """Art. 5, provisos 2 and 4: ㅖ as ㅔ save in 예, 례; 의 as 이, as a particle 에."""
    result = ""
    for number, (sound, spelled) in enumerate(zip(said, word, strict=True)):
        if hangul.is_syllable(sound):
            lead, vowel, tail = hangul.split(sound)
            if vowel == "ㅖ" and hangul.split(spelled)[0] not in ("ㅇ", "ㄹ"):
                vowel = "ㅔ"
            elif vowel == "ㅢ" and number:
                particle = number == len(word) - 1 and not _UI_NOUNS.search(word)
                vowel = "ㅔ" if particle else "ㅣ"
            sound = hangul.join(lead, vowel, tail)
        result += sound
    return result
