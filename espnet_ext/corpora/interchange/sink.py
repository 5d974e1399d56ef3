"""Where what was imported goes: a data directory, and the audio that cannot be referred to.

Whole sound files are referred to where they are. Parts of files, single channels, commands and what
lies within another container are written once, as 16-bit FLAC in `data/`; a second run writes only
what has changed.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext import files
from espnet_ext.corpora.interchange.faults import Faults
from espnet_ext.corpora.preparation import Report, check_audio
from espnet_ext.data.audio import count_samples, encode_audio, is_pipe, open_sound, to_mono
from espnet_ext.data.directory import require_free, write_directory
from espnet_ext.data.record import Utterance, id_problem
from espnet_ext.data.rendering import Job, render
from espnet_ext.errors import UserError

if TYPE_CHECKING:
    import numpy as np

# Containers that every later stage reads; their bytes are stored as they are.
ACCOUNT = "import.json"  # a folder with it is an import's own, and may be written again
STORED = {"WAV": ".wav", "FLAC": ".flac", "MP3": ".mp3", "OGG": ".ogg"}


class Sink:
    """Takes utterances with their audio, one at a time, and writes the data directory at the end.

    Only records are held; audio goes through one piece at a time (in each of `nj` processes).
    Faults are noted, and refused all together at the end, before anything is written as data.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        report: Report,
        *,
        channel: int | str | None = None,
        allow_pipes: bool = False,
        nj: int = 1,
        skip_unreadable: bool = False,
        source: str | os.PathLike = "",
    ):
        self.folder = require_free(source or os.devnull, folder, ACCOUNT)
        self.report = report
        self.faults = Faults(str(source or folder))
        self.channel = channel
        self.allow_pipes = allow_pipes
        self.nj = nj
        self.skip_unreadable = skip_unreadable
        self._utterances: dict[str, Utterance] = {}
        self._jobs: list[Job] = []

    def refer(self, one: Utterance) -> None:
        """The audio is a whole sound file (or an entry of an ark, or a command)."""
        if self.channel is not None or is_pipe(one.audio):
            self.cut(one)
        else:
            self._add(one)

    def cut(
        self,
        one: Utterance,
        start: float = 0.0,
        seconds: float | None = None,
        channel: int | str | None = None,
    ) -> None:
        """The audio is a part of `one.audio`, or one of its channels."""
        self._add(one)
        channel = self.channel if channel is None else channel
        self._jobs.append(self._job(one.utt_id, one.audio, "data", start, seconds, channel))

    def write(self, one: Utterance, samples: "np.ndarray", rate: int) -> None:
        """The audio is at hand: (T,) or (T, channels), in [-1, 1]."""
        target = self._target(one.utt_id, "data", ".flac")
        samples = samples.reshape(len(samples), -1)
        if not samples.size:
            raise UserError(f"{one.utt_id}: its audio has no samples", "remove the utterance")
        mono = to_mono(samples, self.channel, one.utt_id)
        self._claim()
        _put(target, encode_audio(mono, rate, ".flac"))
        self._add(replace(one, audio=str(target)))

    def store(self, one: Utterance, content: bytes) -> None:
        """The audio is a sound file's bytes."""
        try:
            sound = open_sound(one.utt_id, content=content)
        except UserError as error:
            self._unreadable(one.utt_id, error.message)
            return
        with sound:
            if sound.channels == 1 and sound.format in STORED:
                target = self._target(one.utt_id, "data", STORED[sound.format])
                self._claim()
                _put(target, content)
                self._add(replace(one, audio=str(target)))
            else:
                self.write(one, sound.read(dtype="float32", always_2d=True), sound.samplerate)

    def leave_out(self, utt_id: str, reason: str) -> None:
        self.report.left_out[utt_id] = reason
        self.report.unlabelled.pop(utt_id, None)

    def recordings(self, sources: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Commands, each run once and its output kept: (name, command) → name: file."""
        jobs = []
        for name, source in sources:
            with self.faults.noting():
                jobs.append(self._job(name, source, "recordings", 0.0, None, self.channel))
        return {name: one.audio for name, one in self._render(jobs, "recordings").items()}

    def finish(self) -> dict[str, list[Utterance]]:
        """Write what is outstanding and the directory; returns its utterances as one set.

        `UserError` with all faults, those of the reading and those of the audio.
        """
        made = self._render(self._jobs, "data")
        wanted = {job.utt_id: job for job in self._jobs}
        for name, one in made.items():
            job = wanted[name]
            self._utterances[name] = replace(self._utterances[name], audio=one.audio)
            if job.seconds is not None and one.frames < count_samples(job.seconds, one.rate):
                self.report.counts["parts that ended after their audio, cut short"] += 1
        for name in wanted.keys() - made.keys():
            del self._utterances[name]
        utterances = [self._utterances[name] for name in sorted(self._utterances)]
        with self.faults.noting():
            utterances = check_audio(utterances, self.report, skip_unreadable=self.skip_unreadable)
        if self.faults:
            raise self.faults.error()
        if not utterances:
            raise UserError(f"{self.folder}: nothing to import", "see what was left out, and why")
        self._claim()
        write_directory(self.folder, utterances)
        sets = {self.folder.name: utterances}
        files.write_json(self.folder / ACCOUNT, self.report.as_json(sets))
        return sets

    def _add(self, one: Utterance) -> None:
        if one.utt_id in self._utterances:
            remedy = "give every utterance an id of its own, or name another column: --id"
            raise UserError(f"{one.utt_id}: two utterances have this id", remedy)
        if problem := id_problem(one.utt_id):
            raise UserError(f"the id {one.utt_id!r} {problem}", "rename it in the source")
        self._utterances[one.utt_id] = one

    def _target(self, name: str, kind: str, suffix: str) -> Path:
        if problem := id_problem(name):
            raise UserError(f"the id {name!r} {problem}", "rename it in the source")
        return (self.folder / kind / f"{name}{suffix}").absolute()

    def _job(
        self,
        name: str,
        source: str,
        kind: str,
        start: float,
        seconds: float | None,
        channel: int | str | None,
    ) -> Job:
        if is_pipe(source) and not (self.allow_pipes and source.endswith("|")):
            remedy = "if you trust the source, pass --allow_pipes true; else write files"
            raise UserError(f"{name}: {source}: is a command, not run unasked", remedy)
        return Job(
            name,
            source,
            str(self._target(name, kind, ".flac")),
            channel=channel,
            allow_pipes=self.allow_pipes,
            start=start,
            seconds=seconds,
        )

    def _claim(self) -> None:
        """Mark the folder before anything is written, so that what breaks off can be gone on."""
        if not (self.folder / ACCOUNT).exists():
            files.write_json(self.folder / ACCOUNT, {"corpus": self.report.corpus, "whole": False})

    def _render(self, jobs: list[Job], kind: str) -> dict:
        if jobs:
            self._claim()
        made, failed = render(jobs, self.folder / kind, nj=self.nj, label=f"writing {kind}")
        for name, error in sorted(failed.items()):
            self.leave_out(name, "unreadable audio")
            if not self.skip_unreadable:
                remedy = f"{error.remedy}; or leave it out: --skip_unreadable true"
                self.faults.note(UserError(f"{name}: {error.message}", remedy))
        return made

    def _unreadable(self, name: str, message: str) -> None:
        if not self.skip_unreadable:
            raise UserError(message, "mend it, or leave it out: --skip_unreadable true")
        self.leave_out(name, "unreadable audio")


def _put(target: Path, content: bytes) -> None:
    """Write a file unless it has this content already."""
    try:
        if target.stat().st_size == len(content) and target.read_bytes() == content:
            return
    except OSError:
        pass
    with files.atomic_write(target, "wb") as handle:
        handle.write(content)
