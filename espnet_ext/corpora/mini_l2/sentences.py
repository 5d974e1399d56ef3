"""What can be said: sentences written one by one, and more of them from frames.

A frame is a sentence with choices, `(my|his) cat is (black|white)`. Frames use the words of the
sentences alone, so that they teach a decoder new company for known words, not new words.
"""

import functools
import itertools
import random
import re
from collections import Counter
from pathlib import Path

_CHOICE = re.compile(r"\(([^()]*)\)")


@functools.cache
def written(lang: str) -> tuple[str, ...]:
    """The sentences of a language, words separated by one space; their order numbers them."""
    return _lines(f"sentences_{lang}.txt")


@functools.cache
def frames(lang: str) -> tuple[str, ...]:
    """The frames of a language."""
    return _lines(f"frames_{lang}.txt")


def drawn(lang: str, count: int, seed: int) -> list[str]:
    """`count` different sentences from frames, or all that they make; none is a written one.

    The word that stands in the fewest sentences so far chooses the next, at random among those
    that have it: a word seen in few contexts is not learned as a word of its own.
    """
    used = set(written(lang))
    new = [sentence for frame in frames(lang) for sentence in expand(frame)]
    new = [sentence for sentence in dict.fromkeys(new) if sentence not in used]
    random.Random(seed).shuffle(new)
    words = {sentence: set(sentence.split()) for sentence in new}
    left: dict[str, list[str]] = {}
    for sentence in new:
        for word in words[sentence]:
            left.setdefault(word, []).append(sentence)
    stands = Counter(word for sentence in used for word in set(sentence.split()))
    chosen: dict[str, None] = {}  # a set that keeps its order
    while left and len(chosen) < count:
        rarest = min(left, key=lambda word: (stands[word], word))
        sentence = left[rarest].pop()
        if not left[rarest]:
            del left[rarest]
        if sentence not in chosen:
            chosen[sentence] = None
            stands.update(words[sentence])
    return list(chosen)


def expand(frame: str) -> list[str]:
    """The sentences of a frame, the last choice changing fastest.

    >>> expand("(my|his) cat is (black|white)")[:3]
    ['my cat is black', 'my cat is white', 'his cat is black']
    """
    # Splitting at a group gives fixed text and choices by turns.
    parts = [
        part.split("|") if index % 2 else [part] for index, part in enumerate(_CHOICE.split(frame))
    ]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def _lines(name: str) -> tuple[str, ...]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))
