"""Receive a recording into memory, within limits, and decode it. Nothing is written to disk."""

import asyncio
import io
from dataclasses import dataclass

import numpy as np
from starlette.requests import Request

from espnet_ext.data.audio import MIX, to_full_scale, to_mono
from espnet_ext.data.sound_file import Sound
from espnet_ext.errors import UserError
from espnet_ext.serving.limits import Limits, Refusal

NAME = "the recording"  # in errors
FORMATS = "WAV, FLAC, Ogg (Vorbis, Opus), MP3 or another format that libsndfile reads"
SEND_AUDIO = f"send an audio file: {FORMATS}"
SEND_ALL = "send the whole file"
MIN_RATE, MAX_RATE = 1000, 192_000  # Hz
MAX_CHANNELS = 2


@dataclass(frozen=True)
class Upload:
    """A decoded recording.

    Args:
        samples: (S,) in float32, from −1 to 1; the mean of two channels.
        rate: sample rate in Hz.
        seconds: duration; at least this if the recording is too long and does not state it.
        is_too_long: it is longer than the server judges, and `samples` are not all of it.
    """

    samples: np.ndarray
    rate: int
    seconds: float
    is_too_long: bool


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request.

    What is beyond the size limit is received and dropped, because clients that are still sending
    do not see an answer.

    Raises:
        Refusal: 413 if it is too large, 408 if it arrives too slowly, 400 if it is empty.
    """
    body = bytearray()
    is_too_large = False
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in request.stream():
                is_too_large = is_too_large or len(body) + len(chunk) > limits.bytes
                if is_too_large:
                    body.clear()
                else:
                    body += chunk
    except TimeoutError:
        raise Refusal(
            408,
            "too_slow",
            f"the recording was not received within {limits.upload_seconds:g} s",
            "send it over a faster connection, or send a shorter one",
        ) from None
    if is_too_large:
        raise too_large(limits)
    if not body:
        raise Refusal(
            400, "empty", "the request has no audio", "send an audio file as the request body"
        )
    return bytes(body)


def too_large(limits: Limits) -> Refusal:
    """Return the refusal of an upload beyond the size limit."""
    return Refusal(
        413,
        "too_large",
        f"the recording has more than {limits.megabytes:g} MB",
        "send a shorter one, or encode it as FLAC",
    )


def decode(content: bytes, max_seconds: float) -> Upload:
    """Decode an audio file, but not more than `max_seconds` of it.

    Raises:
        Refusal: 415 if it cannot be read, or has an unusual sample rate or number of channels.
    """
    try:
        with Sound(NAME, io.BytesIO(content)) as sound:
            rate, channels = sound.samplerate, sound.channels
            if not (MIN_RATE <= rate <= MAX_RATE and channels <= MAX_CHANNELS):
                raise Refusal(
                    415,
                    "unusual_audio",
                    f"{NAME} has {rate} Hz and {channels} channels",
                    f"send {MIN_RATE} to {MAX_RATE} Hz, in one or two channels",
                )
            limit = int(max_seconds * rate)
            if sound.has_length and sound.frames > limit:
                return Upload(np.zeros(0, np.float32), rate, sound.frames / rate, True)
            samples = sound.read(limit + 1)
    except UserError as error:
        is_truncated = "is truncated" in error.message
        raise _unreadable(error.message, SEND_ALL if is_truncated else SEND_AUDIO) from None
    if not len(samples):
        raise _unreadable(f"{NAME}: has no samples", "record it again")
    if not np.isfinite(samples).all():
        raise _unreadable(f"{NAME}: has samples that are not finite", "export it again")
    try:
        samples = to_full_scale(samples, NAME)
    except UserError as error:
        raise _unreadable(error.message, error.remedy) from None
    mono = to_mono(samples, MIX, NAME)
    return Upload(mono, rate, len(samples) / rate, len(samples) > limit)


def _unreadable(message: str, remedy: str) -> Refusal:
    return Refusal(415, "not_audio", message, remedy)
