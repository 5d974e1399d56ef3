"""Which column of a foreign source holds what, and how its cells become texts, labels and ids."""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from espnet_ext.corpora.preparation import Report
from espnet_ext.data.record import NA, Utterance, id_problem, is_output_name
from espnet_ext.errors import UserError
from espnet_ext.text.unicode import normalize

LABELS = ("lang", "l1", "band", "domain")
_NOT_IN_IDS = re.compile(r"[\s/]+")


@dataclass(frozen=True)
class Columns:
    """Names of a source's columns (of files, in Kaldi's case); "" is the source's own default.

    A label or the speaker can be `=VALUE`: the same for all utterances.
    """

    texts: Mapping[str, str] = field(default_factory=dict)  # output → column
    id: str = ""
    audio: str = ""
    speaker: str = ""
    lang: str = ""
    l1: str = ""
    band: str = ""
    domain: str = ""

    def __post_init__(self):
        for output, column in self.texts.items():
            if not is_output_name(output):
                remedy = "use letters, digits and '_', beginning with a letter"
                raise UserError(f"'{output}' is no name for an output", remedy)
            if column.startswith("="):
                remedy = "name the column that holds the transcripts"
                raise UserError(f"{output}: '{column}' is one text for all", remedy)

    def named(self) -> list[str]:
        """The columns that were asked for, which must therefore exist."""
        names = [*self.texts.values(), self.id, self.audio, self.speaker]
        names += [getattr(self, label) for label in LABELS]
        return [name for name in dict.fromkeys(names) if name and not name.startswith("=")]

    def label(self, name: str, row: Mapping[str, Any]) -> str | None:
        """The value of `speaker` or a label in a row; None where there is none."""
        column = getattr(self, name)
        if column.startswith("="):
            return column[1:] or None
        return cell(row.get(column)) if column else None


def cell(value: Any) -> str | None:
    """A cell as text: tokens in a list are joined; None where nothing is in it.

    >>> cell(["AH", "B"]), cell("  "), cell(7), cell(float("nan")), cell(None)
    ('AH B', None, '7', None, None)
    """
    if value is None or value != value:  # NaN, which tables have in empty cells
        return None
    if isinstance(value, list | tuple):
        value = " ".join(str(one) for one in value)
    elif not isinstance(value, str | int | float):
        raise TypeError(f"is of type {type(value).__name__}, not text")
    text = normalize(str(value))
    return text if text not in ("", NA) else None


def texts_of(
    columns: Columns, row: Mapping[str, Any], utt_id: str, report: Report
) -> dict[str, str]:
    """Transcripts by output; an empty cell leaves that output unlabelled, which is noted."""
    texts = {}
    for output, column in columns.texts.items():
        try:
            text = cell(row.get(column))
        except TypeError as error:
            remedy = "name another column, or convert it to text"
            raise UserError(f"{utt_id}: column {column} {error}", remedy) from None
        if text is None:
            report.miss(utt_id, output, f"nothing in {column}")
        else:
            texts[output] = text
    return texts


def as_id(name: str, report: Report) -> str:
    """A name as an id: whitespace and slashes become `_`, which is counted.

    >>> as_id("clips/a b.mp3", Report("c"))
    'clips_a_b.mp3'
    """
    changed = _NOT_IN_IDS.sub("_", normalize(name).strip())
    if problem := id_problem(changed):
        raise UserError(f"the id {name!r} {problem}", "name another column for ids: --id")
    report.counts["ids in which whitespace or / became _"] += changed != name
    return changed


def utterance(
    utt_id: str, audio: str, row: Mapping[str, Any], columns: Columns, report: Report
) -> Utterance:
    """A row's record; without a speaker an utterance is a speaker of its own, as in Kaldi."""
    labels = {name: columns.label(name, row) for name in LABELS}
    speaker = columns.label("speaker", row)
    if speaker is None:
        report.counts["utterances without a speaker, each a speaker of its own"] += 1
    speaker = as_id(speaker, report) if speaker else utt_id
    return Utterance(utt_id, speaker, audio, texts_of(columns, row, utt_id, report), **labels)


def require_columns(source: str, columns: Columns, there: Sequence[str]) -> None:
    """Refuse names of columns that the source does not have."""
    if missing := [name for name in columns.named() if name not in there]:
        message = f"{source}: has no column {', '.join(missing)}"
        raise UserError(message, f"name one of its columns: {', '.join(there) or 'it has none'}")


def library(name: str, extra: str) -> ModuleType:
    """A library that is an extra, imported when it is needed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = f'pip install "espnet-ext[{extra}]" or pip install {name}'
        raise UserError(f"this needs the library {name}: {error}", remedy) from None
