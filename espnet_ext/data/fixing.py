"""Repair a data directory: write a corrected copy and a list of all changes.

Only unambiguous errors are corrected: order, Unicode form, line ends, ids without speaker prefix. A
transcript, label or utterance with any other error is left out and listed. Nothing is guessed, and
the source is not changed.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from espnet_ext import files
from espnet_ext.data.audio import resolve_source
from espnet_ext.data.checks.context import Checked
from espnet_ext.data.checks.findings import Finding
from espnet_ext.data.directory import (
    LABEL_TABLES,
    output_directory,
    text_files,
    write_directory,
)
from espnet_ext.data.paths import existing_path
from espnet_ext.data.record import BANDS, NA, Utterance, id_problem
from espnet_ext.data.table import Row, normalized, scan_table
from espnet_ext.errors import UserError
from espnet_ext.overwriting import MARK

CHANGES = "changes.tsv"
HEADER = "change\tfile\tline\tutterance\tbefore\tafter\twhy\n"
NOT_COPIED = ("folder left out", "table left out")  # kinds of changes
# Errors of an utterance's audio, id or speaker: the utterance cannot be kept.
_UTTERANCE_ERRORS = frozenset(
    {
        "no-audio",
        "unreadable-audio",
        "empty-audio",
        "channels",
        "sample-rate",
        "malformed-speaker",
        "ambiguous-path",
        "pipe",
        "tilde",
    }
)
# Errors of lines that no reader accepts.
_LINE_ERRORS = frozenset(
    {"not-utf8", "malformed-id", "duplicate-id", "control-character", "empty-line"}
)
# Errors of a whole file that writing it again corrects.
_FILE_ERRORS = frozenset({"bom", "crlf", "unsorted", "spk2utt", "no-newline"})


@dataclass(frozen=True)
class Change:
    """One difference between a directory and its repaired copy."""

    what: str  # "left out", "unlabelled", "renamed", "rewritten", "row left out", …
    file: str
    line: int  # 0: the whole file
    utt_id: str
    before: str
    after: str
    why: str

    def row(self) -> str:
        """Return the change as a line of changes.tsv."""
        return "\t".join(" ".join(str(cell).split()) for cell in astuple(self)) + "\n"


@dataclass(frozen=True)
class _TableRow:
    file: Path
    line: int
    key: str
    value: str


def fix_directory(
    checked: Checked, target: str | os.PathLike, *, overwrite: bool = False
) -> list[Change]:
    """Write a repaired copy of a checked directory to `target`; return the changes.

    They are also written to `changes.tsv`, with every file that is not copied.

    Raises:
        UserError: if no utterance can be kept, or if the target contains anything but an earlier
            copy that has not changed, unless `overwrite` is set.
    """
    output = output_directory(
        target,
        "validate --fix",
        [checked.folder],
        overwrite=overwrite,
        further=".*",
        evidence=(CHANGES,),
    )
    output.check()
    utterances, changes = repair(checked)
    changes += _files_not_copied(checked.folder, utterances)
    if not utterances:
        message = f"{checked.folder}: no utterance can be kept"
        errors = [finding for finding in checked.errors if finding.code in _UTTERANCE_ERRORS]
        remedies = list(dict.fromkeys(finding.remedy for finding in errors if finding.remedy))
        listing = f"list what is wrong with it: espnet-ext validate {checked.folder}"
        raise UserError(message, "; ".join(remedies) or listing)
    with output as folder:
        write_changes(folder / CHANGES, changes)
        write_directory(folder, utterances, empty_texts=checked.options.empty_texts)
    return changes


def _files_not_copied(folder: Path, utterances: Iterable[Utterance]) -> Iterator[Change]:
    """Yield a change for each entry of the source that the copy does not have."""
    outputs = {name for utterance in utterances for name in utterance.texts}
    written = {"wav.scp", "utt2spk", "spk2utt"}
    written |= {file.name for name, file in text_files(folder).items() if name in outputs}
    written |= {
        name
        for name, attribute in LABEL_TABLES.items()
        if any(getattr(utterance, attribute) for utterance in utterances)
    }
    # Audio in the directory is not copied either: wav.scp keeps referring to it.
    rows = scan_table(folder / "wav.scp")[0]
    sources = {Path(existing_path(resolve_source(row.value, folder))).absolute() for row in rows}
    for entry in sorted(folder.iterdir()):
        if entry.name in written or entry.name == MARK or entry.absolute() in sources:
            continue
        what = NOT_COPIED[0] if entry.is_dir() else NOT_COPIED[1]
        if entry.is_dir():
            why = "folders are not copied; wav.scp keeps referring to audio in them"
        elif entry.name in LABEL_TABLES or entry in text_files(folder).values():
            why = "no row of it can be kept"
        else:
            why = "not a table that is repaired: copy it, or write it again, if it is needed"
        yield Change(what, str(entry), 0, "", entry.name, "", why)


def write_changes(path: Path, changes: Iterable[Change]) -> None:
    files.write_text(path, HEADER + "".join(change.row() for change in changes))


def repair(checked: Checked, *, rename: bool = True) -> tuple[list[Utterance], list[Change]]:
    """Return the utterances of a checked directory that can be kept, corrected, and the changes.

    Args:
        rename: put the speaker before ids that do not begin with it.

    Raises:
        UserError: if the directory has segments. Its wav.scp then lists recordings, not utterances.
    """
    if (segments := checked.folder / "segments").exists():
        message = f"{segments}: utterances are parts of recordings, which cannot be repaired"
        remedy = f"cut them first: espnet-ext import --from kaldi {checked.folder} --output NEW"
        raise UserError(message, remedy)
    return _Repair(checked).run(rename)


class _Repair:
    def __init__(self, checked: Checked):
        self.checked = checked
        self.folder = checked.folder
        self.changes: list[Change] = []

    def run(self, rename: bool) -> tuple[list[Utterance], list[Change]]:
        self._list_findings()
        audio = self._table(self.folder / "wav.scp")
        speakers = self._speakers(audio)
        unusable = self._unusable(audio, speakers)
        texts = {name: self._texts(name, file) for name, file in text_files(self.folder).items()}
        labels = {
            attribute: self._labels(self.folder / name)
            for name, attribute in LABEL_TABLES.items()
            if (self.folder / name).exists()
        }
        for table in (*texts.values(), *labels.values()):
            for key in table.keys() - audio.keys():
                self._change("row left out", table[key], "not in wav.scp")
        kept = []
        for key, row in sorted(audio.items()):
            if key in unusable:
                self._change("left out", row, unusable[key])
                continue
            transcripts = {name: rows[key].value for name, rows in texts.items() if key in rows}
            values: dict[str, Any] = {
                name: rows[key].value for name, rows in labels.items() if key in rows
            }
            source = resolve_source(row.value, self.folder)
            kept.append(Utterance(key, speakers[key], source, transcripts, **values))
        return self._rename(kept, audio) if rename else kept, self.changes

    def _change(self, what: str, row: _TableRow, why: str, after: str = "") -> None:
        self.changes.append(Change(what, str(row.file), row.line, row.key, row.value, after, why))

    def _list_findings(self) -> None:
        """List the changes that follow from findings: bad lines, and files that are rewritten."""

        def change(what: str, finding: Finding) -> Change:
            place = (finding.file, finding.line, finding.utt_id)
            return Change(what, *place, before="", after="", why=finding.message)

        for finding in self.checked.findings:
            if finding.code in _LINE_ERRORS:
                self.changes.append(change("row left out", finding))
            elif finding.code in _FILE_ERRORS:
                self.changes.append(change("rewritten", finding))

    def _table(self, file: Path, *, empty_ok: bool = False) -> dict[str, _TableRow]:
        """Return the rows with a value, by id; an id with two different values is left out."""
        rows, findings = scan_table(file)
        table = {}
        for row in rows:
            if (row.value or empty_ok) and row.value != NA:
                table[row.key] = _TableRow(file, *row)
            elif not row.value or file.name == "wav.scp":
                self._change("row left out", _TableRow(file, *row), "has no value")
        duplicates = {finding.utt_id for finding in findings if finding.code == "duplicate-id"}
        values: dict[str, set[str]] = {key: set() for key in duplicates}
        if duplicates:
            for row in all_rows(file):
                if row.key in values:
                    values[row.key].add(normalized(row.value))
        for key in duplicates & table.keys():
            if len(values[key]) > 1:
                self._change("row left out", table.pop(key), "another row of this id differs")
        return table

    def _speakers(self, audio: Mapping[str, _TableRow]) -> dict[str, str]:
        """Return the speaker by id; one that is missing in utt2spk is taken from spk2utt."""
        rows = self._table(self.folder / "utt2spk")
        for key in rows.keys() - audio.keys():
            self._change("row left out", rows[key], "not in wav.scp")
        speakers = {key: row.value for key, row in rows.items()}
        missing = sorted(audio.keys() - speakers.keys())
        spk2utt = self.folder / "spk2utt"
        if not missing or not spk2utt.exists():
            return speakers
        candidates: dict[str, set[str]] = {}  # id → speakers whose row in spk2utt has it
        for row in scan_table(spk2utt)[0]:
            for key in row.value.split():
                candidates.setdefault(key, set()).add(row.key)
        for key in missing:
            if len(candidates.get(key, ())) == 1:
                (speakers[key],) = candidates[key]
                added = _TableRow(self.folder / "utt2spk", 0, key, "")
                self._change("speaker added", added, "spk2utt has it", speakers[key])
        return speakers

    def _unusable(
        self, audio: Mapping[str, _TableRow], speakers: Mapping[str, str]
    ) -> dict[str, str]:
        """Return why utterances cannot be kept, by id."""
        reasons = {
            finding.utt_id: finding.message
            for finding in self.checked.errors
            if finding.code in _UTTERANCE_ERRORS and finding.utt_id in audio
        }
        for key in audio:
            if key not in speakers:
                reasons.setdefault(key, "has no speaker")
            elif problem := id_problem(speakers[key]):
                reasons.setdefault(key, f"its speaker {problem}")
        return reasons

    def _texts(self, name: str, file: Path) -> dict[str, _TableRow]:
        """Return the usable transcripts of an output, normalised."""
        kept = {}
        empty_ok = self.checked.options.empty_texts
        for key, row in self._table(file, empty_ok=empty_ok).items():
            text = normalized(row.value)
            if not row.value:
                kept[key] = row
            elif not text:
                self._change("unlabelled", row, f"the {name} transcript has no visible character")
            elif NA in text:
                self._change("unlabelled", row, f"the sentinel {NA} is part of it")
            else:
                if text != row.value:
                    self._change("rewritten", row, "normalised", text)
                kept[key] = replace(row, value=text)
        return kept

    def _labels(self, file: Path) -> dict[str, _TableRow]:
        """Return the usable rows of a label table."""
        kept = {}
        for key, row in self._table(file).items():
            if file.name == "utt2band" and row.value not in BANDS:
                self._change("row left out", row, "is not a band")
            else:
                kept[key] = row
        return kept

    def _rename(
        self, utterances: list[Utterance], audio: Mapping[str, _TableRow]
    ) -> list[Utterance]:
        """Put the speaker before ids that lack it, unless an id would then be double or invalid."""
        new_ids = {
            utterance.utt_id: utterance.utt_id
            if utterance.utt_id.startswith(utterance.speaker)
            else f"{utterance.speaker}-{utterance.utt_id}"
            for utterance in utterances
        }
        if len(set(new_ids.values())) < len(new_ids) or any(map(id_problem, new_ids.values())):
            return utterances
        for old, new in new_ids.items():
            if old != new:
                row = replace(audio[old], value=old)
                self._change("renamed", row, "begins with its speaker now", new)
        return [replace(item, utt_id=new_ids[item.utt_id]) for item in utterances]


def all_rows(file: Path) -> Iterator[Row]:
    """Yield every line that has an id, including repeated ids and malformed lines."""
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        parts = line.decode("utf-8", "replace").split(None, 1)
        if parts:
            yield Row(number, parts[0], parts[1].strip() if len(parts) == 2 else "")
