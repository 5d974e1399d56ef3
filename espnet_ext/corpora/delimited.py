"""Split the text of a table into rows of cells: separated by tabs, commas or semicolons.

A row is one line; a cell never contains a line break. The separator is a tab if the first line has
one, else the comma or semicolon that gives the first line more cells.

Tables that are separated by commas or semicolons follow RFC 4180: a cell that begins with a
quotation mark ends with one, and `""` in between is one quotation mark.

Tables that are separated by tabs are read without quoting: quotation marks are part of the text.
They are read as quoted, by the same rules, only if the whole table shows that a program quoted it:

- every cell that begins with a quotation mark ends with one in its line, and no other cell has one;
- at least one quoted cell can only be a quoted one: it has `""` or a tab inside, or all column
  names are quoted. In a table with Windows line ends, as Excel writes it, a comma inside is enough
  if no cell without quotes has a comma, because Excel also quotes these cells;
- the other quoted cells have such a reason as well, or all cells of their column are quoted.

A table that shows both (a cell that can only be quoted, and one that cannot be) is an error.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons"}
_HINT = re.compile(r'"?sep=(.)"?')  # first line of tables for Excel
_QUOTED = re.compile(r' *"((?:[^"]|"")*)" *')
QUOTING = (
    "a cell that begins with a quotation mark must end with one in the same line: remove line "
    'breaks from cells, and write a quotation mark inside a quoted cell as ""'
)


@dataclass
class Rows:
    """The rows of a table, the first of which has the column names."""

    rows: list[tuple[int, list[str]]]  # line number, cells
    notes: list[str] = field(default_factory=list)  # on how quotation marks were read
    faults: list[tuple[int, str]] = field(default_factory=list)  # line number, what is wrong
    # First line that opens a quoted cell and does not close it; it may be a cell of several lines.
    unclosed: int = 0
    separator: str = "\t"


@dataclass
class _Line:
    """A line that contains quotation marks."""

    number: int
    plain: list[str]  # its cells, read without quoting
    quoted: list[str] | None  # its cells, read with quoting; None: a quoted cell does not close
    is_quoted: list[bool]  # which of `quoted` were in quotation marks

    @property
    def cells(self) -> list[str]:
        assert self.quoted is not None
        return self.quoted


def split_table(text: str) -> Rows:
    r"""Split a table into rows of cells, without empty lines.

    >>> split_table('id,text\n1,"say ""no"", she said"').rows
    [(1, ['id', 'text']), (2, ['1', 'say "no", she said'])]
    >>> split_table('id\ttext\n1\t"No," she said\n2\tsay "no"').rows[1:]
    [(2, ['1', '"No," she said']), (3, ['2', 'say "no"'])]
    """
    has_windows_lines = "\r\n" in text
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    separator = ""
    if numbered and (hint := _HINT.fullmatch(numbered[0][1].strip())):
        separator = hint[1]
        numbered = numbered[1:]
    if not numbered:
        return Rows([])
    if separator not in _NAMES:
        separator = _separator(numbered[0][1])
    if separator == "\t":
        return _split_tabs(numbered, has_windows_lines)
    return _split_quoted(numbered, separator)


def _separator(header: str) -> str:
    if "\t" in header:
        return "\t"
    return max(",;", key=lambda separator: len(_quoted_cells(header, separator)[0] or ()))


def _quoted_cells(line: str, separator: str) -> tuple[list[str] | None, list[bool]]:
    """Split a line by RFC 4180; also return which cells are quoted.

    The cells are None if a quoted cell does not close, or has text after its end. Spaces around a
    quoted cell are ignored. Quotation marks within unquoted cells are text.
    """
    cells, is_quoted, start = [], [], 0
    while True:
        match = _QUOTED.match(line, start)
        if match and line[match.end() : match.end() + 1] in (separator, ""):
            cells.append(match[1].replace('""', '"'))
            is_quoted.append(True)
            end = match.end()
        elif line[start:].lstrip(" ").startswith('"'):
            return None, []
        else:
            end = line.find(separator, start)
            end = len(line) if end < 0 else end
            cells.append(line[start:end])
            is_quoted.append(False)
        if end >= len(line):
            return cells, is_quoted
        start = end + 1


def _split_quoted(lines: Iterable[tuple[int, str]], separator: str) -> Rows:
    """Split lines by RFC 4180; a line with a quoted cell that does not close is a fault."""
    result = Rows([], separator=separator)
    for number, line in lines:
        if '"' not in line:
            result.rows.append((number, line.split(separator)))
            continue
        cells, _ = _quoted_cells(line, separator)
        if cells is None:
            fault = "begins a quoted cell that does not end in this line"
            result.faults.append((number, fault))
        else:
            result.rows.append((number, cells))
    result.notes.append(f"the cells of the table are separated by {_NAMES[separator]}")
    return result


# -- tables that are separated by tabs


def _split_tabs(lines: Sequence[tuple[int, str]], has_windows_lines: bool) -> Rows:
    rows = [(number, line.split("\t")) for number, line in lines]
    marked = [
        _Line(number, line.split("\t"), *_quoted_cells(line, "\t"))
        for number, line in lines
        if '"' in line
    ]
    if not marked:
        return Rows(rows)
    width = len("\t".join(rows[0][1]).rstrip("\t").split("\t"))
    header = marked[0] if marked[0].number == rows[0][0] else None
    header_quoted = header is not None and bool(header.is_quoted) and all(header.is_quoted)
    if header_quoted:
        assert header is not None
        width = len(header.cells)
    quoted_columns = set(range(width)) if header_quoted else _quoted_columns(rows, width)
    evidence, against = 0, 0  # first line numbers
    excel = has_windows_lines and not _has_plain_comma(rows)
    for line in marked:
        certain, contradicts = _judge(line, width, quoted_columns, excel)
        evidence = evidence or (line.number if certain or header_quoted else 0)
        against = against or (line.number if contradicts else 0)
    if evidence and against:
        fault = f"its quotation marks are not those of a quoted cell, but line {evidence} is quoted"
        return Rows(rows, faults=[(against, fault)])
    if evidence:
        by_number = {line.number: line for line in marked}
        rows = [
            (number, by_number[number].cells if number in by_number else cells)
            for number, cells in rows
        ]
        count = sum(sum(line.is_quoted) for line in marked)
        return Rows(rows, [f"{count} cells were quoted, as spreadsheets write them"])
    unclosed = next((line.number for line in marked if line.quoted is None), 0)
    return Rows(*_without_quoting(rows), unclosed=unclosed)


def _quoted_columns(rows: Sequence[tuple[int, list[str]]], width: int) -> set[int]:
    """Return the columns in which every cell with content is in quotation marks."""
    columns = set(range(width))
    for _, cells in rows[1:]:
        columns = {
            column
            for column in columns
            if column >= len(cells) or not cells[column] or _QUOTED.fullmatch(cells[column])
        }
    return columns


def _has_plain_comma(rows: Iterable[tuple[int, list[str]]]) -> bool:
    """Return whether a cell without quotation marks around it has a comma."""
    return any(
        "," in cell and not _QUOTED.fullmatch(cell)
        for _, cells in rows
        for cell in cells
        if "," in cell
    )


def _judge(line: _Line, width: int, quoted_columns: set[int], excel: bool) -> tuple[bool, bool]:
    """Return whether a line can only be quoted, and whether it cannot be."""
    if line.quoted is None:
        return False, True
    if len(line.plain) <= width and len(line.quoted) < len(line.plain):
        return False, True  # the tab between two quotation marks separates cells
    certain = contradicts = False
    for column, (cell, is_quoted) in enumerate(zip(line.cells, line.is_quoted, strict=True)):
        if not is_quoted:
            contradicts |= '"' in cell
        elif '"' in cell or "\t" in cell or (excel and "," in cell):
            certain = True
        elif cell and column not in quoted_columns:
            contradicts = True  # no program quotes such a cell
    return certain, contradicts


def _without_quoting(
    rows: Sequence[tuple[int, list[str]]],
) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return the rows with `""` as an empty cell, and a note if cells are in quotation marks."""
    result, first, count = [], 0, 0
    for number, cells in rows:
        cells = ["" if cell.strip() == '""' else cell for cell in cells]
        in_marks = sum(_QUOTED.fullmatch(cell) is not None for cell in cells)
        first, count = first or (number if in_marks else 0), count + in_marks
        result.append((number, cells))
    if not count:
        return result, []
    return result, [
        f"{count} cells begin and end with quotation marks (first: line {first}), which are part "
        "of the text because the table is not quoted throughout"
    ]
