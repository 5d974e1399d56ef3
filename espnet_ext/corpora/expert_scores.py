"""speechocean762's human scores: of sentences and phones, and what five experts noted one by one.

`resource/scores-detail.json` has an expert's hearing of a word as its phones in brackets: `{AH0}`
is accented, `(AH0)` wrong or missing, `[L]` inserted. Only this file tells of inserted phones.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from espnet_ext.corpora.preparation import UNIDENTIFIED, read_phone

SENTENCE = ("accuracy", "completeness", "fluency", "prosodic", "total")  # 0 to 10 each
PHONES = "phones"  # the mean of phones-accuracy, 0 to 2
_TOKEN = re.compile(r"\[([^\[\]]*)\]|[^\s\[\]]+|[\[\]]")


def scores_of(entry: Any, detail: Any = None) -> str:
    """An utterance's scores as `accuracy=8 … phones=1.87`; "" if it has none.

    What scores.json lacks is the experts' mean.

    >>> word = {"phones-accuracy": [2.0, 1.0]}
    >>> scores_of({"accuracy": 8, "words": [word]}, {"accuracy": [1], "fluency": [9.0, 8]})
    'accuracy=8 fluency=8.5 phones=1.5'
    """
    found: dict[str, float] = {}
    for name in SENTENCE:
        for source in (entry, detail):
            value = source.get(name) if isinstance(source, Mapping) else None
            numbers = value if isinstance(value, list) else [value]
            if numbers and all(map(_is_number, numbers)):
                found.setdefault(name, fmean(numbers))
    words = entry.get("words") if isinstance(entry, Mapping) else None
    phones = []
    for word in words if isinstance(words, list) else ():
        own = word.get("phones-accuracy") if isinstance(word, Mapping) else None
        phones += own if isinstance(own, list) else [None]
    if phones and all(map(_is_number, phones)):
        found[PHONES] = fmean(phones)
    return " ".join(f"{name}={round(value, 3):g}" for name, value in found.items())


def _is_number(value: Any) -> bool:
    # A truth value is an int to Python; infinities and NaN, which Python's JSON reads, are none.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def insertions(heard: Any, phones: Sequence[str]) -> tuple[dict[int, list[str]], int, str]:
    """Phones that most experts heard inserted in a word, by the place before which they stand.

    Args:
        heard: the word's "phones" in scores-detail.json, a string an expert; phones: the word's.
    Returns:
        Place (0 to len(phones)) → phones; how many insertions only a minority noted; and why the
        word's surface is not known, if most heard one but do not agree which.

    >>> insertions(["B EH0 [L] R", "B {EH0} [L] R", "B EH0 R"], ["B", "EH", "R"])
    ({2: ['L']}, 0, '')
    """
    if not isinstance(heard, list):
        return {}, 0, ""
    votes: dict[int, Counter[tuple[str, ...]]] = {}
    voters = 0
    for text in heard:
        noted = _noted(text, len(phones)) if isinstance(text, str) else None
        if noted is None:
            continue
        voters += 1
        for place, inserted in noted.items():
            votes.setdefault(place, Counter())[tuple(inserted)] += 1
    agreed: dict[int, list[str]] = {}
    minority = 0
    for place, noted in sorted(votes.items()):
        (best, count), total = noted.most_common(1)[0], sum(noted.values())
        if 2 * total <= voters:
            minority += total
        elif 2 * count <= voters or UNIDENTIFIED in best or "" in best:
            reason = f"most experts heard a phone inserted before phone {place}, not the same one"
            return {}, minority, reason
        else:
            agreed[place] = list(best)
    return agreed, minority, ""


def _noted(text: str, count: int) -> dict[int, list[str]] | None:
    """Inserted phones by place; None if the string is not about `count` phones.

    A phone that is no phone, or not closed by its bracket, stands as UNIDENTIFIED.
    """
    found: dict[int, list[str]] = {}
    place = 0
    for match in _TOKEN.finditer(text):
        if match[1] is not None:
            inserted = [read_phone(phone)[0] or UNIDENTIFIED for phone in match[1].split()]
            if inserted:
                found.setdefault(place, []).extend(inserted)
        elif match[0] in "[]":
            return None
        elif any(character.isalpha() for character in match[0]):
            place += 1
    return found if place == count else None
