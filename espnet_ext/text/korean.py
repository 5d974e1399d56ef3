"""Korean G2P: spelling to standard pronunciation, both written in Hangul.

Korean spelling keeps a morpheme's letters, while its sounds change with their neighbours. 국물
guk-mul ("soup") is pronounced 궁물 gung-mul, because k becomes ng before m. `pronounce` returns the
pronunciation as Hangul that is read letter by letter. In examples, romanisations have a hyphen
between syllables.

Source: Standard Korean Pronunciation (표준 발음법, 1988). "Art." refers to its articles.

- `korean_rules`: the sound rules.
- `korean_words`: word lists and patterns for what spelling alone does not determine.
- `korean_reading`, `korean_numerals`: digits, units and Latin letters as Korean words.

Not modelled: vowel length, and the optional assimilation of place (감기 gam-gi, never gang-gi). The
rules for compounds (tense leads, art. 28; inserted n, art. 29) are applied only to words that are
listed in `korean_words`.
"""

import re
from dataclasses import dataclass

from espnet_ext.errors import UserError
from espnet_ext.text import hangul, unicode
from espnet_ext.text.korean_reading import spell_out
from espnet_ext.text.korean_rules import Syllable, apply_rules
from espnet_ext.text.korean_words import (
    NOUN_OR_VERB,
    is_verb_in_context,
    mark_syllables,
    mark_word_boundary,
)
from espnet_ext.text.number_forms import reject_ambiguous

WORD, PHRASE = "word", "phrase"


@dataclass(frozen=True)
class Style:
    """The choices that the standard leaves open."""

    # Where sounds change across spaces. "phrase": between words up to the next punctuation, as in
    # connected speech (옷 한 벌 ot han beol, "a suit of clothes", [o tan beol]). "word": nowhere.
    sandhi: str = WORD
    # Art. 30: the tail pronounced for a linking ㅅ in a compound such as 냇가 naet-ga
    # ("brookside"): "" for [nae-kka] or "ㄷ" for [naet-kka], which the standard also permits.
    saisiot: str = ""
    # Art. 15: pronounce 맛있다 mas-itda ("tasty") as [ma-dit-tta] instead of [ma-sit-tta].
    neutral_itta: bool = False
    # Art. 5: use the permitted vowel reductions: ye as e (시계 si-gye, "clock", [si-ge]); ui as i
    # after the first syllable (주의 ju-ui, "caution", [ju-i]); the possessive particle 의 ui as e.
    tolerated: bool = False


LEARNER = Style(saisiot="ㄷ")  # the embedded corpus: word by word
CONNECTED_SPEECH = Style(sandhi=PHRASE)

_ITTA = re.compile("^[맛멋]있")
# Nouns that end in 의 ui. At the end of any other word, 의 is the possessive particle.
_NOUNS_IN_UI = re.compile("(?:[주회문논협강동정합토거예건심결항명본편신창호열성탄의]의|의의)$")


def pronounce(sentence: str, style: Style = Style()) -> str:  # noqa: B008 - it is frozen
    """Return the standard pronunciation of `sentence` in Hangul, with its spaces.

    Punctuation is removed. Lone letters (ㅋㅋ, "haha") stay, and no sound rule crosses them.

    Raises:
        UserError: a character has no Korean pronunciation (漢字, é, ♪).

    >>> pronounce("국물이 좋습니다."), pronounce("같이 앉아 있는데요")
    ('궁무리 조씀니다', '가치 안자 인는데요')
    >>> pronounce("3시에 옷 한 벌", CONNECTED_SPEECH)
    '세시에 오 탄 벌'
    """
    plain = unicode.remove_silent(sentence)
    unicode.reject_symbols(plain, ("Nd",))  # before `spell_out`, which reads digits of any script
    reject_ambiguous(plain)
    text = spell_out(plain)
    unicode.reject_symbols(text)
    phrases = [_pronounce_phrase(words, style) for words in _split_phrases(text, sentence)]
    return " ".join(filter(None, phrases))


def strip_punctuation(sentence: str) -> str:
    """Return `sentence` normalised, without punctuation and symbols of any script.

    >>> strip_punctuation("네, 좋아요… 「정말」?")
    '네 좋아요 정말'
    """
    return unicode.normalize(re.sub(r"[^\w\s]|_", " ", unicode.normalize(sentence)))


def _split_phrases(text: str, sentence: str) -> list[list[str]]:
    """Return the words of each stretch between punctuation marks.

    Quotation marks do not end a phrase.

    Raises:
        UserError: a character is not Hangul. `sentence` is quoted in the message.
    """
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


def _pronounce_phrase(words: list[str], style: Style) -> str:
    """Pronounce words spoken without a pause, or word by word, depending on the style."""
    word_pieces = [_split_letters(word) for word in words]
    run: list[Syllable] = []  # neighbouring syllables between which sounds may change
    for index, pieces in enumerate(word_pieces):
        if pieces and isinstance(pieces[0], list):
            _mark_by_context(words, index, pieces[0], style)
        for position, piece in enumerate(pieces):
            continues = style.sandhi == PHRASE and run and position == 0 and isinstance(piece, list)
            if continues:
                run[-1].mark = run[-1].mark or mark_word_boundary(words[index - 1], words[index])
            elif run:
                apply_rules(run, style.saisiot)
                run = []
            if isinstance(piece, list):
                run = run + piece
    if run:
        apply_rules(run, style.saisiot)
    pronounced = [
        "".join(piece if isinstance(piece, str) else "".join(map(str, piece)) for piece in pieces)
        for pieces in word_pieces
    ]
    if style.tolerated:
        pronounced = list(map(_reduce_vowels, pronounced, words))
    return " ".join(pronounced)


def _split_letters(word: str) -> list[str | list[Syllable]]:
    """Split a word into runs of lone letters (strings) and runs of marked syllables."""
    runs = [run for run in re.split(r"([ㄱ-ㅣ]+)", word) if run]
    return [mark_syllables(run) if hangul.is_syllable(run[0]) else run for run in runs]


def _mark_by_context(words: list[str], index: int, syllables: list[Syllable], style: Style) -> None:
    """Set the mark of a word that depends on its neighbours or on the style."""
    word = words[index]
    if word in NOUN_OR_VERB:
        previous_word = words[index - 1] if index else ""
        next_word = words[index + 1] if index + 1 < len(words) else ""
        is_verb = is_verb_in_context(previous_word, word, next_word)
        syllables[0].mark = "'" if is_verb else ""
    if style.neutral_itta and _ITTA.match(word):
        syllables[0].mark = "|"


def _reduce_vowels(pronounced: str, spelled: str) -> str:
    """Apply the permitted reductions of art. 5 to a word (see `Style.tolerated`).

    ㅖ ye becomes ㅔ e, except in 예 ye and 례 rye. After the first syllable, ㅢ ui becomes ㅣ i, or
    ㅔ e in the possessive particle.
    """
    result = ""
    for index, (sound, syllable) in enumerate(zip(pronounced, spelled, strict=True)):
        if hangul.is_syllable(sound):
            lead, vowel, tail = hangul.split(sound)
            if vowel == "ㅖ" and hangul.split(syllable)[0] not in ("ㅇ", "ㄹ"):
                vowel = "ㅔ"
            elif vowel == "ㅢ" and index:
                is_particle = index == len(spelled) - 1 and not _NOUNS_IN_UI.search(spelled)
                vowel = "ㅔ" if is_particle else "ㅣ"
            sound = hangul.join(lead, vowel, tail)
        result += sound
    return result
