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
from typing import IO, TYPE_CHECKING, cast

from espnet_ext import files
from espnet_ext.data import arks, zips
from espnet_ext.data.paths import existing_path, hint_for_missing
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from espnet_ext.data.scale import Scale
    from espnet_ext.data.sound_file import Sound

FORMATS = {".wav": "WAV", ".flac": "FLAC"}  # that are written, always with 16 bits
MIX = "mix"  # channel option: the mean of all channels
# Remedies for several channels: of commands that prepare data, and of those that recognise audio
FORMAT_CHANNELS = "mix or choose channels: run.sh (or format_audio) --channel mix, or N from 0"
CHOOSE_CHANNEL = (
    'choose one by its number N from 0, or their mean: channel=N or channel="mix" in Python, '
    "--channel N or --channel mix on the command line"
)
MAX_OVERSHOOT = 0.5  # seconds that a part may end after its audio, as in Kaldi's extract-segments
_ARK_OFFSET = re.compile(r"(?P<path>.+\.ark):(?P<offset>\d+)")
_MAX_SCALES = 1000
_SCALES: dict[tuple[str, int, int], Scale] = {}  # by path, size and time


@dataclass(frozen=True)
class AudioInfo:
    """The parameters of a recording, from its header if that states them."""

    frames: int  # samples per channel
    rate: int  # Hz
    channels: int
    format: str = ""  # libsndfile's name: "WAV", "FLAC", …
    subtype: str = ""  # "PCM_16", "FLOAT", …
    has_length: bool = True  # the header says how long it is, which other programs need

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


@dataclass(frozen=True)
class Recording:
    """The samples of a recording, or of a part of it."""

    samples: np.ndarray  # float32, (T, channels), in [-1, 1]
    rate: int  # Hz
    scale: Scale  # what samples of a float file were divided by


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


def resolve_source(source: str, folder: str | os.PathLike) -> str:
    """Return an entry of a wav.scp with a path that is valid from the current folder.

    A relative path starts in the current folder, as in Kaldi, or else in the folder of wav.scp:
    then an absolute path is returned. Other entries, and paths under which there is no file, are
    returned as they are.

    Args:
        source: the entry.
        folder: folder of wav.scp.

    Raises:
        UserError: if there is a file in both folders, and not the same.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(folder + "/a.wav", numpy.zeros(800), 16000)
    ...     resolve_source("a.wav", folder) == folder + "/a.wav"
    True
    """
    if source.startswith("/"):  # nearly always
        return source
    file = source_file(source)
    beside = os.path.abspath(os.path.join(folder, file))  # in the folder of wav.scp
    if not file or not os.path.exists(existing_path(beside)):
        return source
    if not os.path.exists(existing_path(file)):
        return beside + source[len(file) :]
    if not os.path.samefile(existing_path(beside), existing_path(file)):
        here = os.path.abspath(file)
        message = f"{source}: two files have this relative path: {here} and {beside}"
        raise UserError(message, "write absolute paths in wav.scp")
    return source


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
            info = _info_of(sound)
            sound.require_last_sample()
            return info
    with zips.open_reference(member) as stream:  # decompresses only as far as it is read
        try:
            with _sound(source, cast(IO[bytes], stream), member.kind) as sound:
                info = _info_of(sound)
        except UserError as error:
            raise zips.unreadable(member, stream.error) if stream.error else error from None
        if stream.error:
            raise zips.unreadable(member, stream.error)
        return info


def _info_of(sound: Sound) -> AudioInfo:
    return AudioInfo(
        sound.frames,
        sound.samplerate,
        sound.channels,
        sound.format,
        sound.subtype,
        sound.has_length,
    )


def load_audio(
    source: str,
    sample_rate: int | None = None,
    *,
    channel: int | str | None = None,
    channel_remedy: str = FORMAT_CHANNELS,
    allow_pipes: bool = False,
) -> tuple[np.ndarray, int]:
    """Read one channel; return float32 samples of shape (T,) and their rate in Hz.

    Args:
        sample_rate: resample to this rate in Hz if the audio has another.
        channel: which of several channels to take: a number from 0, or "mix" for their mean.
        channel_remedy: see `to_mono`.
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
    mono = to_mono(samples, channel, source, channel_remedy)
    if sample_rate is not None and sample_rate != rate:
        mono, rate = resample_to_audio(mono, rate, sample_rate), sample_rate
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
    recording = read_recording(source, start, seconds, allow_pipes=allow_pipes)
    return recording.samples, recording.rate


def read_recording(
    source: str, start: float = 0.0, seconds: float | None = None, *, allow_pipes: bool = False
) -> Recording:
    """Do what `read_part` does; also return the scale of float samples."""
    import numpy as np

    from espnet_ext.data.scale import Range, Scale, scale_of

    with open_sound(source, allow_pipes=allow_pipes) as sound:
        rate = sound.samplerate
        is_whole = start == 0.0 and seconds is None
        if is_whole:
            samples = sound.read()
        else:
            first, count = _span(source, start, seconds, rate, sound.frames)
            sound.seek(first)
            samples = sound.read(count)
        if len(samples) == 0:
            raise UserError(f"{source}: has no samples", "record it again or remove the utterance")
        if not np.isfinite(samples).all():
            remedy = "export it again, or remove the utterance"
            raise UserError(f"{source}: has samples that are not finite (NaN or infinite)", remedy)
        scale = Scale()
        if sound.is_float:  # a part is on the scale of the whole
            scale = scale_of(Range.of(samples), source) if is_whole else _scale_of_file(sound)
    return Recording(scale.apply(samples), rate, scale)


def _scale_of_file(sound: Sound) -> Scale:
    """Return the scale of a recording; cached for a file whose size and time are unchanged."""
    try:
        status = os.stat(sound.source)
    except OSError:
        return sound.scale()  # a command, or a part of an archive
    key = (sound.source, status.st_size, status.st_mtime_ns)
    if key not in _SCALES:
        if len(_SCALES) >= _MAX_SCALES:
            _SCALES.clear()
        _SCALES[key] = sound.scale()
    return _SCALES[key]


def to_full_scale(samples: np.ndarray, name: str) -> np.ndarray:
    """Return float samples as `read_audio` would return them from a float file.

    Args:
        samples: floats of any shape, finite.
        name: names them in errors.

    >>> import numpy
    >>> to_full_scale(numpy.array([-16384.0, 8192.0], "float32"), "samples").tolist()
    [-0.5, 0.25]
    """
    from espnet_ext.data.scale import Range, scale_of

    return scale_of(Range.of(samples), name).apply(samples)


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


def resample_to_audio(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Resample as `resample` does, and clip samples that overshoot [-1, 1] as 16-bit audio does."""
    return resample(samples, rate, new_rate).clip(-1.0, 1.0)


def encode_audio(samples: np.ndarray, rate: int, suffix: str) -> bytes:
    """Encode samples (T,) as a 16-bit sound file; samples read from 16-bit audio are unchanged.

    The conversion to integers is done here because that of libsndfile scales by 2¹⁵−1, which
    changes loud samples. The file is encoded in memory, because a full disk then always raises an
    error.
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


def open_sound(source: str, *, allow_pipes: bool = False, content: bytes | None = None) -> Sound:
    """Open a recording; the caller closes it.

    Args:
        source: entry of wav.scp.
        content: the sound file, if it is in memory already; `source` then only names it in errors.

    Raises:
        UserError: if the recording is missing, unreadable or truncated.
    """
    if content is not None:
        return _sound(source, io.BytesIO(content))
    if is_pipe(source):
        return _sound(source, io.BytesIO(_run_command(source, allow_pipes)))
    if ark := _ARK_OFFSET.fullmatch(source):
        return _sound(source, io.BytesIO(_read_ark(source, ark["path"], int(ark["offset"]))))
    if member := zips.parse_reference(source):
        return _sound(source, io.BytesIO(zips.read_reference(member)), member.kind)
    path = require_sound_file(source)
    return _sound(source, path, os.path.splitext(path)[1][1:].lower())


def require_sound_file(source: str, *, is_listed: bool = True) -> str:
    """Return the path under which a sound file exists.

    Args:
        source: its path.
        is_listed: wav.scp has the path; otherwise, a user gave it directly.

    Raises:
        UserError: there is no such file.
    """
    path = existing_path(source)
    if os.path.isfile(path):
        return path
    if os.path.isdir(path):
        remedy = "write the path of a sound file in wav.scp" if is_listed else "name a file in it"
        raise UserError(f"{source}: is a folder", remedy)
    remedy = "correct the path"
    if not os.path.isabs(source):
        remedy += f": relative paths start in the current folder, {os.getcwd()}"
        remedy += ", or in the folder of wav.scp" if is_listed else ""
    if hint := hint_for_missing(path):
        remedy = f"{hint}; {remedy}" if is_listed else hint
    raise UserError(f"{source}: no such audio file", remedy)


def _sound(source: str, file: str | IO[bytes], kind: str = "") -> Sound:
    from espnet_ext.data.sound_file import Sound

    return Sound(source, file, kind)


def _run_command(source: str, allow_pipes: bool) -> bytes:
    """Run a command of wav.scp and return its output."""
    if not allow_pipes or not source.endswith("|"):
        remedy = (
            "if you trust wav.scp, write the audio to files: format_audio --allow_pipes true, or "
            "stage 3 of run.sh --allow_pipes true"
        )
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


def check_channel(channel: object) -> int | str | None:
    """Return a valid channel: a number from 0, "mix" or None.

    >>> check_channel("mix"), check_channel(1)
    ('mix', 1)
    """
    is_number = isinstance(channel, int) and not isinstance(channel, bool) and channel >= 0
    if channel is not None and channel != MIX and not is_number:
        raise UserError(f"channel {channel!r}", 'give "mix", or the number of a channel from 0')
    return cast(int | str | None, channel)


def to_mono(
    samples: np.ndarray,
    channel: int | str | None,
    source: str,
    remedy: str = FORMAT_CHANNELS,
) -> np.ndarray:
    """Select one channel: (T, channels) → (T,).

    Args:
        channel: number from 0, or "mix" for the mean; needed if there are several channels.
        source: names the audio in errors.
        remedy: how the reader of the error chooses a channel.
    """
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    if channel is None:
        raise UserError(f"{source}: has {channels} channels, not one", remedy)
    if channel == MIX:
        return samples.mean(axis=1)
    if not 0 <= int(channel) < channels:
        choice = f"choose channel 0 to {channels - 1}, or mix"
        raise UserError(f"{source}: has no channel {channel}, only {channels}", choice)
    return samples[:, int(channel)]
