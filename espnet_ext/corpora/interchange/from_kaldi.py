"""Kaldi data directories: `wav.scp`, optionally `segments`, `text`, `utt2spk`, …

What the files hold: https://kaldi-asr.org/doc/data_prep.html. Ids stay as they are. Not read is
`reco2file_and_channel`, which says whose channel a recording is, not which one to take of it.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from espnet_ext.corpora.interchange.columns import LABELS, Columns, utterance
from espnet_ext.corpora.interchange.sink import Sink
from espnet_ext.corpora.preparation import shown
from espnet_ext.data.audio import is_pipe, source_file
from espnet_ext.data.checks.findings import errors_of
from espnet_ext.data.directory import text_files
from espnet_ext.data.table import scan_table
from espnet_ext.errors import UserError

TO_THE_END = -1.0  # an end time in `segments` that means the recording's own


def read(source: str | os.PathLike, columns: Columns, sink: Sink, *, root: str = "") -> None:
    """Give a directory's utterances to the sink.

    Columns are files beside wav.scp (`--surface text.phones`). By default every `text.<output>` is
    read, a plain `text` as meaning, `utt2spk`, and the label tables `utt2lang`, `utt2l1`, ….
    `root` is the folder that relative audio paths start from.
    """
    folder = Path(source)
    if not (folder / "wav.scp").is_file():
        raise UserError(f"{folder}: has no wav.scp", "name a Kaldi data directory")
    columns, tables = _tables(folder, columns, sink)
    entries, whole = _table(folder / "wav.scp", sink)
    if whole and not entries:
        raise UserError(f"{folder / 'wav.scp'}: no recordings in it", "name another directory")
    recordings = {name: _placed(entry, root) for name, entry in entries.items()}
    segments = folder / "segments"
    if not segments.is_file():
        if whole:
            _check_ids(folder, recordings, tables, sink)
        for name, entry in recordings.items():
            with sink.faults.noting():
                sink.refer(_utterance(name, entry, columns, tables, sink))
        return
    rows, segments_whole = _table(segments, sink)
    if segments_whole:
        _check_ids(folder, rows, tables, sink)
    parts = _segments(segments, rows, sink)
    used = {name for name, _, _ in parts.values()}
    lost = used - recordings.keys()
    for name in sorted(lost) if whole else ():
        remedy = f"add it to {folder / 'wav.scp'}, or remove its segments"
        sink.faults.note(UserError(f"{segments}: recording {name}: not in wav.scp", remedy))
    used -= lost
    for name in recordings.keys() - used:
        sink.leave_out(name, "recording without segments")
    commands = {name for name in used if is_pipe(recordings[name])}
    kept = sink.recordings((name, recordings[name]) for name in sorted(commands))
    for utt_id, (name, start, end) in parts.items():
        if name in lost:
            continue
        if name in commands and name not in kept:
            sink.leave_out(utt_id, "unreadable audio")
            continue
        with sink.faults.noting():
            one = _utterance(utt_id, kept.get(name, recordings[name]), columns, tables, sink)
            sink.cut(one, start, None if end == TO_THE_END else end - start)


def _tables(
    folder: Path, columns: Columns, sink: Sink
) -> tuple[Columns, dict[str, Mapping[str, str]]]:
    """The columns with defaults filled in, and the rows of each file that they name."""
    texts = dict(columns.texts)
    if not texts:
        texts = {output: path.name for output, path in text_files(folder).items()}
    defaults = {"speaker": "utt2spk"} | {name: f"utt2{name}" for name in LABELS}
    labels = {
        name: file
        for name, file in defaults.items()
        if not getattr(columns, name) and (folder / file).is_file()
    }
    columns = replace(columns, texts=texts, **labels)
    if columns.id or columns.audio:
        raise UserError("--id and --audio: a Kaldi directory has its ids", "leave them out")
    tables = {}
    for name in columns.named():
        if os.sep in name or not (folder / name).is_file():
            there = sorted(path.name for path in folder.iterdir() if path.is_file())
            error = UserError(f"{folder}: has no file {name}", f"name one of: {' '.join(there)}")
            sink.faults.note(error)
        else:  # transcripts without words are common in Kaldi's `text`: unlabelled here
            tables[name], _ = _table(folder / name, sink, empty_ok=True)
    return columns, tables


def _table(path: Path, sink: Sink, *, empty_ok: bool = False) -> tuple[dict[str, str], bool]:
    """A table's rows by id, sorted, and whether it has no faults; those are noted."""
    rows, findings = scan_table(path)
    faults = [
        finding.as_error()
        for finding in errors_of(findings)
        if finding.code != "unsorted"  # order is not insisted on
    ]
    if not empty_ok:
        faults += [
            UserError(f"{path}:{row.line}: {row.key}: has no value", "fill it in or remove it")
            for row in rows
            if not row.value
        ]
    for fault in faults:
        sink.faults.note(fault)
    return {row.key: row.value for row in sorted(rows, key=lambda row: row.key)}, not faults


def _placed(entry: str, root: str) -> str:
    """An entry of wav.scp as an absolute path (an offset into an ark stays behind it)."""
    file = source_file(entry)
    if not file or os.path.isabs(file):
        return entry
    return os.path.join(os.path.abspath(root or "."), file) + entry[len(file) :]


def _segments(
    path: Path, rows: Mapping[str, str], sink: Sink
) -> dict[str, tuple[str, float, float]]:
    """Rows of `segments`: utterance → recording, start and end in seconds; faults are noted."""
    found, faults = {}, []
    for utt_id, value in rows.items():
        if not value:
            continue  # noted when it was read
        cells = value.split()
        try:
            # A fifth cell is a channel in old directories; only its absence is understood.
            name, start, end = cells[0], float(cells[1]), float(cells[2])
            right = len(cells) == 3 and 0 <= start < (end if end != TO_THE_END else float("inf"))
        except (ValueError, IndexError):
            right = False
        if right:
            found[utt_id] = (name, start, end)
        else:
            faults.append(f"{utt_id}: '{value}'")
    if faults:
        remedy = "write: utterance recording start end, in seconds, with start before end (or -1)"
        message = f"{path}: {len(faults)} rows are not segments:{shown(faults)}"
        sink.faults.note(UserError(message, remedy))
    return found


def _check_ids(
    folder: Path, names: Iterable[str], tables: Mapping[str, Mapping[str, str]], sink: Sink
) -> None:
    """Rows of utterances that have no audio would be lost: they are refused."""
    known = set(names)
    for file, rows in tables.items():
        if strangers := sorted(rows.keys() - known):
            where = "segments" if (folder / "segments").is_file() else "wav.scp"
            remedy = "mend the directory (Kaldi: utils/fix_data_dir.sh), or remove these rows"
            message = f"{folder / file}: {len(strangers)} ids are not in {where}:{shown(strangers)}"
            sink.faults.note(UserError(message, remedy))


def _utterance(
    utt_id: str,
    audio: str,
    columns: Columns,
    tables: Mapping[str, Mapping[str, str]],
    sink: Sink,
):
    row = {name: rows[utt_id] for name, rows in tables.items() if utt_id in rows}
    return utterance(utt_id, audio, row, columns, sink.report)
