"""Data directories: `wav.scp utt2spk spk2utt`, a `text.<output>` each output, optional labels.

An utterance without a row in `text.<output>` is unlabelled for that output and is kept.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from espnet_ext.data.record import NA, Utterance, id_problem, is_output_name
from espnet_ext.data.table import normalized, read_table, write_table
from espnet_ext.errors import UserError

# Optional tables and the attribute of an utterance that each of them holds.
LABEL_TABLES = {
    "utt2lang": "lang",
    "utt2l1": "l1",
    "utt2band": "band",
    "utt2domain": "domain",
    "utt2score": "score",
}
PLAIN_TEXT_OUTPUT = "meaning"  # what `text` of an ordinary Kaldi directory is


def require_label_tables(labels: Mapping[str, str]) -> None:
    """`UserError` for an output (output → table) that is to be made of what is no label table."""
    for name, table in labels.items():
        if table not in LABEL_TABLES:
            raise UserError(
                f"output '{name}' of {table}: no such table of labels",
                f"there are: {', '.join(LABEL_TABLES)}",
            )


def text_files(path: str | os.PathLike) -> dict[str, Path]:
    """Transcript files of a directory by output; an ordinary Kaldi `text` counts as meaning."""
    found = {
        file.name.removeprefix("text."): file
        for file in sorted(Path(path).glob("text.*"))
        if is_output_name(file.name.removeprefix("text."))
    }
    plain = Path(path) / "text"
    if plain.is_file() and PLAIN_TEXT_OUTPUT not in found:
        found[PLAIN_TEXT_OUTPUT] = plain
    return found


def read_directory(path: str | os.PathLike) -> list[Utterance]:
    """Read a data directory, sorted by utterance id; the first fault is a `UserError`.

    `validate.validate_directory` reports all faults at once instead of the first.
    """
    folder = require_directory(path)
    audio = read_table(folder / "wav.scp")
    speakers = read_table(folder / "utt2spk")
    texts = {name: _rows(file, audio) for name, file in text_files(folder).items()}
    labels = {
        attribute: _rows(folder / name, audio)
        for name, attribute in LABEL_TABLES.items()
        if (folder / name).exists()
    }
    for utt_id in audio:
        if utt_id not in speakers:
            remedy = "add its speaker, or remove the utterance from wav.scp"
            raise UserError(f"{folder / 'utt2spk'}: {utt_id}: has no row", remedy)
    return [
        Utterance(
            utt_id,
            speakers[utt_id],
            source,
            {name: rows[utt_id] for name, rows in texts.items() if utt_id in rows},
            **{attribute: rows.get(utt_id) for attribute, rows in labels.items()},
        )
        for utt_id, source in audio.items()
    ]


def require_directory(path: str | os.PathLike) -> Path:
    """The directory as a path, or a `UserError` if it is not a data directory."""
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such data directory", "run data preparation (stage 1) first")
    for name in ("wav.scp", "utt2spk"):
        if not (folder / name).is_file():
            remedy = f"add {name}: one line an utterance, its id and its " + (
                "audio file" if name == "wav.scp" else "speaker"
            )
            raise UserError(f"{folder}: not a data directory: it has no {name}", remedy)
    return folder


def require_output(source: str | os.PathLike, target: str | os.PathLike) -> Path:
    """Make the folder that a stage writes; it may not be the one that the stage reads."""
    folder = Path(target)
    if require_directory(source).resolve() == folder.resolve():
        raise UserError(f"{target}: is both input and output", "name another output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "choose another output, or check the folder's permissions"
        raise UserError(f"{target}: cannot write: {error.strerror}", remedy) from None
    return folder


def require_free(source: str | os.PathLike, target: str | os.PathLike, mark: str) -> Path:
    """The folder that a user names for something new: none that holds anything but its own.

    `mark` is a file that only what writes there leaves, so that it may do so again. Nothing is
    made here; the source need not be a folder.
    """
    folder = Path(target)
    if Path(source).exists() and Path(source).resolve() == folder.resolve():
        raise UserError(f"{target}: is both source and target", "name a new folder")
    try:
        taken = folder.is_symlink() or folder.exists()
        if taken and folder.is_dir():
            taken = any(folder.iterdir()) and not (folder / mark).is_file()
    except OSError as error:
        remedy = "name another folder, or check its permissions"
        raise UserError(f"{target}: cannot read: {error.strerror}", remedy) from None
    if taken:
        what = "a data directory" if (folder / "wav.scp").exists() else "something"
        message = f"{target}: {what} is there already, and would be overwritten"
        raise UserError(message, "name a new folder, or remove that one")
    return folder


def _rows(file: Path, audio: Mapping[str, str]) -> dict[str, str]:
    """A table's rows without those that stand for "none"; ids without audio are refused."""
    rows = read_table(file)
    for utt_id in rows:
        if utt_id not in audio:
            remedy = f"add it to {file.parent / 'wav.scp'}, or remove it here"
            raise UserError(f"{file}: {utt_id}: not in wav.scp", remedy)
    return {utt_id: value for utt_id, value in rows.items() if value != NA}


def write_directory(
    path: str | os.PathLike,
    utterances: Iterable[Utterance],
    *,
    fill_missing: Sequence[str] = (),
    extra: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write a data directory; texts are normalised (NFC, whitespace squeezed).

    `fill_missing` names outputs whose missing rows are written as `<na>`, which is what ESPnet's
    readers need; `extra` holds further tables by file name. Transcripts and labels of an earlier
    write that these utterances do not have are removed, so that no stale row can be read. `wav.scp`
    is written last: where it is, the directory is whole.
    """
    folder = Path(path)
    by_id: dict[str, Utterance] = {}
    for utterance in utterances:
        if utterance.utt_id in by_id:
            remedy = "give every utterance an id of its own"
            raise UserError(f"{folder}: {utterance.utt_id}: two utterances have this id", remedy)
        if problem := id_problem(utterance.speaker):
            message = f"{folder}: {utterance.utt_id}: the speaker {utterance.speaker!r} {problem}"
            raise UserError(message, "rename the speaker")
        if not utterance.audio or utterance.audio != utterance.audio.strip():
            message = (
                f"{folder}: {utterance.utt_id}: the audio path {utterance.audio!r} is empty or "
            )
            remedy = "rename the file: wav.scp cannot hold such a path"
            raise UserError(message + "has whitespace around it", remedy)
        by_id[utterance.utt_id] = utterance
    tables = _text_tables(folder, by_id, fill_missing)
    for name, attribute in LABEL_TABLES.items():
        values = ((utt_id, getattr(one, attribute) or "") for utt_id, one in by_id.items())
        tables[name] = {utt_id: label for utt_id, value in values if (label := normalized(value))}
    tables = {name: rows for name, rows in tables.items() if rows}
    earlier = {"text", *LABEL_TABLES, *(f"text.{name}" for name in text_files(folder))}
    for name in sorted(earlier - tables.keys()):
        remove_stale(folder / name)
    tables["utt2spk"] = {utt_id: utterance.speaker for utt_id, utterance in by_id.items()}
    tables["spk2utt"] = speakers_of(by_id.values())
    for name, rows in {**tables, **(extra or {})}.items():
        write_table(folder / name, rows)
    write_table(folder / "wav.scp", {utt_id: one.audio for utt_id, one in by_id.items()})


def remove_stale(file: Path) -> None:
    """Remove what an earlier run wrote and this one does not."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        remedy = "remove it by hand, or check the folder's permissions"
        raise UserError(f"{file}: cannot remove: {error.strerror}", remedy) from None


def _text_tables(
    folder: Path, by_id: Mapping[str, Utterance], fill_missing: Sequence[str]
) -> dict[str, dict[str, str]]:
    """The `text.<output>` tables, normalised; an empty transcript is refused, never dropped."""
    names = list(fill_missing)
    for utterance in by_id.values():
        names += [name for name in utterance.texts if name not in names]
    tables: dict[str, dict[str, str]] = {}
    for name in names:
        if not is_output_name(name):
            remedy = "use letters, digits and '_', beginning with a letter"
            raise UserError(f"{folder}: '{name}' is no name for an output", remedy)
        rows = {}
        for utt_id, utterance in by_id.items():
            text = utterance.texts.get(name)
            if text is None or text == NA:
                if name in fill_missing:
                    rows[utt_id] = NA
                continue
            rows[utt_id] = normalized(text)
            if not rows[utt_id]:
                remedy = "leave the transcript out if there is none (unlabelled)"
                raise UserError(f"{folder}: {utt_id}: the {name} transcript is empty", remedy)
        tables[f"text.{name}"] = rows
    return tables


def speakers_of(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Rows of `spk2utt`: speaker → ids of their utterances, sorted, joined by spaces.

    >>> speakers_of([Utterance("a-2", "a", "2.wav"), Utterance("a-1", "a", "1.wav")])
    {'a': 'a-1 a-2'}
    """
    speakers: dict[str, list[str]] = {}
    for utterance in utterances:
        speakers.setdefault(utterance.speaker, []).append(utterance.utt_id)
    return {speaker: " ".join(sorted(ids)) for speaker, ids in speakers.items()}
