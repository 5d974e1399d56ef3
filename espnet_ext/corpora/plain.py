"""Any corpus, from one table: a tab-separated manifest with a row an utterance.

Columns, in any order: `utt_id speaker audio` and at least one transcript: `surface`, `meaning`,
`canonical` or, for any other output, `text.<output>`. Optional: `set` (train, valid, test), `lang`,
`l1`, `band`, `domain`; others are passed over, with a note. An empty cell means unlabelled. Audio
paths are relative to the manifest. Cells may be in quotes, as spreadsheets write them.
"""

import codecs
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_ext.corpora.preparation import (
    Report,
    Sets,
    by_turns,
    check_audio,
    known_sentences,
    shown,
)
from espnet_ext.data.record import NA, Utterance, id_problem, is_output_name
from espnet_ext.errors import UserError
from espnet_ext.text.unicode import normalize

REQUIRED = ("utt_id", "speaker", "audio")
OUTPUTS = ("surface", "meaning", "canonical")
LABELS = ("lang", "l1", "band", "domain")
SETS = ("train", "valid", "test")
KNOWN = (*REQUIRED, *OUTPUTS, *LABELS, "set")
_LANG = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # becomes a folder's name
_CELL = re.compile(r'((?:"(?:[^"]|"")*")(?=\t)|[^\t]*)\t')
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_OPEN = re.compile(r'(?:^|\t)"(?:[^"]|"")*$')  # a cell in quotes that does not end in its line
_MOST_LINES = 50  # of one cell
FORMAT = (
    "a first line with the columns' names, separated by tabs: utt_id, speaker, audio and surface "
    "or meaning; optional: canonical, text.<output>, set, lang, l1, band, domain"
)


def prepare(
    manifest: str | os.PathLike,
    *,
    lang: str = "en",
    skip_unreadable: bool = False,
    report: Report | None = None,
) -> Sets:
    """The manifest's utterances by set; `lang` is of those without one in the manifest.

    Without a column `set`, speakers are dealt out 8:1:1 by name; with fewer than three speakers,
    utterances are (and the report says so). Every fault of the manifest is named at once.
    """
    report = report if report is not None else Report("plain")
    path = Path(manifest)
    if not _LANG.fullmatch(lang):
        raise UserError(f"--lang '{lang}': not a language's code", "give one such as ko or en")
    columns, rows = _read_rows(path, report)
    outputs = _outputs(path, columns)
    faults: list[str] = []
    utterances: dict[str, tuple[Utterance, str]] = {}
    for number, row in rows:
        one, problems = _utterance(path, row, outputs, lang)
        if one.utt_id in utterances:
            problems.append("this utt_id is in an earlier line")
        if "set" in columns and row["set"] not in SETS:
            problems.append(f"set is '{row['set']}', not one of {', '.join(SETS)}")
        faults += [f"{path}:{number}: {one.utt_id}: {problem}" for problem in problems]
        utterances[one.utt_id] = (one, row.get("set", ""))
        for output in outputs:
            if output not in one.texts:
                there = output in row or f"text.{output}" in row
                reason = "empty cell in the manifest" if there else "the row ends before it"
                report.miss(one.utt_id, output, reason)
    _raise_all(path, faults)
    kept = check_audio(
        [one for one, _ in utterances.values()], report, skip_unreadable=skip_unreadable
    )
    if "set" in columns:
        report.notes.append("split as the manifest's column set says")
        place = {one.utt_id: utterances[one.utt_id][1] for one in kept}
    else:
        place = _split(kept, report)
    sets: Sets = {name: [] for name in SETS}
    for one in sorted(kept, key=lambda one: one.utt_id):
        sets[place[one.utt_id]].append(one)
    if empty := [name for name in SETS if not sets[name]]:
        remedy = "name the sets in a column set, with utterances in each"
        raise UserError(f"{path}: no utterances for {' and '.join(empty)}", remedy)
    report.notes.append(known_sentences(sets))
    return sets


def _read_text(path: Path) -> str:
    """The manifest in UTF-8, or in UTF-16 if it begins with that byte-order mark."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest", "correct --manifest FILE") from None
    except OSError as error:
        remedy = "correct --manifest FILE, or check its permissions"
        raise UserError(f"{path}: cannot read: {error.strerror}", remedy) from None
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        what = "broken UTF-16" if wide else f"not UTF-8; it looks like {_looks_like(content)}"
        raise UserError(f"{path}:{line}: {what}", "save it as text in UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _looks_like(content: bytes) -> str:
    """What a table that is not UTF-8 may be written in."""
    if b"\0" in content:
        return "UTF-16 without its mark, or no text"
    if content.startswith(b"PK"):
        return "a spreadsheet's own file (xlsx, ods), not text"
    try:
        if any("가" <= letter <= "힣" for letter in content.decode("cp949")):
            return "CP949 (Korean Windows)"
    except UnicodeDecodeError:
        pass
    return "Windows-1252 or another old code page"


def _cells(text: str) -> tuple[list[tuple[int, list[str]]], int]:
    """Rows of cells with their line numbers, and how many cells were in quotes.

    A cell in quotes, in which quotes are doubled, is what spreadsheets make of one with a quote, a
    tab or a line break in it. Quotes that do not pair so are part of their cell.

    >>> _cells('a\\t"say ""b"", c"\\n"d\\t"e')
    ([(1, ['a', 'say "b", c']), (2, ['"d', '"e'])], 1)
    """
    lines = text.split("\n")
    rows, quoted, at = [], 0, 0
    width = len(lines[0].split("\t"))
    while at < len(lines):
        first = at
        line = lines[at]
        cells = _CELL.findall(line + "\t")
        # A cell that goes on in the next lines does so until the row is as wide as the others.
        for more in range(at + 1, min(at + _MOST_LINES, len(lines))):
            if not _OPEN.search(line):
                break
            whole = "\n".join(lines[at : more + 1])
            found = _CELL.findall(whole + "\t")
            if len(found) == width and all(map(_whole, found)):
                cells, at = found, more
                break
        for place, cell in enumerate(cells):
            if _QUOTED.fullmatch(cell.strip(" ")):
                cells[place] = cell.strip(" ")[1:-1].replace('""', '"')
                quoted += 1
        rows.append((first + 1, cells))
        at += 1
    return rows, quoted


def _whole(cell: str) -> bool:
    """Whether a cell is in one line, or in quotes that pair."""
    return "\n" not in cell or _QUOTED.fullmatch(cell) is not None


def _read_rows(path: Path, report: Report) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns and rows with their line numbers; what was passed over goes to the notes."""
    table, quoted = _cells(_read_text(path))
    columns, others = _named([name.strip() for name in table[0][1]])
    rows, faults, short = [], [], []
    for number, cells in table[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            faults.append(f"{path}:{number}: {len(cells)} cells, but {len(columns)} columns")
        elif len(cells) < len(columns):
            short.append(number)
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
        rows.append((number, {name: "" for name in (*REQUIRED, "set") if name in columns} | row))
    missing = [name for name in REQUIRED if name not in columns]
    _refuse_slips(path, others)
    if missing or not rows:
        what = f"no column {', '.join(missing)}" if missing else "no utterances"
        raise UserError(f"{path}: {what}", f"expected {FORMAT}")
    _raise_all(path, faults)
    if others:
        listed = ", ".join(f"'{name}'" for name in others)
        report.notes.append(f"columns that are not read: {listed}")
    if quoted:
        report.notes.append(f"{quoted} cells were in quotes, as spreadsheets write them")
    if short:
        report.notes.append(
            f"{len(short)} rows have fewer cells than there are columns (first: line {short[0]}); "
            "what they lack is unlabelled"
        )
    return columns, rows


def _named(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns with known names as they are listed (case does not count), and those left over."""
    names, others = [], []
    for column in columns:
        head, dot, output = column.partition(".")
        name = f"text.{output}" if dot and head.lower() == "text" else column.lower()
        if not (name in KNOWN or (name.startswith("text.") and is_output_name(output))):
            name = column
            others.append(column)
        names.append(name)
    return names, others


def _refuse_slips(path: Path, others: Sequence[str]) -> None:
    """A column whose name is nearly a known one is refused: it would be missed silently."""
    from rapidfuzz.distance import Levenshtein

    slips = []
    for column in others:
        near = [
            name
            for name in KNOWN
            if Levenshtein.distance(column.lower(), name) <= min(2, len(name) - 1)
        ]
        if near:
            slips.append(f"'{column}' is nearly {near[0]}")
        elif column.lower().startswith("text."):
            slips.append(f"'{column}' is no text.<output> (letters, digits, '_')")
    if slips:
        remedy = f"rename it, or take it out; expected {FORMAT}"
        raise UserError(f"{path}: unknown column: {'; '.join(slips)}", remedy)


def _outputs(path: Path, columns: Sequence[str]) -> list[str]:
    """Names of the outputs, from the columns that hold transcripts."""
    columns = [name for name in columns if name in KNOWN or name.startswith("text.")]
    names = [name.removeprefix("text.") for name in columns if name in OUTPUTS or "text." in name]
    others = [name for name in columns if name not in OUTPUTS and "text." not in name]
    twice = [name for name, count in Counter([*others, *names]).items() if count > 1]
    if twice or not names:
        what = f"column {', '.join(twice)} twice" if twice else "no transcript"
        raise UserError(f"{path}: {what}", f"expected {FORMAT}")
    return list(dict.fromkeys(names))


def _utterance(
    path: Path, row: Mapping[str, str], outputs: Sequence[str], lang: str
) -> tuple[Utterance, list[str]]:
    """A row's record and what is wrong with it; the id gets its speaker in front if need be."""
    speaker, utt_id = row["speaker"], row["utt_id"]
    if not utt_id.startswith(speaker + "-"):
        utt_id = f"{speaker}-{utt_id}"
    problems = [
        f"{what} {problem}" for what in ("utt_id", "speaker") if (problem := id_problem(row[what]))
    ]
    audio = str((path.parent / row["audio"]).absolute())
    if row["audio"].endswith("|") or row["audio"].startswith("|"):
        problems.append("audio is a command, which is not run: name a sound file")
    elif not row["audio"]:
        problems.append("audio is empty")
    texts = {
        output: text
        for output in outputs
        if (text := normalize(row.get(output) or row.get(f"text.{output}") or "")) not in ("", NA)
    }
    labels = {name: row.get(name) or None for name in LABELS}
    labels["lang"] = labels["lang"] or lang
    if not _LANG.fullmatch(labels["lang"]):
        problems.append(f"lang '{labels['lang']}' is not a letter, then letters, digits, - and _")
    return Utterance(utt_id, speaker, audio, texts, **labels), problems


def _split(utterances: Sequence[Utterance], report: Report) -> dict[str, str]:
    """Set of each utterance: speakers dealt out, or utterances where speakers are too few."""
    speakers = sorted({one.speaker for one in utterances})
    parts = {"valid": 1, "test": 1}
    if len(speakers) >= 3:
        place = by_turns(speakers, parts)
        report.notes.append("split by speakers: of every ten, eight train, one valid, one test")
        return {one.utt_id: place[one.speaker] for one in utterances}
    if len(utterances) < 3:
        raise UserError(f"{len(utterances)} utterances are too few to split", "add utterances")
    report.notes.append(
        f"split by utterances, as speakers are {len(speakers)}: the same voices train and test"
    )
    return by_turns(sorted(one.utt_id for one in utterances), parts)


def _raise_all(path: Path, faults: Sequence[str]) -> None:
    if faults:
        message = f"{path}: {len(faults)} faults:{shown(faults)}"
        raise UserError(message, "correct these lines")
