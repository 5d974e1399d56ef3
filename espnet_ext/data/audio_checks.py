"""What recordings hold: headers, damage, silence, clipping, and the same recording twice."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext.data.audio import AudioInfo, audio_info, is_pipe, read_audio
from espnet_ext.data.checking import Check, Checks
from espnet_ext.data.findings import ERROR, WARNING
from espnet_ext.data.table import stream_table
from espnet_ext.errors import UserError
from espnet_ext.progress import track

if TYPE_CHECKING:
    import numpy as np

_FLOATS = ("FLOAT", "DOUBLE", "FLOAT32", "FLOAT64")  # only these can hold what is not a number
_QUIET = 10 ** (-50 / 20)  # peak: nothing but the noise of a device
_FULL = 1 - 2 / 32768  # amplitude from which on a sample may be cut off
_RUN = 3  # samples in a row at full scale that no sound has by itself
_CLIPPED = 0.001  # share of such samples that is heard
_OFFSET = 0.05  # mean of samples: a fault of the device
_AHEAD = 64  # recordings looked at beyond the one that is waited for, times the threads


@dataclass(frozen=True)
class Look:
    """What was seen of one recording."""

    info: AudioInfo
    peak: float | None = None  # None: samples were not read
    clipped: float = 0.0  # share of samples in runs at full scale
    offset: float = 0.0
    digest: bytes = b""  # of the samples


def check_audio(check: Check, folder: Path, sources: Sequence[str], rule: Checks) -> None:
    """Look at all recordings, `rule.nj` at a time; `sources` in the order of `check.ids`."""
    file = folder / "wav.scp"
    readable = [
        (key, source)
        for key, source in zip(check.ids, sources, strict=True)
        if rule.allow_pipes or not is_pipe(source)
    ]
    digests: dict[str, bytes] = {}
    looked = _map(lambda one: _look(one[1], rule.read_samples), readable, rule.nj)
    pairs = zip(readable, looked, strict=True)
    for (key, source), look in track(pairs, "checking audio", len(readable)):
        place = (file, check.lines[check.ids[key]], key)
        if isinstance(look, UserError):
            missing = "no such audio file" in look.message
            code = "no-audio" if missing else "unreadable-audio"
            check.add(ERROR, code, place, look.message, look.remedy)
            continue
        check.audio[key] = look.info
        _check_info(check, place, source, look.info, rule.sample_rate)
        if look.peak is not None:
            _check_samples(check, place, source, look)
            digests[key] = look.digest
    rates = Counter(info.rate for info in check.audio.values())
    if rule.sample_rate is None and len(rates) > 1:
        message = "mixed sample rates: " + ", ".join(f"{n} at {r} Hz" for r, n in rates.items())
        remedy = "run stage 3 (format_audio), which resamples"
        check.add(WARNING, "mixed-rates", (file, 0, ""), message, remedy)
    if rule.duplicates:
        _check_duplicates(check, file, dict(readable), digests, rule)


def check_shared_audio(
    check: Check, folder: Path, sources: Sequence[str], other: str | os.PathLike, rule: Checks
) -> None:
    """Recordings that another directory has too, whatever they are called there."""
    lengths = {(info.frames, info.rate) for info in check.audio.values()}
    there = []
    counted = Path(other) / "utt2num_samples"  # stage 3 writes it: no need to read headers
    known = {
        key: int(value)
        for block in (stream_table(counted, []) if counted.exists() else ())
        for key, value in zip(block.keys, block.values, strict=True)
        if value.isdecimal()
    }
    frames = {length for length, _ in lengths}
    for block in stream_table(Path(other) / "wav.scp", []):
        for key, source in zip(block.keys, block.values, strict=True):
            pipe = is_pipe(source) and not rule.allow_pipes
            if source and not pipe and known.get(key, next(iter(frames), 0)) in frames:
                there.append((key, source))
    same = []
    for one, info in zip(there, _map(lambda one: _info(one[1]), there, rule.nj), strict=True):
        if info is not None and (info.frames, info.rate) in lengths:
            same.append((one, info))
    suspects = {(info.frames, info.rate) for _, info in same}
    own = dict(zip(check.ids, sources, strict=True))
    mine = [key for key, info in check.audio.items() if (info.frames, info.rate) in suspects]
    found = dict(zip(_map(lambda key: _digest(own[key]), mine, rule.nj), mine, strict=True))
    digests = _map(lambda one: _digest(one[0][1]), same, rule.nj)
    for (one, _), digest in zip(same, digests, strict=True):
        if digest and digest in found:
            key = found[digest]
            message = f"is the recording of {one[0]} in {other}"
            remedy = "take it out of one of the two: a known recording is no test"
            place = (folder / "wav.scp", check.lines[check.ids[key]], key)
            check.add(rule.leaks, "shared-audio", place, message, remedy)


def _map[Item, Result](do, items: Iterable[Item], nj: int) -> Iterator[Result]:
    """`map` in threads, in order, a limited way ahead: the library that decodes lets them run."""
    if nj <= 1:
        yield from map(do, items)
        return
    items = iter(items)
    with ThreadPoolExecutor(nj) as pool:
        ahead: list[Future] = [pool.submit(do, item) for item in islice(items, _AHEAD * nj)]
        while ahead:
            half = len(ahead) // 2 + 1
            for future in ahead[:half]:
                yield future.result()
            ahead = ahead[half:] + [pool.submit(do, item) for item in islice(items, half)]


def _look(source: str, read_samples: bool) -> Look | UserError:
    try:
        info = audio_info(source, allow_pipes=True)
        if not info.frames or not (read_samples or info.subtype.upper() in _FLOATS):
            return Look(info)
        samples, _ = read_audio(source, allow_pipes=True)
        return _measure(info, samples) if read_samples else Look(info)
    except UserError as error:
        return error


def _measure(info: AudioInfo, samples: "np.ndarray") -> Look:
    """Peak, clipping, offset and digest of (T, channels)."""
    import numpy as np

    loud = np.abs(samples).max(axis=1) >= _FULL  # (T,)
    clipped = 0
    if loud.any():
        edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.view(np.int8), [0]))))
        runs = edges[1::2] - edges[::2]
        clipped = int(runs[runs >= _RUN].sum())
    peak = float(np.abs(samples).max())
    offset = float(abs(samples.mean()))
    return Look(info, peak, clipped / len(samples), offset, _digest_of(samples))


def _digest_of(samples: "np.ndarray") -> bytes:
    return blake2b(samples.tobytes(), digest_size=16).digest()


def _info(source: str) -> AudioInfo | None:
    try:
        return audio_info(source, allow_pipes=True)
    except UserError:
        return None


def _digest(source: str) -> bytes:
    """Of the samples, so that a copy in another format is found too; empty if unreadable."""
    try:
        return _digest_of(read_audio(source, allow_pipes=True)[0])
    except UserError:
        return b""


def _check_info(
    check: Check, place: tuple, source: str, info: AudioInfo, sample_rate: int | None
) -> None:
    if info.frames == 0:
        remedy = "record it again, or remove the utterance"
        check.add(ERROR, "empty-audio", place, f"{source}: has no samples", remedy)
    if info.channels != 1:
        message = f"{source}: has {info.channels} channels, not one"
        remedy = "run stage 3 (format_audio) with --channel N (from 0) or --channel mix"
        check.add(ERROR, "channels", place, message, remedy)
    if sample_rate is not None and info.rate != sample_rate:
        message = f"{source}: is at {info.rate} Hz, not {sample_rate} Hz"
        remedy = f"run stage 3 (format_audio) with --sample_rate {sample_rate}, which resamples"
        check.add(ERROR, "sample-rate", place, message, remedy)


def _check_samples(check: Check, place: tuple, source: str, look: Look) -> None:
    import math

    if look.peak < _QUIET:
        level = f"at {20 * math.log10(look.peak):.0f} dB of full scale" if look.peak else "zero"
        remedy = "listen to it; record it again, or remove the utterance"
        check.add(WARNING, "silent", place, f"{source}: is silent: its peak is {level}", remedy)
    if look.clipped > _CLIPPED:
        message = f"{source}: {100 * look.clipped:.2f} % of its samples are cut off at full scale"
        remedy = "record it at a lower level; a few such recordings do no harm in training"
        check.add(WARNING, "clipping", place, message, remedy)
    if look.offset > _OFFSET:
        message = f"{source}: is off centre: its samples have a mean of {look.offset:.2f}"
        check.add(WARNING, "offset", place, message, "high-pass it, and check the device")


def _check_duplicates(
    check: Check, file: Path, sources: dict[str, str], digests: dict[str, bytes], rule: Checks
) -> None:
    """The same recording under several ids; only recordings of one length are compared."""
    lengths: dict[tuple[int, int], list[str]] = {}
    for key, info in check.audio.items():
        if info.frames:
            lengths.setdefault((info.frames, info.rate), []).append(key)
    suspects = [key for keys in lengths.values() if len(keys) > 1 for key in keys]
    todo = [key for key in suspects if key not in digests]
    digests |= zip(todo, _map(lambda key: _digest(sources[key]), todo, rule.nj), strict=True)
    first: dict[bytes, str] = {}
    for key in suspects:
        if not digests[key]:
            continue
        if (known := first.setdefault(digests[key], key)) != key:
            message = f"is the same recording as {known}"
            remedy = "remove one of them; if their transcripts differ, at most one is right"
            place = (file, check.lines[check.ids[key]], key)
            check.add(WARNING, "duplicate-audio", place, message, remedy)
