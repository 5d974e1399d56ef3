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
from espnet_ext.data.directory import text_files
from espnet_ext.data.table import read_table
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
    columns, tables = _tables(folder, columns)
    recordings = {name: _placed(entry, root) for name, entry in _entries(folder).items()}
    segments = folder / "segments"
    parts = _segments(segments) if segments.is_file() else None
    names = parts if parts is not None else recordings
    _check_ids(folder, names, tables)
    if parts is None:
        for name, entry in recordings.items():
            sink.refer(_utterance(name, entry, columns, tables, sink))
        return
    if lost := sorted({name for name, _, _ in parts.values()} - recordings.keys()):
        remedy = f"add it to {folder / 'wav.scp'}, or remove its segments"
        raise UserError(f"{segments}: recording {lost[0]}: not in wav.scp", remedy)
    used = {name for name, _, _ in parts.values()}
    for name in recordings.keys() - used:
        sink.leave_out(name, "recording without segments")
    commands = [name for name in sorted(used) if is_pipe(recordings[name])]
    kept = sink.recordings((name, recordings[name]) for name in commands)
    for utt_id, (name, start, end) in parts.items():
        if name in commands and name not in kept:
            sink.leave_out(utt_id, "unreadable audio")
            continue
        one = _utterance(utt_id, kept.get(name, recordings[name]), columns, tables, sink)
        sink.cut(one, start, None if end == TO_THE_END else end - start)


def _tables(folder: Path, columns: Columns) -> tuple[Columns, dict[str, Mapping[str, str]]]:
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
    for name in columns.named():
        if os.sep in name or not (folder / name).is_file():
            there = sorted(path.name for path in folder.iterdir() if path.is_file())
            raise UserError(f"{folder}: has no file {name}", f"name one of: {' '.join(there)}")
    # Transcripts without words are common in Kaldi's `text`: unlabelled here.
    return columns, {name: read_table(folder / name, empty_ok=True) for name in columns.named()}


def _entries(folder: Path) -> dict[str, str]:
    entries = read_table(folder / "wav.scp")
    if not entries:
        raise UserError(f"{folder / 'wav.scp'}: no recordings in it", "name another directory")
    return entries


def _placed(entry: str, root: str) -> str:
    """An entry of wav.scp as an absolute path (an offset into an ark stays behind it)."""
    file = source_file(entry)
    if not file or os.path.isabs(file):
        return entry
    return os.path.join(os.path.abspath(root or "."), file) + entry[len(file) :]


def _segments(path: Path) -> dict[str, tuple[str, float, float]]:
    """Rows of `segments`: utterance → recording, start and end in seconds; all faults at once."""
    found, faults = {}, []
    for utt_id, value in read_table(path).items():
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
        raise UserError(f"{path}: {len(faults)} rows are not segments:{shown(faults)}", remedy)
    return found


def _check_ids(
    folder: Path, names: Iterable[str], tables: Mapping[str, Mapping[str, str]]
) -> None:
    """Rows of utterances that have no audio would be lost: they are refused."""
    known = set(names)
    for file, rows in tables.items():
        if strangers := sorted(rows.keys() - known):
            where = "segments" if (folder / "segments").is_file() else "wav.scp"
            remedy = "mend the directory (Kaldi: utils/fix_data_dir.sh), or remove these rows"
            raise UserError(
                f"{folder / file}: {len(strangers)} ids are not in {where}:{shown(strangers)}",
                remedy,
            )


def _utterance(
    utt_id: str,
    audio: str,
    columns: Columns,
    tables: Mapping[str, Mapping[str, str]],
    sink: Sink,
):
    row = {name: rows[utt_id] for name, rows in tables.items() if utt_id in rows}
    return utterance(utt_id, audio, row, columns, sink.report)
