"""Audio in and out: sound files, arks, zips and (if asked for) pipes to float32 mono, T samples.

An entry of wav.scp is a sound file, `x.ark:offset`, `x.zip:offset:packed:size:kind` (data.zips), or
headerless `x.pcm`, which is 16-bit little-endian mono at 16 kHz, as Korean corpora have it.

numpy, soundfile, soxr and kaldiio are imported inside the functions: checking texts needs none.
"""

from __future__ import annotations

import io
import math
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext import files
from espnet_ext.data import zips
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import soundfile

FORMATS = {".wav": "WAV", ".flac": "FLAC"}  # what is written, always 16-bit
_ARK_OFFSET = re.compile(r"(?P<path>.+\.ark):(?P<offset>\d+)")
_CUT_OFF = re.compile(r"^data *: (?P<promised>\d+) \(should be (?P<there>\d+)\)", re.MULTILINE)
_STREAMED = 0x7FFFF000  # a length from here on was not known when the header was written
OVERSHOOT = 0.5  # seconds that a part may end after its audio, as in Kaldi's extract-segments
MIX = "mix"  # channel: the mean of all
_HEADERLESS = {"format": "RAW", "subtype": "PCM_16", "endian": "LITTLE"}
PCM_RATE = 16000  # Hz, of headerless sound


@dataclass(frozen=True)
class AudioInfo:
    frames: int  # samples of each channel
    rate: int  # Hz
    channels: int
    format: str = ""  # libsndfile's names: "WAV", "FLAC", …
    subtype: str = ""  # "PCM_16", "FLOAT", …

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


def is_pipe(source: str) -> bool:
    """Whether a wav.scp entry is a shell command (`sox a.sph -t wav - |`): run only if asked."""
    return source.endswith("|") or source.startswith("|")


def source_file(source: str) -> str:
    """The file that an entry of wav.scp reads; empty for a pipe.

    >>> source_file("raw.ark:123"), source_file("a.wav"), source_file("cat a.wav |")
    ('raw.ark', 'a.wav', '')
    """
    if is_pipe(source):
        return ""
    if inside := zips.parse_reference(source):
        return inside.path
    ark = _ARK_OFFSET.fullmatch(source)
    return ark["path"] if ark else source


def audio_info(source: str, *, allow_pipes: bool = False) -> AudioInfo:
    """Length, rate and channels, from the header where there is a file.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(folder + "/a.wav", numpy.zeros(800), 16000)
    ...     audio_info(folder + "/a.wav").seconds
    0.05
    """
    import soundfile

    inside = zips.parse_reference(source)
    opened = zips.opened(inside) if inside else open_source(source, allow_pipes)
    if isinstance(opened, tuple):  # samples of an ark that is no sound file
        rate, samples = opened
        return AudioInfo(len(samples), rate, samples.shape[1], "ARK", str(samples.dtype))
    try:
        with open_sound(source, opened) as sound:
            check_whole(sound, source)
            if inside and opened.error:
                raise zips.unreadable(inside, opened.error)
            return AudioInfo(
                sound.frames, sound.samplerate, sound.channels, sound.format, sound.subtype
            )
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        raise unreadable(source, error) from None
    finally:
        if inside:
            opened.close()


def load_audio(
    source: str,
    sample_rate: int | None = None,
    *,
    channel: int | str | None = None,
    allow_pipes: bool = False,
) -> tuple[np.ndarray, int]:
    """Samples as float32 in [-1, 1], shape (T,), and their rate in Hz.

    `sample_rate` resamples where it differs. `channel` is what to take of audio with several: a
    number from 0, or "mix"; without it such audio is a `UserError`, as are missing, unreadable,
    empty and non-finite audio.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(folder + "/a.wav", numpy.full(800, 0.5), 16000)
    ...     samples, rate = load_audio(folder + "/a.wav", 8000)
    >>> samples.shape, samples.dtype.name, rate
    ((400,), 'float32', 8000)
    """
    samples, rate = read_audio(source, allow_pipes=allow_pipes)
    mono = one_channel(samples, channel, source)
    if sample_rate is not None and sample_rate != rate:
        mono, rate = resample(mono, rate, sample_rate), sample_rate
    return mono, rate


def read_audio(source: str, *, allow_pipes: bool = False) -> tuple[np.ndarray, int]:
    """All channels as they are: float32 (T, channels), finite and not empty, and the rate."""
    return read_part(source, allow_pipes=allow_pipes)


def read_part(
    source: str, start: float = 0.0, seconds: float | None = None, *, allow_pipes: bool = False
) -> tuple[np.ndarray, int]:
    """`read_audio` of a part, of which only that is held; `seconds` from `start`, None: to the end.

    A part may end up to `OVERSHOOT` seconds after the audio, as times are often rounded; it is then
    shorter. One that lies further outside is a `UserError`.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(folder + "/a.wav", numpy.zeros(16000), 16000)
    ...     read_part(folder + "/a.wav", 0.25, 0.5)[0].shape
    (8000, 1)
    """
    import numpy as np
    import soundfile

    opened = open_source(source, allow_pipes)
    if isinstance(opened, tuple):
        rate, samples = opened
        first, count = _span(source, start, seconds, rate, len(samples))
        samples = samples[first : first + count]
    else:
        try:
            with open_sound(source, opened) as sound:
                check_whole(sound, source)
                rate = sound.samplerate
                first, count = _span(source, start, seconds, rate, sound.frames)
                if first:
                    sound.seek(first)
                wanted = -1 if seconds is None else count
                samples = sound.read(wanted, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError, OSError, MemoryError) as error:
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
    """First sample and number of samples of a part; halves are rounded up, as lhotse does."""
    first = frames_of(start, rate)
    if seconds is None:
        return first, max(0, frames - first)
    count = frames_of(seconds, rate)
    beyond = (first + count - frames) / rate
    if first < 0 or count <= 0 or first >= frames or beyond > OVERSHOOT:
        message = (
            f"{source}: has no part from {start:g} s to {start + seconds:g} s: "
            f"it is {frames / rate:g} s long"
        )
        raise UserError(message, "correct the times, or remove the utterance")
    return first, min(count, frames - first)


def frames_of(seconds: float, rate: int) -> int:
    """Seconds as a number of samples.

    >>> frames_of(0.5, 16000), frames_of(0.00003125, 16000)
    (8000, 1)
    """
    return math.floor(round(seconds * rate, 8) + 0.5)


def load_utterance(utterance: Utterance, sample_rate: int | None = None) -> tuple[np.ndarray, int]:
    """`load_audio` of an utterance's audio; what is wrong with it names the utterance."""
    try:
        return load_audio(utterance.audio, sample_rate)
    except UserError as error:
        raise UserError(f"{utterance.utt_id}: {error.message}", error.remedy) from None


def resample(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Resample (T,) float32 to round(T · new_rate / rate) samples, band-limited (soxr, HQ)."""
    import numpy as np
    import soxr

    return soxr.resample(np.ascontiguousarray(samples, dtype=np.float32), rate, new_rate)


def encode_audio(samples: np.ndarray, rate: int, suffix: str) -> bytes:
    """A 16-bit sound file as bytes; what was read from 16-bit audio is encoded without change.

    libsndfile's own conversion from float scales by 2¹⁵−1, so it would alter loud samples; and
    encoding in memory leaves writing to us, where a full disk is seen for certain.
    """
    import numpy as np
    import soundfile

    if suffix not in FORMATS:
        raise UserError(f"cannot write audio as '{suffix}'", f"use one of {', '.join(FORMATS)}")
    scaled = np.rint(np.asarray(samples, dtype=np.float64) * 32768.0)
    buffer = io.BytesIO()
    integers = np.clip(scaled, -32768, 32767).astype(np.int16)
    soundfile.write(buffer, integers, rate, format=FORMATS[suffix], subtype="PCM_16")
    return buffer.getvalue()


def write_audio(path: str | os.PathLike, samples: np.ndarray, rate: int) -> None:
    """Write (T,) samples in [-1, 1] as 16-bit WAV or FLAC, by the suffix; whole or not at all."""
    content = encode_audio(samples, rate, Path(path).suffix)
    with files.atomic_write(path, "wb") as handle:
        handle.write(content)


def open_source(source: str, allow_pipes: bool) -> str | io.BytesIO | tuple[int, np.ndarray]:
    """What soundfile can open, or (rate, (T, channels)) of an ark that holds no sound file."""
    if is_pipe(source):
        return _run_pipe(source, allow_pipes)
    if ark := _ARK_OFFSET.fullmatch(source):
        return _open_ark(source, ark["path"], int(ark["offset"]))
    if inside := zips.parse_reference(source):
        return io.BytesIO(zips.load(inside))
    if not os.path.isfile(source):
        what = "is a folder" if os.path.isdir(source) else "no such audio file"
        remedy = "correct its path in wav.scp (relative paths start where the command runs)"
        raise UserError(f"{source}: {what}", remedy)
    return source


def open_sound(source: str, opened: str | io.IOBase) -> soundfile.SoundFile:
    """What `open_source` gave, as a sound; a `.pcm` has no header, unless it begins with one."""
    import soundfile

    inside = zips.parse_reference(source)
    if (inside.kind if inside else os.path.splitext(source)[1][1:].lower()) != "pcm":
        return soundfile.SoundFile(opened)
    if isinstance(opened, str):
        with open(opened, "rb") as handle:
            head = handle.read(4)
    else:
        head = opened.read(4)
        opened.seek(0)
    if head == b"RIFF":
        return soundfile.SoundFile(opened)
    return soundfile.SoundFile(opened, samplerate=PCM_RATE, channels=1, **_HEADERLESS)


def _run_pipe(source: str, allow_pipes: bool) -> io.BytesIO:
    if not allow_pipes or not source.endswith("|"):
        remedy = "if you trust wav.scp, run with --allow_pipes true; else write the audio to files"
        raise UserError(f"{source}: is a command, and commands are not run unasked", remedy)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", source[:-1]], capture_output=True, check=False
    )
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        remedy = "run the command by hand and mend it"
        raise UserError(f"{source}: fails with exit status {done.returncode}: {reason}", remedy)
    return io.BytesIO(done.stdout)


def _open_ark(source: str, path: str, offset: int) -> io.BytesIO | tuple[int, np.ndarray]:
    from espnet_ext.data import arks

    with arks.open_at(path, offset) as handle:
        if handle.read(len(arks.AUDIO)) == arks.AUDIO:
            return io.BytesIO(arks.read_framed(handle, source))
    value = arks.read_at(path, offset)
    if not isinstance(value, tuple):
        remedy = "wav.scp must point at audio; features belong in an scp of their own"
        raise UserError(f"{source}: holds an array without a sample rate, not audio", remedy)
    rate, samples = value
    if samples.dtype.kind == "i":
        samples = samples / float(2 ** (8 * samples.dtype.itemsize - 1))
    return rate, samples.reshape(len(samples), -1).astype("float32")


def one_channel(samples: np.ndarray, channel: int | str | None, source: str) -> np.ndarray:
    """(T, channels) → (T,): the only channel, the numbered one (from 0), or the mean for "mix"."""
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


def check_whole(sound: soundfile.SoundFile, source: str) -> None:
    """A WAV that lacks its end: libsndfile reads what is there and only notes it in its log."""
    cut = sound.format.startswith("WAV") and _CUT_OFF.search(sound.extra_info)
    if not cut:
        return
    promised, there = int(cut["promised"]), int(cut["there"])
    if promised < _STREAMED and there < 0.99 * promised:
        remedy = "copy it again, or remove the utterance"
        raise UserError(
            f"{source}: is cut off: {there} of {promised} bytes of sound are there", remedy
        )


def unreadable(source: str, error: Exception) -> UserError:
    reason = str(error).rsplit(": ", 1)[-1].rstrip(".") or type(error).__name__
    remedy = "play it to see; export it again as WAV or FLAC, or remove the utterance"
    return UserError(f"{source}: cannot be read as audio: {reason}", remedy)
