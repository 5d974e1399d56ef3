"""Human scores and inserted phones of speechocean762.

`resource/scores-detail.json` has, for each word, one string per expert with the phones that this
expert perceived: `{AH0}` is an accented phone, `(AH0)` a wrong or missing phone, `[L]` an inserted
phone. Inserted phones are in this file only.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from espnet_ext.corpora.transcripts import UNIDENTIFIED, read_phone

SENTENCE = ("accuracy", "completeness", "fluency", "prosodic", "total")  # 0 to 10 each
PHONES = "phones"  # mean of phones-accuracy, 0 to 2
_TOKEN = re.compile(r"\[([^\[\]]*)\]|[^\s\[\]]+|[\[\]]")


def utterance_scores(entry: Any, detail: Any = None) -> str:
    """Return the scores of an utterance as `accuracy=8 … phones=1.87`, or "" if it has none.

    Args:
        entry: Entry of scores.json.
        detail: Entry of scores-detail.json. A score that `entry` lacks is the mean of its experts.

    >>> word = {"phones-accuracy": [2.0, 1.0]}
    >>> utterance_scores({"accuracy": 8, "words": [word]}, {"accuracy": [1], "fluency": [9.0, 8]})
    'accuracy=8 fluency=8.5 phones=1.5'
    """
    scores: dict[str, float] = {}
    for name in SENTENCE:
        for source in (entry, detail):
            value = source.get(name) if isinstance(source, Mapping) else None
            numbers: list[Any] = value if isinstance(value, list) else [value]
            if numbers and all(map(_is_number, numbers)):
                scores.setdefault(name, fmean(numbers))
    words = entry.get("words") if isinstance(entry, Mapping) else None
    phones: list[Any] = []
    for word in words if isinstance(words, list) else ():
        accuracy = word.get("phones-accuracy") if isinstance(word, Mapping) else None
        phones += accuracy if isinstance(accuracy, list) else [None]
    if phones and all(map(_is_number, phones)):
        scores[PHONES] = fmean(phones)
    return " ".join(f"{name}={round(value, 3):g}" for name, value in scores.items())


def _is_number(value: Any) -> bool:
    # bool is a subclass of int; Python's JSON reader accepts Infinity and NaN.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def insertions(expert_strings: Any, phones: Sequence[str]) -> tuple[dict[int, list[str]], int, str]:
    """Return the insertions in a word that most experts perceived.

    Args:
        expert_strings: "phones" of the word in scores-detail.json, one string per expert.
        phones: The phones of the word.
    Returns:
        Position (0 to len(phones)) → phones inserted before it; the number of insertions that only
        a minority perceived; and why the surface of the word is not known: most experts perceived
        an insertion, but did not agree on the phone. "" if it is known.

    >>> insertions(["B EH0 [L] R", "B {EH0} [L] R", "B EH0 R"], ["B", "EH", "R"])
    ({2: ['L']}, 0, '')
    """
    if not isinstance(expert_strings, list):
        return {}, 0, ""
    votes: dict[int, Counter[tuple[str, ...]]] = {}
    voters = 0
    for text in expert_strings:
        by_position = _insertions_of(text, len(phones)) if isinstance(text, str) else None
        if by_position is None:
            continue
        voters += 1
        for position, inserted in by_position.items():
            votes.setdefault(position, Counter())[tuple(inserted)] += 1
    agreed: dict[int, list[str]] = {}
    minority = 0
    for position, votes_here in sorted(votes.items()):
        (best, count), total = votes_here.most_common(1)[0], sum(votes_here.values())
        if 2 * total <= voters:
            minority += total
        elif 2 * count <= voters or UNIDENTIFIED in best or "" in best:
            reason = f"most experts perceived an insertion before phone {position}, not the same"
            return {}, minority, reason
        else:
            agreed[position] = list(best)
    return agreed, minority, ""


def _insertions_of(text: str, count: int) -> dict[int, list[str]] | None:
    """Return position → inserted phones that one expert perceived in a word of `count` phones.

    An inserted label that is not a phone becomes UNIDENTIFIED. None if the string has another
    number of phones, or a bracket that is not closed.
    """
    by_position: dict[int, list[str]] = {}
    position = 0
    for match in _TOKEN.finditer(text):
        if match[1] is not None:
            inserted = [read_phone(phone)[0] or UNIDENTIFIED for phone in match[1].split()]
            if inserted:
                by_position.setdefault(position, []).extend(inserted)
        elif match[0] in "[]":
            return None
        elif any(character.isalpha() for character in match[0]):
            position += 1
    return by_position if position == count else None
