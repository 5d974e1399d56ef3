"""Kaldi tables: an id, a space and a value a line; UTF-8, sorted by bytes (`LC_ALL=C sort`)."""

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from espnet_ext import files
from espnet_ext.data.findings import ERROR, Finding
from espnet_ext.data.record import id_problem
from espnet_ext.errors import UserError
from espnet_ext.text.unicode import normalize

# Everything that breaks a line for some reader, or that no transcript or path means to contain.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
# Words of printable ASCII, syllables and letters of Hangul, one space between them.
_NORMAL = re.compile(r"[!-~가-힣ㄱ-ㅣ]+(?: [!-~가-힣ㄱ-ㅣ]+)*")
_SEPARATOR = re.compile(r"[ \t]+")


class Row(NamedTuple):
    line: int  # from 1
    key: str
    value: str  # without surrounding whitespace; may be empty


def scan_table(path: str | os.PathLike) -> tuple[list[Row], list[Finding]]:
    """Read what can be read of a table, and list everything that is wrong with it.

    Rows with an unreadable line or a malformed id are left out; of rows with one id, one stays.
    An empty value is a row like any other: whether it is allowed is the caller's to say.
    """
    name = str(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        remedy = "correct the path, or run the stage that writes it"
        message = f"cannot read: {error.strerror}"
        return [], [Finding(ERROR, "unreadable-file", name, 0, "", message, remedy)]
    rows: dict[str, Row] = {}
    findings: list[Finding] = []
    unsorted = False

    def found(code: str, line: int, utt_id: str, message: str, remedy: str) -> None:
        findings.append(Finding(ERROR, code, name, line, utt_id, message, remedy))

    if content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]
        found(
            "bom", 1, "", "begins with a byte-order mark", f"sed -i '1s/^\\xEF\\xBB\\xBF//' {name}"
        )
    if content and not content.endswith(b"\n"):
        content += b"\n"  # a last line without its newline is whole all the same
    if b"\r\n" in content:
        line = content[: content.index(b"\r\n")].count(b"\n") + 1
        found("crlf", line, "", "has Windows line ends (CR LF)", f"sed -i 's/\\r$//' {name}")
        content = content.replace(b"\r\n", b"\n")
    previous = ""
    lines = _decoded(content)
    # Looked at once for the file: most have neither, and 50,000 rows should not wait for it.
    tabs = b"\t" in content
    controls = any(isinstance(text, str) and _CONTROL.search(text) for _, text in lines)
    for number, text in lines:
        if isinstance(text, UnicodeDecodeError):
            reason = f"is not UTF-8: byte 0x{text.object[text.start]:02x} at byte {text.start + 1}"
            key = text.object.split(b" ", 1)[0].decode("utf-8", "replace")
            remedy = f"convert the file, e.g. from CP949: iconv -f CP949 -t UTF-8 {name}"
            found("not-utf8", number, key, reason, remedy)
            continue
        if not text.strip():
            found("empty-line", number, "", "is empty", "remove the line")
            continue
        parts = _SEPARATOR.split(text, 1) if tabs else text.split(" ", 1)
        key, value = parts[0], parts[1].strip() if len(parts) == 2 else ""
        if problem := id_problem(key):
            remedy = "give it an id of letters, digits, '-', '_' and '.', the same in all files"
            found("malformed-id", number, key, f"the id {key!r} {problem}", remedy)
            continue
        if key in rows:
            first = rows[key].line
            remedy = "remove one of the rows, or rename one"
            found("duplicate-id", number, key, f"the id is already in line {first}", remedy)
            continue
        if controls and (bad := _CONTROL.search(value)):
            character = f"U+{ord(bad[0]):04X}"
            remedy = "remove the character"
            found("control-character", number, key, f"control character {character} in it", remedy)
            continue
        if key < previous and not unsorted:
            unsorted = True
            found("unsorted", number, key, "not sorted by bytes", f"LC_ALL=C sort -o {name} {name}")
        previous = key
        rows[key] = Row(number, key, value)
    return list(rows.values()), findings


def _decoded(content: bytes) -> list[tuple[int, str | UnicodeDecodeError]]:
    """Lines by number; decoded at once if all is well, else one by one to find the culprits."""
    try:
        return list(enumerate(content.decode("utf-8").split("\n")[:-1], 1))
    except UnicodeDecodeError:
        lines: list[tuple[int, str | UnicodeDecodeError]] = []
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            try:
                lines.append((number, line.decode("utf-8")))
            except UnicodeDecodeError as error:
                lines.append((number, error))
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
        if finding.code != "unsorted":
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
