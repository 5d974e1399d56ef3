"""Mending a data directory: into a new one, with an account of every change.

What is certain is mended (order, form, line ends, ids without their speaker); what is not is left
out of the output or of the directory, and listed. Nothing is guessed, the source stays as it is.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_ext import files
from espnet_ext.data.checking import Check
from espnet_ext.data.directory import (
    LABEL_TABLES,
    require_free,
    require_output,
    text_files,
    write_directory,
)
from espnet_ext.data.findings import Finding
from espnet_ext.data.record import NA, Utterance, id_problem
from espnet_ext.data.table import Row, normalized, scan_table
from espnet_ext.errors import UserError

CHANGES = "changes.tsv"
# Codes of errors that lie in an utterance's audio or ids: it cannot be kept.
FATAL = frozenset(
    {
        "no-audio",
        "unreadable-audio",
        "empty-audio",
        "channels",
        "sample-rate",
        "no-speaker",
        "malformed-speaker",
        "pipe",
        "tilde",
    }
)
# Codes of lines that no reader takes.
LOST = frozenset({"not-utf8", "malformed-id", "duplicate-id", "control-character", "empty-line"})
NOT_COPIED = ("folder left out", "table left out")  # kinds of changes
_BANDS = ("narrow", "wide")


@dataclass(frozen=True)
class Change:
    """One thing that is different in the mended directory."""

    what: str  # "left out", "unlabelled", "renamed", "rewritten", "row left out", …
    file: str
    line: int  # 0: the file as a whole
    utt_id: str
    before: str
    after: str
    why: str

    def row(self) -> str:
        cells = (self.what, self.file, str(self.line), self.utt_id, self.before, self.after)
        cells = (*cells, self.why)
        return "\t".join(" ".join(cell.split()) for cell in cells) + "\n"


HEAD = "change\tfile\tline\tutterance\tbefore\tafter\twhy\n"


def fix_directory(check: Check, target: str | os.PathLike) -> list[Change]:
    """Write a mended copy of a checked directory to `target`; returns, and writes, the changes.

    `changes.tsv` lists them, and every file that is not copied. `UserError` if nothing can be
    kept, or if the target holds anything but an earlier copy.
    """
    require_free(check.path, target, CHANGES)
    utterances, changes = mend(check)
    changes += _not_copied(Path(check.path), utterances)
    if not utterances:
        message = f"{check.path}: not one utterance can be kept"
        raise UserError(message, "see what is wrong with it: espnet-ext validate")
    folder = require_output(check.path, target)
    write_changes(folder / CHANGES, changes)  # first: a copy that was broken off may be made anew
    write_directory(folder, utterances)
    return changes


def _not_copied(folder: Path, utterances: Iterable[Utterance]) -> Iterator[Change]:
    """A change for each entry of the source that the mended directory does not have."""
    outputs = {name for one in utterances for name in one.texts}
    written = {"wav.scp", "utt2spk", "spk2utt"}
    written |= {file.name for name, file in text_files(folder).items() if name in outputs}
    written |= {
        name
        for name, label in LABEL_TABLES.items()
        if any(getattr(one, label) for one in utterances)
    }
    sounds = {Path(row.value).absolute() for row in scan_table(folder / "wav.scp")[0]}
    for entry in sorted(folder.iterdir()):
        if entry.name in written or entry.absolute() in sounds:  # sounds are read where they are
            continue
        if entry.is_dir():
            why = "folders are not copied; what wav.scp names in them is read where it is"
        elif entry.name in LABEL_TABLES or entry in text_files(folder).values():
            why = "not one row of it can be kept"
        else:
            why = "no table that is mended: copy it, or write it anew, if it is needed"
        what = NOT_COPIED[0] if entry.is_dir() else NOT_COPIED[1]
        yield Change(what, str(entry), 0, "", entry.name, "", why)


def write_changes(path: Path, changes: Iterable[Change]) -> None:
    files.write_text(path, HEAD + "".join(change.row() for change in changes))


def mend(check: Check, *, rename: bool = True) -> tuple[list[Utterance], list[Change]]:
    """The utterances of a checked directory that can be kept, mended, and what was changed.

    `rename` gives ids their speaker as a prefix where they lack it. A directory of parts of
    recordings is a `UserError`: its wav.scp lists recordings, which are no utterances.
    """
    if (segments := Path(check.path) / "segments").exists():
        message = f"{segments}: utterances are parts of recordings, which cannot be mended as such"
        remedy = f"cut them first: espnet-ext import --from kaldi {check.path} --output NEW"
        raise UserError(message, remedy)
    utterances, changes = _Mending(check).run(rename)
    return utterances, changes


class _Mending:
    def __init__(self, check: Check):
        self.check = check
        self.folder = Path(check.path)
        self.changes: list[Change] = []

    def run(self, rename: bool) -> tuple[list[Utterance], list[Change]]:
        self._note_bad_lines()
        audio = self._table(self.folder / "wav.scp")
        speakers = self._speakers(audio)
        bad = self._unusable(audio, speakers)
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
            if key in bad:
                self._change("left out", row, bad[key])
                continue
            own = {name: rows[key].value for name, rows in texts.items() if key in rows}
            marks = {name: rows[key].value for name, rows in labels.items() if key in rows}
            kept.append(Utterance(key, speakers[key], row.value, own, **marks))
        return self._renamed(kept, audio) if rename else kept, self.changes

    def _change(self, what: str, row: "_Placed", why: str, after: str = "") -> None:
        self.changes.append(Change(what, str(row.file), row.line, row.key, row.value, after, why))

    def _note_bad_lines(self) -> None:
        """Lines that no reader takes: they are told by the findings of the check itself."""
        whole = {"bom", "crlf", "unsorted", "spk2utt", "no-newline"}
        for one in self.check.findings:
            if one.code in LOST:
                self.changes.append(self._of(one, "row left out"))
            elif one.code in whole:
                self.changes.append(self._of(one, "rewritten"))

    @staticmethod
    def _of(one: Finding, what: str) -> Change:
        return Change(what, one.file, one.line, one.utt_id, "", "", one.message)

    def _table(self, file: Path) -> dict[str, "_Placed"]:
        """Rows with a value, by id; where two rows of an id differ, none of them counts."""
        rows, findings = scan_table(file)
        table = {row.key: _Placed(file, *row) for row in rows if row.value and row.value != NA}
        for row in rows:
            if not row.value or (row.value == NA and file.name == "wav.scp"):
                self._change("row left out", _Placed(file, *row), "has no value")
        doubled = {one.utt_id for one in findings if one.code == "duplicate-id"}
        values: dict[str, set[str]] = {key: set() for key in doubled}
        if doubled:
            for _, key, value in all_rows(file):
                if key in values:
                    values[key].add(normalized(value))
        for key in doubled & table.keys():
            if len(values[key]) > 1:
                self._change("row left out", table.pop(key), "another row of this id differs")
        return table

    def _speakers(self, audio: Mapping[str, "_Placed"]) -> dict[str, str]:
        """Speaker by utterance; one that utt2spk lacks is taken from spk2utt."""
        rows = self._table(self.folder / "utt2spk")
        for key in rows.keys() - audio.keys():
            self._change("row left out", rows[key], "not in wav.scp")
        speakers = {key: row.value for key, row in rows.items()}
        inverse = self.folder / "spk2utt"
        if audio.keys() - speakers.keys() and inverse.exists():
            owners: dict[str, set[str]] = {}
            for row in scan_table(inverse)[0]:
                for key in row.value.split():
                    owners.setdefault(key, set()).add(row.key)
            for key in sorted(audio.keys() - speakers.keys()):
                if len(own := owners.get(key, set())) == 1:
                    (speakers[key],) = own
                    row = _Placed(self.folder / "utt2spk", 0, key, "")
                    self._change("speaker added", row, "spk2utt has it", speakers[key])
        return speakers

    def _unusable(self, audio, speakers: Mapping[str, str]) -> dict[str, str]:
        """Why utterances cannot be kept, by id."""
        bad = {
            one.utt_id: one.message
            for one in self.check.errors
            if one.code in FATAL and one.utt_id in audio and one.code != "no-speaker"
        }
        for key in audio:
            if key not in speakers:
                bad.setdefault(key, "has no speaker")
            elif problem := id_problem(speakers[key]):
                bad.setdefault(key, f"its speaker {problem}")
        return bad

    def _texts(self, name: str, file: Path) -> dict[str, "_Placed"]:
        kept = {}
        for key, row in self._table(file).items():
            text = normalized(row.value)
            if not text:
                self._change("unlabelled", row, f"the {name} transcript has no visible character")
            elif NA in text:
                self._change("unlabelled", row, f"the sentinel {NA} stands within it")
            else:
                if text != row.value:
                    self._change("rewritten", row, "normalised", text)
                kept[key] = replace(row, value=text)
        return kept

    def _labels(self, file: Path) -> dict[str, "_Placed"]:
        kept = {}
        for key, row in self._table(file).items():
            if file.name == "utt2band" and row.value not in _BANDS:
                self._change("row left out", row, "is no band")
            else:
                kept[key] = row
        return kept

    def _renamed(self, utterances: list[Utterance], audio) -> list[Utterance]:
        """Ids that begin with their speaker, as Kaldi's order needs; unless that makes two one."""
        new = {
            one.utt_id: one.utt_id
            if one.utt_id.startswith(one.speaker)
            else f"{one.speaker}-{one.utt_id}"
            for one in utterances
        }
        clash = len(set(new.values())) < len(new) or any(map(id_problem, new.values()))
        if clash:
            return utterances
        for one in utterances:
            if new[one.utt_id] != one.utt_id:
                row = replace(audio[one.utt_id], value=one.utt_id)
                self._change("renamed", row, "begins with its speaker now", new[one.utt_id])
        return [replace(one, utt_id=new[one.utt_id]) for one in utterances]


@dataclass(frozen=True)
class _Placed:
    file: Path
    line: int
    key: str
    value: str


def all_rows(file: Path) -> Iterable[Row]:
    """Every line that splits into an id and a value, doubled ids included."""
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        parts = line.decode("utf-8", "replace").split(None, 1)
        if parts:
            yield Row(number, parts[0], parts[1].strip() if len(parts) == 2 else "")
