"""Marks in Korean transcripts: two spellings of what was said, noises, fillers, repetitions.

As the transcription rules of AI Hub's speech corpora have them (ETRI, 한국어 음성 전사규칙 v1.0):

    (70%)/(칠 십 퍼센트)   spelled / pronounced
    b/ l/ n/ o/           breath, laughter, noise, overlapping voice; also sn/
    u/ un/                words that could not be told
    아/ 음/                fillers
    모+ 몬                 a word broken off or said again
    뭐*                    said into a noise
    [noise] [웃음]          a noise, as other rules have it; [unk] words that could not be told

Transcribers err, so: a missing slash between two brackets that touch is supplied, spaces around a
slash do not count, a bracket within a bracket is read as one. Brackets that do not pair, and a
bracket alone, are not understood: the transcript is refused with the reason, never guessed.
"""

import re
from collections import Counter
from typing import NamedTuple

from espnet_ext.data.table import normalized

SIDES = ("spelled", "pronounced")
UNINTELLIGIBLE = "some words could not be told (u/ or un/)"
_NOISE = re.compile(r"(?<![A-Za-z])(un|sn|[bnolu])$")
_NAMED_NOISE = re.compile(
    r"\[\s*(?:noise|laugh(?:s|ter|ing)?|breath(?:s|ing)?|cough(?:s|ing)?|sniff(?:s|ing)?|click|clap"
    r"|music|bgm|applause|overlap(?:ping)?|silence|sil|소음|잡음|웃음|웃음소리|숨소리|기침|박수|음악)"
    r"\s*\]",
    re.IGNORECASE,
)
_NAMED_UNKNOWN = re.compile(r"\[\s*(?:unk|unknown|unintelligible|inaudible)\s*\]", re.IGNORECASE)
_MARKS = re.compile(r"[()/+*]")
_TOKEN = re.compile(r"[()/+*]|[^()/+*]+")
_BETWEEN = re.compile(r"(?:\s*/\s*)?(?=\()")  # the brackets of a pair
_DEEPEST = 20  # brackets within brackets
_JOIN = "\ue000"  # a space within a pair, so that a mark after the pair is about all of it
# Out goes what is no letter, digit or sign that is read aloud, save points within numbers and
# apostrophes within words.
_DROPPED = re.compile(
    r"(?:(?<!\d)[.,:/]|[.,:/](?!\d)|(?<![A-Za-z])'|'(?![A-Za-z])|[^\w\s%&@#$℃.,:/']|_)+"
)
_QUOTES = re.compile(r"""(?<![A-Za-z])'|'(?![A-Za-z])|["‘’“”「」『』《》〈〉<>`]""")
_PLAIN = re.compile(r"[가-힣ㄱ-ㅣA-Za-z0-9]+(?: [가-힣ㄱ-ㅣA-Za-z0-9]+)*")  # quickly: most texts
_UNSPELLED = re.compile(r"[^\sㄱ-ㅣ가-힣]")


class Side(NamedTuple):
    """One spelling of what was said."""

    text: str  # without marks and punctuation; "" if there is none
    problem: str = ""  # why there is none


class Transcript(NamedTuple):
    spelled: Side
    pronounced: Side
    counts: tuple[str, ...] = ()  # slips that were put right


class _Odd(ValueError):
    """Why a transcript is not understood."""


class _Pair(NamedTuple):
    spelled: list
    pronounced: list


class _Alone(NamedTuple):
    content: list


def clean(text: str) -> str:
    """Letters, digits and the signs %, &, @, #, $, ℃, with single spaces.

    >>> clean("네, 3.5%는… 'KBS'에서  「정말」?")
    '네 3.5%는 KBS에서 정말'
    """
    plain = text.rstrip(" .?!")
    if _PLAIN.fullmatch(plain):
        return plain
    composed = _QUOTES.sub("", normalized(text))  # accents are part of their letters then
    return normalized(" ".join(_DROPPED.sub(" ", composed).split()))


def read(
    text: str,
    *,
    disfluent: tuple[str, ...] = SIDES,
    unintelligible: str = "unlabelled",
    alone: str = "refuse",
) -> Transcript:
    """Both spellings of a marked transcript.

    `disfluent` names the sides that keep fillers and repetitions. `unintelligible` words leave
    their side "unlabelled", or are left out ("drop"). A bracket `alone` is refused, or left out as
    a gloss ("drop").

    >>> raw = "b/ 아/ 모+ 몬 소리야 (70%)/(칠 십 퍼센트) 확률이라니 n/"
    >>> read(raw).pronounced.text, read(raw, disfluent=()).spelled.text
    ('아 모 몬 소리야 칠 십 퍼센트 확률이라니', '몬 소리야 70% 확률이라니')
    """
    counts: Counter = Counter()
    if "[" in text:
        text, named = _NAMED_NOISE.subn(" ", text)
        text = _NAMED_UNKNOWN.sub(" u/ ", text)
        if named:
            counts["noises named in square brackets"] += named
    if not _MARKS.search(text):
        side = _side(text)
        return Transcript(side, side, tuple(counts))
    try:
        tokens = _TOKEN.findall(text.replace(_JOIN, " "))
        items, end = _items(tokens, 0, 0, counts)
        if end < len(tokens):
            raise _Odd("a bracket is closed that was not opened")
        if alone == "refuse" and (bracket := _lone(items)) is not None:
            raise _Odd(f"a bracket without its partner: '{bracket}'")
    except _Odd as odd:
        side = Side("", str(odd))
        return Transcript(side, side)
    spelled = pronounced = _spoken(items, SIDES[0], SIDES[0] in disfluent, unintelligible, counts)
    if "(" in text or len(disfluent) == 1:
        pronounced = _spoken(items, SIDES[1], SIDES[1] in disfluent, unintelligible, counts)
    return Transcript(spelled, pronounced, tuple(sorted(set(counts))))


def is_spelled_out(text: str) -> bool:
    """Whether a text is Hangul alone, as one reads it aloud.

    >>> is_spelled_out("칠 십 퍼센트"), is_spelled_out("70 퍼센트")
    (True, False)
    """
    return not _UNSPELLED.search(text)


def _side(text: str) -> Side:
    text = clean(text)
    return Side(text) if text else Side("", "nothing but marks")


def _items(tokens: list[str], at: int, depth: int, counts: Counter) -> tuple[list, int]:
    """Marks, what is between them, pairs and brackets, up to the closing one or the end."""
    items: list = []
    while at < len(tokens) and tokens[at] != ")":
        if tokens[at] != "(":
            items.append(tokens[at])
            at += 1
            continue
        first, at = _bracket(tokens, at, depth, counts)
        between = _BETWEEN.match("".join(tokens[at : at + 4]))
        if not between:
            items.append(_Alone(first))
            continue
        if not between[0].strip():
            counts["pairs of brackets without their slash"] += 1
        second, at = _bracket(tokens, tokens.index("(", at), depth, counts)
        if first == second:
            counts["pairs with identical sides"] += 1
        items.append(_Pair(first, second))
    return items, at


def _bracket(tokens: list[str], at: int, depth: int, counts: Counter) -> tuple[list, int]:
    if depth >= _DEEPEST:
        raise _Odd("brackets within brackets without end")
    if depth:
        counts["brackets within brackets"] += 1
    content, end = _items(tokens, at + 1, depth + 1, counts)
    if end >= len(tokens):
        raise _Odd("a bracket is not closed")
    return content, end + 1


def _lone(items: list) -> str | None:
    """What stands in the first lone bracket, if there is one."""
    for item in items:
        if isinstance(item, _Alone):
            return "".join(one if isinstance(one, str) else "(…)" for one in item.content)[:40]
        if isinstance(item, _Pair):
            for side in item:
                if (found := _lone(side)) is not None:
                    return found
    return None


def _spoken(items: list, side: str, disfluent: bool, unintelligible: str, counts: Counter) -> Side:
    words, faults = _words(items, side, disfluent, counts)
    if "empty" in faults:
        return Side("", f"one side of a pair is empty ({side})")
    if "unintelligible" in faults and unintelligible == "unlabelled":
        return Side("", UNINTELLIGIBLE)
    return _side(" ".join(words).replace(_JOIN, " "))


def _words(items: list, side: str, disfluent: bool, counts: Counter) -> tuple[list[str], set[str]]:
    """The words of one side without their marks, and what is wrong with them."""
    words: list[str] = []
    said_again: set[int] = set()  # which of them are fillers or not the last attempt
    faults: set[str] = set()
    word = ""
    for index, item in enumerate(items):
        if item == "+":
            if word:
                words.append(word)
            if words:  # without a word before it, "w1 +w2" for "w1+ w2"
                said_again.add(len(words) - 1)
            word = ""
        elif item == "/":
            noise = _NOISE.search(word)
            if noise:
                if noise[1] in ("u", "un"):
                    faults.add("unintelligible")
                word = word[: noise.start()]
            elif word[-1:].isdigit() and _begins_with_digit(items, index + 1):
                word += item
                continue
            elif word:
                said_again.add(len(words))
            if word:
                words.append(word)
            word = ""
        elif isinstance(item, _Pair):
            content = getattr(item, side)
            inner, more = _words(content, side, disfluent, counts)
            faults |= more
            if all(isinstance(one, str) and one.isspace() for one in content):
                faults.add("empty")
            word += _JOIN.join(inner).replace(" ", _JOIN)
        elif isinstance(item, _Alone):
            counts["glosses in brackets, left out"] += 1
        elif item != "*":  # words and the spaces between them
            whole = f"{word}{item}"
            parts = whole.split()
            word = parts.pop() if parts and not whole[-1].isspace() else ""
            words += parts
    if word:
        words.append(word)
    if not disfluent:
        words = [one for index, one in enumerate(words) if index not in said_again]
    return words, faults


def _begins_with_digit(items: list, index: int) -> bool:
    return index < len(items) and isinstance(items[index], str) and items[index][0].isdigit()
