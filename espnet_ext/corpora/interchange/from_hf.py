"""Read Hugging Face data sets: by name, from a folder of parquet files, or as saved to disk.

Rows are streamed. The library does not decode the audio: an existing file is referred to, the bytes
of a file are stored unchanged, samples are written as FLAC.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from espnet_ext.corpora.interchange.column_mapping import (
    ColumnMapping,
    as_id,
    import_library,
    make_utterance,
    remedy_for_source,
    require_columns,
)
from espnet_ext.corpora.interchange.directory_builder import DirectoryBuilder
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import track

EXTRA = "hf"
HUB_TIMEOUT = 10  # seconds
_NAME_ON_HUB = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
BATCH = 16  # rows of a parquet file in memory


def read(
    source: str,
    columns: ColumnMapping,
    builder: DirectoryBuilder,
    *,
    root: str = "",
    split: str = "",
    config: str = "",
) -> None:
    """Add the utterances of a split to the builder.

    Without a column for ids they are `<speaker>-<split>-<row>`.

    Args:
        source: Name on the hub, folder, or parquet file.
        columns: Columns of the transcripts, labels and audio.
        builder: The data directory.
        root: Folder from which relative audio paths start.
        split: Name of the split; may be "" if there is only one.
        config: Configuration of the data set, often the language.
    """
    data = _select_split(source, _load(source, config), split)
    features = data.features
    if features is None:  # known only after the first rows of some streamed data sets
        data = data._resolve_features()
        features = data.features
    existing = list(features or ())
    if not columns.texts:
        remedy = f"name the column of a transcript: --meaning COLUMN, one of: {', '.join(existing)}"
        raise UserError(f"{source}: no column of transcripts is given", remedy)
    columns = columns.without_left_out()
    require_columns(source, columns, existing)
    audio = columns.audio or _audio_column(source, features)
    if type(features[audio]).__name__ == "Audio":
        data = data.cast_column(audio, import_library("datasets", EXTRA).Audio(decode=False))
    class_labels = {
        name: feature for name, feature in features.items() if hasattr(feature, "int2str")
    }
    if others := [name for name in existing if name not in {*columns.names(), audio}]:
        builder.report.notes.append(
            f"columns that are not imported: {', '.join(others)}; name transcripts as --surface "
            "COLUMN, --meaning COLUMN or --texts OUTPUT=COLUMN"
        )
    data = data.select_columns(list(dict.fromkeys([*columns.names(), audio])))
    for number, row in enumerate(track(_rows(source, data), f"reading {source}")):
        for name in class_labels.keys() & row.keys():
            index = row[name]  # -1 means no label
            has_label = index is not None and index >= 0
            row[name] = class_labels[name].int2str(index) if has_label else None
        with builder.errors.collecting():
            utt_id = _utt_id(row, columns, split or "all", number, builder)
            utterance = make_utterance(utt_id, "", row, columns, builder.report)
            _add_audio(row[audio], utterance, builder, root, source)


def _load(source: str, config: str) -> Any:
    """Return the streamed data set: one split, or a map of splits."""
    datasets = import_library("datasets", EXTRA)
    path = Path(source)
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            return datasets.load_from_disk(source)  # memory-mapped
        if path.is_file() or any(path.glob("*.parquet")):
            parquet_files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
            if any(file.suffix != ".parquet" for file in parquet_files):
                remedy = remedy_for_source(source, "name a folder or a parquet file")
                raise UserError(f"{source}: not a parquet file", remedy)
            splits: dict[str, list[str]] = {}
            for file in parquet_files:  # train-00000-of-00002.parquet belongs to train
                splits.setdefault(file.stem.partition("-")[0], []).append(str(file))
            return _stream(datasets.load_dataset_builder("parquet", data_files=splits))
        if not path.exists():
            _require_hub(source)
        return _stream(datasets.load_dataset_builder(source, config or None))
    except UserError:
        raise
    except Exception as error:  # of many types: not found, no network, no such configuration
        message = f"{source}: cannot be loaded: {type(error).__name__}: {error}"
        remedy = "check the name, --config and the connection; or download it and name the folder"
        if "OfflineModeIsEnabled" in message:
            remedy = "it is not in the local cache: unset HF_HUB_OFFLINE, or name its folder"
        raise UserError(message, remedy) from None


def _require_hub(name: str) -> None:
    """Raise a UserError if the hub does not answer; the library itself would retry for long."""
    if not _NAME_ON_HUB.fullmatch(name):
        raise UserError(f"{name}: no such folder or file", "correct the path, or name USER/SET")
    hub = import_library("huggingface_hub", EXTRA)
    constants = import_library("huggingface_hub.constants", EXTRA)  # may not be imported yet
    if constants.HF_HUB_OFFLINE:
        return  # only the local cache is used
    try:
        hub.get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception as error:  # of whichever HTTP library the hub uses
        message = f"{name}: {constants.ENDPOINT} cannot be reached: {error}"
        remedy = (
            "check the connection (HTTPS_PROXY, HF_ENDPOINT); or download it elsewhere "
            f"(hf download --repo-type dataset {name} --local-dir DIR) and name DIR; "
            "HF_HUB_OFFLINE=1 uses the local cache"
        )
        raise UserError(message, remedy) from None


def _stream(builder: Any) -> Any:
    """Return a map of streamed splits.

    Parquet files are read a few rows at a time. By default the library reads a whole file into
    memory, which is too much if its cells are sound files.
    """
    if hasattr(builder.config, "fragment_scan_options"):
        from pyarrow.dataset import ParquetFragmentScanOptions

        builder.config.batch_size = BATCH
        builder.config.fragment_scan_options = ParquetFragmentScanOptions(
            use_buffered_stream=True, buffer_size=1 << 20, pre_buffer=False
        )
    return builder.as_streaming_dataset()


def _select_split(source: str, data: Any, split: str) -> Any:
    if not isinstance(data, Mapping):
        return data
    if not split and len(data) == 1:
        return next(iter(data.values()))
    if split not in data:
        what = f"has no split '{split}'" if split else "has several splits"
        raise UserError(f"{source}: {what}", f"choose --split {' or '.join(map(str, data))}")
    return data[split]


def _audio_column(source: str, features: Mapping[str, Any]) -> str:
    names = [name for name, feature in features.items() if type(feature).__name__ == "Audio"]
    if not names and "audio" in features:
        names = ["audio"]
    if len(names) != 1:
        what = f"has {len(names)} columns of audio: {', '.join(names)}" if names else "has no audio"
        raise UserError(f"{source}: {what}", f"--audio COLUMN, one of: {', '.join(features)}")
    return names[0]


def _rows(source: str, data: Any) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for number, row in enumerate(data, 1):  # noqa: B007 used in the message
            yield dict(row)
    except (UserError, GeneratorExit):
        raise
    except Exception as error:
        message = f"{source}: after {number} rows: {type(error).__name__}: {error}"
        remedy = "check that the download is complete; download it again"
        raise UserError(message, remedy) from None


def _utt_id(
    row: Mapping[str, Any],
    columns: ColumnMapping,
    split: str,
    number: int,
    builder: DirectoryBuilder,
) -> str:
    if columns.id:
        if (name := columns.cell(row[columns.id])) is None:
            raise UserError(f"row {number}: {columns.id} is empty", "name another column: --id")
        return as_id(name, builder.report)
    speaker = columns.value("speaker", row)
    prefix = as_id(speaker, builder.report) + "-" if speaker else ""
    return f"{prefix}{split}-{number:08}"


def _add_audio(
    value: Any, utterance: Utterance, builder: DirectoryBuilder, root: str, source: str
) -> None:
    """Add an utterance with the audio of its row: a path, the bytes of a file, or samples."""
    import numpy as np

    if isinstance(value, str):
        value = {"path": value}
    remedy = "name another column: --audio; or remove such rows from the data set"
    if not isinstance(value, Mapping):
        what = "has no audio" if value is None else f"its audio is a {type(value).__name__}"
        raise UserError(f"{source}: {utterance.utt_id}: {what}", remedy)
    if value.get("bytes"):
        builder.add_bytes(utterance, value["bytes"])
    elif value.get("array") is not None and value.get("sampling_rate"):
        samples = np.asarray(value["array"], dtype=np.float32)  # (T,) or (channels, T)
        samples = samples.T if samples.ndim == 2 else samples
        builder.add_samples(utterance, samples, int(value["sampling_rate"]))
    elif value.get("path"):
        path = os.path.join(os.path.abspath(root or "."), value["path"])
        builder.add_file(replace(utterance, audio=path))
    else:
        raise UserError(f"{source}: {utterance.utt_id}: has no audio", remedy)
