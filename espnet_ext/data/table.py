"""Kaldi tables: one id, a space and a value per line; UTF-8, sorted by bytes (`LC_ALL=C sort`)."""

import operator
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, NamedTuple

from espnet_ext import files
from espnet_ext.data.checks.findings import ERROR, WARNING, Finding
from espnet_ext.data.record import MAX_ID_BYTES, id_problem
from espnet_ext.errors import UserError
from espnet_ext.text.unicode import normalize

# Characters that end a line for some reader, and control characters.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
# Words of printable ASCII, Hangul syllables and compatibility jamo, with single spaces between.
_NORMAL_TEXT = re.compile(r"[!-~가-힣ㄱ-ㅣ]+(?: [!-~가-힣ㄱ-ㅣ]+)*")
_NORMAL_LINES = re.compile(r"[ -~\n가-힣ㄱ-ㅣ]*")
_SEPARATOR = re.compile(r"[ \t]+")
# Possessive quantifiers: four times as fast, because nothing is kept for backtracking.
_PLAIN_IDS = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*+(?:\n|\Z))*+")
_BLOCK_BYTES = 1 << 18
_BOM = b"\xef\xbb\xbf"
# Characters known to be visible and in normal form; a cache that grows while tables are read.
_ALREADY_NORMAL = {" ", "\n"}


class Row(NamedTuple):
    line: int  # from 1
    key: str
    value: str  # without surrounding whitespace; may be empty


class Block(NamedTuple):
    """Consecutive rows of a table, as three lists of equal length."""

    lines: Sequence[int]  # from 1
    keys: Sequence[str]
    values: Sequence[str]  # without surrounding whitespace; may be empty
    is_normal: bool  # all characters are visible and in normal form (`text.unicode.normalize`)

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """Yield line, id and value of each row."""
        return zip(self.lines, self.keys, self.values, strict=True)


def scan_table(path: str | os.PathLike) -> tuple[list[Row], list[Finding]]:
    """Read a table and report everything that is wrong with it.

    Rows that cannot be decoded or have a malformed id are left out; of several rows with one id,
    one stays. Rows with an empty value are returned: the caller decides whether they are allowed.
    """
    findings: list[Finding] = []
    rows = [Row(*row) for block in stream_table(path, findings) for row in block.rows()]
    return rows, findings


def stream_table(path: str | os.PathLike, findings: list[Finding]) -> Iterator[Block]:
    """Do what `scan_table` does, one block of rows at a time; append to `findings`.

    For a sorted table, memory does not grow with its size.
    """
    try:
        with open(path, "rb") as handle:
            yield from _Reader(str(path), findings).read(handle)
    except OSError as error:
        remedy = "correct the path, or run the stage that writes it"
        message = f"cannot read: {error.strerror}"
        findings.append(Finding(ERROR, "unreadable-file", str(path), 0, "", message, remedy))


def stream_rows(
    path: str | os.PathLike, findings: list[Finding] | None = None
) -> Iterator[tuple[int, str, str]]:
    """Yield line, id and value of each row that `stream_table` reads."""
    for block in stream_table(path, [] if findings is None else findings):
        yield from block.rows()


def stream_in_order(
    path: str | os.PathLike, findings: list[Finding]
) -> Iterator[tuple[int, str, str]]:
    """Return what `stream_rows` yields, in order of ids; `findings` has all when it returns.

    The table is read twice. Memory does not grow with a sorted one; another is held and sorted.
    """
    before = len(findings)
    for _ in stream_table(path, findings):
        pass
    if any(finding.code == "unsorted" for finding in findings[before:]):
        return iter(sorted(stream_rows(path), key=operator.itemgetter(1)))
    return stream_rows(path)


class _Reader:
    """Reads one table. Blocks without irregularities are split at once, others row by row."""

    def __init__(self, name: str, findings: list[Finding]):
        self.name = name
        self.findings = findings
        self.line = 0  # lines read so far
        self.previous = ""  # the last id; the greatest one while the table is sorted
        # Line of each id read so far; None while the table is sorted, where `previous` is enough.
        self.seen: dict[str, int] | None = None
        self.has_crlf = False

    def error(self, code: str, line: int, utt_id: str, message: str, remedy: str) -> None:
        self.findings.append(Finding(ERROR, code, self.name, line, utt_id, message, remedy))

    def read(self, handle: IO[bytes]) -> Iterator[Block]:
        incomplete = handle.read(len(_BOM))  # bytes of a line that continues in the next block
        if incomplete == _BOM:
            incomplete = b""
            remedy = f"sed -i '1s/^\\xEF\\xBB\\xBF//' {self.name}"
            self.error("bom", 1, "", "begins with a byte-order mark", remedy)
        while content := handle.read(_BLOCK_BYTES):
            complete, newline, tail = content.rpartition(b"\n")
            if newline:
                yield self._block(incomplete + complete + newline)
                incomplete = tail
            else:
                incomplete += content
        if incomplete.endswith(b"\n"):  # a file of at most three bytes
            yield self._block(incomplete)
        elif incomplete:
            yield self._block(incomplete + b"\n")
            message = "does not end with a newline: it may have been truncated"
            remedy = f"compare it with its source; echo >> {self.name} adds the newline"
            self.findings.append(
                Finding(WARNING, "no-newline", self.name, self.line, "", message, remedy)
            )

    def _block(self, content: bytes) -> Block:
        first = self.line + 1
        if b"\r\n" in content:
            if not self.has_crlf:
                line = self.line + content.count(b"\n", 0, content.index(b"\r\n")) + 1
                remedy = f"sed -i 's/\\r$//' {self.name}"
                self.error("crlf", line, "", "has Windows line ends (CR LF)", remedy)
            self.has_crlf = True
            content = content.replace(b"\r\n", b"\n")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return self._parse_rows(_decode_lines(content))
        is_normal = _is_normal(text)
        if is_normal and self.seen is None and (rows := _parse_fast(text, self.previous)):
            keys, values = rows
            self.previous = keys[-1]
            self.line += text.count("\n")
            return Block(range(first, self.line + 1), keys, values, True)
        return self._parse_rows(text.split("\n")[:-1])

    def _parse_rows(self, lines: Sequence[str | UnicodeDecodeError]) -> Block:
        rows = []
        for text in lines:
            self.line += 1
            if row := self._parse_row(text):
                rows.append(row)
        return Block(
            [row.line for row in rows],
            [row.key for row in rows],
            [row.value for row in rows],
            False,
        )

    def _parse_row(self, text: str | UnicodeDecodeError) -> Row | None:
        """Return the row of a line, or None, with a finding, if it must not be used."""
        line = self.line
        if isinstance(text, UnicodeDecodeError):
            message = f"is not UTF-8: byte 0x{text.object[text.start]:02x} at byte {text.start + 1}"
            key = text.object.split(b" ", 1)[0].decode("utf-8", "replace")
            remedy = f"convert the file, e.g. from CP949: iconv -f CP949 -t UTF-8 {self.name}"
            self.error("not-utf8", line, key, message, remedy)
            return None
        if not text.strip():
            self.error("empty-line", line, "", "is empty", "remove the line")
            return None
        parts = _SEPARATOR.split(text, maxsplit=1)
        key, value = parts[0], parts[1].strip() if len(parts) == 2 else ""
        if problem := id_problem(key):
            remedy = "use an id of letters, digits, '-', '_' and '.', the same in all files"
            self.error("malformed-id", line, key, f"the id {key!r} {problem}", remedy)
            return None
        if (first := self._first_line(key)) is not None:
            remedy = "remove one of the rows, or rename one"
            self.error("duplicate-id", line, key, f"the id is already in line {first}", remedy)
            return None
        if control := _CONTROL.search(value):
            message = f"contains the control character U+{ord(control[0]):04X}"
            self.error("control-character", line, key, message, "remove the character")
            return None
        self.previous = key
        if self.seen is not None:
            self.seen[key] = line
        return Row(line, key, value)

    def _first_line(self, key: str) -> int | None:
        """Return the earlier line that has this id, if any.

        All ids are held from the first unsorted row on.
        """
        if self.seen is None and key <= self.previous:
            self.seen = self._ids_before(self.line)
            if key not in self.seen:
                remedy = f"LC_ALL=C sort -o {self.name} {self.name}"
                self.error("unsorted", self.line, key, "not sorted by bytes", remedy)
            elif key == self.previous:  # repeated in the next row: the order is still right
                first, self.seen = self.seen[key], None
                return first
        return self.seen.get(key) if self.seen is not None else None

    def _ids_before(self, line: int) -> dict[str, int]:
        """Read the valid ids of all lines before `line` again, with their lines."""
        ids: dict[str, int] = {}
        with open(self.name, "rb") as handle:
            for number, content in enumerate(handle, 1):
                if number >= line:
                    break
                text = content.removeprefix(_BOM) if number == 1 else content
                try:
                    key, *value = _SEPARATOR.split(text.decode("utf-8").rstrip("\r\n"), maxsplit=1)
                except UnicodeDecodeError:
                    continue
                if not id_problem(key) and not _CONTROL.search("".join(value).strip()):
                    ids.setdefault(key, number)
        return ids


def _parse_fast(text: str, previous: str) -> tuple[Sequence[str], Sequence[str]] | None:
    """Split regular lines into ids and values; None if the lines must be parsed one by one.

    Regular lines are sorted, begin after `previous`, and have a plain id, one space and a value.
    """
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


def _is_normal(text: str) -> bool:
    """Return whether all characters of some lines are visible and in normal form."""
    if _NORMAL_LINES.fullmatch(text):  # faster than looking at each character
        return True
    characters = set(text)
    unknown = characters - _ALREADY_NORMAL
    _ALREADY_NORMAL.update(filter(_is_normal_character, unknown))
    return characters <= _ALREADY_NORMAL


def _is_normal_character(character: str) -> bool:
    return (
        character.isprintable()  # no control or format character, no space except U+0020
        and unicodedata.category(character)[0] != "M"
        and unicodedata.is_normalized("NFC", character)
        and normalize(character) == character
    )


def _decode_lines(content: bytes) -> list[str | UnicodeDecodeError]:
    """Decode line by line; a line that is not UTF-8 becomes the error."""
    lines: list[str | UnicodeDecodeError] = []
    for line in content.split(b"\n")[:-1]:
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            lines.append(error)
    return lines


def read_table(path: str | os.PathLike, *, empty_ok: bool = False) -> dict[str, str]:
    """Read a table into a dictionary sorted by id. The table itself need not be sorted.

    Args:
        empty_ok: accept rows without a value, which tables of hypotheses have.

    Raises:
        UserError: for the first problem, with file and line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(folder + "/text", {"s1-u2": "나", "s1-u1": "가"})
    ...     read_table(folder + "/text")
    {'s1-u1': '가', 's1-u2': '나'}
    """
    rows, findings = scan_table(path)
    _raise_first(findings)
    for row in rows:
        _require_value(path, row, empty_ok)
    return {row.key: row.value for row in sorted(rows, key=lambda row: row.key)}


def stream_values(path: str | os.PathLike, *, empty_ok: bool = False) -> Iterator[tuple[str, str]]:
    """Yield id and value of what `read_table` reads. Memory does not grow with a sorted table."""
    findings: list[Finding] = []
    rows = stream_in_order(path, findings)
    _raise_first(findings)
    for row in rows:
        _require_value(path, row, empty_ok)
        yield row[1], row[2]


def _raise_first(findings: Sequence[Finding]) -> None:
    """Raise the first error, except for the order of rows."""
    for finding in findings:
        if finding.severity == ERROR and finding.code != "unsorted":
            raise finding.as_error()


def _require_value(path: str | os.PathLike, row: tuple[int, str, str], empty_ok: bool) -> None:
    line, key, value = row
    if not value and not empty_ok:
        message = f"{path}:{line}: {key}: has no value"
        raise UserError(message, "fill in the value, or remove the row")


def write_table(path: str | os.PathLike, rows: Mapping[str, str]) -> None:
    """Write a table sorted by id, atomically.

    Whitespace around values is removed (a hypothesis may begin with a space), as all readers do.
    `UserError` for ids and values that could not be read back.
    """
    # Python sorts by code points, which is also the order of UTF-8 bytes.
    lines = [encoded_row(path, key, rows[key]) for key in sorted(rows)]
    with files.atomic_write(path, "wb") as handle:
        handle.writelines(lines)


def encoded_row(path: str | os.PathLike, key: str, value: str) -> bytes:
    """Return one line of the table at `path`; `UserError` if it could not be read back."""
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
            "rename the file or correct the text: it contains bytes of another encoding",
        ) from None


def normalized(text: str) -> str:
    """Return `text.unicode.normalize(text)`; faster if the text is already in normal form.

    >>> normalized("가  나")
    '가 나'
    """
    return text if _NORMAL_TEXT.fullmatch(text) else normalize(text)


def is_nfc(text: str) -> bool:
    """Return whether a text is in Unicode normal form C; single compatibility jamo are."""
    return unicodedata.is_normalized("NFC", text)
