"""Korean spelling to Standard Pronunciation, in Hangul: 국물 → 궁물.

The rules are those of the Standard Pronunciation (표준 발음법, 1988; `korean_rules` gives the
article at each), what spelling alone cannot tell is in lists and shapes of words (`korean_words`),
or comes from a morphological analyser (`korean_tagger`, an optional extra). Digits, units and
Latin letters are read as Korean says them (`korean_reading`). No assimilation of place (감기,
never 강기).

`Style` chooses among what the standard leaves open. What the lists do not know is pronounced by
the letters: a compound whose lead is tense without a sign (art. 28), ㄴ in a compound (art. 29).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from espnet_ext.errors import UserError
from espnet_ext.text import hangul, unicode
from espnet_ext.text.korean_reading import spell_out
from espnet_ext.text.korean_rules import Syllable, apply
from espnet_ext.text.korean_words import AMBIGUOUS, between, split_word, verb_in_context

WORD, PHRASE = "word", "phrase"


@dataclass(frozen=True)
class Style:
    """What the standard leaves open."""

    # Whether words sound together across a space (옷 한 벌: 오탄벌) as they do when spoken without
    # a pause, up to the next punctuation; "word": nothing changes across a space.
    sandhi: str = WORD
    saisiot: str = ""  # art. 30: "" for 냇가 [내까], "ㄷ" for the admitted [낻까]
    delicious: str = "마싣따"  # art. 15: or "마딛따" (멋있다 likewise)
    ye: str = "예"  # art. 5: or "에", 시계 [시게]; 예 and 례 stay
    ui: str = "의"  # art. 5: or "이", 주의 [주이], and 에 for the particle


LEARNER = Style(saisiot="ㄷ")  # the embedded corpus's: reads word by word, sounds every letter
SPOKEN = Style(sandhi=PHRASE)


class Tagger(Protocol):
    """What an analyser adds: marks on the syllables of a sentence's words, in place."""

    def mark(self, words: Sequence[str], syllables: Sequence[list[Syllable]]) -> None: ...


def pronounce(sentence: str, style: Style = Style(), tagger: Tagger | None = None) -> str:  # noqa: B008
    """Return the standard pronunciation of `sentence` in Hangul, word spaces kept.

    Punctuation is dropped; lone letters (ㅋㅋ) stay and are nobody's neighbours. Raises
    `UserError` for what has no Korean reading (漢字, é).

    >>> pronounce("국물이 좋습니다."), pronounce("같이 앉아 있는데요")
    ('궁무리 조씀니다', '가치 안자 인는데요')
    >>> pronounce("3시에 옷 한 벌", SPOKEN)
    '세시에 오 탄 벌'
    """
    text = spell_out(unicode.normalize(sentence))
    said = [_phrase(words, style, tagger) for words in _phrases(text, sentence)]
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
        for char in "".join(words):
            if not hangul.is_hangul(char):
                raise UserError(
                    f"cannot pronounce {char!r} in {sentence!r}: not Hangul",
                    "spell digits and foreign words out in Hangul",
                )
        phrases.append(words)
    return phrases


def _phrase(words: list[str], style: Style, tagger: Tagger | None) -> str:
    """Pronounce words that are spoken without a pause (or, by `style`, one by one)."""
    runs: list[list[Syllable]] = []  # each pronounced as one; a letter ends it
    pieces: list[tuple[str, list[Syllable]]] = []  # a word's letters, or its syllables
    gaps: list[int] = []
    plain = [word for word in words if all(map(hangul.is_syllable, word))]
    split = {}
    for number, word in enumerate(words):
        if word in plain:
            split[number] = split_word(word)
            before = words[number - 1] if number else ""
            if word in AMBIGUOUS:
                split[number][0].mark = "'" if verb_in_context(before, word) else ""
    if tagger is not None and split:
        tagger.mark([words[i] for i in split], list(split.values()))
    for number, word in enumerate(words):
        gaps.append(len(pieces))
        if number in split:
            syllables = split[number]
            joined = (
                style.sandhi == PHRASE and number and number - 1 in split and bool(runs)
            )
            if joined:
                left = runs[-1][-1]
                left.mark = left.mark or between(words[number - 1], word)
                runs[-1] += syllables
            else:
                runs.append(list(syllables))
            pieces.append(("", syllables))
            continue
        for run in re.split(r"([ㄱ-ㅣ]+)", word):
            if run and hangul.is_syllable(run[0]):
                pieces.append(("", split_word(run)))
                runs.append(list(pieces[-1][1]))
            elif run:
                pieces.append((run, []))
    for run in runs:
        apply(run, style.saisiot)
    said = [letters or "".join(map(str, syllables)) for letters, syllables in pieces]
    edges = [*gaps, len(pieces)]
    spoken = ["".join(said[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    return " ".join(spoken)
