"""The reading of an English word that has several, such as `live`, `record` and `use`.

`english_homographs.tsv` has the readings of each homograph by class: its part of speech, or a name
such as `metal` (lead). The rules of `english_homograph_rules.tsv` decide the class from the
neighbouring words. If no rule matches, the reading is the commoner one, which is the first in the
table.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("english_homographs.tsv")
RULES = Path(__file__).with_name("english_homograph_rules.tsv")
_SIBILANT, _VOICELESS = ("S", "Z", "SH", "ZH", "CH", "JH"), ("P", "T", "K", "F", "TH")
_WINDOW = 30  # words on each side that rules read
_ANY_WORD, _ANY_S_FORM = "*", "*s"  # names of general rules
Rules = dict[str, list[tuple[str, re.Pattern[str]]]]


class Token(NamedTuple):
    """A word of a text."""

    word: str  # as written
    after_punctuation: bool = False


@functools.cache
def homographs() -> dict[str, dict[str, str]]:
    """Return the table: lower-case word → class → phones, the commoner reading first.

    Nouns and verbs also have their form in -s, and nouns the possessive form.

    >>> homographs()["use"]
    {'verb': 'Y UW1 Z', 'noun': 'Y UW1 S'}
    """
    table: dict[str, dict[str, str]] = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        word, *readings = line.split("\t")
        table[word] = {}
        for reading in readings:
            names, _, phones = reading.partition("=")
            table[word].update(dict.fromkeys(names.split(","), phones))
    for word, by_class in list(table.items()):
        forms = {name: with_s(phones) for name, phones in by_class.items() if name in _INFLECTED}
        if len(set(forms.values())) > 1:
            table.setdefault(f"{word}es" if word.endswith(("s", "sh", "ch")) else f"{word}s", forms)
    return table


_INFLECTED = ("noun", "verb")


@functools.cache
def rules() -> Rules:
    """Return the rules in order: word, `*` or `*s` → (class, expression)."""
    groups: dict[str, str] = {}
    compiled: Rules = {}
    for line in RULES.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if group := re.match(r"([A-Z]+) = ", line):
            groups[f"{{{group[1]}}}"] = f"(?:{'|'.join(line[group.end() :].split())})"
            continue
        word, name, expression = line.split("\t")
        expression = re.sub(r"\{[A-Z]+\}", lambda match: groups[match[0]], expression)
        # each item of the expression is a whole word
        pattern = re.compile(f"(?<!\\S)(?:{expression})(?!\\S)")
        compiled.setdefault(word, []).append((name, pattern))
    return compiled


def with_s(phones: str) -> str:
    """Add the ending -s or -es: IH0 Z after a sibilant, S after a voiceless phone, otherwise Z.

    >>> with_s("Y UW1 S"), with_s("R EH1 K ER0 D")
    ('Y UW1 S IH0 Z', 'R EH1 K ER0 D Z')
    """
    last = phones.split()[-1]
    return phones + (" IH0 Z" if last in _SIBILANT else " S" if last in _VOICELESS else " Z")


def readings(word: str) -> list[str]:
    """Return the readings of a homograph, the commoner first, and [] for other words.

    >>> readings("Live"), readings("fish")
    (['L IH1 V', 'L AY1 V'], [])
    """
    by_class = homographs().get(word.lower())
    return list(dict.fromkeys(by_class.values())) if by_class else []


def choose(tokens: Sequence[Token], index: int) -> tuple[str, bool] | None:
    """Return the reading of a word in its sentence, and whether a rule determined it.

    Args:
        tokens: the words of the text.
        index: the position of the word.

    Returns:
        Phones and True if a rule matched, phones of the commoner reading and False if none did, or
        None if the word is not a homograph.

    >>> choose([Token("I"), Token("live"), Token("here")], 1)
    ('L IH1 V', True)
    """
    word = tokens[index].word
    lower = word.lower()
    if (possessive := re.fullmatch(r"(\w+)'s", lower)) and possessive[1] in homographs():
        by_class = homographs()[possessive[1]]
        return with_s(by_class.get("noun", next(iter(by_class.values())))), "noun" in by_class
    by_class = homographs().get(lower, {})
    if not by_class:
        return None
    if lower == "polish" and word[0].isupper() and index and not tokens[index].after_punctuation:
        return by_class["nationality"], True
    name = _class_of(lower, by_class, _context(tokens, index))
    return (by_class[name], True) if name else (next(iter(by_class.values())), False)


def _class_of(word: str, by_class: dict[str, str], context: str) -> str | None:
    """Return the class of a homograph by the first rule that matches, or None."""
    is_s_form = any(
        word.endswith(ending) and word.removesuffix(ending) in homographs()
        for ending in ("s", "es")
    )
    general = _ANY_S_FORM if is_s_form else _ANY_WORD
    for name, expression in (*rules().get(word, ()), *rules()[general]):
        if name == "adj" and name not in by_class:
            name = "noun"
        elif name == "noun" and name not in by_class:
            name = "adj"
        if name in by_class and expression.search(context):
            return name
    return None


def _context(tokens: Sequence[Token], index: int) -> str:
    """Return the words around a homograph, with `@` in its place and `|` for punctuation."""
    start = max(index - _WINDOW, 0)
    words = []
    for position, token in enumerate(tokens[start : index + _WINDOW + 1], start):
        if token.after_punctuation:
            words.append("|")
        words.append("@" if position == index else token.word.lower())
    return " ".join(words)
