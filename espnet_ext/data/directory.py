"""Data directories: `wav.scp`, `utt2spk`, `spk2utt`, `text.<output>` per output, optional labels.

An utterance without a row in `text.<output>` is unlabelled for that output and is kept. A row with
an id alone is an empty transcript: nothing is said. Only sets to decode may contain these.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext import files
from espnet_ext.data.audio import resolve_source
from espnet_ext.data.paths import existing_path
from espnet_ext.data.record import NA, Utterance, id_problem, is_output_name
from espnet_ext.data.table import normalized, read_table, stream_values, write_table
from espnet_ext.errors import UserError
from espnet_ext.overwriting import OutputFolder

# Optional tables, and the attribute of an utterance that each of them holds.
LABEL_TABLES = {
    "utt2lang": "lang",
    "utt2l1": "l1",
    "utt2band": "band",
    "utt2domain": "domain",
    "utt2score": "score",
}
TEXT_LANG = "utt2lang_"  # and an output: languages of transcripts that are translations
# Regular expression for names of tables that `write_directory` writes or removes
TABLES = (
    r"wav\.scp|utt2spk|spk2utt|text(?:\.[A-Za-z][A-Za-z0-9_]*)?"
    rf"|{TEXT_LANG}[A-Za-z][A-Za-z0-9_]*|{'|'.join(LABEL_TABLES)}"
)
PLAIN_TEXT_OUTPUT = "meaning"  # the output of `text` in an ordinary Kaldi directory
_ESPNET_FILES = ("feats_type", "audio_format")  # ESPnet's scripts read them
ESPNET_FILES = "|".join(_ESPNET_FILES)  # regular expression for their names


def require_label_tables(labels: Mapping[str, str]) -> None:
    """Raise a `UserError` if a value of `labels` (output → table) is not a label table."""
    for name, table in labels.items():
        if table not in LABEL_TABLES:
            raise UserError(
                f"output '{name}': {table} is not a label table",
                f"use one of: {', '.join(LABEL_TABLES)}",
            )


def text_files(path: str | os.PathLike) -> dict[str, Path]:
    """Return the transcript files of a directory by output; Kaldi's `text` counts as meaning."""
    by_output = {
        file.name.removeprefix("text."): file
        for file in sorted(Path(path).glob("text.*"))
        if is_output_name(file.name.removeprefix("text."))
    }
    plain = Path(path) / "text"
    if plain.is_file() and PLAIN_TEXT_OUTPUT not in by_output:
        by_output[PLAIN_TEXT_OUTPUT] = plain
    return by_output


def text_languages(path: str | os.PathLike) -> dict[str, str]:
    """Return output → language, for the outputs of a directory that are translations.

    Raises:
        UserError: transcripts of one output are in several languages.
    """
    languages = {}
    for file in sorted(Path(path).glob(f"{TEXT_LANG}*")):
        names = sorted(set(read_table(file).values()))
        if len(names) > 1:
            message = f"{file}: transcripts of one output are in {' and '.join(names)}"
            raise UserError(message, "give each language an output of its own")
        if names:
            languages[file.name.removeprefix(TEXT_LANG)] = names[0]
    return languages


def read_directory(path: str | os.PathLike, *, empty_texts: bool = False) -> list[Utterance]:
    """Read a data directory, sorted by utterance id. Relative paths are those of `read_sources`.

    `UserError` for the first problem; `validate.validate_directory` reports all of them.

    Args:
        empty_texts: accept empty transcripts, which are read as "" (a set to decode).
    """
    return list(stream_directory(path, empty_texts=empty_texts))


def stream_directory(path: str | os.PathLike, *, empty_texts: bool = False) -> Iterator[Utterance]:
    """Yield what `read_directory` returns. Memory does not grow with sorted tables."""
    folder = require_directory(path)
    speakers = _column(folder / "utt2spk")
    texts = {name: _column(file, empty_texts) for name, file in text_files(folder).items()}
    labels = {
        attribute: _column(folder / name)
        for name, attribute in LABEL_TABLES.items()
        if (folder / name).exists()
    }
    for utt_id, source in stream_values(folder / "wav.scp"):
        audio = _resolve(folder, utt_id, source)
        speaker = speakers.value(utt_id, all_known=False)
        if speaker is None:
            remedy = "add its speaker, or remove the utterance from wav.scp"
            raise UserError(f"{folder / 'utt2spk'}: {utt_id}: has no row", remedy)
        transcripts = {name: column.value(utt_id) for name, column in texts.items()}
        values = {name: column.value(utt_id) for name, column in labels.items()}
        present: dict[str, Any] = {name: value for name, value in values.items() if value != NA}
        yield Utterance(
            utt_id,
            speaker,
            audio,
            {name: t for name, t in transcripts.items() if t is not None and t != NA},
            **present,
        )
    for column in (*texts.values(), *labels.values()):
        column.require_end()


class Column:
    """The values of a table, asked for in order of ids. One row is held.

    Args:
        file: the table, for messages.
        rows: its ids and values, sorted by id.
    """

    def __init__(self, file: Path, rows: Iterator[tuple[str, str]]):
        self._file = file
        self._rows = rows
        self._head = next(self._rows, None)

    def value(self, utt_id: str, *, all_known: bool = True) -> str | None:
        """Return the value of an id; None if the table has no row of it.

        Args:
            all_known: rows of ids that are left out are errors.
        """
        while self._head is not None and self._head[0] < utt_id:
            if all_known:
                self.require_end()
            self._head = next(self._rows, None)
        if self._head is None or self._head[0] != utt_id:
            return None
        value = self._head[1]
        self._head = next(self._rows, None)
        return value

    def require_end(self) -> None:
        """Raise a `UserError` if a row is left."""
        if self._head is not None:
            remedy = f"add it to {self._file.parent / 'wav.scp'}, or remove it here"
            raise UserError(f"{self._file}: {self._head[0]}: not in wav.scp", remedy)


def _column(file: Path, empty_ok: bool = False) -> Column:
    return Column(file, stream_values(file, empty_ok=empty_ok))


def stream_ids(path: str | os.PathLike) -> Iterator[str]:
    """Yield the ids of the utterances of a data directory, in order."""
    return (utt_id for utt_id, _ in stream_values(require_directory(path) / "wav.scp"))


def read_sources(folder: str | os.PathLike) -> dict[str, str]:
    """Return the entries of wav.scp by utterance id.

    Relative paths are resolved: see `audio.resolve_source`.
    """
    sources = read_table(Path(folder) / "wav.scp")
    return {utt_id: _resolve(folder, utt_id, source) for utt_id, source in sources.items()}


def _resolve(folder: str | os.PathLike, utt_id: str, source: str) -> str:
    try:
        return resolve_source(source, folder)
    except UserError as error:
        place = f"{Path(folder) / 'wav.scp'}: {utt_id}"
        raise UserError(f"{place}: {error.message}", error.remedy) from None


def require_directory(path: str | os.PathLike) -> Path:
    """Return the path; `UserError` if it is not a data directory."""
    folder = Path(existing_path(os.fspath(path)))
    if not folder.is_dir():
        raise UserError(f"{folder}: no such data directory", _how_to_make(folder))
    for name, content in (("wav.scp", "audio file"), ("utt2spk", "speaker")):
        if not (folder / name).is_file():
            remedy = f"add {name}: one line per utterance with its id and its {content}"
            raise UserError(f"{folder}: not a data directory: it has no {name}", remedy)
    return folder


def _how_to_make(folder: Path) -> str:
    """Return how to make a missing data directory, by its place among those of `run.sh`."""
    grandparent = folder.absolute().parent.parent
    if grandparent.name == "org" and grandparent.parent.name == "raw":
        return "run stage 3 (audio format), which writes it"
    if grandparent.name == "raw" and (grandparent / "org").is_dir():
        return "run stage 4 (validate and filter), which writes it"
    if folder.name.endswith("_sp"):
        return "run stage 2 (speed perturbation), which writes it"
    try:
        others = [path.name for path in folder.parent.iterdir() if (path / "wav.scp").is_file()]
    except OSError:
        others = []
    if others:
        names = ", ".join(sorted(others))
        return (
            f"name one of those in {folder.parent}: {names}; or split one of them by speaker: "
            f"espnet-ext split --input DIR --output {folder.parent}"
        )
    return (
        "prepare a corpus (run.sh stage 1, espnet-ext prepare), or import one (espnet-ext import)"
    )


def output_directory(
    target: str | os.PathLike,
    command: str,
    sources: Iterable[str | os.PathLike],
    *,
    overwrite: bool = False,
    further: str = "",
    evidence: Sequence[str] = (),
) -> OutputFolder:
    """Return the data directory that a command writes, protected as `OutputFolder` does.

    Args:
        sources: data directories that it reads; `UserError` if one of them is none.
        further: regular expression for names of further files that it writes.
        overwrite, evidence: see `OutputFolder`.
    """
    inputs = [require_directory(source) for source in sources]
    names = f"{TABLES}|{further}" if further else TABLES
    return OutputFolder(
        target, command, names, inputs=inputs, overwrite=overwrite, evidence=evidence
    )


def require_free(source: str | os.PathLike, target: str | os.PathLike, mark: str) -> Path:
    """Return the target folder of a command; `UserError` if files in it could be overwritten.

    The folder must not exist, be empty, or contain the file `mark`, which shows that the same
    command has written it before. Nothing is created. The source need not be a folder.
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
        content = "a data directory" if (folder / "wav.scp").exists() else "something else"
        message = f"{target}: {content} exists there and would be overwritten"
        remedy = "name a new folder, or remove that one; --overwrite true overwrites it"
        raise UserError(message, remedy)
    return folder


def write_directory(
    path: str | os.PathLike,
    utterances: Iterable[Utterance],
    *,
    fill_missing: Sequence[str] = (),
    extra: Mapping[str, Mapping[str, str]] | None = None,
    empty_texts: bool = False,
) -> None:
    """Write a data directory; texts are normalised (NFC, single spaces).

    Transcripts and labels of an earlier write that these utterances do not have are removed.
    `wav.scp` is written last: a directory that has it is complete.

    Args:
        fill_missing: outputs whose missing rows are written as `<na>`, because ESPnet's readers
            need the same ids in all files.
        extra: further tables by file name.
        empty_texts: write empty transcripts; otherwise they are errors.
    """
    folder = Path(path)
    by_id: dict[str, Utterance] = {}
    for utterance in utterances:
        if utterance.utt_id in by_id:
            message = f"{folder}: {utterance.utt_id}: two utterances have this id"
            raise UserError(message, "give every utterance its own id")
        require_writable(folder, utterance)
        by_id[utterance.utt_id] = utterance
    tables = _text_tables(folder, by_id, fill_missing, empty_texts)
    for name, attribute in LABEL_TABLES.items():
        values = ((utt_id, getattr(item, attribute) or "") for utt_id, item in by_id.items())
        tables[name] = {utt_id: label for utt_id, value in values if (label := normalized(value))}
    tables = {name: rows for name, rows in tables.items() if rows}
    for name in optional_tables(folder) - tables.keys():
        remove_stale(folder / name)
    tables["utt2spk"] = {utt_id: utterance.speaker for utt_id, utterance in by_id.items()}
    tables["spk2utt"] = speakers_of(by_id.values())
    for name in dict.fromkeys(name for item in by_id.values() for name in item.text_langs):
        tables[TEXT_LANG + name] = {
            utt_id: item.text_langs[name] for utt_id, item in by_id.items() if name in item.texts
        }
    for name, rows in {**tables, **(extra or {})}.items():
        write_table(folder / name, rows)
    write_table(folder / "wav.scp", {utt_id: item.audio for utt_id, item in by_id.items()})


def _text_tables(
    folder: Path,
    by_id: Mapping[str, Utterance],
    fill_missing: Sequence[str],
    empty_texts: bool,
) -> dict[str, dict[str, str]]:
    """Return the `text.<output>` tables, normalised."""
    outputs = dict.fromkeys(fill_missing)
    for utterance in by_id.values():
        outputs |= dict.fromkeys(utterance.texts)
    tables: dict[str, dict[str, str]] = {}
    for name in outputs:
        rows = tables[f"text.{name}"] = {}
        for utt_id, utterance in by_id.items():
            if (text := transcript(folder, utterance, name, empty_texts)) is not None:
                rows[utt_id] = text
            elif name in fill_missing:
                rows[utt_id] = NA
    return tables


def require_writable(folder: str | os.PathLike, utterance: Utterance) -> None:
    """Raise a `UserError` if the speaker or the audio path cannot be written to a table."""
    place = f"{folder}: {utterance.utt_id}"
    if problem := id_problem(utterance.speaker):
        message = f"{place}: the speaker {utterance.speaker!r} {problem}"
        raise UserError(message, "rename the speaker")
    if not utterance.audio or utterance.audio != utterance.audio.strip():
        message = f"{place}: the audio path {utterance.audio!r} is empty or begins or ends with"
        remedy = "rename the file: wav.scp cannot contain such a path"
        raise UserError(f"{message} whitespace", remedy)


def transcript(
    folder: str | os.PathLike, utterance: Utterance, output: str, empty_ok: bool = False
) -> str | None:
    """Return the normalised transcript, or None if the utterance is unlabelled for the output.

    Args:
        empty_ok: the transcript may be "". One that only becomes empty by normalisation may not.

    Raises:
        UserError: for an empty transcript, which is never dropped silently, or a bad output name.
    """
    text = utterance.texts.get(output)
    if not is_output_name(output):
        remedy = "use letters, digits and '_', beginning with a letter"
        raise UserError(f"{folder}: '{output}' is not a valid output name", remedy)
    if text is None or text == NA:
        return None
    if empty_ok and text == "":
        return text
    text = normalized(text)
    if not text:
        remedy = "leave the transcript out if there is none (unlabelled)"
        raise UserError(f"{folder}: {utterance.utt_id}: the {output} transcript is empty", remedy)
    return text


def optional_tables(folder: str | os.PathLike) -> set[str]:
    """Return the names of tables that a directory may have from an earlier write."""
    return {"text", *LABEL_TABLES, *(f"text.{name}" for name in text_files(folder))}


def remove_stale(file: Path) -> None:
    """Remove a file that an earlier run wrote and this one does not write."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        remedy = "remove it by hand, or check the folder's permissions"
        raise UserError(f"{file}: cannot remove: {error.strerror}", remedy) from None


def copy_espnet_files(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copy the files besides tables that ESPnet's scripts read, if the source has them."""
    for name in _ESPNET_FILES:
        if (Path(source) / name).is_file():
            files.write_text(Path(target) / name, (Path(source) / name).read_text("utf-8"))


def speakers_of(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Return the rows of `spk2utt`: speaker → sorted ids of its utterances, joined by spaces.

    >>> speakers_of([Utterance("a-2", "a", "2.wav"), Utterance("a-1", "a", "1.wav")])
    {'a': 'a-1 a-2'}
    """
    speakers: dict[str, list[str]] = {}
    for utterance in utterances:
        speakers.setdefault(utterance.speaker, []).append(utterance.utt_id)
    return {speaker: " ".join(sorted(ids)) for speaker, ids in speakers.items()}
