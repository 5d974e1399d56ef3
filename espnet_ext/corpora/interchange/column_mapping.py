"""Map the columns of an external source to the transcripts, labels and ids of utterances."""

import importlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from espnet_ext.corpora.languages import spoken_language
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.missing import AMBIGUOUS, MISSING, is_missing
from espnet_ext.data.record import NA, Utterance, id_problem, is_output_name
from espnet_ext.errors import UserError
from espnet_ext.text.unicode import normalize

LABELS = ("lang", "l1", "band", "domain")
LEFT_OUT = "none"  # instead of a column: the output is not imported
_TABLES = (".tsv", ".csv", ".txt", ".xlsx")
_NOT_IN_IDS = re.compile(r"[\s/]+")


@dataclass(frozen=True)
class ColumnMapping:
    """Names of the columns of a source (of the files of a Kaldi directory).

    "" is the default of the source. The speaker or a label can be `=VALUE`, which is the value for
    all utterances. An output can be `LEFT_OUT`.
    """

    texts: Mapping[str, str] = field(default_factory=dict)  # output → column
    id: str = ""
    audio: str = ""
    speaker: str = ""
    lang: str = ""
    l1: str = ""
    band: str = ""
    domain: str = ""
    missing: Collection[str] = MISSING  # words that mean an empty cell

    def __post_init__(self) -> None:
        for output, column in self.texts.items():
            if not is_output_name(output):
                remedy = "use letters, digits and '_', starting with a letter"
                raise UserError(f"'{output}' cannot be the name of an output", remedy)
            if column.startswith("="):
                remedy = "name the column that holds the transcripts"
                raise UserError(f"{output}: '{column}' is one text for all utterances", remedy)

    def names(self) -> list[str]:
        """Return the columns that are named, without repetitions."""
        texts = [column for column in self.texts.values() if column != LEFT_OUT]
        names = [*texts, self.id, self.audio, self.speaker]
        names += [getattr(self, label) for label in LABELS]
        return [name for name in dict.fromkeys(names) if name and not name.startswith("=")]

    def with_default_texts(self, defaults: Mapping[str, str]) -> "ColumnMapping":
        """Return this mapping with the columns (by output) that a source has by default.

        A default is not used for an output that is named, nor for a column that is.
        """
        used = set(self.texts.values())
        texts = {
            output: column
            for output, column in defaults.items()
            if output not in self.texts and column not in used
        }
        return replace(self, texts={**texts, **self.texts})

    def without_left_out(self) -> "ColumnMapping":
        """Return this mapping without the outputs that are not to be imported."""
        texts = {output: column for output, column in self.texts.items() if column != LEFT_OUT}
        return replace(self, texts=texts)

    def value(self, name: str, row: Mapping[str, Any], report: Report | None = None) -> str | None:
        """Return the speaker or a label of a row, or None.

        Args:
            name: "speaker" or one of `LABELS`.
            row: Column → cell.
            report: Counts cells that mean an empty cell.
        """
        column = getattr(self, name)
        if column.startswith("="):
            return column[1:] or None
        return self.cell(row.get(column), report) if column else None

    def cell(self, value: Any, report: Report | None = None) -> str | None:
        """Return a cell as text, or None if it is empty or a word that means so, such as `nan`."""
        text = cell_text(value)
        if text is not None and is_missing(text, self.missing):
            if report is not None:
                report.counts[f"cells '{text}', taken as empty (--missing)"] += 1
            return None
        return text


def cell_text(value: Any) -> str | None:
    """Return a cell as text, or None if it is empty; the tokens of a list are joined.

    >>> cell_text(["AH", "B"]), cell_text("  "), cell_text(7), cell_text(float("nan"))
    ('AH B', None, '7', None)
    """
    if value is None or value != value:  # NaN is an empty cell in tables of numbers
        return None
    if isinstance(value, list | tuple):
        value = " ".join(str(token) for token in value)
    elif not isinstance(value, str | int | float):
        raise TypeError(f"is of type {type(value).__name__}, not text")
    text = normalize(str(value))
    return text if text not in ("", NA) else None


def read_texts(
    columns: ColumnMapping, row: Mapping[str, Any], utt_id: str, report: Report
) -> dict[str, str]:
    """Return the transcripts of a row by output; report empty cells as unlabelled."""
    texts = {}
    for output, column in columns.texts.items():
        try:
            text = columns.cell(row.get(column), report)
        except TypeError as error:
            remedy = "name another column, or convert it to text"
            raise UserError(f"{utt_id}: column {column} {error}", remedy) from None
        if text is None:
            what = "is empty" if column in row else "has no entry"
            report.mark_unlabelled(utt_id, output, f"{column} {what}")
        else:
            if text in AMBIGUOUS:
                what = f"transcripts that are only '{text}', kept as text (--missing)"
                report.counts[what] += 1
            texts[output] = text
    return texts


def as_id(name: str, report: Report) -> str:
    """Return a name as an id: whitespace and slashes become `_`, which the report counts.

    >>> as_id("clips/a b.mp3", Report("c"))
    'clips_a_b.mp3'
    """
    utt_id = _NOT_IN_IDS.sub("_", normalize(name).strip())
    if problem := id_problem(utt_id):
        raise UserError(f"the id {name!r} {problem}", "name another column for ids: --id")
    report.counts["ids in which whitespace or / became _"] += utt_id != name
    return utt_id


def make_utterance(
    utt_id: str, audio: str, row: Mapping[str, Any], columns: ColumnMapping, report: Report
) -> Utterance:
    """Return the utterance of a row; without a speaker its id is the speaker, as in Kaldi."""
    speaker = columns.value("speaker", row, report)
    if speaker is None:
        report.counts["utterances without a speaker, whose speaker is their id"] += 1
    lang = columns.value("lang", row, report)
    if lang and (code := spoken_language(lang)) != lang:
        report.counts[f"lang '{lang}', read as {code}"] += 1
        lang = code
    return Utterance(
        utt_id,
        as_id(speaker, report) if speaker else utt_id,
        audio,
        read_texts(columns, row, utt_id, report),
        lang=lang,
        l1=columns.value("l1", row, report),
        band=columns.value("band", row, report),
        domain=columns.value("domain", row, report),
    )


def require_columns(source: str, columns: ColumnMapping, existing: Sequence[str]) -> None:
    """Raise a UserError if the source lacks a named column."""
    if missing := [name for name in columns.names() if name not in existing]:
        message = f"{source}: has no column {', '.join(missing)}"
        remedy = f"name one of its columns: {', '.join(existing) or 'it has none'}"
        raise UserError(message, remedy)


def remedy_for_source(source: str | os.PathLike, remedy: str) -> str:
    """Return a remedy for a wrong source; for a table, which command prepares it."""
    if os.path.isfile(source) and os.fspath(source).lower().endswith(_TABLES):
        return f"a table is prepared by: espnet-ext prepare plain --manifest {source}"
    return remedy


def note_not_imported(report: Report, what: str, counts: Mapping[str, int], remedy: str) -> None:
    """Add a note on the columns (or files) of a source that are not imported, if there are any.

    Args:
        report: Gets the note.
        what: What the names are, such as "columns".
        counts: Number of rows with a value, by name.
        remedy: How to import them.
    """
    if counts:
        names = ", ".join(f"{name} ({count} rows)" for name, count in counts.items())
        report.notes.append(f"{what} that are not imported: {names}; {remedy}")


def import_library(name: str, extra: str) -> ModuleType:
    """Import an optional library; a missing one is a UserError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = f'pip install "espnet-ext[{extra}]" or pip install {name}'
        raise UserError(f"this command needs the library {name}: {error}", remedy) from None
