"""What recordings contain: headers, damage, scale, silence, clipping, and repeated recordings."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext.data.audio import (
    AudioInfo,
    audio_info,
    is_pipe,
    read_audio,
    read_recording,
    resolve_source,
)
from espnet_ext.data.checks.context import Checked, Place
from espnet_ext.data.checks.findings import ERROR, WARNING
from espnet_ext.data.table import stream_in_order, stream_rows
from espnet_ext.errors import UserError
from espnet_ext.progress import track

if TYPE_CHECKING:
    import numpy as np

    from espnet_ext.data.scale import Scale

# Only these can contain NaN, infinities and samples above full scale. They are always read.
_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
_SILENT_PEAK = 10 ** (-50 / 20)  # -50 dB of full scale: nothing but the noise of a device
_FULL_SCALE = 1 - 2 / 32768  # magnitude from which on a sample may be clipped
_MIN_CLIPPED_RUN = 3  # consecutive samples at full scale, which do not occur without clipping
_MAX_CLIPPED = 0.001  # share of clipped samples that is not audible
_MAX_OFFSET = 0.05  # mean of all samples; a larger one is a fault of the device
_QUEUE_PER_THREAD = 64  # recordings that are read ahead


@dataclass(frozen=True)
class _Samples:
    """Measurements of the samples of one recording."""

    peak: float  # largest magnitude
    clipped: float  # share of samples in runs at full scale
    offset: float  # magnitude of the mean
    digest: bytes


def check_audio(checked: Checked) -> None:
    """Check the headers, and if asked the samples, of all recordings; fill in `audio`."""
    options = checked.options
    if not options.check_audio:
        return
    file = checked.folder / "wav.scp"
    count = sum(1 for _ in _recordings(checked))
    digests: dict[str, bytes] = {}
    results = _parallel_map(
        lambda item: (*item, _read(item[1], options.read_samples)), _recordings(checked), options.nj
    )
    for key, source, result in track(results, "checking audio", count):
        place = (file, checked.line_of(key), key)
        if isinstance(result, UserError):
            is_missing = "no such audio file" in result.message
            code = "no-audio" if is_missing else "unreadable-audio"
            checked.add(ERROR, code, place, result.message, result.remedy)
            continue
        info, scale, samples = result
        checked.audio.set(key, info)
        _check_info(checked, place, source, info)
        if scale is not None:
            _check_scale(checked, place, source, scale)
        if samples is not None:
            _check_samples(checked, place, source, samples)
            digests[key] = samples.digest
    rates = Counter(info.rate for info in checked.audio.values())
    if options.sample_rate is None and len(rates) > 1:
        message = "mixed sample rates: " + ", ".join(f"{n} at {r} Hz" for r, n in rates.items())
        remedy = "run stage 3 (format_audio), which resamples"
        checked.add(WARNING, "mixed-rates", (file, 0, ""), message, remedy)
    if options.duplicates:
        _check_duplicates(checked, file, digests)


def _recordings(checked: Checked) -> Iterator[tuple[str, str]]:
    """Yield id and audio of the recordings to check; they are not held in memory."""
    for _, key, source in stream_rows(checked.folder / "wav.scp"):
        if source and (checked.options.allow_pipes or not is_pipe(source)):
            yield key, _resolve(source, checked.folder)


def _sources_of(checked: Checked, keys: Collection[str]) -> dict[str, str]:
    """Return the audio of some ids."""
    return {key: source for key, source in _recordings(checked) if key in keys}


def check_shared_audio(checked: Checked, other: Path) -> None:
    """Report recordings that another directory has too, under any id."""
    options = checked.options
    lengths = {(info.frames, info.rate) for info in checked.audio.values()}
    candidates = []  # recordings of `other` whose length occurs in this directory
    other_sources = _sources_of_lengths(
        other, {frames for frames, _ in lengths}, options.allow_pipes
    )
    infos = _parallel_map(lambda item: _try_info(item[1]), other_sources, options.nj)
    for (key, source), info in zip(other_sources, infos, strict=True):
        if info is not None and (info.frames, info.rate) in lengths:
            candidates.append((key, source, (info.frames, info.rate)))
    common_lengths = {length for _, _, length in candidates}
    keys = [k for k, info in checked.audio.items() if (info.frames, info.rate) in common_lengths]
    sources = _sources_of(checked, set(keys))
    known_digests = _parallel_map(lambda key: _try_digest(sources[key]), keys, options.nj)
    by_digest = dict(zip(known_digests, keys, strict=True))
    digests = _parallel_map(lambda item: _try_digest(item[1]), candidates, options.nj)
    for (other_key, _, _), digest in zip(candidates, digests, strict=True):
        if digest and digest in by_digest:
            key = by_digest[digest]
            message = f"is the recording of {other_key} in {other}"
            remedy = "remove it from one of the two: a test must not contain training recordings"
            place = (checked.folder / "wav.scp", checked.line_of(key), key)
            checked.add(options.shared_severity, "shared-audio", place, message, remedy)


def _sources_of_lengths(folder: Path, frames: set[int], allow_pipes: bool) -> list[tuple[str, str]]:
    """Return id and audio of a directory's recordings that may have one of some lengths.

    utt2num_samples, which stage 3 writes, rules out most of them without reading headers.
    """
    table = folder / "utt2num_samples"
    counts = stream_in_order(table, []) if table.exists() else iter(())
    head = next(counts, None)
    candidates = []
    for _, key, source in stream_in_order(folder / "wav.scp", []):
        while head is not None and head[1] < key:
            head = next(counts, None)
        if head is not None and head[1] == key and head[2].isdecimal():
            is_candidate = int(head[2]) in frames
        else:
            is_candidate = bool(frames)
        if source and is_candidate and (allow_pipes or not is_pipe(source)):
            candidates.append((key, _resolve(source, folder)))
    return candidates


def _resolve(source: str, folder: Path) -> str:
    """Return an entry with its relative path resolved; as it is, if the path is ambiguous."""
    try:
        return resolve_source(source, folder)
    except UserError:
        return source


def _parallel_map[Item, Result](
    function: Callable[[Item], Result], items: Iterable[Item], nj: int
) -> Iterator[Result]:
    """Do what `map` does in `nj` threads (libsndfile is called without the GIL).

    A limited number of items is taken ahead of the results.
    """
    if nj <= 1:
        yield from map(function, items)
        return
    items = iter(items)
    with ThreadPoolExecutor(nj) as pool:
        queue: list[Future[Result]] = [
            pool.submit(function, item) for item in islice(items, _QUEUE_PER_THREAD * nj)
        ]
        while queue:
            half = len(queue) // 2 + 1
            for future in queue[:half]:
                yield future.result()
            queue = queue[half:] + [pool.submit(function, item) for item in islice(items, half)]


def _read(
    source: str, read_samples: bool
) -> tuple[AudioInfo, "Scale | None", _Samples | None] | UserError:
    """Read a header; of float audio also the scale; and if asked measure the samples."""
    try:
        info = audio_info(source, allow_pipes=True)
        if not info.frames or not (read_samples or info.subtype in _FLOAT_SUBTYPES):
            return info, None, None
        recording = read_recording(source, allow_pipes=True)
        return info, recording.scale, _measure(recording.samples) if read_samples else None
    except UserError as error:
        return error


def _measure(samples: "np.ndarray") -> _Samples:
    """Measure samples of shape (T, channels)."""
    import numpy as np

    at_full_scale = np.abs(samples).max(axis=1) >= _FULL_SCALE  # (T,)
    clipped = 0
    if at_full_scale.any():
        edges = np.flatnonzero(np.diff(np.concatenate(([0], at_full_scale.view(np.int8), [0]))))
        runs = edges[1::2] - edges[::2]
        clipped = int(runs[runs >= _MIN_CLIPPED_RUN].sum())
    peak = float(np.abs(samples).max())
    offset = float(abs(samples.mean()))
    return _Samples(peak, clipped / len(samples), offset, _digest(samples))


def _digest(samples: "np.ndarray") -> bytes:
    return blake2b(samples.tobytes(), digest_size=16).digest()


def _try_info(source: str) -> AudioInfo | None:
    try:
        return audio_info(source, allow_pipes=True)
    except UserError:
        return None


def _try_digest(source: str) -> bytes:
    """Return the digest of the samples, which is the same in all formats; b"" if unreadable."""
    try:
        return _digest(read_audio(source, allow_pipes=True)[0])
    except UserError:
        return b""


def _check_info(checked: Checked, place: Place, source: str, info: AudioInfo) -> None:
    sample_rate = checked.options.sample_rate
    if info.frames == 0:
        remedy = "record it again, or remove the utterance"
        checked.add(ERROR, "empty-audio", place, f"{source}: has no samples", remedy)
    if info.channels != 1:
        message = f"{source}: has {info.channels} channels, not one"
        remedy = (
            f"mix or choose channels: espnet-ext format_audio --input {checked.folder} "
            "--output DIR --channel mix, or N from 0; run.sh has --channel too"
        )
        checked.add(ERROR, "channels", place, message, remedy)
    if sample_rate is not None and info.rate != sample_rate:
        message = f"{source}: is at {info.rate} Hz, not {sample_rate} Hz"
        remedy = f"run stage 3 (format_audio) with --sample_rate {sample_rate}, which resamples"
        checked.add(ERROR, "sample-rate", place, message, remedy)


def _check_scale(checked: Checked, place: Place, source: str, scale: "Scale") -> None:
    if scale.bits:
        remedy = "none needed if this is right; otherwise export it again as 16-bit audio"
        checked.add(WARNING, "integer-scale", place, f"{source}: {scale}", remedy)
    elif scale.divisor != 1.0:
        remedy = "none needed: 16-bit audio cannot contain samples above full scale"
        checked.add(WARNING, "above-full-scale", place, f"{source}: {scale}", remedy)


def _check_samples(checked: Checked, place: Place, source: str, samples: _Samples) -> None:
    if samples.peak < _SILENT_PEAK:
        level = f"{20 * math.log10(samples.peak):.0f} dB of full scale" if samples.peak else "zero"
        remedy = "listen to it; record it again, or remove the utterance"
        checked.add(WARNING, "silent", place, f"{source}: is silent: its peak is {level}", remedy)
    if samples.clipped > _MAX_CLIPPED:
        message = f"{source}: {100 * samples.clipped:.2f} % of its samples are clipped"
        remedy = "record it at a lower level; a few clipped recordings do not harm training"
        checked.add(WARNING, "clipping", place, message, remedy)
    if samples.offset > _MAX_OFFSET:
        message = f"{source}: has a DC offset: the mean of its samples is {samples.offset:.2f}"
        checked.add(WARNING, "offset", place, message, "high-pass it, and check the device")


def _check_duplicates(checked: Checked, file: Path, digests: dict[str, bytes]) -> None:
    """Report recordings with several ids. Only recordings of equal length are compared.

    `digests` are those of the recordings whose samples were read already.
    """
    candidates = checked.audio.of_equal_length()
    unread = [key for key in candidates if key not in digests]
    sources = _sources_of(checked, set(unread))
    results = _parallel_map(lambda key: _try_digest(sources[key]), unread, checked.options.nj)
    digests |= zip(unread, results, strict=True)
    first: dict[bytes, str] = {}
    for key in candidates:
        if digests[key] and (original := first.setdefault(digests[key], key)) != key:
            message = f"is the same recording as {original}"
            remedy = "remove one of them; if their transcripts differ, at most one is correct"
            place = (file, checked.line_of(key), key)
            checked.add(WARNING, "duplicate-audio", place, message, remedy)
