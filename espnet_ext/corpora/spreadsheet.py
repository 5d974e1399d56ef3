"""Read the table in an Excel workbook (.xlsx, .xlsm), with openpyxl.

Spreadsheet programs convert text that is typed into a cell: `0012` becomes 12, `March 5` a date,
`=so what` an error. A number is read as it is displayed in its column format. A value that cannot
be restored is reported as a fault of its cell.
"""

import io
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from espnet_ext.corpora.interchange.column_mapping import import_library
from espnet_ext.errors import UserError

EXTRA = "tables"
MAX_BYTES = 1 << 30  # of the unpacked workbook; about a million rows of eight cells
_LEADING_ZEROS = re.compile(r"0+")
_MAX_DIGITS = 15  # digits that a spreadsheet keeps of a number
AS_TEXT = 'give the column the format "Text" and enter the cell again'


class Sheet(NamedTuple):
    """A sheet of a workbook."""

    title: str
    rows: list[tuple[int, list[str]]]  # row number, cells; rows without content are left out
    faults: dict[tuple[int, int], str]  # row number, index of the cell → what is wrong with it


def is_workbook(path: str | os.PathLike) -> bool:
    """Return whether a file is a workbook that `read_sheets` reads, by its content."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_sheets(path: str | os.PathLike) -> list[Sheet]:
    """Return all sheets of a workbook that have content.

    Raises:
        UserError: openpyxl is not installed, or the workbook cannot be read.
    """
    openpyxl = import_library("openpyxl", EXTRA)
    remedy = "open it in a spreadsheet program and save it again, or save it as text with tabs"
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise UserError(f"{path}: unpacks to {size} bytes, which is too large", remedy)
        content = io.BytesIO(Path(path).read_bytes())  # the name may have another suffix
        formulas = openpyxl.load_workbook(content)
        sheets = formulas.worksheets
        values = sheets
        if any(cell.data_type == "f" for sheet in sheets for row in sheet for cell in row):
            values = openpyxl.load_workbook(content, data_only=True).worksheets
    except UserError:
        raise
    except Exception as error:  # openpyxl raises many types for damaged workbooks
        message = f"{path}: cannot read the workbook: {type(error).__name__}: {error}"
        raise UserError(message, remedy) from None
    read = [_read_sheet(*pair) for pair in zip(sheets, values, strict=True)]
    return [sheet for sheet in read if sheet.rows]


def _read_sheet(sheet: Any, values: Any) -> Sheet:
    """Read a sheet, given with its formulas and with their values."""
    rows: list[tuple[int, list[str]]] = []
    faults: dict[tuple[int, int], str] = {}
    for number, (row, row_of_values) in enumerate(zip(sheet.rows, values.rows, strict=True), 1):
        cells: list[str] = []
        for index, (cell, value) in enumerate(zip(row, row_of_values, strict=True)):
            try:
                text = _text(cell, value)
            except ValueError as error:
                faults[number, index] = str(error)
                text = str(cell.value)
            cells.append(text)
        if any(cell.strip() for cell in cells):
            rows.append((number, cells))
    for merged in sheet.merged_cells.ranges:
        for number, index in merged.cells:
            faults[number, index - 1] = f"is merged with other cells ({merged.coord})"
    return Sheet(sheet.title, rows, faults)


def _text(cell: Any, value_cell: Any) -> str:
    """Return the text of a cell, or raise ValueError with the reason why there is none."""
    value = value_cell.value
    if cell.data_type == "f" and value is None:
        raise ValueError("is a formula without a stored value: replace formulas by values")
    if value is None:
        return ""
    kind = value_cell.data_type
    if kind == "e":
        if value == "#N/A":
            return value
        raise ValueError(f"is the error {value}: {AS_TEXT}")
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise ValueError(f"became the truth value {str(value).upper()}: {AS_TEXT}")
    if isinstance(value, int | float):
        return _number(value, cell.number_format)
    raise ValueError(f"became a date or time ({value}): {AS_TEXT}")


def _number(value: int | float, number_format: str) -> str:
    """Return a number as text; raise ValueError if the spreadsheet has rounded it.

    >>> _number(12, "0000"), _number(3.0, "General"), _number(0.1 + 0.2, "General")
    ('0012', '3', '0.3')
    """
    if abs(value) >= 10**_MAX_DIGITS:
        raise ValueError(f"became a number of more than {_MAX_DIGITS} digits, rounded: {AS_TEXT}")
    if value == int(value):
        text = str(int(value))
        if _LEADING_ZEROS.fullmatch(number_format):
            text = text.zfill(len(number_format))
        return text
    return f"{value:.15g}"


def choose_sheet(
    path: str | os.PathLike, sheets: Sequence[Sheet], is_header: Callable[[Sequence[str]], bool]
) -> Sheet:
    """Return the sheet whose first row is a header; the only sheet if there is no other.

    Raises:
        UserError: The workbook is empty, or several sheets (or none of several) have a header.
    """
    candidates = [sheet for sheet in sheets if is_header(sheet.rows[0][1])]
    if len(candidates) == 1:
        return candidates[0]
    if len(sheets) == 1:
        return sheets[0]
    if not sheets:
        raise UserError(f"{path}: no utterances", "the workbook has no cells with content")
    names = ", ".join(f"'{sheet.title}'" for sheet in candidates or sheets)
    which = "have" if candidates else "do not have"
    message = (
        f"{path}: several sheets {which} the columns of utterances in their first row: {names}"
    )
    raise UserError(message, "keep one sheet with the utterances in the file")
