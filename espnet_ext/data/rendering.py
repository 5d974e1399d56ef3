"""Write many sound files that are derived from others: for speed perturbation and formatting.

A journal beside the audio records what each file was made from. A run that was killed continues
where it stopped, and a run without changes writes nothing.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from espnet_ext import files
from espnet_ext.data import arks
from espnet_ext.data.audio import encode_audio, read_part, resample, source_file, to_mono
from espnet_ext.data.checks.findings import ERROR, Finding
from espnet_ext.data.paths import existing_path
from espnet_ext.errors import UserError
from espnet_ext.progress import track

JOURNAL = ".made.jsonl"
ARK_ENTRIES = 500  # utterances per ark
_CHUNK = 16  # files that a process writes before it returns results


@dataclass(frozen=True)
class Job:
    """One sound to write."""

    utt_id: str
    source: str  # entry of wav.scp
    target: str  # sound file, or ark
    sample_rate: int | None = None  # Hz; None: that of the source
    channel: int | str | None = None  # as in `data.audio.load_audio`
    speed: float = 1.0  # 1.1 is 10 % faster and higher
    allow_pipes: bool = False
    entry: str = ""  # in an ark: suffix of the sound file, ".wav" or ".flac"
    start: float = 0.0  # seconds from the beginning of the source
    seconds: float | None = None  # duration; None: to the end of the source

    def key(self) -> list:
        """Return what the sound depends on: the options, and size and times of the source file.

        The change time is one of them, because it also changes if another file with the same size
        and modification time takes its place.
        """
        try:
            file = source_file(self.source)
            status = os.stat(existing_path(file)) if file else None
        except OSError:
            status = None
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns] if status else [0, 0, 0]
        return [list(asdict(self).values()), stamp]


@dataclass(frozen=True)
class Rendered:
    """One sound that was written."""

    utt_id: str
    audio: str  # entry for wav.scp
    frames: int
    rate: int  # Hz
    size: int  # bytes of the file or ark that contains it
    modified: int  # modification time of that file, in nanoseconds
    source_rate: int  # Hz
    source_channels: int
    fresh: bool = True  # False: written by an earlier run and unchanged


Result = Rendered | tuple[str, UserError]  # a sound, or utterance id and error


def render(
    jobs: Sequence[Job],
    folder: str | os.PathLike,
    *,
    nj: int = 1,
    label: str = "writing audio",
    overwrite: bool = False,
) -> tuple[dict[str, Rendered], dict[str, UserError]]:
    """Run jobs in `nj` processes; return the sounds, and the errors of unreadable audio, by id.

    Every file is written atomically.

    Args:
        jobs: those with the same target (an ark) must be consecutive.
        folder: folder of the audio and the journal.
        label: label of the progress bar.
        overwrite: replace files although there is no journal, which shows that they were written
            by this function.

    Raises:
        UserError: if a file cannot be written, e.g. on a full disk; the other jobs are cancelled.
            If a file is there that something else wrote, or the source of a job.
    """
    journal = Path(folder) / JOURNAL
    _check_targets(jobs, may_replace=overwrite or journal.exists())
    keys = {job.utt_id: job.key() for job in jobs}
    earlier = _read_journal(journal)
    rendered: dict[str, Rendered] = {}
    todo = []
    for group in _group_by_target(jobs):
        unchanged = [_find_unchanged(job, keys[job.utt_id], earlier) for job in group]
        if all(unchanged):
            rendered |= {sound.utt_id: sound for sound in unchanged if sound}
        else:
            todo.append(group)
    failed: dict[str, UserError] = {}
    if todo:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with open(journal, "a", encoding="utf-8") as handle:
                total = sum(len(group) for group in todo)
                for result in track(_run(todo, nj), label, total):
                    if isinstance(result, Rendered):
                        rendered[result.utt_id] = result
                        handle.write(_journal_line(keys[result.utt_id], result))
                        handle.flush()
                    else:
                        utt_id, error = result
                        failed[utt_id] = error
        except OSError as error:
            raise UserError(
                f"{journal}: cannot write: {error.strerror or error}",
                "free space on that disk, or check the folder's permissions, and run again",
            ) from None
        lines = [_journal_line(keys[utt_id], item) for utt_id, item in sorted(rendered.items())]
        files.write_text(journal, "".join(lines))
    return rendered, failed


def _check_targets(jobs: Sequence[Job], *, may_replace: bool) -> None:
    """Raise a `UserError` if this would overwrite a recording that something else wrote."""
    for job in jobs:
        if not os.path.lexists(job.target):
            continue
        file = source_file(job.source)
        if file and os.path.realpath(existing_path(file)) == os.path.realpath(job.target):
            message = f"{job.utt_id}: {job.target}: is both input and output"
            raise UserError(message, "name another output")
        if not may_replace:
            message = f"{job.utt_id}: {job.target}: exists and would be overwritten"
            remedy = "name another output, or move this file away; --overwrite true overwrites it"
            raise UserError(message, remedy)


def findings_of(failed: Mapping[str, UserError], scp: str | os.PathLike) -> list[Finding]:
    """Return the errors of `render` as findings about the entries of `scp`."""
    return [
        Finding(ERROR, "unreadable-audio", str(scp), 0, utt_id, error.message, error.remedy)
        for utt_id, error in sorted(failed.items())
    ]


def _group_by_target(jobs: Sequence[Job]) -> list[list[Job]]:
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.target, []).append(job)
    return list(groups.values())


def _run(groups: list[list[Job]], nj: int) -> Iterator[Result]:
    """Yield the results of all jobs, computed in `nj` processes."""
    if len(groups[0]) > 1:  # arks
        chunks = [[group] for group in groups]
    else:
        chunks = [groups[start : start + _CHUNK] for start in range(0, len(groups), _CHUNK)]
    if nj <= 1 or len(chunks) == 1:
        for group in groups:
            yield from _render_group(group)
        return
    # Forked processes start at once; this process has no threads that a fork could break.
    with ProcessPoolExecutor(min(nj, len(chunks)), mp_context=get_context("fork")) as pool:
        try:
            for results in pool.map(_render_groups, chunks):
                yield from results
        except BrokenProcessPool:
            folder = Path(groups[0][0].target).parent
            message = f"{folder}: a process that was writing audio was killed, perhaps for lack of "
            message += "memory"
            remedy = "run it again with a smaller --nj: it continues"
            raise UserError(message, remedy) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _render_groups(groups: list[list[Job]]) -> list[Result]:
    return [result for group in groups for result in _render_group(group)]


def _render_group(group: list[Job]) -> list[Result]:
    """Write the sounds of one target: a file, or an ark with several entries."""
    results: list[Result] = []
    sounds: list[tuple[Rendered, bytes]] = []
    for job in group:
        try:
            sounds.append(_render(job))
        except UserError as error:
            results.append((job.utt_id, error))
    target = group[0].target
    if not group[0].entry:
        for sound, content in sounds:
            with files.atomic_write(target, "wb") as handle:
                handle.write(content)
            modified = os.stat(target).st_mtime_ns
            results.append(replace(sound, size=len(content), modified=modified))
        return results
    if results:
        return results  # errors: an ark is written only if all of its sounds can be
    offsets = []
    with files.atomic_write(target, "wb") as handle:
        for sound, content in sounds:
            entry, start = arks.encode_entry(sound.utt_id, content)
            offsets.append(handle.tell() + start)
            handle.write(entry)
        size = handle.tell()
    modified = os.stat(target).st_mtime_ns
    return [
        replace(sound, audio=f"{target}:{offset}", size=size, modified=modified)
        for (sound, _), offset in zip(sounds, offsets, strict=True)
    ]


def _render(job: Job) -> tuple[Rendered, bytes]:
    """Return the sound of a job, and its encoded file."""
    channels, rate = read_part(job.source, job.start, job.seconds, allow_pipes=job.allow_pipes)
    samples = to_mono(channels, job.channel, job.source)  # (T,)
    new_rate = job.sample_rate or rate
    if job.speed != 1.0 or new_rate != rate:
        # Speech played at `speed` times its speed is speech recorded at `rate * speed`.
        samples = resample(samples, rate * job.speed, new_rate)
    if len(samples) == 0:
        remedy = "remove the utterance: it is shorter than one sample at the new rate"
        raise UserError(f"{job.source}: nothing is left after resampling", remedy)
    content = encode_audio(samples, new_rate, job.entry or Path(job.target).suffix)
    sound = Rendered(job.utt_id, job.target, len(samples), new_rate, 0, 0, rate, channels.shape[1])
    return sound, content


def _journal_line(key: list, sound: Rendered) -> str:
    return json.dumps({"key": key, "made": asdict(sound)}, ensure_ascii=False) + "\n"


def _read_journal(path: Path) -> dict[str, tuple[list, Rendered]]:
    """Return keys and sounds by id; a line that a killed run did not complete is ignored."""
    entries = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                entries[entry["made"]["utt_id"]] = (entry["key"], Rendered(**entry["made"]))
            except (ValueError, KeyError, TypeError):
                continue
    return entries


def _find_unchanged(
    job: Job, key: list, earlier: Mapping[str, tuple[list, Rendered]]
) -> Rendered | None:
    """Return the sound that an earlier run wrote for a job, if nothing has changed since."""
    if job.utt_id not in earlier or earlier[job.utt_id][0] != key:
        return None
    sound = earlier[job.utt_id][1]
    try:
        status = os.stat(job.target)
    except OSError:
        return None
    is_unchanged = (status.st_size, status.st_mtime_ns) == (sound.size, sound.modified)
    return replace(sound, fresh=False) if is_unchanged else None
