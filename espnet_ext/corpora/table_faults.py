"""List the faults of a table by kind, briefly: `run.sh` shows only the end of a log."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from espnet_ext.corpora.preparation import kind_of_reason
from espnet_ext.errors import UserError

_LISTED = 8  # faults that are listed in full; of more, the first of each kind
_LINES = 12  # lines of the table that are named for a kind
_VALUES = 5  # further values that are named for a kind
_QUOTED = re.compile(r"'([^']*)'")
_PATH = re.compile(r"[^\s']*/[^\s']*")
_HINT = re.compile(r", but there is .*|: the folder .*")  # differs between faults of one kind


class Fault(NamedTuple):
    """What is wrong in a line of a table."""

    line: int
    problem: str
    utt_id: str = ""


def raise_faults(path: Path, faults: Sequence[Fault], remedies: Iterable[str]) -> None:
    """Raise a UserError if there are faults: all of a few, else the first of each kind."""
    if faults:
        count = f"{len(faults)} fault{'s' * (len(faults) != 1)}"
        listed = describe(path, faults)
        remedy = "; ".join(filter(None, remedies))
        raise UserError("\n  ".join([f"{path}: {count}:", *listed]), remedy)


def describe(path: Path, faults: Sequence[Fault]) -> list[str]:
    """Return the lines of a message.

    >>> faults = [Fault(line, f"set is '{line % 3}', not one of train, valid") for line in range(9)]
    >>> describe(Path("c.tsv"), faults)  # doctest: +NORMALIZE_WHITESPACE
    ["c.tsv:0: set is '0', not one of train, valid; 8 more rows like this, also '1', '2': lines
      1, 2, 3, 4, 5, 6, 7, 8"]
    """
    faults = sorted(faults, key=lambda fault: fault.line)
    if len(faults) <= _LISTED:
        return [_full(path, fault) for fault in faults]
    kinds: dict[str, list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(_kind(fault.problem), []).append(fault)
    lines = [_summary(path, of_kind) for of_kind in kinds.values()]
    more = [f"and {len(lines) - _LISTED} more kinds"] if len(lines) > _LISTED else []
    return lines[:_LISTED] + more


def _kind(problem: str) -> str:
    """Return a problem without values, paths and hints.

    >>> _kind("audio 'a/b.wav': no such file, but there is B.wav")
    'audio …: no such file'
    """
    return kind_of_reason(_PATH.sub("…", _QUOTED.sub("''", _HINT.sub("", problem))))


def _full(path: Path, fault: Fault) -> str:
    subject = f"{fault.utt_id}: " if fault.utt_id else ""
    return f"{path}:{fault.line}: {subject}{fault.problem}"


def _summary(path: Path, faults: Sequence[Fault]) -> str:
    first, *others = faults
    if not others:
        return _full(path, first)
    values = dict.fromkeys(value for one in others for value in _QUOTED.findall(one.problem)[:1])
    values.pop(next(iter(_QUOTED.findall(first.problem)), ""), None)
    quoted = _enumerate([f"'{value}'" for value in values], _VALUES)
    also = f", also {quoted}" if values else ""
    rows = f"{len(others)} more row{'s' * (len(others) > 1)} like this"
    numbers = _enumerate(dict.fromkeys(str(one.line) for one in others), _LINES)
    return f"{_full(path, first)}; {rows}{also}: line{'s' * (len(others) > 1)} {numbers}"


def _enumerate(items: Iterable[str], most: int) -> str:
    items = list(items)
    return ", ".join(items[:most]) + ", …" * (len(items) > most)
