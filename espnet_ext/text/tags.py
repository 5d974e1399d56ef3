"""Inline tags: utterance labels written into a transcript as tokens `<name:value>`.

Source: TokenVerse, arXiv 2407.04444. Every tokenizer treats a tag as one token. Tags are removed
before a transcript is scored as text.
"""

import re
from collections.abc import Iterable

TAG = re.compile(r"<([A-Za-z][A-Za-z0-9_]*):([^\s<>]+)>")


def make_tag(name: str, value: str) -> str:
    """Return the tag of a label. Spaces in the value become `_`.

    >>> make_tag("l1", "Hindi")
    '<l1:Hindi>'
    """
    return f"<{name}:{label_token(value)}>"


def label_token(value: str) -> str:
    """Return a label as one token: spaces become `_`, angle brackets become parentheses.

    >>> label_token("Mandarin Chinese")
    'Mandarin_Chinese'
    """
    return "_".join(value.translate(str.maketrans("<>", "()")).split())


def split_tags(text: str) -> tuple[str, dict[str, str]]:
    """Return a transcript without its tags, and the tags as a dictionary name → value.

    If a name occurs more than once, its last value is returned.

    >>> split_tags("i like it <l1:Hindi>")
    ('i like it', {'l1': 'Hindi'})
    """
    if "<" not in text:
        return text, {}
    return " ".join(TAG.sub(" ", text).split()), dict(TAG.findall(text))


def tag_token_ids(token_list: Iterable[str]) -> dict[str, list[int]]:
    """Return the tags in a token list: tag name → ids of the tokens with this name.

    >>> tag_token_ids(["a", "<l1:Hindi>", "<space>", "<l1:Thai>"])
    {'l1': [1, 3]}
    """
    ids: dict[str, list[int]] = {}
    for token_id, token in enumerate(token_list):
        if match := TAG.fullmatch(token):
            ids.setdefault(match[1], []).append(token_id)
    return dict(sorted(ids.items()))


def tag_task(output: str, tag_name: str) -> str:
    """Return the task name of the tags called `tag_name` in the transcripts of `output`.

    >>> tag_task("meaning", "l1")
    'meaning.l1'
    """
    return f"{output}.{tag_name}"


def output_of(task: str) -> str:
    """Return the output that a task belongs to. The task of a whole output is its name.

    >>> output_of("meaning.l1"), output_of("meaning")
    ('meaning', 'meaning')
    """
    return task.partition(".")[0]


def split_characters(text: str) -> list[str]:
    """Return the characters of a text. A tag counts as one character.

    >>> split_characters("ab<l1:x>")
    ['a', 'b', '<l1:x>']
    """
    if "<" not in text:
        return list(text)
    characters: list[str] = []
    end = 0
    for match in TAG.finditer(text):
        characters += [*text[end : match.start()], match.group()]
        end = match.end()
    return [*characters, *text[end:]]
