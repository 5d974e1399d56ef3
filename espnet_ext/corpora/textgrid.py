"""Strict parser of Praat TextGrid files in the long or short text format.

The libraries are not used because of how they treat faulty files: `praatio` 6.2 silently returns
fewer intervals than the file declares, or an empty tier; `textgrid` 1.6 drops intervals of zero or
negative length; `tgt` is under the GPL. A lost label makes a transcript wrong, so every deviation
from the format is an error here.
Format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.errors import UserError

# Praat reads a text file as a sequence of values between whitespace: quoted strings (in which
# quotation marks are doubled), numbers, and flags in angle brackets. All other text ("xmin =",
# "item [1]:") is ignored; only the long format has it. "!" begins a comment.
_VALUE = re.compile(
    r"""(?<!\S)(?:"""
    r"""(?P<string>"(?:[^"]|"")*")(?!\S)"""
    r"""|(?P<flag><\w+>)(?!\S)"""
    r"""|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?!\S)"""
    r"""|(?P<comment>!.*)"""
    r"""|(?P<broken>"))"""
)
MAX_BYTES = 64 * 1024 * 1024  # the annotation of an hour of speech has about 2 MB
TOLERANCE = 1e-3  # seconds that neighbouring intervals may overlap, as tools round differently


@dataclass(frozen=True)
class Interval:
    start: float  # seconds
    end: float  # seconds
    label: str  # as written, whitespace included


@dataclass(frozen=True)
class Tier:
    name: str
    intervals: tuple[Interval, ...]  # in a point tier, each start equals its end

    def disorder(self) -> str:
        """Return the first place where the times are not in the order of the labels, or "".

        >>> Tier("phones", (Interval(0, 2, "AH"), Interval(1, 3, "B"))).disorder()
        'interval 2 (B) starts at 1 s, before the end of the previous interval (2 s)'
        """
        previous_end = float("-inf")
        for number, interval in enumerate(self.intervals, 1):
            name = f"interval {number} ({interval.label})"
            if interval.end < interval.start:
                return f"{name} ends at {interval.end:g} s, before its start"
            if interval.start < previous_end - TOLERANCE:
                return (
                    f"{name} starts at {interval.start:g} s, "
                    f"before the end of the previous interval ({previous_end:g} s)"
                )
            previous_end = interval.end
        return ""


class _ParseError(Exception):
    """Arguments: the line (from 1) and the message. Becomes a `UserError` that names the file."""


def read_textgrid(path: str | os.PathLike) -> dict[str, Tier]:
    """Return the tiers of a file by name, in its order.

    The file may be UTF-8, with or without a byte-order mark, or UTF-16 with one. It must have
    exactly the declared numbers of tiers and intervals. The order of the times is not checked
    here; see `Tier.disorder`.

    Raises:
        UserError: The file deviates from the format; names the file and the line.
    """
    try:
        size = Path(path).stat().st_size
        content = Path(path).read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}", "check the corpus copy") from None
    if size > MAX_BYTES:
        raise UserError(f"{path}: a TextGrid of {size} bytes is too large", "check the corpus copy")
    try:
        return parse_textgrid(_decode(content))
    except _ParseError as error:
        line, message = error.args
        remedy = "repair the file (open and save it with Praat), or take it from a fresh copy"
        raise UserError(f"{path}:{line}: {message}", remedy) from None


def parse_textgrid(text: str) -> dict[str, Tier]:
    r"""Parse the text of a TextGrid.

    >>> header = '"ooTextFile"\n"TextGrid"\n0 1 <exists> 1\n"IntervalTier" "phones" 0 1 1\n'
    >>> parse_textgrid(header + '0 1 "AH0"')["phones"].intervals
    (Interval(start=0.0, end=1.0, label='AH0'),)
    """
    values = _Values(text)
    if values.string("the file type") != "ooTextFile" or values.string("the class") != "TextGrid":
        raise _ParseError(1, "not a Praat TextGrid in text format")
    values.number("the start time")
    values.number("the end time")
    if values.take("flag", "<exists>") != "<exists>":
        raise _ParseError(values.line, "the file declares that it has no tiers")
    tiers: dict[str, Tier] = {}
    for _ in range(values.count("the number of tiers")):
        tier = _tier(values)
        if tier.name in tiers:
            raise _ParseError(values.line, f"two tiers are named '{tier.name}'")
        tiers[tier.name] = tier
    values.end()
    return tiers


def _tier(values: "_Values") -> Tier:
    kind = values.string("a tier's class")
    if kind not in ("IntervalTier", "TextTier"):
        raise _ParseError(values.line, f"'{kind}' is not a class of tiers")
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
    """Reads the values of a text one after the other; the caller says which kind comes next."""

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
                raise _ParseError(self.line, "a quotation mark is not closed")
            if match.lastgroup != "comment":
                yield match

    def take(self, kind: str, what: str) -> str:
        match = next(self._matches, None)
        if match is None:
            self._position = len(self._text)
            raise _ParseError(self.line, f"the file ends where {what} is expected")
        self._position = match.start()
        if match.lastgroup != kind:
            raise _ParseError(self.line, f"found {match[0][:40]} where {what} is expected")
        return match[0]

    def string(self, what: str) -> str:
        return self.take("string", what)[1:-1].replace('""', '"')

    def number(self, what: str) -> float:
        return float(self.take("number", what))

    def count(self, what: str) -> int:
        number = self.number(what)
        if not 0 <= number < float("inf") or number != int(number):
            raise _ParseError(self.line, f"{what} is {number:g}")
        return int(number)

    def end(self) -> None:
        match = next(self._matches, None)
        if match is not None:
            self._position = match.start()
            raise _ParseError(self.line, f"found {match[0][:40]} after the last declared tier")


def _decode(content: bytes) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _ParseError(line, f"is not {encoding.upper()}: {error.reason}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
