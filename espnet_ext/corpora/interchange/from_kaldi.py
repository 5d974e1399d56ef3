"""Read Kaldi data directories: `wav.scp`, optionally `segments`, `text`, `utt2spk`, ….

Format: https://kaldi-asr.org/doc/data_prep.html. Ids are kept. `reco2file_and_channel` is not read:
it says which side of a conversation a recording is, not which channel to use.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from espnet_ext.corpora.interchange.column_mapping import (
    LABELS,
    LEFT_OUT,
    ColumnMapping,
    make_utterance,
    note_not_imported,
    remedy_for_source,
)
from espnet_ext.corpora.interchange.directory_builder import DirectoryBuilder
from espnet_ext.corpora.preparation import list_faults
from espnet_ext.data.audio import is_pipe, resolve_source, source_file
from espnet_ext.data.checks.findings import errors_of
from espnet_ext.data.directory import text_files
from espnet_ext.data.paths import existing_path
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import scan_table
from espnet_ext.errors import UserError

TO_THE_END = -1.0  # end time in `segments` that means the end of the recording

# Tables without labels, or that follow from others.
_NOT_TRANSCRIPTS = (
    "wav.scp segments spk2utt utt2dur utt2num_frames utt2num_samples reco2dur utt2uniq frame_shift "
    "feats_type audio_format"
)

Tables = dict[str, Mapping[str, str]]  # file → id → value


def read(
    source: str | os.PathLike, columns: ColumnMapping, builder: DirectoryBuilder, *, root: str = ""
) -> None:
    """Add the utterances of a directory to the builder.

    Columns are files beside wav.scp (`--surface text.phones`). Of outputs that are not named, each
    `text.<output>` and a plain `text` as meaning are read, unless the file is named for another
    output; also `utt2spk` and the label tables `utt2lang`, `utt2l1`, …. The report names the other
    files.
    Relative audio paths start from `root`; without it, from the current folder, or else from the
    folder of wav.scp.
    """
    folder = Path(source)
    if not (folder / "wav.scp").is_file():
        remedy = remedy_for_source(source, "name a Kaldi data directory, with audio in wav.scp")
        raise UserError(f"{folder}: has no wav.scp", remedy)
    columns, tables = _read_columns(folder, columns, builder)
    entries, valid = _read_table(folder / "wav.scp", builder)
    if valid and not entries:
        raise UserError(f"{folder / 'wav.scp'}: has no recordings", "name another directory")
    recordings = {
        name: _absolute(name, entry, folder, root, builder) for name, entry in entries.items()
    }
    if (folder / "segments").is_file():
        _add_segments(folder, recordings, valid, columns, tables, builder)
        return
    if valid:
        _check_ids(folder, recordings, tables, builder)
    for utt_id, entry in recordings.items():
        with builder.errors.collecting():
            builder.add_file(_make_utterance(utt_id, entry, columns, tables, builder))


def _add_segments(
    folder: Path,
    recordings: Mapping[str, str],
    recordings_valid: bool,
    columns: ColumnMapping,
    tables: Tables,
    builder: DirectoryBuilder,
) -> None:
    """Add the utterances of a directory with `segments`, which are parts of recordings."""
    path = folder / "segments"
    rows, valid = _read_table(path, builder)
    if valid:
        _check_ids(folder, rows, tables, builder)
    segments = _parse_segments(path, rows, builder)
    used = {name for name, _, _ in segments.values()}
    missing = used - recordings.keys()
    for name in sorted(missing) if recordings_valid else ():
        remedy = f"add it to {folder / 'wav.scp'}, or remove its segments"
        builder.errors.add(UserError(f"{path}: recording {name}: not in wav.scp", remedy))
    used -= missing
    for name in recordings.keys() - used:
        builder.leave_out(name, "recording without segments")
    commands = {name for name in used if is_pipe(recordings[name])}
    outputs = builder.run_commands((name, recordings[name]) for name in sorted(commands))
    for utt_id, (name, start, end) in segments.items():
        if name in missing:
            continue
        if name in commands and name not in outputs:
            builder.leave_out(utt_id, "unreadable audio")
            continue
        with builder.errors.collecting():
            audio = outputs.get(name, recordings[name])
            utterance = _make_utterance(utt_id, audio, columns, tables, builder)
            builder.add_part(utterance, start, None if end == TO_THE_END else end - start)


def _read_columns(
    folder: Path, columns: ColumnMapping, builder: DirectoryBuilder
) -> tuple[ColumnMapping, Tables]:
    """Return the columns with the defaults filled in, and the tables that they name."""
    texts = {output: path.name for output, path in text_files(folder).items()}
    columns = columns.with_default_texts(texts)
    left_out = {texts.get(output) for output, file in columns.texts.items() if file == LEFT_OUT}
    columns = columns.without_left_out()
    defaults = {"speaker": "utt2spk"} | {name: f"utt2{name}" for name in LABELS}
    labels: dict[str, Any] = {
        name: file
        for name, file in defaults.items()
        if not getattr(columns, name) and (folder / file).is_file()
    }
    columns = replace(columns, **labels)
    if columns.id or columns.audio:
        message = "--id and --audio: the ids and audio of a Kaldi directory are in wav.scp"
        raise UserError(message, "leave them out")
    tables: Tables = {}
    for name in columns.names():
        if os.sep in name or not (folder / name).is_file():
            existing = sorted(path.name for path in folder.iterdir() if path.is_file())
            remedy = f"name one of: {' '.join(existing)}"
            builder.errors.add(UserError(f"{folder}: has no file {name}", remedy))
        else:  # empty transcripts are common in Kaldi's `text`; here they are unlabelled
            tables[name], _ = _read_table(folder / name, builder, empty_ok=True)
    speakers = _speakers(folder, tables, builder)
    if not columns.speaker and speakers:
        columns = replace(columns, speaker="spk2utt")
        tables["spk2utt"] = speakers
    counts = {
        path.name: path.read_bytes().count(b"\n")
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.name not in {*columns.names(), *_NOT_TRANSCRIPTS.split(), *left_out}
        and not path.name.startswith(".")
        and path.suffix not in (".json", ".scp")
    }
    remedy = "name transcripts as --surface FILE, --meaning FILE or --texts OUTPUT=FILE"
    note_not_imported(builder.report, f"files of {folder}", counts, remedy)
    return columns, tables


def _speakers(folder: Path, tables: Tables, builder: DirectoryBuilder) -> dict[str, str]:
    """Return the speaker of each utterance by spk2utt; add an error if utt2spk names others."""
    path = folder / "spk2utt"
    if not path.is_file():
        return {}
    rows, _ = _read_table(path, builder)
    speaker_of = {utt_id: name for name, utt_ids in rows.items() for utt_id in utt_ids.split()}
    named = tables.get("utt2spk", {})
    differing = [utt_id for utt_id, name in named.items() if speaker_of.get(utt_id, name) != name]
    if differing:
        message = f"{path}: {len(differing)} utterances have another speaker than in utt2spk"
        remedy = "write it again from utt2spk (Kaldi: utils/utt2spk_to_spk2utt.pl), or remove it"
        builder.errors.add(UserError(f"{message}:{list_faults(differing)}", remedy))
    return speaker_of


def _read_table(
    path: Path, builder: DirectoryBuilder, *, empty_ok: bool = False
) -> tuple[dict[str, str], bool]:
    """Return the rows of a table by id, sorted, and whether it is valid; add its errors."""
    rows, findings = scan_table(path)
    errors = [
        finding.as_error()
        for finding in errors_of(findings)
        if finding.code != "unsorted"  # any order is accepted
    ]
    if not empty_ok:
        errors += [
            UserError(f"{path}:{row.line}: {row.key}: has no value", "fill it in or remove it")
            for row in rows
            if not row.value
        ]
    for error in errors:
        builder.errors.add(error)
    return {row.key: row.value for row in sorted(rows, key=lambda row: row.key)}, not errors


def _absolute(name: str, entry: str, folder: Path, root: str, builder: DirectoryBuilder) -> str:
    """Return an entry of wav.scp with an absolute path; add an error if that is ambiguous.

    Without `root`, a relative path under which there is no file is returned as it is.
    """
    with builder.errors.collecting():
        try:
            entry = entry if root else resolve_source(entry, folder)
        except UserError as error:
            message = f"{folder / 'wav.scp'}: {name}: {error.message}"
            raise UserError(message, f"{error.remedy}, or give --root DIR") from None
    file = source_file(entry)
    if not file or os.path.isabs(file) or not (root or os.path.exists(existing_path(file))):
        return entry
    return os.path.join(os.path.abspath(root or "."), file) + entry[len(file) :]


def _parse_segments(
    path: Path, rows: Mapping[str, str], builder: DirectoryBuilder
) -> dict[str, tuple[str, float, float]]:
    """Return utterance → (recording, start, end), in seconds; add the errors of the rows."""
    segments, faults = {}, []
    for utt_id, value in rows.items():
        if not value:
            continue  # already an error of the table
        cells = value.split()
        try:
            # Old directories have a channel in a fifth column, which is not supported.
            name, start, end = cells[0], float(cells[1]), float(cells[2])
            valid = len(cells) == 3 and 0 <= start < (end if end != TO_THE_END else float("inf"))
        except (ValueError, IndexError):
            valid = False
        if valid:
            segments[utt_id] = (name, start, end)
        else:
            faults.append(f"{utt_id}: '{value}'")
    if faults:
        remedy = "write: utterance recording start end, in seconds, with start before end (or -1)"
        message = f"{path}: {len(faults)} rows are not segments:{list_faults(faults)}"
        builder.errors.add(UserError(message, remedy))
    return segments


def _check_ids(folder: Path, ids: Iterable[str], tables: Tables, builder: DirectoryBuilder) -> None:
    """Add an error for table rows whose utterance has no audio, as they would be lost."""
    known = set(ids)
    for file, rows in tables.items():
        if unknown := sorted(rows.keys() - known):
            where = "segments" if (folder / "segments").is_file() else "wav.scp"
            remedy = "repair the directory (Kaldi: utils/fix_data_dir.sh), or remove these rows"
            message = f"{folder / file}: {len(unknown)} ids are not in {where}"
            builder.errors.add(UserError(f"{message}:{list_faults(unknown)}", remedy))


def _make_utterance(
    utt_id: str, audio: str, columns: ColumnMapping, tables: Tables, builder: DirectoryBuilder
) -> Utterance:
    row = {name: rows[utt_id] for name, rows in tables.items() if utt_id in rows}
    return make_utterance(utt_id, audio, row, columns, builder.report)
