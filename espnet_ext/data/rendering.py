"""Making sound files from sound files, many at a time: for speed perturbation and formatting.

A journal beside the audio says what each file was made from, so that a run that was killed goes on
where it was and a finished one has nothing to do.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from espnet_ext import files
from espnet_ext.data import arks
from espnet_ext.data.audio import encode_audio, one_channel, read_part, resample, source_file
from espnet_ext.data.findings import ERROR, Finding
from espnet_ext.errors import UserError
from espnet_ext.progress import track

JOURNAL = ".made.jsonl"
ARK_ENTRIES = 500  # utterances in one ark
_CHUNK = 16  # files that a worker makes between two reports


@dataclass(frozen=True)
class Job:
    """One sound to make."""

    utt_id: str
    source: str  # entry of wav.scp
    target: str  # sound file, or for arks the ark
    sample_rate: int | None = None  # Hz; None: the source's
    channel: int | str | None = None
    speed: float = 1.0  # 1.1 is faster and higher by 10 %
    allow_pipes: bool = False
    entry: str = ""  # within an ark: suffix of the sound file, ".wav" or ".flac"
    start: float = 0.0  # seconds; where in the source the sound begins
    seconds: float | None = None  # how long it is; None: to the source's end

    def key(self) -> list:
        """What the sound depends on: the options and the source's size and time of change."""
        try:
            status = os.stat(source_file(self.source)) if source_file(self.source) else None
        except OSError:
            status = None
        stamp = [status.st_size, status.st_mtime_ns] if status else [0, 0]
        options = asdict(self)
        return [list(options.values()), stamp]


@dataclass(frozen=True)
class Made:
    """One sound made."""

    utt_id: str
    audio: str  # entry for wav.scp
    frames: int
    rate: int
    size: int  # bytes of the file or ark that holds it
    source_rate: int
    source_channels: int
    fresh: bool = True  # False: it was there from an earlier run, unchanged


def render(
    jobs: Sequence[Job], folder: str | os.PathLike, *, nj: int = 1, label: str = "writing audio"
) -> tuple[dict[str, Made], dict[str, UserError]]:
    """Do the jobs in `nj` processes; returns what was made and what could not be read, by id.

    Jobs of one ark have to stand together. A full disk ends it at once with a `UserError`; files
    are whole or absent.
    """
    journal = Path(folder) / JOURNAL
    groups = _grouped(jobs)
    keys = {job.utt_id: job.key() for job in jobs}
    known = _read_journal(journal)
    done: dict[str, Made] = {}
    todo = []
    for group in groups:
        ready = [_still_there(job, keys[job.utt_id], known) for job in group]
        if all(ready):
            done |= {made.utt_id: made for made in ready if made}
        else:
            todo.append(group)
    failed: dict[str, UserError] = {}
    if todo:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with open(journal, "a", encoding="utf-8") as handle:
                total = sum(len(group) for group in todo)
                for result in track(_results(todo, nj), label, total):
                    if isinstance(result, Made):
                        done[result.utt_id] = result
                        handle.write(_entry(keys[result.utt_id], result))
                        handle.flush()
                    else:
                        failed[result[0]] = result[1]
        except OSError as error:
            raise UserError(
                f"{journal}: cannot write: {error.strerror or error}",
                "free space on that disk, or check the folder's permissions, and run again",
            ) from None
        lines = [_entry(keys[utt_id], made) for utt_id, made in sorted(done.items())]
        files.write_text(journal, "".join(lines))
    return done, failed


def findings_of(failed: dict[str, UserError], scp: str | os.PathLike) -> list[Finding]:
    """Failures as findings, for the listing."""
    return [
        Finding(ERROR, "unreadable-audio", str(scp), 0, utt_id, error.message, error.remedy)
        for utt_id, error in sorted(failed.items())
    ]


def _grouped(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs of one target (an ark) belong together."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.target, []).append(job)
    return list(groups.values())


def _results(groups: list[list[Job]], nj: int) -> Iterator[Made | tuple[str, UserError]]:
    if len(groups[0]) > 1:
        chunks = [[group] for group in groups]
    else:
        chunks = [groups[start : start + _CHUNK] for start in range(0, len(groups), _CHUNK)]
    if nj <= 1 or len(chunks) == 1:
        for chunk in chunks:
            for group in chunk:
                yield from _make_group(group)
        return
    # Forked workers start at once; this process runs no threads that a fork could break.
    with ProcessPoolExecutor(min(nj, len(chunks)), mp_context=get_context("fork")) as pool:
        try:
            for results in pool.map(_make_groups, chunks):
                yield from results
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _make_groups(groups: list[list[Job]]) -> list[Made | tuple[str, UserError]]:
    return [result for group in groups for result in _make_group(group)]


def _make_group(group: list[Job]) -> list[Made | tuple[str, UserError]]:
    """Make the sounds of one target: a file, or an ark of several."""
    results: list[Made | tuple[str, UserError]] = []
    contents: list[tuple[Made, bytes]] = []
    for job in group:
        try:
            contents.append(_make(job))
        except UserError as error:
            results.append((job.utt_id, error))
    target = group[0].target
    if not group[0].entry:
        for made, content in contents:
            with files.atomic_write(target, "wb") as handle:
                handle.write(content)
            results.append(replace(made, size=len(content)))
        return results
    if results:
        return results  # an ark is made when all of its sounds can be
    offsets = []
    with files.atomic_write(target, "wb") as handle:
        for made, content in contents:
            framed, start = arks.frame(made.utt_id, content)
            offsets.append(handle.tell() + start)
            handle.write(framed)
        size = handle.tell()
    return [
        replace(made, audio=f"{target}:{offset}", size=size)
        for (made, _), offset in zip(contents, offsets, strict=True)
    ]


def _make(job: Job) -> tuple[Made, bytes]:
    sound, rate = read_part(job.source, job.start, job.seconds, allow_pipes=job.allow_pipes)
    samples = one_channel(sound, job.channel, job.source)
    new_rate = job.sample_rate or rate
    if job.speed != 1.0 or new_rate != rate:
        # Speech played `speed` times as fast is speech recorded at `rate * speed`.
        samples = resample(samples, rate * job.speed, new_rate)
    if len(samples) == 0:
        remedy = "remove the utterance: it is shorter than one sample at the new rate"
        raise UserError(f"{job.source}: nothing left after resampling", remedy)
    content = encode_audio(samples, new_rate, job.entry or Path(job.target).suffix)
    made = Made(job.utt_id, job.target, len(samples), new_rate, 0, rate, sound.shape[1])
    return made, content


def _entry(key: list, made: Made) -> str:
    return json.dumps({"key": key, "made": asdict(made)}, ensure_ascii=False) + "\n"


def _read_journal(path: Path) -> dict[str, tuple[list, Made]]:
    """Entries by id, the last one counts; a line cut off by a killed run is passed over."""
    known = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                known[entry["made"]["utt_id"]] = (entry["key"], Made(**entry["made"]))
            except (ValueError, KeyError, TypeError):
                continue
    return known


def _still_there(job: Job, key: list, known: dict[str, tuple[list, Made]]) -> Made | None:
    """What an earlier run made for this job, if nothing has changed since."""
    if job.utt_id not in known or known[job.utt_id][0] != key:
        return None
    made = known[job.utt_id][1]
    try:
        same = os.stat(job.target).st_size == made.size
    except OSError:
        return None
    return replace(made, fresh=False) if same else None
