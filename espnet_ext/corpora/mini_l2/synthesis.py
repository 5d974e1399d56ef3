"""The audio of the embedded corpus: made once, speaker by speaker, and only what is missing.

Beside a speaker's files lies `made.json`: utterance id → a hash of all that its audio depends on.
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

VERSION = 1  # raise it when espeak_worker makes other audio of the same parameters
WORKER = "espnet_ext.corpora.mini_l2.espeak_worker"
SUFFIX = ".flac"
END_OF_JOB = "."  # as the worker prints it
REMEDY = 'pip install "espnet-ext[synth]"'
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Speech:
    """One utterance to be spoken."""

    utt_id: str
    text: str  # what espeak-ng is given
    seed: int  # of noise, room and level


def audio_path(audio_dir: Path, speaker: str, utt_id: str) -> Path:
    """Where an utterance's audio lies: `<audio_dir>/<speaker>/<utterance>.flac`."""
    return audio_dir / speaker / (utt_id + SUFFIX)


@dataclass(frozen=True)
class Script:
    """What a speaker says, and where its audio belongs."""

    folder: Path  # of the language; each speaker has a folder in it
    voice: str  # espeak-ng's language, e.g. "en-us"
    speaker: Speaker
    speech: Sequence[Speech]


def synthesise(scripts: Sequence[Script], nj: int = 2) -> int:
    """Speak what is not there yet, with `nj` processes; the number of files made.

    A missing espeak-ng is a `UserError` with the remedy, if anything is to be spoken.
    """
    jobs = [job for job in map(_Job, scripts) if job.missing]
    total = sum(len(job.missing) for job in jobs)
    if not total:
        return 0
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError("the embedded corpus needs espeak-ng, which is not installed", REMEDY)
    for _ in track(_spoken(jobs, nj), "speaking", total):
        pass
    return total


class _Job:
    """One speaker's utterances that are missing or were made of other parameters."""

    def __init__(self, script: Script):
        speaker = script.speaker
        self.folder = script.folder / speaker.name
        self.manifest = self.folder / "made.json"
        self.parameters = {
            "voice": f"{script.voice}+{speaker.variant}",
            **{name: getattr(speaker, name) for name in ("words_per_minute", "pitch")},
            **{name: getattr(speaker, name) for name in ("pitch_range", "snr_db", "tilt")},
        }
        made = self._made()
        self.keys = {one.utt_id: self._key(one) for one in script.speech}
        self.missing = [
            one for one in script.speech if made.get(one.utt_id) != self.keys[one.utt_id]
        ]

    def _made(self) -> dict[str, str]:
        """What is recorded as made and really there."""
        if not self.manifest.exists():
            return {}
        there = set(os.listdir(self.folder))
        made = files.read_json(self.manifest)
        return {utt: key for utt, key in made.items() if utt + SUFFIX in there}

    def _key(self, speech: Speech) -> str:
        what = json.dumps([VERSION, self.parameters, asdict(speech)], sort_keys=True)
        return hashlib.sha256(what.encode()).hexdigest()[:16]

    def run(self, worker: subprocess.Popen, done: "queue.Queue[str]") -> None:
        """Have a worker speak it, tell each utterance's id, then record what was made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = {one.utt_id for one in self.missing}
        kept = {utt: key for utt, key in self._made().items() if utt not in missing}
        if self.manifest.exists():  # killed from here on, no stale file passes for a fresh one
            files.write_json(self.manifest, kept)
        made: dict[str, str] = {}
        try:
            worker.stdin.write(json.dumps(self._request()) + "\n")
            worker.stdin.flush()
            while (line := worker.stdout.readline().strip()) != END_OF_JOB:
                if line not in self.keys:  # its end, before the job's, or another program's words
                    raise BrokenPipeError
                made[line] = self.keys[line]
                done.put(line)
        except BrokenPipeError:
            raise self._failure(worker) from None
        finally:
            files.write_json(self.manifest, dict(sorted({**kept, **made}.items())))

    def _failure(self, worker: subprocess.Popen) -> UserError:
        lines = worker.stderr.read().strip().splitlines() if worker.stderr else []
        reason = lines[0] if lines else "the process that speaks was killed"
        return UserError(
            f"{self.folder}: cannot speak: {reason}",
            f"run again; if it stays, free space on that disk or reinstall espeak-ng: {REMEDY}",
        )

    def _request(self) -> dict[str, Any]:
        path = {one.utt_id: str(self.folder / (one.utt_id + SUFFIX)) for one in self.missing}
        rows = [{**asdict(one), "path": path[one.utt_id]} for one in self.missing]
        return {**self.parameters, "utterances": rows}


def _start() -> subprocess.Popen:
    """A worker that finds this very package; with one thread, as forks lose all others."""
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
        start_new_session=True,  # so that it can be ended together with its forks
    )


def _spoken(jobs: Sequence[_Job], nj: int) -> Iterator[str]:
    """Ids as they are finished, from `nj` workers; the first failure stops all."""
    done: queue.Queue[str] = queue.Queue()
    waiting = collections.deque(jobs)
    workers = [_start() for _ in range(max(1, min(nj, len(jobs))))]

    def serve(worker: subprocess.Popen) -> None:
        while True:
            try:
                job = waiting.popleft()
            except IndexError:
                return
            job.run(worker, done)

    with ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(serve, worker) for worker in workers]
        failed: list[Future] = []
        try:
            while not all(future.done() for future in futures) or not done.empty():
                failed = [future for future in futures if future.done() and future.exception()]
                if failed:
                    break
                try:
                    yield done.get(timeout=0.1)
                except queue.Empty:
                    continue
        finally:
            waiting.clear()
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)
    for worker in workers:
        worker.communicate()
    for future in (*failed, *futures):  # first what failed by itself, not by the killing
        future.result()
