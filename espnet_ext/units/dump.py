"""Write and read the units of a data directory: one row of characters per utterance.

`text.rm.units` (repeats removed) or `text.ts.units` (kept) are called as in ESPnet's recipes with
discrete input (asr2). A manifest beside the file, `text.rm.units.json`, records the units' digest.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.data.checks.findings import ERROR, Finding
from espnet_ext.data.table import encoded_row, stream_table
from espnet_ext.errors import UserError
from espnet_ext.files import atomic_write, sha256_of, write_json
from espnet_ext.progress import track
from espnet_ext.units.corpus import BATCH_SECONDS, stream_features, stream_waves
from espnet_ext.units.extractor import UnitExtractor
from espnet_ext.units.files import UnitModel, read_manifest
from espnet_ext.units.sequences import (
    CASES,
    KEEP,
    flatten_codes,
    remove_repeats,
    text_to_units,
    units_to_text,
)

FORMAT = 1
_DUMP = "dump the units again: espnet-ext dump_units"


@dataclass
class DumpStatistics:
    utterances: int = 0
    frames: int = 0
    units: int = 0  # after repeats are removed
    feature_seconds: float = 0.0  # time for reading audio and for features, in all processes
    assignment_seconds: float = 0.0  # time for the nearest centroids


@dataclass(frozen=True)
class DumpedRow:
    """The units of an utterance, and what they cost."""

    utt_id: str
    text: str  # one character per unit
    frames: int
    feature_seconds: float
    assignment_seconds: float


def units_path(folder: str | os.PathLike, name: str, repeats: str) -> Path:
    """Return the path of the units of a data directory.

    >>> str(units_path("data/train", "units", "remove"))
    'data/train/text.rm.units'
    """
    return Path(folder) / f"text.{CASES[repeats]}.{name}"


def manifest_path(path: str | os.PathLike) -> Path:
    return Path(f"{os.fspath(path)}.json")


def dump_units(
    extractor: UnitExtractor,
    folder: str | os.PathLike,
    target: str | os.PathLike,
    repeats: str,
    batch_seconds: float = BATCH_SECONDS,
) -> DumpStatistics:
    """Write the units of all utterances of a data directory, one utterance at a time.

    Args:
        target: the file to write; its manifest is written beside it.
        repeats: "remove" or "keep".
        batch_seconds: seconds of audio in a batch of the encoder, with padding.

    Raises:
        UserError: if an utterance cannot be read or is too short for one unit.
    """
    rows = stream_dumped(extractor, folder, repeats, batch_seconds)
    return write_dump(rows, extractor.model, folder, target, repeats)


def stream_dumped(
    extractor: UnitExtractor,
    folder: str | os.PathLike,
    repeats: str,
    batch_seconds: float = BATCH_SECONDS,
    rows: range | None = None,
) -> Iterator[DumpedRow]:
    """Yield the units of the utterances of a data directory.

    Args:
        rows: positions of the rows of wav.scp that are read; None: all.
    """
    wav_scp = f"{os.fspath(folder)}/wav.scp"
    waves = stream_waves(folder, extractor.sample_rate, rows=rows)
    last = time.perf_counter()
    for utt_id, frames in stream_features(extractor.features, waves, wav_scp, batch_seconds):
        now = time.perf_counter()
        feature_seconds = now - last
        codes = extractor.assign(frames)
        last = time.perf_counter()
        count = len(codes)
        if repeats != KEEP:
            codes = remove_repeats(codes)
        units = flatten_codes(codes, extractor.model.sizes)
        if not len(units):
            message = f"{wav_scp}: {utt_id}: too short for one unit"
            raise UserError(message, "remove the utterance")
        yield DumpedRow(utt_id, units_to_text(units), count, feature_seconds, last - now)


def write_dump(
    rows: Iterator[DumpedRow],
    model: UnitModel,
    folder: str | os.PathLike,
    target: str | os.PathLike,
    repeats: str,
) -> DumpStatistics:
    """Write the units of a data directory, and their manifest.

    Args:
        rows: the units, see `stream_dumped`.
        model: the k-means that they are made with.
    """
    statistics = DumpStatistics()
    manifest_path(target).unlink(missing_ok=True)  # it describes the earlier file
    with atomic_write(target, "wb") as handle:
        for row in track(rows, f"units of {folder}"):
            statistics.feature_seconds += row.feature_seconds
            statistics.assignment_seconds += row.assignment_seconds
            statistics.utterances += 1
            statistics.frames += row.frames
            statistics.units += len(row.text)
            handle.write(encoded_row(target, row.utt_id, row.text))
    if not statistics.utterances:
        raise UserError(f"{os.fspath(folder)}/wav.scp: has no utterances", "add utterances")
    manifest = {
        "format": FORMAT,
        "units_sha256": model.digest,
        "text_sha256": sha256_of(target),
        "codebooks": model.sizes,
        "repeats": repeats,
        "utterances": statistics.utterances,
        "frames": statistics.frames,
        "units": statistics.units,
    }
    write_json(manifest_path(target), manifest)
    return statistics


def read_dump_manifest(path: str | os.PathLike) -> Mapping[str, Any]:
    """Return the manifest of a file that `dump_units` wrote: `units_sha256`, `repeats`, …

    Raises:
        UserError: if the file or its manifest is missing, or they do not belong together.
    """
    file = manifest_path(path)
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file", _DUMP)
    if not file.is_file():
        message = f"{path}: its manifest, {file.name}, is missing, so its k-means is not known"
        raise UserError(message, _DUMP)
    keys = ("units_sha256", "text_sha256", "codebooks", "repeats")
    manifest = read_manifest(file, FORMAT, keys)
    if sha256_of(path) != manifest["text_sha256"]:
        raise UserError(f"{path}: is not the file that {file.name} was written with", _DUMP)
    return manifest


def stream_units(path: str | os.PathLike, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the ids and units of a file that `dump_units` wrote.

    Args:
        count: number of different units.

    Raises:
        UserError: for a row without units, or with units out of range.
    """
    findings: list[Finding] = []
    for block in stream_table(path, findings):
        for line, utt_id, text in block.rows():
            yield utt_id, text_to_units(text, count, f"{path}:{line}: {utt_id}")
    for finding in findings:
        if finding.severity == ERROR and finding.code != "unsorted":
            raise finding.as_error()
