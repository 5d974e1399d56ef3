"""Synthesise the audio of the embedded corpus, speaker by speaker; keep audio that exists.

Beside the files of a speaker is `made.json`: utterance id → hash of all that determines its audio.
"""

import collections
import contextlib
import hashlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from espnet_ext import files
from espnet_ext.corpora.mini_l2.speakers import Speaker
from espnet_ext.errors import UserError
from espnet_ext.progress import track

VERSION = 1  # increase when espeak_worker makes other audio from the same parameters
WORKER = "espnet_ext.corpora.mini_l2.espeak_worker"
SUFFIX = ".flac"
END_OF_JOB = "."  # line of the worker
REMEDY = 'pip install "espnet-ext[synth]"'
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Speech:
    """An utterance to synthesise."""

    utt_id: str
    text: str  # input of espeak-ng
    seed: int  # seed of noise, reverberation and level


def audio_path(audio_dir: Path, speaker: str, utt_id: str) -> Path:
    """Return `<audio_dir>/<speaker>/<utterance>.flac`."""
    return audio_dir / speaker / (utt_id + SUFFIX)


@dataclass(frozen=True)
class Script:
    """The utterances of a speaker, and where their audio is written."""

    folder: Path  # folder of the language; each speaker has a folder in it
    voice: str  # language of espeak-ng, such as "en-us"
    speaker: Speaker
    speech: Sequence[Speech]


def synthesise(scripts: Sequence[Script], nj: int = 2) -> int:
    """Synthesise the missing audio in `nj` processes; return the number of files.

    Raises:
        UserError: There is audio to synthesise, but espeak-ng is not installed.
    """
    jobs = [job for job in map(_Job, scripts) if job.missing]
    total = sum(len(job.missing) for job in jobs)
    if not total:
        return 0
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError("the embedded corpus needs espeak-ng, which is not installed", REMEDY)
    for _ in track(_run_jobs(jobs, nj), "synthesising", total):
        pass
    return total


class _Job:
    """The utterances of a speaker whose audio is missing or was made from other parameters."""

    def __init__(self, script: Script):
        speaker = script.speaker
        self.folder = script.folder / speaker.name
        self.manifest = self.folder / "made.json"
        self.parameters = {
            "voice": f"{script.voice}+{speaker.variant}",
            "words_per_minute": speaker.words_per_minute,
            "pitch": speaker.pitch,
            "pitch_range": speaker.pitch_range,
            "snr_db": speaker.snr_db,
            "tilt": speaker.tilt,
        }
        existing = self._existing()
        self.keys = {speech.utt_id: self._key(speech) for speech in script.speech}
        self.missing = [
            speech
            for speech in script.speech
            if existing.get(speech.utt_id) != self.keys[speech.utt_id]
        ]

    def _existing(self) -> dict[str, str]:
        """Return the entries of the manifest whose file exists."""
        if not self.manifest.exists():
            return {}
        names = set(os.listdir(self.folder))
        entries = files.read_json(self.manifest)
        return {utt_id: key for utt_id, key in entries.items() if utt_id + SUFFIX in names}

    def _key(self, speech: Speech) -> str:
        content = json.dumps([VERSION, self.parameters, asdict(speech)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def run(self, worker: subprocess.Popen, finished: "queue.Queue[str]") -> None:
        """Let a worker synthesise the utterances; put each id in the queue; update the manifest."""
        assert worker.stdin is not None and worker.stdout is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = {speech.utt_id for speech in self.missing}
        kept = {utt_id: key for utt_id, key in self._existing().items() if utt_id not in missing}
        if self.manifest.exists():  # if interrupted, entries of replaced files must not remain
            files.write_json(self.manifest, kept)
        made: dict[str, str] = {}
        try:
            worker.stdin.write(json.dumps(self._request()) + "\n")
            worker.stdin.flush()
            while (line := worker.stdout.readline().strip()) != END_OF_JOB:
                if line not in self.keys:  # the worker ended, or another program wrote the line
                    raise BrokenPipeError
                made[line] = self.keys[line]
                finished.put(line)
        except BrokenPipeError:
            raise self._failure(worker) from None
        finally:
            files.write_json(self.manifest, dict(sorted({**kept, **made}.items())))

    def _failure(self, worker: subprocess.Popen) -> UserError:
        lines = worker.stderr.read().strip().splitlines() if worker.stderr else []
        reason = lines[0] if lines else "the synthesis process was killed"
        return UserError(
            f"{self.folder}: synthesis failed: {reason}",
            "run again; if it fails again, free space on that disk or reinstall espeak-ng: "
            f"{REMEDY}",
        )

    def _request(self) -> dict[str, Any]:
        rows = [
            {**asdict(speech), "path": str(self.folder / (speech.utt_id + SUFFIX))}
            for speech in self.missing
        ]
        return {**self.parameters, "utterances": rows}


def _start_worker() -> subprocess.Popen:
    """Start a worker that imports this package; with one thread, as it forks."""
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", WORKER],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        encoding="utf-8",
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        start_new_session=True,  # so that it can be killed together with its forks
    )


def _run_jobs(jobs: Sequence[_Job], nj: int) -> Iterator[str]:
    """Yield utterance ids as `nj` workers finish them; the first failure stops all workers."""
    finished: queue.Queue[str] = queue.Queue()
    waiting = collections.deque(jobs)
    workers = [_start_worker() for _ in range(max(1, min(nj, len(jobs))))]

    def run_jobs(worker: subprocess.Popen) -> None:
        while True:
            try:
                job = waiting.popleft()
            except IndexError:
                return
            job.run(worker, finished)

    with ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(run_jobs, worker) for worker in workers]
        failed: list[Future] = []
        try:
            while not all(future.done() for future in futures) or not finished.empty():
                failed = [future for future in futures if future.done() and future.exception()]
                if failed:
                    break
                try:
                    yield finished.get(timeout=0.1)
                except queue.Empty:
                    continue
        finally:
            waiting.clear()
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)
    for worker in workers:
        worker.communicate()
    for future in (*failed, *futures):  # the original failure before those caused by the killing
        future.result()
