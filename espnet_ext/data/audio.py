"""Read and write audio as float32 samples in [-1, 1], one channel unless stated otherwise.

An entry of wav.scp is one of:

- a sound file that libsndfile reads;
- `x.pcm` without a header: 16-bit little-endian mono at 16 kHz, as in Korean corpora;
- `x.ark:offset`: a sound file or samples in an ark;
- `x.zip:offset:compressed size:size:kind`: a sound file in a zip archive (`data.zips`);
- `command |`: a shell command, run only if `allow_pipes` is set.

numpy, soundfile, soxr and kaldiio are imported in the functions: checking texts needs none of them.
"""

from __future__ import annotations

import io
import math
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_ext import files
from espnet_ext.data import arks, zips
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import soundfile

FORMATS = {".wav": "WAV", ".flac": "FLAC"}  # that are written, always with 16 bits
MIX = "mix"  # channel option: the mean of all channels
MAX_OVERSHOOT = 0.5  # seconds that a part may end after its audio, as in Kaldi's extract-segments
# What libsndfile's wrapper raises for unreadable audio (LibsndfileError is a RuntimeError).
READ_ERRORS = (RuntimeError, OSError, MemoryError)
_ARK_OFFSET = re.compile(r"(?P<path>.+\.ark):(?P<offset>\d+)")
# A line of libsndfile's log about a WAV whose data chunk is shorter than its header says.
_TRUNCATED = re.compile(r"^data *: (?P<expected>\d+) \(should be (?P<actual>\d+)\)", re.MULTILINE)
_STREAMED_LENGTH = 0x7FFFF000  # from here on, the length was not known when the header was written
_PCM: dict[str, Any] = {  # the format of headerless files
    "samplerate": 16000,
    "channels": 1,
    "format": "RAW",
    "subtype": "PCM_16",
    "endian": "LITTLE",
}


@dataclass(frozen=True)
class AudioInfo:
    """The parameters of a recording, which its header states."""

    frames: int  # samples per channel
    rate: int  # Hz
    channels: int
    format: str = ""  # libsndfile's name: "WAV", "FLAC", …
    subtype: str = ""  # "PCM_16", "FLOAT", …

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


def is_pipe(source: str) -> bool:
    """Return whether an entry of wav.scp is a shell command (`sox a.sph -t wav - |`)."""
    return source.endswith("|") or source.startswith("|")


def source_file(source: str) -> str:
    """Return the file that an entry of wav.scp reads; "" for a command.

    >>> source_file("raw.ark:123"), source_file("a.wav"), source_file("cat a.wav |")
    ('raw.ark', 'a.wav', '')
    """
    if is_pipe(source):
        return ""
    if member := zips.parse_reference(source):
        return member.path
    ark = _ARK_OFFSET.fullmatch(source)
    return ark["path"] if ark else source


def audio_info(source: str, *, allow_pipes: bool = False) -> AudioInfo:
    """Return the parameters of a recording. Of files, only the header is read.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(folder + "/a.wav", numpy.zeros(800), 16000)
    ...     audio_info(folder + "/a.wav").seconds
    0.05
    """
    member = zips.parse_reference(source)
    if member is None:
        with open_sound(source, allow_pipes=allow_pipes) as sound:
            return _info_of(sound)
    with zips.open_reference(member) as stream:  # decompresses only as far as it is read
        with _open_sound(source, stream, member.kind) as sound:
            info = _info_of(sound)
        if stream.error:
            raise zips.unreadable(member, stream.error)
        return info


def _info_of(sound: soundfile.SoundFile) -> AudioInfo:
    return AudioInfo(sound.frames, sound.samplerate, sound.channels, sound.format, sound.subtype)


def load_audio(
    source: str,
    sample_rate: int | None = None,
    *,
    channel: int | str | None = None,
    allow_pipes: bool = False,
) -> tuple[np.ndarray, int]:
    """Read one channel; return float32 samples of shape (T,) and their rate in Hz.

    Args:
        sample_rate: resample to this rate in Hz if the audio has another.
        channel: which of several channels to take: a number from 0, or "mix" for their mean.
        allow_pipes: run `source` if it is a command.

    Raises:
        UserError: if the audio is missing, unreadable, empty or not finite, or has several
            channels and `channel` is not given.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(folder + "/a.wav", numpy.full(800, 0.5), 16000)
    ...     samples, rate = load_audio(folder + "/a.wav", 8000)
    >>> samples.shape, samples.dtype.name, rate
    ((400,), 'float32', 8000)
    """
    samples, rate = read_audio(source, allow_pipes=allow_pipes)
    mono = to_mono(samples, channel, source)
    if sample_rate is not None and sample_rate != rate:
        mono, rate = resample(mono, rate, sample_rate), sample_rate
    return mono, rate


def read_audio(source: str, *, allow_pipes: bool = False) -> tuple[np.ndarray, int]:
    """Read all channels; return float32 samples of shape (T, channels) and their rate in Hz."""
    return read_part(source, allow_pipes=allow_pipes)


def read_part(
    source: str, start: float = 0.0, seconds: float | None = None, *, allow_pipes: bool = False
) -> tuple[np.ndarray, int]:
    """Read `seconds` of a recording from `start` on (None: to its end), all channels.

    Only the part is held in memory. It may end up to `MAX_OVERSHOOT` seconds after the recording,
    because times in annotations are often rounded; it is then shorter.

    Returns:
        float32 samples of shape (T, channels), finite and not empty, and their rate in Hz.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(folder + "/a.wav", numpy.zeros(16000), 16000)
    ...     read_part(folder + "/a.wav", 0.25, 0.5)[0].shape
    (8000, 1)
    """
    import numpy as np

    with open_sound(source, allow_pipes=allow_pipes) as sound:
        rate = sound.samplerate
        first, count = _span(source, start, seconds, rate, sound.frames)
        try:
            if first:
                sound.seek(first)
            samples = sound.read(-1 if seconds is None else count, dtype="float32", always_2d=True)
        except READ_ERRORS as error:
            raise unreadable(source, error) from None
    if len(samples) == 0:
        raise UserError(f"{source}: has no samples", "record it again or remove the utterance")
    if not np.isfinite(samples).all():
        remedy = "export it again, or remove the utterance"
        raise UserError(f"{source}: has samples that are not finite (NaN or infinite)", remedy)
    return samples, rate


def _span(
    source: str, start: float, seconds: float | None, rate: int, frames: int
) -> tuple[int, int]:
    """Return the first sample and the number of samples of a part."""
    first = count_samples(start, rate)
    if seconds is None:
        return first, max(0, frames - first)
    count = count_samples(seconds, rate)
    overshoot = (first + count - frames) / rate
    if first < 0 or count <= 0 or first >= frames or overshoot > MAX_OVERSHOOT:
        message = (
            f"{source}: has no part from {start:g} s to {start + seconds:g} s: "
            f"it is {frames / rate:g} s long"
        )
        raise UserError(message, "correct the times, or remove the utterance")
    return first, min(count, frames - first)


def count_samples(seconds: float, rate: int) -> int:
    """Return a duration as a number of samples; halves are rounded up, as lhotse does.

    >>> count_samples(0.5, 16000), count_samples(0.00003125, 16000)
    (8000, 1)
    """
    return math.floor(round(seconds * rate, 8) + 0.5)


def load_utterance(utterance: Utterance, sample_rate: int | None = None) -> tuple[np.ndarray, int]:
    """Do what `load_audio` does for an utterance, and name it in errors."""
    try:
        return load_audio(utterance.audio, sample_rate)
    except UserError as error:
        raise UserError(f"{utterance.utt_id}: {error.message}", error.remedy) from None


def resample(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Resample (T,) to round(T · new_rate / rate) float32 samples, band-limited (soxr, HQ)."""
    import numpy as np
    import soxr

    return soxr.resample(np.ascontiguousarray(samples, dtype=np.float32), rate, new_rate)


def encode_audio(samples: np.ndarray, rate: int, suffix: str) -> bytes:
    """Encode (T,) samples as a 16-bit sound file; what was read from 16-bit audio is unchanged.

    The conversion to integers is done here because libsndfile's own scales by 2¹⁵−1, which changes
    loud samples. The file is encoded in memory because a full disk is then certain to be noticed.
    """
    import numpy as np
    import soundfile

    if suffix not in FORMATS:
        raise UserError(f"cannot write audio as '{suffix}'", f"use one of {', '.join(FORMATS)}")
    scaled = np.rint(np.asarray(samples, dtype=np.float64) * 32768.0)
    integers = np.clip(scaled, -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, integers, rate, format=FORMATS[suffix], subtype="PCM_16")
    return buffer.getvalue()


def write_audio(path: str | os.PathLike, samples: np.ndarray, rate: int) -> None:
    """Write (T,) samples in [-1, 1] as 16-bit WAV or FLAC, depending on the suffix, atomically."""
    content = encode_audio(samples, rate, Path(path).suffix)
    with files.atomic_write(path, "wb") as handle:
        handle.write(content)


def open_sound(
    source: str, *, allow_pipes: bool = False, content: bytes | None = None
) -> soundfile.SoundFile:
    """Open a recording with libsndfile; the caller closes it.

    Args:
        source: entry of wav.scp.
        content: the sound file, if it is in memory already; `source` then only names it in errors.

    Raises:
        UserError: if the recording is missing, unreadable or truncated.
    """
    if content is not None:
        return _open_sound(source, io.BytesIO(content))
    if is_pipe(source):
        return _open_sound(source, io.BytesIO(_run_command(source, allow_pipes)))
    if ark := _ARK_OFFSET.fullmatch(source):
        return _open_sound(source, io.BytesIO(_read_ark(source, ark["path"], int(ark["offset"]))))
    if member := zips.parse_reference(source):
        return _open_sound(source, io.BytesIO(zips.read_reference(member)), member.kind)
    if not os.path.isfile(source):
        problem = "is a folder" if os.path.isdir(source) else "no such audio file"
        remedy = "correct its path in wav.scp (relative paths start where the command runs)"
        raise UserError(f"{source}: {problem}", remedy)
    return _open_sound(source, source, os.path.splitext(source)[1][1:].lower())


def _open_sound(source: str, file: str | io.IOBase, kind: str = "") -> soundfile.SoundFile:
    import soundfile

    try:
        options = _PCM if kind == "pcm" and not _has_wav_header(file) else {}
        sound = soundfile.SoundFile(file, **options)
    except READ_ERRORS as error:
        raise unreadable(source, error) from None
    _require_complete(sound, source)
    return sound


def _has_wav_header(file: str | io.IOBase) -> bool:
    if isinstance(file, str):
        with open(file, "rb") as handle:
            return handle.read(4) == b"RIFF"
    header = file.read(4)
    file.seek(0)
    return header == b"RIFF"


def _run_command(source: str, allow_pipes: bool) -> bytes:
    """Run a command of wav.scp and return its output."""
    if not allow_pipes or not source.endswith("|"):
        remedy = "if you trust wav.scp, run with --allow_pipes true; else write the audio to files"
        raise UserError(f"{source}: is a command, and commands are not run by default", remedy)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", source[:-1]], capture_output=True, check=False
    )
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        remedy = "run the command by hand and correct it"
        raise UserError(f"{source}: fails with exit status {done.returncode}: {reason}", remedy)
    return done.stdout


def _read_ark(source: str, path: str, offset: int) -> bytes:
    """Return the sound file at an offset of an ark; plain samples are returned as a float WAV."""
    import soundfile

    with arks.open_at(path, offset) as handle:
        if handle.read(len(arks.AUDIO)) == arks.AUDIO:
            return arks.read_sound_file(handle, source)
    value = arks.read_at(path, offset)
    if not isinstance(value, tuple):
        remedy = "wav.scp must refer to audio; features belong in another scp file"
        raise UserError(f"{source}: contains an array without a sample rate, not audio", remedy)
    rate, samples = value
    if samples.dtype.kind == "i":
        samples = samples / float(2 ** (8 * samples.dtype.itemsize - 1))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples.astype("float32"), rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def to_mono(samples: np.ndarray, channel: int | str | None, source: str) -> np.ndarray:
    """Select one channel: (T, channels) → (T,).

    Args:
        channel: number from 0, or "mix" for the mean; needed if there are several channels.
        source: names the audio in errors.
    """
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    if channel is None:
        remedy = "run stage 3 (format_audio) with --channel N (from 0) or --channel mix"
        raise UserError(f"{source}: has {channels} channels, not one", remedy)
    if channel == MIX:
        return samples.mean(axis=1)
    if not 0 <= int(channel) < channels:
        remedy = f"choose --channel 0 to {channels - 1}, or mix"
        raise UserError(f"{source}: has no channel {channel}, only {channels}", remedy)
    return samples[:, int(channel)]


def _require_complete(sound: soundfile.SoundFile, source: str) -> None:
    """Raise a `UserError` for a truncated WAV, which libsndfile only mentions in its log."""
    truncated = sound.format.startswith("WAV") and _TRUNCATED.search(sound.extra_info)
    if not truncated:
        return
    expected, actual = int(truncated["expected"]), int(truncated["actual"])
    if expected < _STREAMED_LENGTH and actual < 0.99 * expected:
        sound.close()
        remedy = "copy it again, or remove the utterance"
        raise UserError(
            f"{source}: is truncated: it has {actual} of {expected} bytes of samples", remedy
        )


def unreadable(source: str, error: Exception) -> UserError:
    """Return the error for audio that libsndfile cannot read."""
    reason = str(error).rsplit(": ", 1)[-1].rstrip(".") or type(error).__name__
    remedy = "try to play it; export it again as WAV or FLAC, or remove the utterance"
    return UserError(f"{source}: cannot be read as audio: {reason}", remedy)
