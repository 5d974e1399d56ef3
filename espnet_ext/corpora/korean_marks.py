"""Parser of marked Korean transcripts: two spellings, noises, fillers, repetitions.

The marks follow the transcription rules of AI Hub's corpora (ETRI, 한국어 음성 전사규칙 v1.0):

    (70%)/(칠 십 퍼센트)   spelled / pronounced
    b/ l/ n/ o/           breath, laughter, noise, overlapping voice; also sn/
    u/ un/                unintelligible words
    아/ 음/                fillers
    모+ 몬                 a word broken off or repeated
    뭐*                    a word over which there is noise
    [noise] [웃음]          a noise, in other rules; [unk] unintelligible words

Common errors of transcribers are corrected: a missing slash between two adjacent brackets is
supplied, spaces around a slash are ignored, and a bracket within a bracket is parsed recursively.
A bracket that is not closed, or a single bracket outside a pair, is not understood: the transcript
is rejected with the reason, not guessed.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from espnet_ext.data.table import normalized

SPELLINGS = ("spelled", "pronounced")
UNINTELLIGIBLE = "has unintelligible words (u/ or un/)"
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
_PAIR_SEPARATOR = re.compile(r"(?:\s*/\s*)?(?=\()")  # between the two brackets of a pair
_MAX_DEPTH = 20  # of nested brackets
_SPACE_IN_PAIR = (
    "\ue000"  # stands for a space in a pair, so that a following mark applies to it all
)
# Matches all characters but letters, digits and symbols that are read aloud. Points within numbers
# and apostrophes within words are kept.
_DROPPED = re.compile(
    r"(?:(?<!\d)[.,:/]|[.,:/](?!\d)|(?<![A-Za-z])'|'(?![A-Za-z])|[^\w\s%&@#$℃.,:/']|_)+"
)
_QUOTES = re.compile(r"""(?<![A-Za-z])'|'(?![A-Za-z])|["‘’“”「」『』《》〈〉<>`]""")
_ALREADY_CLEAN = re.compile(r"[가-힣ㄱ-ㅣA-Za-z0-9]+(?: [가-힣ㄱ-ㅣA-Za-z0-9]+)*")  # most texts
_NOT_HANGUL = re.compile(r"[^\sㄱ-ㅣ가-힣]")


class Spelling(NamedTuple):
    """One spelling of an utterance."""

    text: str  # without marks and punctuation; "" if there is none
    problem: str = ""  # why there is none


class Transcript(NamedTuple):
    spelled: Spelling
    pronounced: Spelling
    counts: tuple[str, ...] = ()  # kinds of transcription errors that were corrected


class _ParseError(ValueError):
    """Why a transcript is not understood."""


class _Pair(NamedTuple):
    """Two spellings of the same words: `(spelled)/(pronounced)`."""

    spelled: "list[_Item]"
    pronounced: "list[_Item]"


class _Bracket(NamedTuple):
    """A bracket that is not part of a pair."""

    content: "list[_Item]"


_Item = str | _Pair | _Bracket  # str: a mark, or the text between marks


def clean(text: str) -> str:
    """Return a text without punctuation: letters, digits and %, &, @, #, $, ℃, single spaces.

    >>> clean("네, 3.5%는… 'KBS'에서  「정말」?")
    '네 3.5%는 KBS에서 정말'
    """
    plain = text.rstrip(" .?!")
    if _ALREADY_CLEAN.fullmatch(plain):
        return plain
    composed = _QUOTES.sub("", normalized(text))  # composed, so that accents belong to letters
    return normalized(" ".join(_DROPPED.sub(" ", composed).split()))


def parse(
    text: str,
    *,
    disfluent: Sequence[str] = SPELLINGS,
    unintelligible: str = "unlabelled",
    single_bracket: str = "refuse",
) -> Transcript:
    """Parse a marked transcript into its two spellings.

    Args:
        text: The transcript.
        disfluent: Spellings that keep fillers and repetitions.
        unintelligible: With "unlabelled", a spelling with unintelligible words is empty; with
            "drop", only these words are dropped.
        single_bracket: With "refuse", a transcript with a bracket that is not part of a pair is
            rejected; with "drop", the bracket is dropped as a gloss.

    >>> raw = "b/ 아/ 모+ 몬 소리야 (70%)/(칠 십 퍼센트) 확률이라니 n/"
    >>> parse(raw).pronounced.text, parse(raw, disfluent=()).spelled.text
    ('아 모 몬 소리야 칠 십 퍼센트 확률이라니', '몬 소리야 70% 확률이라니')
    """
    counts: Counter = Counter()
    if "[" in text:
        text, noises = _NAMED_NOISE.subn(" ", text)
        text = _NAMED_UNKNOWN.sub(" u/ ", text)
        if noises:
            counts["noises named in square brackets"] += noises
    if not _MARKS.search(text):
        spelling = _spelling(text)
        return Transcript(spelling, spelling, tuple(counts))
    try:
        tokens = _TOKEN.findall(text.replace(_SPACE_IN_PAIR, " "))
        items, end = _parse_items(tokens, 0, 0, counts)
        if end < len(tokens):
            raise _ParseError("a closing bracket has no opening bracket")
        if single_bracket == "refuse" and (bracket := _single_bracket(items)) is not None:
            raise _ParseError(f"a bracket is not part of a pair: '{bracket}'")
    except _ParseError as error:
        spelling = Spelling("", str(error))
        return Transcript(spelling, spelling)
    spelled = pronounced = _extract(items, "spelled", disfluent, unintelligible, counts)
    if "(" in text or len(disfluent) == 1:
        pronounced = _extract(items, "pronounced", disfluent, unintelligible, counts)
    return Transcript(spelled, pronounced, tuple(sorted(set(counts))))


def is_hangul(text: str) -> bool:
    """Return whether a text has only Hangul and spaces, so that it is spelled as pronounced.

    >>> is_hangul("칠 십 퍼센트"), is_hangul("70 퍼센트")
    (True, False)
    """
    return not _NOT_HANGUL.search(text)


def _spelling(text: str) -> Spelling:
    text = clean(text)
    return Spelling(text) if text else Spelling("", "has only marks")


def _parse_items(
    tokens: list[str], position: int, depth: int, counts: Counter
) -> tuple[list[_Item], int]:
    """Parse up to a closing bracket or the end of the tokens.

    Return the items and the position of the bracket, or the number of tokens.
    """
    items: list[_Item] = []
    while position < len(tokens) and tokens[position] != ")":
        if tokens[position] != "(":
            items.append(tokens[position])
            position += 1
            continue
        first, position = _parse_bracket(tokens, position, depth, counts)
        separator = _PAIR_SEPARATOR.match("".join(tokens[position : position + 4]))
        if not separator:
            items.append(_Bracket(first))
            continue
        if not separator[0].strip():
            counts["pairs of brackets without a slash"] += 1
        position = tokens.index("(", position)
        second, position = _parse_bracket(tokens, position, depth, counts)
        if first == second:
            counts["pairs of identical spellings"] += 1
        items.append(_Pair(first, second))
    return items, position


def _parse_bracket(
    tokens: list[str], position: int, depth: int, counts: Counter
) -> tuple[list[_Item], int]:
    if depth >= _MAX_DEPTH:
        raise _ParseError("brackets are nested too deep")
    if depth:
        counts["nested brackets"] += 1
    content, end = _parse_items(tokens, position + 1, depth + 1, counts)
    if end >= len(tokens):
        raise _ParseError("a bracket is not closed")
    return content, end + 1


def _single_bracket(items: list[_Item]) -> str | None:
    """Return the content of the first bracket that is not part of a pair, or None."""
    for item in items:
        if isinstance(item, _Bracket):
            parts = (part if isinstance(part, str) else "(…)" for part in item.content)
            return "".join(parts)[:40]
        if isinstance(item, _Pair):
            for spelling in item:
                if (content := _single_bracket(spelling)) is not None:
                    return content
    return None


def _extract(
    items: list[_Item], name: str, disfluent: Sequence[str], unintelligible: str, counts: Counter
) -> Spelling:
    """Return the spelling `name` ("spelled" or "pronounced") of a parsed transcript."""
    words, problems = _words(items, name, name in disfluent, counts)
    if "empty" in problems:
        return Spelling("", f"one spelling of a pair is empty ({name})")
    if "unintelligible" in problems and unintelligible == "unlabelled":
        return Spelling("", UNINTELLIGIBLE)
    return _spelling(" ".join(words).replace(_SPACE_IN_PAIR, " "))


def _words(
    items: list[_Item], name: str, disfluent: bool, counts: Counter
) -> tuple[list[str], set[str]]:
    """Return the words of one spelling without marks, and its problems.

    The problems are "empty" (a pair without this spelling) and "unintelligible".
    """
    words: list[str] = []
    disfluencies: set[int] = set()  # indices of fillers and of repeated or broken-off words
    problems: set[str] = set()
    word = ""
    for index, item in enumerate(items):
        if item == "+":
            if word:
                words.append(word)
            if words:  # "w1 +w2" marks w1 like "w1+ w2"
                disfluencies.add(len(words) - 1)
            word = ""
        elif item == "/":
            noise = _NOISE.search(word)
            if noise:
                if noise[1] in ("u", "un"):
                    problems.add("unintelligible")
                word = word[: noise.start()]
            elif word[-1:].isdigit() and _starts_with_digit(items, index + 1):
                word += "/"  # a fraction
                continue
            elif word:
                disfluencies.add(len(words))
            if word:
                words.append(word)
            word = ""
        elif isinstance(item, _Pair):
            content = item.spelled if name == "spelled" else item.pronounced
            words_of_pair, problems_of_pair = _words(content, name, disfluent, counts)
            problems |= problems_of_pair
            if all(isinstance(part, str) and part.isspace() for part in content):
                problems.add("empty")
            word += _SPACE_IN_PAIR.join(words_of_pair).replace(" ", _SPACE_IN_PAIR)
        elif isinstance(item, _Bracket):
            counts["glosses in brackets, dropped"] += 1
        elif item != "*":  # words with the spaces between them
            text = f"{word}{item}"
            parts = text.split()
            word = parts.pop() if parts and not text[-1].isspace() else ""
            words += parts
    if word:
        words.append(word)
    if not disfluent:
        words = [word for index, word in enumerate(words) if index not in disfluencies]
    return words, problems


def _starts_with_digit(items: list[_Item], index: int) -> bool:
    if index >= len(items):
        return False
    item = items[index]
    return isinstance(item, str) and item[0].isdigit()
