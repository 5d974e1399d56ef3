"""Build a data directory from imported utterances; write the audio that wav.scp cannot refer to.

Whole sound files stay where they are. Parts of files, single channels, the output of commands and
audio inside other containers are written once, as 16-bit FLAC in `data/`. A second run writes only
what has changed.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_ext import files
from espnet_ext.corpora import phone_notation
from espnet_ext.corpora.interchange.column_mapping import ColumnMapping, read_texts
from espnet_ext.corpora.interchange.error_collector import ErrorCollector
from espnet_ext.corpora.preparation import Report, check_audio
from espnet_ext.data.audio import count_samples, encode_audio, is_pipe, open_sound, to_mono
from espnet_ext.data.directory import TABLES, require_free, write_directory
from espnet_ext.data.record import Utterance, id_problem
from espnet_ext.data.rendering import Job, render
from espnet_ext.errors import UserError
from espnet_ext.overwriting import OutputFolder

if TYPE_CHECKING:
    import numpy as np

REPORT_FILE = "import.json"  # marks a folder as written by an import, which may write it again
# Containers that all later stages can read; their bytes are stored unchanged.
STORED = {"WAV": ".wav", "FLAC": ".flac", "MP3": ".mp3", "OGG": ".ogg"}


@dataclass(frozen=True)
class ImportOptions:
    """Options of every import."""

    channel: int | str | None = None  # channel of audio with several: a number from 0, or "mix"
    allow_pipes: bool = False  # run the commands in the source
    nj: int = 1  # number of processes that write audio
    skip_unreadable: bool = False  # leave out unreadable audio instead of raising
    phones: str = "cmu"  # English phones: "cmu" normalises them, "keep" keeps them as written


class DirectoryBuilder:
    """Takes utterances one at a time, and writes the data directory at the end.

    Only records are held in memory; audio is processed one piece at a time (per process). Errors
    are collected and raised together by `finish`, before the directory is written.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        report: Report,
        options: ImportOptions | None = None,
        *,
        source: str | os.PathLike = "",
        overwrite: bool = False,
    ):
        self.folder = Path(folder)
        self._output = OutputFolder(
            folder,
            "import",
            rf"{TABLES}|{re.escape(REPORT_FILE)}",
            inputs=[source] if source else [],
            overwrite=overwrite,
        )
        if not overwrite:
            require_free(source or os.devnull, folder, REPORT_FILE)
        self._output.check()
        self._is_claimed = False
        self.report = report
        self.options = options or ImportOptions()
        self.errors = ErrorCollector(str(source or folder))
        self._utterances: dict[str, Utterance] = {}
        self._jobs: list[Job] = []

    def add_file(self, utterance: Utterance) -> None:
        """Add an utterance whose audio is a whole file (or an entry of an ark, or a command)."""
        if self.options.channel is not None or is_pipe(utterance.audio):
            self.add_part(utterance)
        else:
            self._add(utterance)

    def add_part(
        self,
        utterance: Utterance,
        start: float = 0.0,
        seconds: float | None = None,
        channel: int | str | None = None,
    ) -> None:
        """Add an utterance whose audio is a part of `utterance.audio`, or one of its channels.

        Args:
            utterance: The utterance.
            start: Start of the part in seconds.
            seconds: Duration of the part; None: to the end.
            channel: Channel of the part; None: as in the options.
        """
        self._add(utterance)
        channel = self.options.channel if channel is None else channel
        job = self._job(utterance.utt_id, utterance.audio, "data")
        self._jobs.append(replace(job, start=start, seconds=seconds, channel=channel))

    def add_samples(self, utterance: Utterance, samples: "np.ndarray", rate: int) -> None:
        """Add an utterance with its samples, (T,) or (T, channels), in [-1, 1]."""
        target = self._target(utterance.utt_id, "data", ".flac")
        samples = samples.reshape(len(samples), -1)  # (T, channels)
        if not samples.size:
            raise UserError(f"{utterance.utt_id}: its audio has no samples", "remove the utterance")
        mono = to_mono(samples, self.options.channel, utterance.utt_id)
        self._claim_folder()
        _write_if_changed(target, encode_audio(mono, rate, ".flac"))
        self._add(replace(utterance, audio=str(target)))

    def add_bytes(self, utterance: Utterance, content: bytes) -> None:
        """Add an utterance with the bytes of its sound file."""
        try:
            sound = open_sound(utterance.utt_id, content=content)
        except UserError as error:
            if not self.options.skip_unreadable:
                remedy = "repair it, or leave it out: --skip_unreadable true"
                raise UserError(error.message, remedy) from None
            self.leave_out(utterance.utt_id, "unreadable audio")
            return
        with sound:
            if sound.channels == 1 and sound.format in STORED:
                target = self._target(utterance.utt_id, "data", STORED[sound.format])
                self._claim_folder()
                _write_if_changed(target, content)
                self._add(replace(utterance, audio=str(target)))
            else:
                scale = sound.scale()
                samples = scale.apply(sound.read())  # (T, channels)
                self.add_samples(utterance, samples, sound.samplerate)

    @property
    def utterances(self) -> Mapping[str, Utterance]:
        """The utterances so far by id."""
        return self._utterances

    def add_texts(self, utt_id: str, row: Mapping[str, Any], columns: ColumnMapping) -> None:
        """Add transcripts of a row to an utterance that was added before."""
        with self.errors.collecting():
            utterance = self._utterances[utt_id]
            texts = read_texts(columns, row, utt_id, self.report)
            self._utterances[utt_id] = replace(utterance, texts={**utterance.texts, **texts})

    def leave_out(self, utt_id: str, reason: str) -> None:
        """Report an utterance as left out."""
        self.report.leave_out(utt_id, reason)

    def run_commands(self, commands: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Run each (name, command) once and keep its output; return name → sound file."""
        jobs = []
        for name, command in commands:
            with self.errors.collecting():
                jobs.append(self._job(name, command, "recordings"))
        return {name: made.audio for name, made in self._render(jobs, "recordings").items()}

    def finish(self) -> dict[str, list[Utterance]]:
        """Write the remaining audio and the directory; return its utterances as one set.

        Raises:
            UserError: The source or the audio has errors; lists them all.
        """
        rendered = self._render(self._jobs, "data")
        jobs = {job.utt_id: job for job in self._jobs}
        for utt_id, made in rendered.items():
            seconds = jobs[utt_id].seconds
            self._utterances[utt_id] = replace(self._utterances[utt_id], audio=made.audio)
            if seconds is not None and made.frames < count_samples(seconds, made.rate):
                self.report.counts["parts that end after their audio, shortened"] += 1
        for utt_id in jobs.keys() - rendered.keys():
            del self._utterances[utt_id]
        utterances = [self._utterances[utt_id] for utt_id in sorted(self._utterances)]
        with self.errors.collecting():
            utterances = check_audio(
                utterances, self.report, skip_unreadable=self.options.skip_unreadable
            )
        utterances = self._normalize_phones(utterances)
        if self.errors:
            raise self.errors.combined()
        if not utterances:
            raise UserError(f"{self.folder}: no utterances to import", "see what was left out")
        self._claim_folder()
        write_directory(self.folder, utterances)
        sets = {self.folder.name: utterances}
        files.write_json(self.folder / REPORT_FILE, self.report.as_json(sets))
        self._output.__exit__(None, None, None)
        return sets

    def _normalize_phones(self, utterances: list[Utterance]) -> list[Utterance]:
        """Return the utterances with English phones in the notation of the CMU dictionary."""
        if self.options.phones != "cmu":
            return utterances
        utterances, problems = phone_notation.normalize_phones(utterances, self.report)
        for utt_id, what in problems:
            self.errors.add(UserError(f"{utt_id}: {what}", phone_notation.REMEDY))
        return phone_notation.normalize_upper_case_phones(utterances, self.report)

    def _add(self, utterance: Utterance) -> None:
        if utterance.utt_id in self._utterances:
            remedy = "give each utterance its own id, or name another column: --id"
            raise UserError(f"{utterance.utt_id}: two utterances have this id", remedy)
        if problem := id_problem(utterance.utt_id):
            raise UserError(f"the id {utterance.utt_id!r} {problem}", "rename it in the source")
        self._utterances[utterance.utt_id] = utterance

    def _target(self, name: str, subfolder: str, suffix: str) -> Path:
        if problem := id_problem(name):
            raise UserError(f"the id {name!r} {problem}", "rename it in the source")
        return (self.folder / subfolder / f"{name}{suffix}").absolute()

    def _job(self, name: str, source: str, subfolder: str) -> Job:
        allow_pipes = self.options.allow_pipes
        if is_pipe(source) and not (allow_pipes and source.endswith("|")):
            remedy = "if you trust the source, give --allow_pipes true; else write files"
            raise UserError(f"{name}: {source}: is a command, which is not run", remedy)
        target = str(self._target(name, subfolder, ".flac"))
        channel = self.options.channel
        return Job(name, source, target, channel=channel, allow_pipes=allow_pipes)

    def _claim_folder(self) -> None:
        """Mark the folder before anything is written, so that an interrupted import can resume."""
        if not self._is_claimed:
            self._output.__enter__()
            self._is_claimed = True
        if not (self.folder / REPORT_FILE).exists():
            content = {"corpus": self.report.corpus, "whole": False}
            files.write_json(self.folder / REPORT_FILE, content)

    def _render(self, jobs: list[Job], subfolder: str) -> dict:
        if jobs:
            self._claim_folder()
        label = f"writing {subfolder}"
        rendered, failed = render(jobs, self.folder / subfolder, nj=self.options.nj, label=label)
        for name, error in sorted(failed.items()):
            self.leave_out(name, "unreadable audio")
            if not self.options.skip_unreadable:
                remedy = f"{error.remedy}; or leave it out: --skip_unreadable true"
                self.errors.add(UserError(f"{name}: {error.message}", remedy))
        return rendered


def _write_if_changed(target: Path, content: bytes) -> None:
    """Write a file unless it has this content already."""
    try:
        if target.stat().st_size == len(content) and target.read_bytes() == content:
            return
    except OSError:
        pass
    with files.atomic_write(target, "wb") as handle:
        handle.write(content)
