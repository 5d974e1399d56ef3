"""Tags: labels written into a transcript as tokens, `<name:value>` (TokenVerse, arXiv 2407.04444).

A tag is one token for every kind of tokenizer, and is no part of what is scored as text.
"""

import re
from collections.abc import Iterable

TAG = re.compile(r"<([A-Za-z][A-Za-z0-9_]*):([^\s<>]+)>")


def make_tag(name: str, value: str) -> str:
    """The tag of a label; spaces in the label become `_`.

    >>> make_tag("l1", "Hindi")
    '<l1:Hindi>'
    """
    return f"<{name}:{label_token(value)}>"


def label_token(value: str) -> str:
    """A label as one word.

    >>> label_token("Mandarin Chinese")
    'Mandarin_Chinese'
    """
    return "_".join(value.translate(str.maketrans("<>", "()")).split())


def split_tags(text: str) -> tuple[str, dict[str, str]]:
    """A transcript without its tags, and their values; of two of one name the last one counts.

    >>> split_tags("i like it <l1:Hindi>")
    ('i like it', {'l1': 'Hindi'})
    """
    if "<" not in text:
        return text, {}
    return " ".join(TAG.sub(" ", text).split()), dict(TAG.findall(text))


def kinds_of(tokens: Iterable[str]) -> dict[str, list[int]]:
    """Kinds of tags among tokens, by name, each with the numbers of its tokens.

    >>> kinds_of(["a", "<l1:Hindi>", "<space>", "<l1:Thai>"])
    {'l1': [1, 3]}
    """
    found: dict[str, list[int]] = {}
    for number, token in enumerate(tokens):
        if match := TAG.fullmatch(token):
            found.setdefault(match[1], []).append(number)
    return dict(sorted(found.items()))


def task_of(output: str, kind: str) -> str:
    """The name of a kind of tag within an output, as a task.

    >>> task_of("meaning", "l1")
    'meaning.l1'
    """
    return f"{output}.{kind}"


def output_of(task: str) -> str:
    """The output that a task belongs to; an output is a task of its own.

    >>> output_of("meaning.l1"), output_of("meaning")
    ('meaning', 'meaning')
    """
    return task.partition(".")[0]


def pieces(text: str) -> list[str]:
    """Characters of a text, a tag being one.

    >>> pieces("ab<l1:x>")
    ['a', 'b', '<l1:x>']
    """
    if "<" not in text:
        return list(text)
    found: list[str] = []
    end = 0
    for match in TAG.finditer(text):
        found += [*text[end : match.start()], match.group()]
        end = match.end()
    return [*found, *text[end:]]
