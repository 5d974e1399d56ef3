"""Write a data directory as lhotse manifests: recordings, supervisions and cuts.

Each utterance is one recording, supervision and cut. `text` is the meaning, or the surface if there
is none. Custom fields hold each output by its name (`text_<output>` beyond the three standard
ones), and `l1`, `band`, `domain`. An import of the cuts restores the data directory.
"""

import contextlib
import gzip
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from espnet_ext import files
from espnet_ext.corpora.interchange.column_mapping import import_library
from espnet_ext.corpora.interchange.from_lhotse import EXTRA, OUTPUTS, TEXT_PREFIX
from espnet_ext.corpora.preparation import list_faults
from espnet_ext.data.audio import audio_info, is_pipe, source_file
from espnet_ext.data.directory import read_directory, require_free
from espnet_ext.data.record import Utterance
from espnet_ext.data.rendering import Job, render
from espnet_ext.errors import UserError
from espnet_ext.overwriting import OutputFolder
from espnet_ext.progress import track

_MANIFESTS = ("recordings", "supervisions", "cuts")
EXPORT_FILE = "export.json"  # marks a folder as written by an export, which may write it again


def write(
    source: str | os.PathLike, target: str | os.PathLike, *, nj: int = 1, overwrite: bool = False
) -> str:
    """Write `<target>/{recordings,supervisions,cuts}.jsonl.gz`; return a line that describes it.

    The manifests refer to sound files. lhotse has no source type for entries of arks: these are
    written to `<target>/data` as FLAC. Commands are refused.
    """
    if not overwrite:
        require_free(source, target, EXPORT_FILE)
    output = OutputFolder(
        target,
        "export",
        rf"(?:{'|'.join(_MANIFESTS)})\.jsonl\.gz|{re.escape(EXPORT_FILE)}",
        inputs=[source],
        overwrite=overwrite,
    )
    output.check()
    utterances = read_directory(source)
    lhotse = import_library("lhotse", EXTRA)
    with output as folder:
        return _write(lhotse, source, utterances, folder, nj)


def _write(
    lhotse: Any, source: str | os.PathLike, utterances: list[Utterance], folder: Path, nj: int
) -> str:
    """Write the manifests of utterances; return a line that describes them."""
    files.write_json(folder / EXPORT_FILE, {"to": "lhotse", "source": os.path.abspath(source)})
    audio = _audio_files(utterances, folder, nj)
    seconds = 0.0
    with contextlib.ExitStack() as stack:
        manifests = [
            stack.enter_context(_open_gzip(folder / f"{name}.jsonl.gz")) for name in _MANIFESTS
        ]
        for utterance in track(utterances, f"exporting {source}"):
            recording = _recording(lhotse, utterance.utt_id, audio[utterance.utt_id])
            supervision = _supervision(utterance, lhotse, recording)
            cut = lhotse.MonoCut(
                id=utterance.utt_id,
                start=0.0,
                duration=recording.duration,
                channel=0,
                supervisions=[supervision],
                recording=recording,
            )
            for manifest, entry in zip(manifests, (recording, supervision, cut), strict=True):
                manifest.write(json.dumps(entry.to_dict(), ensure_ascii=False) + "\n")
            seconds += recording.duration
    return f"{folder}: {len(utterances)} cuts, {seconds / 3600:.2f} h"


def _audio_files(utterances: Iterable[Utterance], folder: Path, nj: int) -> dict[str, str]:
    """Return id → sound file; write the audio that is not a file of its own."""
    paths, jobs = {}, []
    for utterance in utterances:
        if is_pipe(utterance.audio):
            message = f"{utterance.utt_id}: {utterance.audio}: is a command, which is not run"
            raise UserError(message, "write the audio to files: stage 3 (format_audio)")
        if source_file(utterance.audio) == utterance.audio:
            paths[utterance.utt_id] = os.path.abspath(utterance.audio)
        else:
            target = str((folder / "data" / f"{utterance.utt_id}.flac").absolute())
            jobs.append(Job(utterance.utt_id, utterance.audio, target))
    rendered, failed = render(jobs, folder / "data", nj=nj, label="writing audio")
    if failed:
        faults = [f"{utt_id}: {error.message}" for utt_id, error in sorted(failed.items())]
        remedy = next(iter(failed.values())).remedy
        message = f"{len(faults)} utterances cannot be exported:{list_faults(faults)}"
        raise UserError(message, remedy)
    return paths | {utt_id: made.audio for utt_id, made in rendered.items()}


def _recording(lhotse: Any, utt_id: str, path: str) -> Any:
    try:
        info = audio_info(path)
    except UserError as error:
        raise UserError(f"{utt_id}: {error.message}", error.remedy) from None
    if info.channels > 1:
        message = f"{utt_id}: {path}: has {info.channels} channels, not one"
        raise UserError(message, "convert it to one channel: stage 3 (format_audio --channel)")
    return lhotse.Recording(
        id=utt_id,
        sources=[lhotse.audio.AudioSource(type="file", channels=[0], source=path)],
        sampling_rate=info.rate,
        num_samples=info.frames,
        duration=info.frames / info.rate,
        channel_ids=[0],
    )


def _supervision(utterance: Utterance, lhotse: Any, recording: Any) -> Any:
    custom = {
        name if name in OUTPUTS else TEXT_PREFIX + name: text
        for name, text in sorted(utterance.texts.items())
    }
    labels = {"l1": utterance.l1, "band": utterance.band, "domain": utterance.domain}
    custom |= {name: value for name, value in labels.items() if value}
    return lhotse.SupervisionSegment(
        id=utterance.utt_id,
        recording_id=recording.id,
        start=0.0,
        duration=recording.duration,
        channel=0,
        text=utterance.texts.get("meaning", utterance.texts.get("surface")),
        language=utterance.lang,
        speaker=utterance.speaker,
        custom=custom or None,
    )


@contextlib.contextmanager
def _open_gzip(path: Path) -> Iterator[IO[str]]:
    """Open a compressed text file for writing; equal text gives equal bytes (no time stamp)."""
    with (
        files.atomic_write(path, "wb") as handle,
        gzip.GzipFile(filename="", fileobj=handle, mode="wb", mtime=0) as compressed,
        io.TextIOWrapper(cast(IO[bytes], compressed), encoding="utf-8", newline="\n") as text,
    ):
        yield text
