"""Any corpus, from one tab-separated table, the manifest, with one row per utterance.

Columns, in any order: `utt_id speaker audio` and at least one transcript: `surface`, `meaning`,
`canonical` or, for any other output, `text.<output>`. Optional: `set` (train, valid, test), `lang`,
`l1`, `band`, `domain`. Other columns are ignored, with a note. An empty cell means unlabelled.
Audio paths are relative to the manifest. Cells may be quoted, as spreadsheets write them.
"""

import codecs
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.corpora.preparation import (
    CorpusOptions,
    Report,
    Sets,
    assign_sets,
    check_audio,
    list_faults,
    sentence_overlap,
)
from espnet_ext.data.record import NA, Utterance, id_problem, is_output_name
from espnet_ext.errors import UserError
from espnet_ext.text.unicode import normalize

REQUIRED = ("utt_id", "speaker", "audio")
OUTPUTS = ("surface", "meaning", "canonical")
LABELS = ("lang", "l1", "band", "domain")
SETS = ("train", "valid", "test")
KNOWN = (*REQUIRED, *OUTPUTS, *LABELS, "set")
_LANG = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # becomes the name of a folder
_CELL = re.compile(r'((?:"(?:[^"]|"")*")(?=\t)|[^\t]*)\t')
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_OPEN_QUOTE = re.compile(r'(?:^|\t)"(?:[^"]|"")*$')  # a quoted cell that does not end in its line
_MAX_CELL_LINES = 50
FORMAT = (
    "a first line with the column names, separated by tabs: utt_id, speaker, audio and surface "
    "or meaning; optional: canonical, text.<output>, set, lang, l1, band, domain"
)


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of `espnet-ext prepare plain`."""

    manifest: str | os.PathLike
    lang: str = "en"  # language of rows without one


def prepare(options: Options, report: Report) -> Sets:
    """Return the utterances of the manifest by set.

    Without a column `set`, the speakers are split 8:1:1 by name; with fewer than three speakers,
    the utterances are, which the report notes.

    Raises:
        UserError: The manifest has errors; names them all.
    """
    path = Path(options.manifest)
    if not _LANG.fullmatch(options.lang):
        message = f"--lang '{options.lang}': not a language code"
        raise UserError(message, "give a code such as ko or en")
    columns, rows = _read_rows(path, report)
    outputs = _output_names(path, columns)
    faults: list[str] = []
    utterances: dict[str, tuple[Utterance, str]] = {}  # utterance and its set
    for number, row in rows:
        utterance, problems = _make_utterance(path, row, outputs, options.lang)
        if utterance.utt_id in utterances:
            problems.append("an earlier line has the same utt_id")
        if "set" in columns and row["set"] not in SETS:
            problems.append(f"set is '{row['set']}', not one of {', '.join(SETS)}")
        faults += [f"{path}:{number}: {utterance.utt_id}: {problem}" for problem in problems]
        utterances[utterance.utt_id] = (utterance, row.get("set", ""))
        for output in outputs:
            if output not in utterance.texts:
                has_cell = output in row or f"text.{output}" in row
                reason = "empty cell in the manifest" if has_cell else "the row has too few cells"
                report.mark_unlabelled(utterance.utt_id, output, reason)
    _raise_faults(path, faults)
    readable = check_audio(
        [utterance for utterance, _ in utterances.values()],
        report,
        skip_unreadable=options.skip_unreadable,
    )
    if "set" in columns:
        report.notes.append("split by the column set of the manifest")
        set_of = {utterance.utt_id: utterances[utterance.utt_id][1] for utterance in readable}
    else:
        set_of = _split(readable, report)
    sets: Sets = {name: [] for name in SETS}
    for utterance in sorted(readable, key=lambda utterance: utterance.utt_id):
        sets[set_of[utterance.utt_id]].append(utterance)
    if empty := [name for name in SETS if not sets[name]]:
        remedy = "assign utterances to each set in a column set"
        raise UserError(f"{path}: no utterances for {' and '.join(empty)}", remedy)
    report.notes.append(sentence_overlap(sets))
    return sets


# -- reading the manifest


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
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        what = "invalid UTF-16" if is_utf16 else f"not UTF-8; probably {_guess_format(content)}"
        raise UserError(f"{path}:{line}: {what}", "save it as text in UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _guess_format(content: bytes) -> str:
    """Return the probable format of a table that is not UTF-8."""
    if b"\0" in content:
        return "UTF-16 without a byte-order mark, or not text"
    if content.startswith(b"PK"):
        return "a spreadsheet file (xlsx, ods), not text"
    try:
        if any("가" <= letter <= "힣" for letter in content.decode("cp949")):
            return "CP949 (Korean Windows)"
    except UnicodeDecodeError:
        pass
    return "Windows-1252 or another old code page"


def _split_cells(text: str) -> tuple[list[tuple[int, list[str]]], int]:
    """Split a table into rows of cells with line numbers; also return the number of quoted cells.

    Spreadsheets quote a cell that contains a quotation mark, a tab or a line break, and double the
    quotation marks inside it. Other quotation marks are part of their cell.

    >>> _split_cells('a\\t"say ""b"", c"\\n"d\\t"e')
    ([(1, ['a', 'say "b", c']), (2, ['"d', '"e'])], 1)
    """
    lines = text.split("\n")
    rows, quoted, index = [], 0, 0
    width = len(lines[0].split("\t"))
    while index < len(lines):
        first = index
        line = lines[index]
        cells = _CELL.findall(line + "\t")
        # A quoted cell continues in the next lines until the row is as wide as the first row.
        for last in range(index + 1, min(index + _MAX_CELL_LINES, len(lines))):
            if not _OPEN_QUOTE.search(line):
                break
            joined = "\n".join(lines[index : last + 1])
            joined_cells = _CELL.findall(joined + "\t")
            if len(joined_cells) == width and all(map(_is_complete, joined_cells)):
                cells, index = joined_cells, last
                break
        for position, cell in enumerate(cells):
            if _QUOTED.fullmatch(cell.strip(" ")):
                cells[position] = cell.strip(" ")[1:-1].replace('""', '"')
                quoted += 1
        rows.append((first + 1, cells))
        index += 1
    return rows, quoted


def _is_complete(cell: str) -> bool:
    """Return whether a cell has no line break, or is quoted."""
    return "\n" not in cell or _QUOTED.fullmatch(cell) is not None


def _read_rows(path: Path, report: Report) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns, and the rows with their line numbers; note what is ignored."""
    table, quoted = _split_cells(_read_text(path))
    columns, unknown = _normalize_columns([name.strip() for name in table[0][1]])
    rows, faults, short = [], [], []
    for number, cells in table[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            faults.append(f"{path}:{number}: {len(cells)} cells, but {len(columns)} columns")
        elif len(cells) < len(columns):
            short.append(number)
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
        empty_row = {name: "" for name in (*REQUIRED, "set") if name in columns}
        rows.append((number, empty_row | row))
    missing = [name for name in REQUIRED if name not in columns]
    _refuse_misspelt_columns(path, unknown)
    if missing or not rows:
        what = f"no column {', '.join(missing)}" if missing else "no utterances"
        raise UserError(f"{path}: {what}", f"expected {FORMAT}")
    _raise_faults(path, faults)
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown)
        report.notes.append(f"ignored columns: {names}")
    if quoted:
        report.notes.append(f"{quoted} cells were quoted, as spreadsheets write them")
    if short:
        report.notes.append(
            f"{len(short)} rows have fewer cells than there are columns (first: line {short[0]}); "
            "the missing cells are unlabelled"
        )
    return columns, rows


def _normalize_columns(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the column names, with known ones in their standard case, and the unknown ones."""
    names, unknown = [], []
    for column in columns:
        prefix, dot, output = column.partition(".")
        name = f"text.{output}" if dot and prefix.lower() == "text" else column.lower()
        if not (name in KNOWN or (name.startswith("text.") and is_output_name(output))):
            name = column
            unknown.append(column)
        names.append(name)
    return names, unknown


def _refuse_misspelt_columns(path: Path, unknown: Sequence[str]) -> None:
    """Raise a UserError if an unknown column resembles a known one, instead of ignoring it."""
    from rapidfuzz.distance import Levenshtein

    misspelt = []
    for column in unknown:
        similar = [
            name
            for name in KNOWN
            if Levenshtein.distance(column.lower(), name) <= min(2, len(name) - 1)
        ]
        if similar:
            misspelt.append(f"'{column}' is similar to {similar[0]}")
        elif column.lower().startswith("text."):
            misspelt.append(f"'{column}' is not text.<output> (letters, digits, '_')")
    if misspelt:
        remedy = f"rename or remove it; expected {FORMAT}"
        raise UserError(f"{path}: unknown column: {'; '.join(misspelt)}", remedy)


def _output_names(path: Path, columns: Sequence[str]) -> list[str]:
    """Return the outputs, from the columns that hold transcripts."""
    columns = [name for name in columns if name in KNOWN or name.startswith("text.")]
    outputs = [name.removeprefix("text.") for name in columns if name in OUTPUTS or "text." in name]
    others = [name for name in columns if name not in OUTPUTS and "text." not in name]
    repeated = [name for name, count in Counter([*others, *outputs]).items() if count > 1]
    if repeated or not outputs:
        what = f"two columns {', '.join(repeated)}" if repeated else "no transcript"
        raise UserError(f"{path}: {what}", f"expected {FORMAT}")
    return list(dict.fromkeys(outputs))


def _make_utterance(
    path: Path, row: Mapping[str, str], outputs: Sequence[str], lang: str
) -> tuple[Utterance, list[str]]:
    """Return the utterance of a row, and its problems; the id is prefixed with the speaker."""
    speaker, utt_id = row["speaker"], row["utt_id"]
    if not utt_id.startswith(speaker + "-"):
        utt_id = f"{speaker}-{utt_id}"
    problems = [
        f"{column} {problem}"
        for column in ("utt_id", "speaker")
        if (problem := id_problem(row[column]))
    ]
    audio = str((path.parent / row["audio"]).absolute())
    if row["audio"].endswith("|") or row["audio"].startswith("|"):
        problems.append("audio is a command, which is not run: give the path of a sound file")
    elif not row["audio"]:
        problems.append("audio is empty")
    texts = {
        output: text
        for output in outputs
        if (text := normalize(row.get(output) or row.get(f"text.{output}") or "")) not in ("", NA)
    }
    labels = {name: row.get(name) or None for name in LABELS}
    lang = labels["lang"] or lang
    if not _LANG.fullmatch(lang):
        problems.append(f"lang '{lang}' is not a letter followed by letters, digits, '-' or '_'")
    utterance = Utterance(
        utt_id,
        speaker,
        audio,
        texts,
        lang=lang,
        l1=labels["l1"],
        band=labels["band"],
        domain=labels["domain"],
    )
    return utterance, problems


def _split(utterances: Sequence[Utterance], report: Report) -> dict[str, str]:
    """Return the set of each utterance: by speaker, or by utterance with too few speakers."""
    speakers = sorted({utterance.speaker for utterance in utterances})
    shares = {"valid": 1, "test": 1}
    if len(speakers) >= 3:
        set_of = assign_sets(speakers, shares)
        report.notes.append("split by speakers: of each ten, eight train, one valid, one test")
        return {utterance.utt_id: set_of[utterance.speaker] for utterance in utterances}
    if len(utterances) < 3:
        raise UserError(f"{len(utterances)} utterances are too few to split", "add utterances")
    report.notes.append(
        f"split by utterances, as there are only {len(speakers)} speakers: the sets share speakers"
    )
    return assign_sets(sorted(utterance.utt_id for utterance in utterances), shares)


def _raise_faults(path: Path, faults: Sequence[str]) -> None:
    if faults:
        message = f"{path}: {len(faults)} faults:{list_faults(faults)}"
        raise UserError(message, "correct these lines")
