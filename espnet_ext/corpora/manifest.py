"""Read the manifest of `plain`: decode the table, recognise its columns, and clean its cells."""

import codecs
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from espnet_ext.corpora import delimited, row_times, spreadsheet
from espnet_ext.corpora.preparation import Report
from espnet_ext.corpora.table_faults import Fault, raise_faults
from espnet_ext.data.missing import AMBIGUOUS, is_missing
from espnet_ext.data.record import is_output_name
from espnet_ext.errors import UserError

REQUIRED = ("utt_id", "speaker", "audio")
OUTPUTS = ("surface", "meaning", "canonical")
LABELS = ("lang", "l1", "band", "domain")
SET_COLUMNS = ("set", "split")
KNOWN = (*REQUIRED, *OUTPUTS, *LABELS, *SET_COLUMNS)
# Names that other tools use for a column. They are suggested, never assumed.
OTHER_NAMES = {
    "utt_id": "id utt uttid utt_name utterance utterance_id key sample_id segment_id recording_id",
    "speaker": "spk spkr spk_id speaker_id spkid speakerid client_id user user_id reader talker",
    "audio": "path file filename file_name file_path filepath audio_path audio_file "
    "audio_filepath wav wav_path sound clip",
    "meaning": "text sentence transcript transcription words prompt orthography orthographic",
    "surface": "phones phonemes phone phoneme pronunciation ipa phonetic perceived verbatim",
    "lang": "language locale",
    "l1": "native_language mother_tongue first_language l1_language native",
    "set": "subset partition dataset fold part data_split phase",
}
_SET_WORDS = {"train", "training", "valid", "validation", "val", "dev", "test", "eval"}
_SPREADSHEET_ERRORS = ("#NAME?", "#VALUE!", "#REF!", "#DIV/0!", "#NUM!", "#NULL!")
_MAX_LINE = 80  # characters of the first line in a message
FORMAT = (
    "a first line with the column names, separated by tabs, commas or semicolons: utt_id, speaker, "
    "audio and surface or meaning; optional: canonical, text.<output>, set or split, lang, l1, "
    "band, domain, start and end (seconds)"
)


class Row(NamedTuple):
    """A row of the manifest; "" is an empty cell."""

    line: int
    cells: dict[str, str]  # by column, without transcripts; the set is `set`
    texts: dict[str, str]  # transcripts by output; a row with too few cells lacks the last ones


@dataclass
class Manifest:
    """The rows of a manifest."""

    outputs: list[str]
    set_column: str  # "set", "split", or "" without such a column
    time_columns: tuple[str, ...] = ()  # of the part of the recording that a row is
    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    remedy: str = ""  # for the faults
    hint: str = ""  # ignored columns that may be a missing one, such as transcripts


@dataclass
class _Table:
    """A table as it was read, before its columns are recognised."""

    rows: list[tuple[int, list[str]]]  # the first row has the column names
    faults: Mapping[tuple[int, int], str]  # line, index of the cell → what is wrong
    remedy: str = ""
    remedy_for_cells: str = ""  # if a row has too many cells


def read(path: Path, missing: Collection[str], report: Report) -> Manifest:
    """Read a manifest; note in the report what is ignored or cleaned.

    Args:
        path: A text file or an Excel workbook.
        missing: Words that stand for an empty cell.
        report: Gets notes and counts.
    Raises:
        UserError: The file cannot be read, or lacks a necessary column.
    """
    table = _read_table(path, report)
    table.rows = [row for row in table.rows if any(cell.strip() for cell in row[1])]
    header = [name.strip() for name in table.rows[0][1]] if table.rows else []
    while header and not header[-1]:
        header.pop()
    if not header:
        raise UserError(f"{path}: is empty", f"expected {FORMAT}")
    columns, unknown = _recognise_columns(header)
    _check_columns(path, columns, unknown, table.rows[1:])
    outputs, set_column = _outputs(path, columns), ""
    if stated := [name for name in columns if name in SET_COLUMNS]:
        set_column = stated[0]
    times = row_times.time_columns(columns)
    manifest = Manifest(outputs, set_column, times, remedy=table.remedy)
    cleaned: Counter = Counter()
    short = []
    for line, values in table.rows[1:]:
        values = [value.strip() for value in values]
        while len(values) > len(columns) and not values[-1]:
            values.pop()
        if len(values) > len(columns):
            fault = f"{len(values)} cells, but {len(columns)} columns"
            manifest.faults.append(Fault(line, fault))
            manifest.remedy = manifest.remedy or table.remedy_for_cells
        elif len(values) < len(columns):
            short.append(line)
        row = Row(line, dict.fromkeys((*REQUIRED, "set"), ""), {})
        for index, (column, value) in enumerate(zip(columns, values, strict=False)):
            output, label = _output(column), _label(column)
            if column in unknown or not (output or label):
                continue
            if problem := table.faults.get((line, index)) or _error(value):
                manifest.faults.append(Fault(line, f"{column} {problem}"))
            if is_missing(value, missing):
                if label in REQUIRED:
                    fault = f"{column} '{value}' means an empty cell (see --missing)"
                    manifest.faults.append(Fault(line, fault))
                else:
                    cleaned[f"cells '{value}', taken as empty (--missing)"] += 1
                    value = ""
            elif output and value in AMBIGUOUS:
                cleaned[f"transcripts that are only '{value}', kept as text (--missing)"] += 1
            if output:
                row.texts[output] = value
            else:
                row.cells[label] = value
        manifest.rows.append(row)
    if not manifest.rows:
        raise UserError(f"{path}: no utterances", f"expected {FORMAT}")
    if not set_column:
        _refuse_unread_sets(path, columns, table.rows[1:])
    report.counts.update(cleaned)
    manifest.hint = _note_ignored(unknown, columns, report)
    if short:
        report.notes.append(
            f"{len(short)} of {len(manifest.rows)} rows have fewer cells than there are columns "
            f"(first: line {short[0]}); the missing cells are unlabelled"
        )
    return manifest


# -- decoding


def _read_table(path: Path, report: Report) -> _Table:
    if spreadsheet.is_workbook(path):
        sheets = spreadsheet.read_sheets(path)
        sheet = spreadsheet.choose_sheet(path, sheets, _is_header)
        report.notes.append(f"read from the sheet '{sheet.title}'")
        return _Table(sheet.rows, sheet.faults)
    rows = delimited.split_table(_read_text(path))
    if rows.faults:
        raise_faults(path, [Fault(*fault) for fault in rows.faults], [delimited.QUOTING])
    report.notes += rows.notes
    remedy = ""
    if rows.unclosed:
        remedy = (
            f"line breaks in cells are not allowed (see the quotation mark in line {rows.unclosed})"
        )
    remedy_for_cells = ""
    if rows.separator in (",", ";"):
        remedy_for_cells = f"write a cell that contains {rows.separator!r} in quotation marks"
    return _Table(rows.rows, {}, remedy, remedy_for_cells)


def _is_header(cells: Sequence[str]) -> bool:
    columns, _ = _recognise_columns([cell.strip() for cell in cells])
    return any(name in columns for name in REQUIRED)


def _read_text(path: Path) -> str:
    """Return the manifest, decoded as UTF-8, or as UTF-16 if it has that byte-order mark."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest", "correct --manifest FILE") from None
    except OSError as error:
        remedy = "correct --manifest FILE, or check its permissions"
        raise UserError(f"{path}: cannot read: {error.strerror}", remedy) from None
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        what = "invalid UTF-16" if is_utf16 else f"not UTF-8; probably {_guess_format(content)}"
        remedy = "save it as text in UTF-8 (in Excel: CSV UTF-8), or as .xlsx"
        raise UserError(f"{path}:{line}: {what}", remedy) from None


def _guess_format(content: bytes) -> str:
    """Return the probable format of a table that is not UTF-8."""
    if content.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        return "a spreadsheet file (ods, xls), not text"
    if b"\0" in content:
        return "UTF-16 without a byte-order mark, or not text"
    try:
        if any("가" <= letter <= "힣" for letter in content.decode("cp949")):
            return "CP949 (Korean Windows)"
    except UnicodeDecodeError:
        pass
    return "Windows-1252 or another old code page"


# -- columns


def _recognise_columns(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the column names, with known ones in their standard spelling, and the unknown ones."""
    names, unknown = [], []
    times = row_times.time_columns([_plain(column) for column in columns])
    for column in columns:
        prefix, dot, output = column.partition(".")
        name = _plain(column)
        if dot and prefix.lower() == "text":
            name = f"text.{output}"
        is_transcript = name.startswith("text.") and is_output_name(output)
        if not (name in KNOWN or name in times or is_transcript):
            name = column
            unknown.append(column)
        names.append(name)
    return names, unknown


def _output(column: str) -> str:
    """Return the output whose transcripts a column holds, or ""."""
    name = column.removeprefix("text.")
    return name if column in OUTPUTS or (name != column and is_output_name(name)) else ""


def _label(column: str) -> str:
    """Return the name of a column without transcripts in `Row.cells`, or ""."""
    if column in SET_COLUMNS:
        return "set"
    return column if column in (*REQUIRED, *LABELS, *row_times.TIMES) else ""


def _check_columns(
    path: Path,
    columns: Sequence[str],
    unknown: Sequence[str],
    rows: Sequence[tuple[int, Sequence[str]]],
) -> None:
    """Raise a UserError if a column is missing or misspelt, with the probable name."""
    faults = []
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        faults.append(f"no column {', '.join(missing)}")
        if not any(_output(column) for column in columns):
            missing += ["meaning", "surface"]
        faults += _guesses(missing, unknown)
        if len(missing) >= len(REQUIRED) and len(faults) == 1:
            line = "\t".join(columns)
            faults.append(f"its first line is {line[:_MAX_LINE]!r}")
    cells = {
        column: [cells[index].strip() for _, cells in rows if index < len(cells)]
        for index, column in enumerate(columns)
        if column in unknown
    }
    if problem := row_times.unread_times(cells):
        faults.append(problem)
    for column in unknown:
        if name := _misspelt(column):
            faults.append(f"unknown column: '{column}' is similar to {name}")
        elif column.lower().startswith("text."):
            faults.append(f"unknown column: '{column}' is not text.<output> (letters, digits, '_')")
    if faults:
        remedy = f"rename the columns, or remove those that are not needed; expected {FORMAT}"
        raise UserError(f"{path}: {'; '.join(dict.fromkeys(faults))}", remedy)


def _guesses(names: Iterable[str], unknown: Sequence[str]) -> list[str]:
    """Return which unknown columns probably are the named ones, by what other tools call them."""
    return [
        f"'{column}' is probably {name}"
        for name in names
        for column in unknown
        if _plain(column) in OTHER_NAMES.get(name, "").split()
    ]


def _plain(column: str) -> str:
    return column.lower().replace(" ", "_").replace("-", "_")


def _misspelt(column: str) -> str:
    """Return the known column that a name misspells by one or two letters, or "".

    In a short name a wrong letter makes another word (sex, set), so only a missing, an additional
    or two exchanged letters count.

    >>> _misspelt("surfce"), _misspelt("sets"), _misspelt("sex"), _misspelt("spk")
    ('surface', 'set', '', '')
    """
    from rapidfuzz.distance import OSA, Indel

    name = _plain(column)
    for known in KNOWN:
        if len(known) > 4:
            near = OSA.distance(name, known) <= (2 if len(known) > 5 else 1)
        else:
            exchanged = sorted(name) == sorted(known) and OSA.distance(name, known) == 1
            near = exchanged or Indel.distance(name, known) == 1
        if near and name not in " ".join(OTHER_NAMES.values()).split():
            return known
    return ""


def _outputs(path: Path, columns: Sequence[str]) -> list[str]:
    """Return the outputs, from the columns that hold transcripts."""
    outputs = [output for column in columns if (output := _output(column))]
    labels = [label for column in columns if (label := _label(column))]
    counts = [*Counter(labels).items(), *Counter(outputs).items()]
    if repeated := [name for name, count in counts if count > 1]:
        what = f"two columns {', '.join(repeated)}"
        if repeated == ["set"]:
            what += " (set and split)"
    elif not outputs:
        unknown = [column for column in columns if not _label(column)]
        what = "; ".join(["no transcript", *_guesses(("meaning", "surface"), unknown)])
    else:
        return outputs
    raise UserError(f"{path}: {what}", f"expected {FORMAT}")


def _refuse_unread_sets(
    path: Path, columns: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]]
) -> None:
    """Raise a UserError if an ignored column states the sets: a test set must not be redrawn."""
    values: dict[int, set[str]] = {
        index: set()
        for index, column in enumerate(columns)
        if not _output(column) and not _label(column)
    }
    for _, cells in rows:
        for index in list(values):
            if index < len(cells) and cells[index].strip():
                values[index].add(cells[index].strip().lower())
                if not values[index] <= _SET_WORDS:
                    del values[index]
    for index, words in values.items():
        if words:
            stated = ", ".join(sorted(words))
            message = f"{path}: the column '{columns[index]}' states sets ({stated})"
            raise UserError(
                message, "rename it to split; or remove it, if the sets are to be drawn"
            )


def _note_ignored(unknown: Sequence[str], columns: Sequence[str], report: Report) -> str:
    """Note which columns are ignored; return which of them may be an absent known one, or ""."""
    if not unknown:
        return ""
    names = ", ".join(f"'{name}'" for name in unknown)
    note = f"ignored columns: {names}"
    absent = [name for name in ("l1", "lang", "surface", "meaning") if name not in columns]
    hint = ""
    if guesses := _guesses(absent, unknown):
        hint = f"{', '.join(guesses)}: rename it to use it"
        note += f"; {hint}"
    report.notes.append(note)
    return hint


def _error(value: str) -> str:
    """Return what is wrong with a cell in which a spreadsheet program has put an error, or ""."""
    return f"is the error {value} of a spreadsheet" if value in _SPREADSHEET_ERRORS else ""
