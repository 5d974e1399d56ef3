"""Kaldi tables: an id, a space and a value a line; UTF-8, sorted by bytes (`LC_ALL=C sort`)."""

import operator
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, NamedTuple

from espnet_ext import files
from espnet_ext.data.findings import ERROR, WARNING, Finding
from espnet_ext.data.record import MAX_ID_BYTES, id_problem
from espnet_ext.errors import UserError
from espnet_ext.text.unicode import normalize

# Everything that breaks a line for some reader, or that no transcript or path means to contain.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
# Words of printable ASCII, syllables and letters of Hangul, one space between them.
_NORMAL = re.compile(r"[!-~가-힣ㄱ-ㅣ]+(?: [!-~가-힣ㄱ-ㅣ]+)*")
_SEPARATOR = re.compile(r"[ \t]+")
_PLAIN_IDS = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*+(?:\n|\Z))*+")  # possessive: 4 × as fast
_PLAIN_TEXT = re.compile(r"[ -~\n가-힣ㄱ-ㅣ]*")
_BLOCK = 1 << 18  # bytes read at a time
_TAME = {" ", "\n"}  # characters known to need no look; grows as they are met


class Row(NamedTuple):
    line: int  # from 1
    key: str
    value: str  # without surrounding whitespace; may be empty


class Block(NamedTuple):
    """Some rows of a table, in the file's order; the three lists are equally long."""

    lines: Sequence[int]  # from 1
    keys: Sequence[str]
    values: Sequence[str]  # without surrounding whitespace; may be empty
    tame: bool  # all of it is in normal form, and no character is invisible


def scan_table(path: str | os.PathLike) -> tuple[list[Row], list[Finding]]:
    """Read what can be read of a table, and list everything that is wrong with it.

    Rows with an unreadable line or a malformed id are left out; of rows with one id, one stays.
    An empty value is a row like any other: whether it is allowed is the caller's to say.
    """
    findings: list[Finding] = []
    rows = [
        Row(*row)
        for block in stream_table(path, findings)
        for row in zip(block.lines, block.keys, block.values, strict=True)
    ]
    return rows, findings


def stream_table(path: str | os.PathLike, findings: list[Finding]) -> Iterator[Block]:
    """`scan_table` a block of rows at a time: memory does not grow with a table that is sorted."""
    try:
        with open(path, "rb") as handle:
            yield from _Reader(str(path), findings).read(handle)
    except OSError as error:
        remedy = "correct the path, or run the stage that writes it"
        message = f"cannot read: {error.strerror}"
        findings.append(Finding(ERROR, "unreadable-file", str(path), 0, "", message, remedy))


class _Reader:
    """Reads one table; blocks in which nothing is odd are taken whole, others row by row."""

    def __init__(self, name: str, findings: list[Finding]):
        self.name = name
        self.findings = findings
        self.line = 0  # lines read so far
        self.previous = ""  # the last id; while the file is sorted, the greatest
        self.seen: dict[str, int] | None = None  # id → line, from where the file is not sorted
        self.crlf = False

    def found(self, code: str, line: int, utt_id: str, message: str, remedy: str) -> None:
        self.findings.append(Finding(ERROR, code, self.name, line, utt_id, message, remedy))

    def read(self, handle: IO[bytes]) -> Iterator[Block]:
        rest = handle.read(3)
        if rest == b"\xef\xbb\xbf":
            rest = b""
            remedy = f"sed -i '1s/^\\xEF\\xBB\\xBF//' {self.name}"
            self.found("bom", 1, "", "begins with a byte-order mark", remedy)
        while True:
            block = handle.read(_BLOCK)
            if not block:
                break
            whole, newline, end = block.rpartition(b"\n")
            if newline:
                yield self._block(rest + whole + newline)
                rest = end
            else:
                rest += block
        if rest.endswith(b"\n"):  # a file of three bytes
            yield self._block(rest)
        elif rest:  # whole all the same, if the line was meant to end here
            yield self._block(rest + b"\n")
            message = "ends without a newline: was it cut off?"
            remedy = f"compare it with its source; echo >> {self.name} ends the line"
            self.findings.append(
                Finding(WARNING, "no-newline", self.name, self.line, "", message, remedy)
            )

    def _block(self, content: bytes) -> Block:
        first = self.line + 1
        if b"\r\n" in content:
            if not self.crlf:
                line = self.line + content.count(b"\n", 0, content.index(b"\r\n")) + 1
                remedy = f"sed -i 's/\\r$//' {self.name}"
                self.found("crlf", line, "", "has Windows line ends (CR LF)", remedy)
            self.crlf = True
            content = content.replace(b"\r\n", b"\n")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return self._slowly(_decoded(content))
        self.line += text.count("\n")
        tame = _are_tame(text)
        if tame and self.seen is None and (rows := _quickly(text, self.previous)):
            self.previous = rows[0][-1]
            return Block(range(first, self.line + 1), *rows, True)
        self.line = first - 1
        return self._slowly(text.split("\n")[:-1])

    def _slowly(self, lines: Sequence[str | UnicodeDecodeError]) -> Block:
        rows: dict[str, Row] = {}
        for text in lines:
            self.line += 1
            if row := self._row(text):
                rows[row.key] = row
        kept = list(zip(*rows.values(), strict=True)) or [(), (), ()]
        return Block(*kept, False)

    def _row(self, text: str | UnicodeDecodeError) -> Row | None:
        """A row, or None if it must not be used; what is wrong is noted."""
        line = self.line
        if isinstance(text, UnicodeDecodeError):
            reason = f"is not UTF-8: byte 0x{text.object[text.start]:02x} at byte {text.start + 1}"
            key = text.object.split(b" ", 1)[0].decode("utf-8", "replace")
            remedy = f"convert the file, e.g. from CP949: iconv -f CP949 -t UTF-8 {self.name}"
            self.found("not-utf8", line, key, reason, remedy)
            return None
        if not text.strip():
            self.found("empty-line", line, "", "is empty", "remove the line")
            return None
        parts = _SEPARATOR.split(text, 1)
        key, value = parts[0], parts[1].strip() if len(parts) == 2 else ""
        if problem := id_problem(key):
            remedy = "give it an id of letters, digits, '-', '_' and '.', the same in all files"
            self.found("malformed-id", line, key, f"the id {key!r} {problem}", remedy)
            return None
        if (first := self._first_line(key)) is not None:
            remedy = "remove one of the rows, or rename one"
            self.found("duplicate-id", line, key, f"the id is already in line {first}", remedy)
            return None
        if bad := _CONTROL.search(value):
            message = f"control character U+{ord(bad[0]):04X} in it"
            self.found("control-character", line, key, message, "remove the character")
            return None
        self.previous = key
        if self.seen is not None:
            self.seen[key] = line
        return Row(line, key, value)

    def _first_line(self, key: str) -> int | None:
        """The line that has this id already; from the first disorder on, all ids are kept."""
        if self.seen is None and key <= self.previous:
            self.seen = self._ids_before(self.line)
            if key not in self.seen:
                remedy = f"LC_ALL=C sort -o {self.name} {self.name}"
                self.found("unsorted", self.line, key, "not sorted by bytes", remedy)
            elif key == self.previous:
                first, self.seen = self.seen[key], None  # a double, but in its place
                return first
        return self.seen.get(key) if self.seen is not None else None

    def _ids_before(self, line: int) -> dict[str, int]:
        ids: dict[str, int] = {}
        with open(self.name, "rb") as handle:
            for number, content in enumerate(handle, 1):
                if number >= line:
                    break
                text = content.removeprefix(b"\xef\xbb\xbf") if number == 1 else content
                try:
                    key, *value = _SEPARATOR.split(text.decode("utf-8").rstrip("\r\n"), 1)
                except UnicodeDecodeError:
                    continue
                if not id_problem(key) and not _CONTROL.search("".join(value).strip()):
                    ids.setdefault(key, number)
        return ids


def _quickly(text: str, previous: str) -> tuple[Sequence[str], Sequence[str]] | None:
    """Ids and values of lines without anything odd; None if they have to be looked at singly."""
    if "  " in text or " \n" in text or "\n\n" in text or text[0] in " \n":
        return None
    rows = [line.partition(" ") for line in text[:-1].split("\n")]
    keys = [row[0] for row in rows]
    values = [row[2] for row in rows]
    if "" in values:
        return None
    if not previous < keys[0] or not all(map(operator.lt, keys, keys[1:])):
        return None
    if len(max(keys, key=len)) > MAX_ID_BYTES or not _PLAIN_IDS.fullmatch("\n".join(keys)):
        return None
    return keys, values


def _are_tame(text: str) -> bool:
    """Whether no character needs a look: none combines, is invisible, or ends a line for some."""
    if _PLAIN_TEXT.fullmatch(text):  # quicker than looking at characters one by one
        return True
    characters = set(text)
    unknown = characters - _TAME
    _TAME.update(character for character in unknown if _is_tame(character))
    return characters <= _TAME


def _is_tame(character: str) -> bool:
    return (
        character.isprintable()  # no control or format character, no space but U+0020
        and unicodedata.category(character)[0] != "M"
        and unicodedata.is_normalized("NFC", character)
        and normalize(character) == character
    )


def _decoded(content: bytes) -> list[str | UnicodeDecodeError]:
    """Lines, decoded one by one to find the culprits."""
    lines: list[str | UnicodeDecodeError] = []
    for line in content.split(b"\n")[:-1]:
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            lines.append(error)
    return lines


def read_table(path: str | os.PathLike, *, empty_ok: bool = False) -> dict[str, str]:
    """Read a table, sorted by id; the first fault is a `UserError` naming file and line.

    `empty_ok` takes rows without a value, as hypotheses have them. Order is not insisted on.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(folder + "/text", {"s1-u2": "나", "s1-u1": "가"})
    ...     read_table(folder + "/text")
    {'s1-u1': '가', 's1-u2': '나'}
    """
    rows, findings = scan_table(path)
    for finding in findings:
        if finding.severity == ERROR and finding.code != "unsorted":
            raise finding.as_error()
    for row in rows:
        if not row.value and not empty_ok:
            raise UserError(
                f"{path}:{row.line}: {row.key}: has no value", "fill it in or remove it"
            )
    return {row.key: row.value for row in sorted(rows, key=lambda row: row.key)}


def write_table(path: str | os.PathLike, rows: Mapping[str, str]) -> None:
    """Write a table, sorted, whole or not at all; refuses what would break its lines.

    Values lose the whitespace around them (a hypothesis may begin with some), as in every reader.
    Code-point order, which Python sorts by, is the byte order of UTF-8.
    """
    lines = [encoded_row(path, key, rows[key]) for key in sorted(rows)]
    with files.atomic_write(path, "wb") as handle:
        handle.writelines(lines)


def encoded_row(path: str | os.PathLike, key: str, value: str) -> bytes:
    """A line of a table; `UserError` naming the table if no reader would take it."""
    value = value.strip()
    if problem := id_problem(key):
        raise UserError(f"{path}: the id {key!r} {problem}", "rename it")
    if _CONTROL.search(value):
        raise UserError(f"{path}: {key}: {value!r} has control characters", "remove them")
    try:
        return f"{key} {value}\n".encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{path}: {key}: {value!r} cannot be written as UTF-8",
            "rename the file or correct the text: it holds bytes of another encoding",
        ) from None


def normalized(text: str) -> str:
    """`text.unicode.normalize`, quick for what is visibly normal already.

    >>> normalized("가  나")
    '가 나'
    """
    return text if _NORMAL.fullmatch(text) else normalize(text)


def is_nfc(text: str) -> bool:
    """Whether a text is in normal form C (precomposed Hangul syllables; lone jamo may stand)."""
    return unicodedata.is_normalized("NFC", text)
