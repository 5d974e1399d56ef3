"""Praat TextGrid files (text format, long or short): tiers of labelled intervals, strictly read.

Written here because of what libraries do with faulty files: `praatio` 6.2 returns fewer intervals
than the file declares, or an empty tier, without a word; `textgrid` 1.6 drops intervals of zero or
negative length; `tgt` is under the GPL. A lost label is a wrong transcript, so every deviation is
an error here. The format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.errors import UserError

# Praat reads a text file as a sequence of free-standing values: quoted strings (a quote within is
# doubled), numbers, and flags in angle brackets. All else ("xmin =", "item [1]:") is decoration,
# which is the only difference between the long and the short form; "!" begins a comment.
_VALUE = re.compile(
    r"""(?<!\S)(?:"""
    r"""(?P<string>"(?:[^"]|"")*")(?!\S)"""
    r"""|(?P<flag><\w+>)(?!\S)"""
    r"""|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?!\S)"""
    r"""|(?P<comment>!.*)"""
    r"""|(?P<broken>"))"""
)
MAX_BYTES = 64 * 1024 * 1024  # an hour's annotation has some 2 MB; larger is not an annotation
TOLERANCE = 1e-3  # seconds that neighbours may overlap: annotators' tools round differently


@dataclass(frozen=True)
class Interval:
    start: float  # seconds
    end: float  # seconds
    label: str  # as written, whitespace included


@dataclass(frozen=True)
class Tier:
    name: str
    intervals: tuple[Interval, ...]  # of a point tier: points, start = end

    def disorder(self) -> str:
        """Where the times contradict the order of the labels; empty if nowhere.

        >>> Tier("phones", (Interval(0, 2, "AH"), Interval(1, 3, "B"))).disorder()
        'interval 2 (B) begins at 1 s, before the end of the one before it (2 s)'
        """
        last = float("-inf")
        for number, one in enumerate(self.intervals, 1):
            if one.end < one.start:
                return (
                    f"interval {number} ({one.label}) ends at {one.end:g} s, before its beginning"
                )
            if one.start < last - TOLERANCE:
                return (
                    f"interval {number} ({one.label}) begins at {one.start:g} s, "
                    f"before the end of the one before it ({last:g} s)"
                )
            last = one.end
        return ""


class _Fault(Exception):
    """What is wrong and in which line (from 1); becomes a `UserError` that names the file."""


def read_textgrid(path: str | os.PathLike) -> dict[str, Tier]:
    """Tiers by name, in the file's order; `UserError` naming file and line if anything is odd.

    UTF-8 (with or without byte-order mark) and UTF-16 with one are read. The declared numbers of
    tiers and intervals must be met exactly. Times are read, but their order is not insisted on:
    ask `Tier.disorder`.
    """
    try:
        size = Path(path).stat().st_size
        content = Path(path).read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}", "check the corpus copy") from None
    if size > MAX_BYTES:
        raise UserError(
            f"{path}: {size} bytes are too many for a TextGrid", "check the corpus copy"
        )
    try:
        return parse_textgrid(_decode(content))
    except _Fault as fault:
        line, message = fault.args
        remedy = "repair the file (open and save it with Praat), or take it from a fresh copy"
        raise UserError(f"{path}:{line}: {message}", remedy) from None


def parse_textgrid(text: str) -> dict[str, Tier]:
    r"""The tiers of a TextGrid's text.

    >>> header = '"ooTextFile"\n"TextGrid"\n0 1 <exists> 1\n"IntervalTier" "phones" 0 1 1\n'
    >>> parse_textgrid(header + '0 1 "AH0"')["phones"].intervals
    (Interval(start=0.0, end=1.0, label='AH0'),)
    """
    values = _Values(text)
    if values.string("the file type") != "ooTextFile" or values.string("the class") != "TextGrid":
        raise _Fault(1, "not a Praat TextGrid in text format")
    values.number("the start time")
    values.number("the end time")
    if values.take("flag", "<exists>") != "<exists>":
        raise _Fault(values.line, "it says that it has no tiers")
    tiers: dict[str, Tier] = {}
    for _ in range(values.count("the number of tiers")):
        tier = _tier(values)
        if tier.name in tiers:
            raise _Fault(values.line, f"two tiers are named '{tier.name}'")
        tiers[tier.name] = tier
    values.end()
    return tiers


def _tier(values: "_Values") -> Tier:
    kind = values.string("a tier's class")
    if kind not in ("IntervalTier", "TextTier"):
        raise _Fault(values.line, f"'{kind}' is no kind of tier")
    name = values.string("a tier's name").strip()
    values.number(f"the start time of tier '{name}'")
    values.number(f"the end time of tier '{name}'")
    intervals = []
    for number in range(1, values.count(f"the number of intervals of tier '{name}'") + 1):
        what = f"of interval {number} of tier '{name}'"
        start = values.number(f"the start time {what}")
        end = values.number(f"the end time {what}") if kind == "IntervalTier" else start
        intervals.append(Interval(start, end, values.string(f"the label {what}")))
    return Tier(name, tuple(intervals))


class _Values:
    """The free-standing values of a text, one after the other, each asked for by kind."""

    def __init__(self, text: str):
        self._text = text
        self._matches = self._scan()
        self._position = 0

    @property
    def line(self) -> int:
        return self._text.count("\n", 0, self._position) + 1

    def _scan(self) -> Iterator[re.Match]:
        for match in _VALUE.finditer(self._text):
            if match.lastgroup == "broken":
                self._position = match.start()
                raise _Fault(self.line, "a quotation mark without its partner")
            if match.lastgroup != "comment":
                yield match

    def take(self, kind: str, what: str) -> str:
        match = next(self._matches, None)
        if match is None:
            self._position = len(self._text)
            raise _Fault(self.line, f"the file ends where {what} should be")
        self._position = match.start()
        if match.lastgroup != kind:
            raise _Fault(self.line, f"{match[0][:40]} stands where {what} should be")
        return match[0]

    def string(self, what: str) -> str:
        return self.take("string", what)[1:-1].replace('""', '"')

    def number(self, what: str) -> float:
        return float(self.take("number", what))

    def count(self, what: str) -> int:
        number = self.number(what)
        if not 0 <= number < float("inf") or number != int(number):
            raise _Fault(self.line, f"{what} is {number:g}")
        return int(number)

    def end(self) -> None:
        match = next(self._matches, None)
        if match is not None:
            self._position = match.start()
            raise _Fault(self.line, f"{match[0][:40]} stands after the last declared tier")


def _decode(content: bytes) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Fault(line, f"is not {encoding.upper()}: {error.reason}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
