"""Hugging Face data sets: by name, from a folder of parquet files, or as saved to disk.

Rows are streamed; audio is taken as it is stored, never decoded by the library: a file that exists
is referred to, a file's bytes are stored as they are, samples are written as FLAC.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from espnet_ext.corpora.interchange.columns import (
    Columns,
    as_id,
    cell,
    library,
    require_columns,
    utterance,
)
from espnet_ext.corpora.interchange.sink import Sink
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import track

EXTRA = "hf"
PATIENCE = 10  # seconds that the hub has for its first answer
_ON_HUB = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
BATCH = 16  # rows of a parquet file that are held at a time


def read(
    source: str,
    columns: Columns,
    sink: Sink,
    *,
    root: str = "",
    split: str = "",
    config: str = "",
) -> None:
    """Give a split's utterances to the sink; `config` is the data set's configuration (language).

    Without a column for ids they are `<speaker>-<split>-<row>`. `root` is the folder that relative
    audio paths start from.
    """
    data = _one_split(source, _load(source, config), split)
    features = data.features
    if features is None:  # some streamed ones only know after a look
        data = data._resolve_features()
        features = data.features
    there = list(features or ())
    if not columns.texts:
        remedy = f"name the column of a transcript: --meaning COLUMN; there are: {', '.join(there)}"
        raise UserError(f"{source}: no column of transcripts given", remedy)
    require_columns(source, columns, there)
    audio = columns.audio or _audio_column(source, features)
    if type(features[audio]).__name__ == "Audio":
        data = data.cast_column(audio, library("datasets", EXTRA).Audio(decode=False))
    names = {name: feature for name, feature in features.items() if hasattr(feature, "int2str")}
    wanted = [*columns.named(), audio]
    data = data.select_columns(list(dict.fromkeys(wanted)))
    rows = _rows(source, data)
    for number, row in enumerate(track(rows, f"reading {source}")):
        for name in names.keys() & row.keys():
            value = row[name]  # -1 stands for none in sets without labels
            row[name] = names[name].int2str(value) if value is not None and value >= 0 else None
        with sink.faults.noting():
            one = utterance(
                _id(row, columns, split or "all", number, sink), "", row, columns, sink.report
            )
            _give(row[audio], one, sink, root, source)


def _load(source: str, config: str) -> Any:
    """The data set, streamed: one split or a map of them."""
    datasets = library("datasets", EXTRA)
    path = Path(source)
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            return datasets.load_from_disk(source)  # mapped into memory, not read
        if path.is_file() or any(path.glob("*.parquet")):
            found = [path] if path.is_file() else sorted(path.glob("*.parquet"))
            if any(one.suffix != ".parquet" for one in found):
                raise UserError(f"{source}: not a parquet file", "name a folder or a parquet file")
            files = {}
            for one in found:  # train-00000-of-00002.parquet belongs to train
                files.setdefault(one.stem.partition("-")[0], []).append(str(one))
            return _streamed(datasets.load_dataset_builder("parquet", data_files=files))
        if not path.exists():
            _require_hub(source)
        return _streamed(datasets.load_dataset_builder(source, config or None))
    except UserError:
        raise
    except Exception as error:  # it raises many kinds: not found, no network, no such configuration
        message = f"{source}: cannot be loaded: {type(error).__name__}: {error}"
        remedy = "check the name, --config and the connection; or fetch it, and name the folder"
        if "OfflineModeIsEnabled" in message:
            remedy = "it was not downloaded here before: unset HF_HUB_OFFLINE, or name its folder"
        raise UserError(message, remedy) from None


def _require_hub(name: str) -> None:
    """Whether the hub answers at all; the library itself would try again and again."""
    if not _ON_HUB.fullmatch(name):
        raise UserError(f"{name}: no such folder or file", "correct the path, or name USER/SET")
    hub = library("huggingface_hub", EXTRA)
    if hub.constants.HF_HUB_OFFLINE:
        return  # only what was downloaded before is looked at
    try:
        hub.get_session().head(hub.constants.ENDPOINT, timeout=PATIENCE)
    except Exception as error:  # of whichever library it asks with
        message = f"{name}: {hub.constants.ENDPOINT} cannot be reached: {error}"
        remedy = (
            "check the connection (HTTPS_PROXY, HF_ENDPOINT); or download it elsewhere "
            f"(hf download --repo-type dataset {name} --local-dir DIR) and name DIR; "
            "HF_HUB_OFFLINE=1 takes what was downloaded here before"
        )
        raise UserError(message, remedy) from None


def _streamed(builder: Any) -> Any:
    """A map of splits. Parquet is read a few rows at a time: by default the library holds the
    whole of a file, as sound files within a table are not the small cells that it expects.
    """
    if hasattr(builder.config, "fragment_scan_options"):
        from pyarrow.dataset import ParquetFragmentScanOptions

        builder.config.batch_size = BATCH
        builder.config.fragment_scan_options = ParquetFragmentScanOptions(
            use_buffered_stream=True, buffer_size=1 << 20, pre_buffer=False
        )
    return builder.as_streaming_dataset()


def _one_split(source: str, data: Any, split: str) -> Any:
    if not isinstance(data, Mapping):
        return data
    if not split and len(data) == 1:
        return next(iter(data.values()))
    if split not in data:
        what = f"has no split '{split}'" if split else "has several splits"
        raise UserError(f"{source}: {what}", f"choose --split {' or '.join(map(str, data))}")
    return data[split]


def _audio_column(source: str, features: Mapping[str, Any]) -> str:
    found = [name for name, one in features.items() if type(one).__name__ == "Audio"]
    if not found and "audio" in features:
        found = ["audio"]
    if len(found) != 1:
        what = f"has {len(found)} columns of audio: {', '.join(found)}" if found else "has no audio"
        raise UserError(f"{source}: {what}", f"--audio COLUMN, one of: {', '.join(features)}")
    return found[0]


def _rows(source: str, data: Any) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for number, row in enumerate(data, 1):  # noqa: B007 for the message
            yield dict(row)
    except (UserError, GeneratorExit):
        raise
    except Exception as error:
        message = f"{source}: after {number} rows: {type(error).__name__}: {error}"
        raise UserError(message, "is the download whole? fetch it again") from None


def _id(row: Mapping[str, Any], columns: Columns, split: str, number: int, sink: Sink) -> str:
    if columns.id:
        if (name := cell(row[columns.id])) is None:
            raise UserError(f"row {number}: nothing in {columns.id}", "name another column: --id")
        return as_id(name, sink.report)
    speaker = columns.label("speaker", row)
    start = as_id(speaker, sink.report) + "-" if speaker else ""
    return f"{start}{split}-{number:08}"


def _give(value: Any, one: Utterance, sink: Sink, root: str, source: str) -> None:
    """The audio of a row: a path, a file's bytes, or samples."""
    import numpy as np

    if isinstance(value, str):
        value = {"path": value}
    if not isinstance(value, Mapping):
        what = "has no audio" if value is None else f"its audio is a {type(value).__name__}"
        remedy = "name another column: --audio; or leave such rows out of the data set"
        raise UserError(f"{source}: {one.utt_id}: {what}", remedy)
    if value.get("bytes"):
        sink.store(one, value["bytes"])
    elif value.get("array") is not None and value.get("sampling_rate"):
        samples = np.asarray(value["array"], dtype=np.float32)
        # Several channels are stored channel by channel, as the library's decoder gives them.
        sink.write(one, samples.T if samples.ndim == 2 else samples, int(value["sampling_rate"]))
    elif value.get("path"):
        path = os.path.join(os.path.abspath(root or "."), value["path"])
        sink.refer(replace(one, audio=path))
    else:
        remedy = "name another column: --audio; or leave such rows out of the data set"
        raise UserError(f"{source}: {one.utt_id}: has no audio", remedy)
