"""Long audio: cut it into speech segments by voice activity detection, and join their results.

The detector is Silero VAD, an optional dependency (MIT licence; its weights are in the package).
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch

from espnet_ext.data.long_audio import LongAudio
from espnet_ext.decoding.search import Hypothesis, Part, Result
from espnet_ext.errors import UserError

MAX_READ_SECONDS = 300.0  # seconds of long audio in memory at once

RATE, WINDOW = 16000, 512  # the detector's sample rate (Hz) and window (samples)
MIN_SILENCE = 0.4  # seconds of silence that end a segment
SPEECH_PADDING = 0.2  # seconds that are kept before and after speech
SHORTEST = 1.0  # seconds; smallest `max_seconds`: utterances are not shorter
Span = tuple[float, float]  # start and end in seconds


def speech_spans(audio: LongAudio, max_seconds: float) -> list[Span]:
    """Return the segments that contain speech, none longer than `max_seconds`.

    Raises:
        UserError: if Silero VAD is not installed.
    """
    try:
        from silero_vad import get_speech_timestamps_from_probs, load_silero_vad
    except ImportError:
        raise UserError(
            f"{audio.source}: {audio.seconds:.0f} s of audio: to cut it at silences, a voice "
            "activity detector is needed",
            "pip install silero-vad, or decode without --segment_seconds",
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about the file format of its weights
        detector = load_silero_vad()
    probabilities: list[float] = []
    num_samples = 0
    with torch.inference_mode():
        for window, count in _windows(audio):
            num_samples += count
            probabilities.append(float(detector(window, RATE)))
    segments = get_speech_timestamps_from_probs(
        probabilities,
        sampling_rate=RATE,
        max_speech_duration_s=max_seconds,
        audio_length_samples=num_samples,
        min_silence_duration_ms=int(MIN_SILENCE * 1000),
        speech_pad_ms=int(SPEECH_PADDING * 1000),
    )
    spans: list[Span] = []
    for segment in segments:
        start, end = segment["start"] / RATE, min(segment["end"] / RATE, audio.seconds)
        spans += _split(start, end, max_seconds)
    return spans


def check_seconds(value: object, name: str) -> None:
    """Raise a `UserError` if `value` cannot be a maximum segment length in seconds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not SHORTEST <= cast(float, value) < float("inf"):
        raise UserError(f"{name} {value!r}", f"give seconds, {SHORTEST:g} or more")


def _windows(audio: LongAudio) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield windows for the detector, the last one zero-padded, and their numbers of samples."""
    remainder = np.zeros(0, np.float32)
    for block in audio.blocks(RATE):
        samples = np.concatenate([remainder, block])
        end = len(samples) // WINDOW * WINDOW
        for window in torch.from_numpy(samples[:end]).split(WINDOW):
            yield window, WINDOW
        remainder = samples[end:]
    if len(remainder):
        padded = np.pad(remainder, (0, WINDOW - len(remainder)))
        yield torch.from_numpy(padded), len(remainder)


def _split(start: float, end: float, max_seconds: float) -> list[Span]:
    """Split a span into equal parts of at most `max_seconds`; the detector can exceed its limit."""
    count = max(1, int(np.ceil((end - start) / max_seconds - 1e-9)))
    edges = np.linspace(start, end, count + 1).tolist()
    return list(zip(edges[:-1], edges[1:], strict=True))


def stitch(parts: Sequence[tuple[Span, Result]], outputs: Sequence[str]) -> Result:
    """Join the best hypotheses of consecutive segments.

    Texts are joined by spaces, token times count from the start of the whole audio, and scores are
    sums over the segments.
    """
    best = [(span, result.best) for span, result in parts]
    return Result(
        {name: [_join([(span[0], by_name[name]) for span, by_name in best])] for name in outputs},
        tuple(Part(*span, result) for span, result in parts),
    )


def _join(pieces: Sequence[tuple[float, Hypothesis]]) -> Hypothesis:
    """Join hypotheses, each with the start of its segment in seconds.

    Times are missing if they are missing for any segment with tokens.
    """
    spoken = [(start, piece) for start, piece in pieces if piece.tokens]
    times: list[tuple[float, float]] | None = [] if spoken else None
    for offset, piece in spoken:
        if times is None or piece.times is None:
            times = None
            break
        times += [(offset + start, offset + end) for start, end in piece.times]
    names = sorted({name for _, piece in pieces for name in piece.scores})
    return Hypothesis(
        text=" ".join(piece.text for _, piece in spoken),
        tokens=tuple(token for _, piece in spoken for token in piece.tokens),
        token_ids=tuple(i for _, piece in spoken for i in piece.token_ids),
        score=sum(piece.score for _, piece in pieces),
        scores={name: sum(p.scores.get(name, 0.0) for _, p in pieces) for name in names},
        confidences=tuple(value for _, piece in spoken for value in piece.confidences),
        times=None if times is None else tuple(times),
    )


def group_spans(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Group segments of long audio that are read together, up to MAX_READ_SECONDS."""
    group: list[Span] = []
    for span in spans:
        if group and sum(end - start for start, end in [*group, span]) > MAX_READ_SECONDS:
            yield group
            group = []
        group.append(span)
    if group:
        yield group
