"""The sentences of the embedded corpus: written ones, and more of them generated from frames.

A frame is a sentence with choices, `(my|his) cat is (black|white)`. Frames use only words of the
written sentences, so that they add new contexts of known words and no new words.
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
    """Return the written sentences of a language, with single spaces; the order numbers them."""
    return _read_lines(f"sentences_{lang}.txt")


@functools.cache
def frames(lang: str) -> tuple[str, ...]:
    """Return the frames of a language."""
    return _read_lines(f"frames_{lang}.txt")


def drawn(lang: str, count: int, seed: int) -> list[str]:
    """Return `count` different sentences from frames, or all of them; none is a written one.

    The word that is in the fewest sentences so far determines the next sentence, which is drawn at
    random among those with that word. A word that occurs in few contexts would not be learned as a
    word of its own.
    """
    used = set(written(lang))
    candidates = [sentence for frame in frames(lang) for sentence in expand(frame)]
    candidates = [sentence for sentence in dict.fromkeys(candidates) if sentence not in used]
    random.Random(seed).shuffle(candidates)
    words = {sentence: set(sentence.split()) for sentence in candidates}
    remaining: dict[str, list[str]] = {}  # word → candidates with it
    for sentence in candidates:
        for word in words[sentence]:
            remaining.setdefault(word, []).append(sentence)
    frequency = Counter(word for sentence in used for word in set(sentence.split()))
    chosen: dict[str, None] = {}  # an ordered set
    while remaining and len(chosen) < count:
        rarest = min(remaining, key=lambda word: (frequency[word], word))
        sentence = remaining[rarest].pop()
        if not remaining[rarest]:
            del remaining[rarest]
        if sentence not in chosen:
            chosen[sentence] = None
            frequency.update(words[sentence])
    return list(chosen)


def expand(frame: str) -> list[str]:
    """Return all sentences of a frame; the last choice changes fastest.

    >>> expand("(my|his) cat is (black|white)")[:3]
    ['my cat is black', 'my cat is white', 'his cat is black']
    """
    # Splitting at a group gives fixed text and choices in turn.
    parts = [
        part.split("|") if index % 2 else [part] for index, part in enumerate(_CHOICE.split(frame))
    ]
    return ["".join(choices) for choices in itertools.product(*parts)]


def _read_lines(name: str) -> tuple[str, ...]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))
