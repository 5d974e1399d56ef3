"""Lines of text to pronunciations, and what to do about what cannot be pronounced."""

from collections.abc import Callable, Iterable, Iterator

from espnet_ext.errors import UserError

ERROR, KEEP, UNK = "error", "keep", "unk"
UNKNOWN = (ERROR, KEEP, UNK)


def convert(
    text: str, pronounce: Callable[[str], str], unknown: str = ERROR, unk: str = "<unk>"
) -> str:
    """`pronounce(text)`; where that fails, word by word, by the policy `unknown`.

    With "keep" a word that cannot be pronounced stays as it is written, with "unk" it becomes
    `unk`; the words between such words are pronounced together. With "error", the UserError of
    `pronounce` is raised.

    >>> from espnet_ext.text.korean import pronounce
    >>> convert("국물이 漢字 좋다", pronounce, "unk")
    '궁무리 <unk> 조타'
    """
    try:
        return pronounce(text)
    except UserError:
        if unknown == ERROR:
            raise
    said: list[str] = []
    together: list[str] = []
    for word in [*text.split(), None]:
        if word is not None and _can(word, pronounce):
            together.append(word)
            continue
        if together:
            said.append(pronounce(" ".join(together)))
            together = []
        if word is not None:
            said.append(word if unknown == KEEP else unk)
    return " ".join(one for one in said if one)


def _can(word: str, pronounce: Callable[[str], str]) -> bool:
    try:
        pronounce(word)
    except UserError:
        return False
    return True


def lines(
    given: Iterable[str],
    pronounce: Callable[[str], str],
    name: str,
    *,
    kaldi: bool = False,
    unknown: str = ERROR,
    unk: str = "<unk>",
    sentinel: str = "",
    faults: list[UserError] | None = None,
) -> Iterator[str]:
    """A pronounced line for every line; UserError names the file and the line.

    With `faults`, errors are collected there and the rest goes on: a line that cannot be
    pronounced becomes empty, so that the others keep their numbers; with `kaldi` it is left out.

    Args:
        name: what to call the source in messages.
        kaldi: whether the first field of a line is an id, which stays.
        sentinel: a text that means "no transcript" and stays.
    """
    for number, line in enumerate(given, 1):
        head, text = "", line.rstrip("\r\n")
        if kaldi:
            head, *rest = text.split(maxsplit=1)[:2] or [""]
            text = rest[0] if rest else ""
            if not head:
                none = UserError(f"{name}:{number}: no utterance id", "remove the empty line")
                _fault(none, faults)
                continue
        try:
            said = (
                text
                if sentinel and text.strip() == sentinel
                else convert(text, pronounce, unknown, unk)
            )
        except UserError as error:
            of = f" (utterance {head})" if head else ""
            _fault(UserError(f"{name}:{number}:{of} {error.message}", error.remedy), faults)
            if kaldi:
                continue
            said = ""
        yield f"{head} {said}".strip() if kaldi else said


def _fault(fault: UserError, faults: list[UserError] | None) -> None:
    if faults is None:
        raise fault from None
    faults.append(fault)


def report(faults: list[UserError], most: int = 20) -> UserError:
    """One error that lists others, at most `most` of them, each with its remedy.

    >>> print(report([UserError("a:1: bad", "mend it"), UserError("a:9: bad")], 1).message)
    2 faults; what could be pronounced is written
      a:1: bad; remedy: mend it
      … and 1 more
    """
    listed = [
        f"  {one.message}" + (f"; remedy: {one.remedy}" if one.remedy else "")
        for one in faults[:most]
    ]
    if len(faults) > most:
        listed.append(f"  … and {len(faults) - most} more")
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return UserError(
        "\n".join([f"{count}; what could be pronounced is written", *listed]),
        "mend the text, or choose --unknown keep or unk",
    )
