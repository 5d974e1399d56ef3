"""Data directories as lhotse manifests: recordings, supervisions and cuts, one each an utterance.

`text` is the meaning, or where there is none the surface; custom fields hold each output under its
name (`text_<output>` beyond the three standard ones) and `l1`, `band`, `domain`. So an import of
the cuts gives the directory back.
"""

import contextlib
import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from espnet_ext import files
from espnet_ext.corpora.interchange.columns import library
from espnet_ext.corpora.interchange.from_lhotse import EXTRA, OUTPUTS, TEXT_
from espnet_ext.corpora.preparation import shown
from espnet_ext.data.audio import audio_info, is_pipe, source_file
from espnet_ext.data.directory import read_directory, require_free
from espnet_ext.data.record import Utterance
from espnet_ext.data.rendering import Job, render
from espnet_ext.errors import UserError
from espnet_ext.progress import track

MARK = "export.json"  # a folder with it is an export's own, and may be written again


def write(source: str | os.PathLike, target: str | os.PathLike, *, nj: int = 1) -> str:
    """Write `<target>/{recordings,supervisions,cuts}.jsonl.gz`; returns a line on what was made.

    Sound files are referred to. Entries of arks, which lhotse has no source for, are written to
    `<target>/data` as FLAC; commands are refused.
    """
    folder = require_free(source, target, MARK)
    utterances = read_directory(source)
    lhotse = library("lhotse", EXTRA)
    files.write_json(folder / MARK, {"to": "lhotse", "source": os.path.abspath(source)})
    placed = _placed(utterances, folder, nj)
    seconds = 0.0
    with contextlib.ExitStack() as stack:
        manifests = [
            stack.enter_context(_opened(folder / f"{name}.jsonl.gz"))
            for name in ("recordings", "supervisions", "cuts")
        ]
        for one in track(utterances, f"exporting {source}"):
            recording = _recording(lhotse, one.utt_id, placed[one.utt_id])
            supervision = _supervision(one, lhotse, recording)
            cut = lhotse.MonoCut(
                id=one.utt_id,
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


def _placed(utterances: Iterable[Utterance], folder: Path, nj: int) -> dict[str, str]:
    """Sound files by id; those that are none yet are written."""
    placed, jobs = {}, []
    for one in utterances:
        if is_pipe(one.audio):
            message = f"{one.utt_id}: {one.audio}: is a command, which is not run"
            raise UserError(message, "write the audio to files: stage 3 (format_audio)")
        if source_file(one.audio) == one.audio:
            placed[one.utt_id] = os.path.abspath(one.audio)
        else:
            wanted = str((folder / "data" / f"{one.utt_id}.flac").absolute())
            jobs.append(Job(one.utt_id, one.audio, wanted))
    made, failed = render(jobs, folder / "data", nj=nj, label="writing audio")
    if failed:
        faults = [f"{name}: {error.message}" for name, error in sorted(failed.items())]
        remedy = next(iter(failed.values())).remedy
        raise UserError(f"{len(faults)} utterances cannot be exported:{shown(faults)}", remedy)
    return placed | {name: one.audio for name, one in made.items()}


def _recording(lhotse: Any, utt_id: str, path: str) -> Any:
    try:
        info = audio_info(path)
    except UserError as error:
        raise UserError(f"{utt_id}: {error.message}", error.remedy) from None
    if info.channels > 1:
        message = f"{utt_id}: {path}: has {info.channels} channels, not one"
        raise UserError(message, "bring it to one: stage 3 (format_audio --channel)")
    return lhotse.Recording(
        id=utt_id,
        sources=[lhotse.audio.AudioSource(type="file", channels=[0], source=path)],
        sampling_rate=info.rate,
        num_samples=info.frames,
        duration=info.frames / info.rate,
        channel_ids=[0],
    )


def _supervision(one: Utterance, lhotse: Any, recording: Any) -> Any:
    custom = {
        name if name in OUTPUTS else TEXT_ + name: text for name, text in sorted(one.texts.items())
    }
    labels = {"l1": one.l1, "band": one.band, "domain": one.domain}
    custom |= {name: value for name, value in labels.items() if value}
    return lhotse.SupervisionSegment(
        id=one.utt_id,
        recording_id=recording.id,
        start=0.0,
        duration=recording.duration,
        channel=0,
        text=one.texts.get("meaning", one.texts.get("surface")),
        language=one.lang,
        speaker=one.speaker,
        custom=custom or None,
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """A compressed text file to write: the same bytes for the same text (no time in its header)."""
    with (
        files.atomic_write(path, "wb") as handle,
        gzip.GzipFile(filename="", fileobj=handle, mode="wb", mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text,
    ):
        yield text
