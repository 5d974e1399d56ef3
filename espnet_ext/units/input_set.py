"""The training set of a model with a joint vocabulary: input ids of speech and of text.

`input_ids` has one row of ids per utterance. `utt2modality` says whether they are units of speech
or up-sampled tokens of text (arXiv 2309.15826). An utterance of text has no audio, and no
transcript for the output that it reads.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table, write_table
from espnet_ext.errors import UserError
from espnet_ext.files import sha256_of, write_json, write_text
from espnet_ext.text.unicode import normalize
from espnet_ext.units.dump import read_dump_manifest, stream_units, units_path
from espnet_ext.units.files import read_manifest
from espnet_ext.units.sequences import units_to_text, upsample
from espnet_ext.units.vocabulary import UNKNOWN_ID, JointVocabulary, UnitSource

INPUTS, MANIFEST, MODALITY, REMOVED = "input_ids", "input_ids.json", "utt2modality", "removed.tsv"
SPEECH, TEXT = "speech", "text"  # modalities
SUFFIX = "-text"  # of the ids of utterances whose input is a transcript
# regular expression for the names of the files that `write_input_set` writes
NAMES = r"input_ids(?:\.json)?|removed\.tsv|utt2\w+|text\.[a-z0-9_]+"
FORMAT = 2  # 1: without SHA-256 of input_ids
_WRITE = "write the set again: espnet-ext unit_inputs"


@dataclass(frozen=True)
class InputOptions:
    """What utterances become."""

    outputs: Sequence[str]  # whose transcripts are written
    text_output: str = ""  # transcripts of this output are inputs too; "": no text input
    upsample: int = 4  # how often a token of text is repeated
    max_length: int = 2000  # most ids of an input; longer utterances are removed
    name: str = "units"  # last part of the name of the units' file
    units_folder: str | os.PathLike | None = None  # with that file; None: the data directory


@dataclass
class InputStatistics:
    speech: int = 0  # utterances
    text: int = 0
    speech_ids: int = 0
    text_ids: int = 0
    text_tokens: int = 0  # before up-sampling
    unknown_tokens: int = 0  # of them, those that the vocabulary lacks
    labelled: dict[str, int] = field(default_factory=dict)  # output → utterances with a transcript
    removed: dict[str, str] = field(default_factory=dict)  # utterance id → reason


@dataclass
class _Tables:
    """The rows of the set that is written."""

    inputs: dict[str, str] = field(default_factory=dict)
    modality: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)  # utt2… → rows
    texts: dict[str, dict[str, str]] = field(default_factory=dict)  # output → rows


def write_input_set(
    vocabulary: JointVocabulary,
    source: str | os.PathLike,
    target: str | os.PathLike,
    options: InputOptions,
    text_folders: Sequence[str | os.PathLike] = (),
) -> InputStatistics:
    """Write the input ids and transcripts of a data directory with units.

    Args:
        source: data directory with transcripts, and `text.rm.units` or `text.ts.units`, as
            `vocabulary.source.repeats` says, unless `options.units_folder` has them.
        target: folder to write to.
        text_folders: further data directories, which need no audio, whose transcripts of
            `options.text_output` are inputs.

    Raises:
        UserError: if units are not those of the vocabulary, units or transcripts are missing, two
            utterances have one id, or no utterance is left.
    """
    _check(options, text_folders)
    _require_transcripts(source, options.outputs)
    tables = _Tables(texts={name: {} for name in options.outputs})
    statistics = InputStatistics()
    path = units_path(options.units_folder or source, options.name, vocabulary.source.repeats)
    if not path.is_file():
        message = f"{path}: no such file"
        repeats = vocabulary.source.repeats
        raise UserError(message, f"dump the units: espnet-ext dump_units --repeats {repeats}")
    dump = read_dump_manifest(path)
    vocabulary.require_units(UnitSource.of(dump, str(path)), str(path))
    texts, labels = _read_texts(source, options.outputs), _read_labels(source)
    without_units = dict.fromkeys(_utterances(source))
    for utt_id, units in stream_units(path, vocabulary.source.count):
        if utt_id not in without_units:
            statistics.removed[utt_id] = f"is not in {source}"
            continue
        del without_units[utt_id]
        ids = vocabulary.unit_text_ids(units_to_text(units), f"{path}: {utt_id}")
        if _is_too_long(ids, utt_id, options, statistics):
            continue
        _add(tables, source, utt_id, utt_id, SPEECH, ids, texts, labels)
        statistics.speech += 1
        statistics.speech_ids += len(ids)
    if without_units:
        some = ", ".join(list(without_units)[:3])
        message = f"{path}: {len(without_units)} utterances of {source} have no units: {some}"
        raise UserError(message, "dump the units of the set again: espnet-ext dump_units")
    if options.text_output:
        for folder in (source, *text_folders):
            _add_text_inputs(tables, statistics, vocabulary, folder, options)
    if not tables.inputs:
        utt_id, reason = next(iter(statistics.removed.items()))
        message = f"{source}: no utterance is left; the first, {utt_id}: {reason}"
        raise UserError(message, "raise --max_length, or dump the units of this set")
    statistics.labelled = {
        name: sum(text != NA for text in rows.values()) for name, rows in tables.texts.items()
    }
    _write(Path(target), tables)
    manifest = {
        "format": FORMAT,
        "vocabulary_sha256": vocabulary.digest,
        "input_ids_sha256": sha256_of(Path(target) / INPUTS),
        "text_sha256": dump["text_sha256"],  # of the units' file
        "upsample": options.upsample if options.text_output else None,
        "text_output": options.text_output,
        "speech": {"utterances": statistics.speech, "ids": statistics.speech_ids},
        "text": {"utterances": statistics.text, "ids": statistics.text_ids},
        "labelled": statistics.labelled,
        "removed": len(statistics.removed),
    }
    rows = [f"{utt_id}\t{reason}\n" for utt_id, reason in sorted(statistics.removed.items())]
    write_text(Path(target) / REMOVED, "".join(["utterance\treason\n", *rows]))
    write_json(Path(target) / MANIFEST, manifest)
    return statistics


def read_input_manifest(folder: str | os.PathLike) -> dict[str, Any]:
    """Return the manifest of a set that `write_input_set` wrote.

    Raises:
        UserError: if the manifest or `input_ids` is missing, or they do not belong together.
    """
    path = Path(folder) / MANIFEST
    inputs = Path(folder) / INPUTS
    for file in (path, inputs):
        if not file.is_file():
            raise UserError(f"{file}: no such file", "write it: espnet-ext unit_inputs")
    keys = ("vocabulary_sha256", "input_ids_sha256", "upsample", "text", "text_output")
    manifest = read_manifest(path, FORMAT, keys)
    if sha256_of(inputs) != manifest["input_ids_sha256"]:
        raise UserError(f"{inputs}: is not the file that {MANIFEST} was written with", _WRITE)
    return manifest


def parse_ids(row: str, size: int, where: str) -> list[int]:
    """Return the input ids of a row.

    >>> parse_ids("3 5", 6, "u1")
    [3, 5]
    """
    words = row.split()
    if not words:
        raise UserError(f"{where}: has no input ids", f"remove the utterance, or {_WRITE}")
    if not all(word.isascii() and word.isdigit() for word in words):
        raise UserError(f"{where}: is not a sequence of numbers", _WRITE)
    ids = [int(word) for word in words]
    check_ids(ids, size, where)
    return ids


def check_ids(ids: Sequence[int], size: int, where: str) -> None:
    """Raise `UserError` for an empty input, or one with an id that the vocabulary lacks."""
    if not len(ids):
        raise UserError(f"{where}: has no input ids", f"remove the utterance, or {_WRITE}")
    wrong = next((i for i in ids if not 0 <= i < size), None)
    if wrong is not None:
        message = f"{where}: input id {wrong} is not one of the {size} of the vocabulary"
        raise UserError(message, f"{_WRITE}, with the vocabulary of the model")


def _check(options: InputOptions, text_folders: Sequence[str | os.PathLike]) -> None:
    if not options.outputs:
        raise UserError("no outputs", "name the outputs whose transcripts are written")
    if text_folders and not options.text_output:
        message = "sets with text only, but no output whose transcripts are inputs"
        raise UserError(message, "name it: --text_input surface")
    if options.text_output and not set(options.outputs) - {options.text_output}:
        raise UserError(
            f"the transcripts of '{options.text_output}' are inputs, and there is no other output",
            "name another output, which text is mapped to",
        )


def _require_transcripts(folder: str | os.PathLike, outputs: Sequence[str]) -> None:
    for name in outputs:
        path = Path(folder) / f"text.{name}"
        if not path.is_file():
            raise UserError(
                f"{path}: no such file",
                f"correct --outputs, or write it: utterances without a transcript have {NA}",
            )


def _utterances(folder: str | os.PathLike) -> list[str]:
    """Return the ids of a data directory."""
    names = ("utt2spk", "wav.scp")
    path = next((file for file in (Path(folder) / n for n in names) if file.is_file()), None)
    if path is None:
        raise UserError(f"{folder}: has neither utt2spk nor wav.scp", "give a data directory")
    return list(read_table(path, empty_ok=True))


def _read_texts(folder: str | os.PathLike, outputs: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return output → utterance id → transcript; `UserError` if there is no transcript at all."""
    texts = {}
    for name in outputs:
        path = Path(folder) / f"text.{name}"
        if path.is_file():
            rows = read_table(path, empty_ok=True)
            texts[name] = {utt: text for utt, text in rows.items() if text and text != NA}
    if not any(texts.values()):
        names = " or ".join(f"text.{name}" for name in outputs)
        raise UserError(f"{folder}: no transcript in {names}", "add transcripts")
    return texts


def _read_labels(folder: str | os.PathLike) -> dict[str, dict[str, str]]:
    """Return the tables utt2… of a folder, without durations."""
    paths = sorted(Path(folder).glob("utt2*"))
    return {
        path.name: read_table(path, empty_ok=True)
        for path in paths
        if path.name not in ("utt2dur", "utt2num_frames", "utt2num_samples", MODALITY)
    }


def _is_too_long(
    ids: Sequence[int], utt_id: str, options: InputOptions, statistics: InputStatistics
) -> bool:
    if len(ids) <= options.max_length:
        return False
    reason = f"{len(ids)} input ids, more than {options.max_length}"
    statistics.removed[utt_id] = reason
    return True


def _add(
    tables: _Tables,
    folder: str | os.PathLike,
    utt_id: str,
    origin: str,
    modality: str,
    ids: Sequence[int],
    texts: Mapping[str, Mapping[str, str]],
    labels: Mapping[str, Mapping[str, str]],
) -> None:
    """Add an utterance with the transcripts and labels of `origin`, a row of `folder`."""
    if utt_id in tables.inputs:
        message = f"{folder}: {origin}: another utterance already has the id {utt_id}"
        raise UserError(message, "make the ids of all sets unique")
    tables.inputs[utt_id] = " ".join(map(str, ids))
    tables.modality[utt_id] = modality
    for name, rows in tables.texts.items():
        rows[utt_id] = texts.get(name, {}).get(origin, NA)
    for name, values in labels.items():
        if origin in values:
            tables.labels.setdefault(name, {})[utt_id] = values[origin]
    tables.labels.setdefault("utt2spk", {}).setdefault(utt_id, utt_id)


def _add_text_inputs(
    tables: _Tables,
    statistics: InputStatistics,
    vocabulary: JointVocabulary,
    folder: str | os.PathLike,
    options: InputOptions,
) -> None:
    """Add an utterance per transcript of the text output that has a transcript to map it to."""
    texts, labels = _read_texts(folder, options.outputs), _read_labels(folder)
    path = Path(folder) / f"text.{options.text_output}"
    if not path.is_file():
        raise UserError(f"{path}: no such file", "its transcripts are the text input; add them")
    targets = {name: rows for name, rows in texts.items() if name != options.text_output}
    added = 0
    inputs = read_table(path, empty_ok=True)
    for origin, text in inputs.items():
        if not text or text == NA:
            continue
        utt_id = origin + SUFFIX
        if not any(origin in rows for rows in targets.values()):
            statistics.removed[utt_id] = f"no transcript of {' or '.join(targets)} to map it to"
            continue
        tokens = vocabulary.text_ids(normalize(text))
        if not tokens:
            raise UserError(f"{path}: {origin}: has no tokens", "remove the utterance")
        unknown = tokens.count(UNKNOWN_ID)
        if unknown == len(tokens):
            statistics.removed[utt_id] = "no token of the transcript is in the vocabulary"
            continue
        ids = upsample(tokens, options.upsample)
        if _is_too_long(ids, utt_id, options, statistics):
            continue
        _add(tables, folder, utt_id, origin, TEXT, ids, targets, labels)
        added += 1
        statistics.text += 1
        statistics.text_tokens += len(tokens)
        statistics.unknown_tokens += unknown
        statistics.text_ids += len(ids)
    if not added:
        names = ", ".join(f"text.{name}" for name in options.outputs if name != options.text_output)
        raise UserError(
            f"{path}: no transcript is an input: none has a transcript in {names}, all are "
            f"longer than {options.max_length} ids, or none has a token of the vocabulary",
            f"add transcripts to {names}, or leave this set out",
        )


def _write(target: Path, tables: _Tables) -> None:
    write_table(target / INPUTS, tables.inputs)
    write_table(target / MODALITY, tables.modality)
    for name, rows in tables.labels.items():
        write_table(target / name, rows)
    for name, rows in tables.texts.items():
        write_table(target / f"text.{name}", rows)
