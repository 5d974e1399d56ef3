"""What can be said: sentences written one by one, and more of them from frames.

A frame is a sentence with choices, `(my|his) cat is (black|white)`. Frames use the words of the
sentences alone, so that they teach a decoder new company for known words, not new words.
"""

import functools
import itertools
import random
import re
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
    """About `count` different sentences from frames: from each as many, or all that it makes.

    None of them is a written one, wherever that may be used.
    """
    rng = random.Random(seed)
    used = set(written(lang))
    chosen: list[str] = []
    for frame in frames(lang):
        new = [sentence for sentence in expand(frame) if sentence not in used]
        share = rng.sample(new, min(len(new), round(count / len(frames(lang)))))
        used.update(share)
        chosen += share
    return chosen


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
