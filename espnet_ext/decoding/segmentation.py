"""Long audio in parts: where somebody speaks, by voice activity detection, and stitched results.

The detector is Silero VAD (MIT licence, its weights come with the package), an optional extra.
"""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from espnet_ext.data.long_audio import LongAudio
from espnet_ext.decoding.search import Hypothesis, Part, Result
from espnet_ext.errors import UserError

RATE, WINDOW = 16000, 512  # what the detector takes: Hz, samples
PAUSE, AROUND = 0.4, 0.2  # seconds of silence that end a part; seconds kept around speech
SHORTEST = 1.0  # seconds that a part may be made to last: shorter ones are no utterances
Span = tuple[float, float]


def speech_spans(audio: LongAudio, longest: float) -> list[Span]:
    """Start and end in seconds of every stretch of speech; none lasts more than `longest`."""
    try:
        from silero_vad import get_speech_timestamps_from_probs, load_silero_vad
    except ImportError:
        raise UserError(
            f"{audio.source}: {audio.seconds:.0f} s are to be cut at silences, which needs a voice "
            "activity detector",
            "pip install silero-vad, or decode without --segment_seconds",
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of how its weights are kept
        detector = load_silero_vad()
    heard: list[float] = []
    samples = 0
    with torch.inference_mode():
        for window, count in _windows(audio):
            samples += count
            heard.append(float(detector(window, RATE)))
    found = get_speech_timestamps_from_probs(
        heard,
        sampling_rate=RATE,
        max_speech_duration_s=longest,
        audio_length_samples=samples,
        min_silence_duration_ms=int(PAUSE * 1000),
        speech_pad_ms=int(AROUND * 1000),
    )
    return [
        part
        for span in found
        for part in _cut(span["start"] / RATE, min(span["end"] / RATE, audio.seconds), longest)
    ]


def check_seconds(longest: object, name: str) -> None:
    """`UserError` for what is no length of a part."""
    real = isinstance(longest, int | float) and not isinstance(longest, bool)
    if not real or not SHORTEST <= longest < float("inf"):
        raise UserError(f"{name} {longest!r}", f"give seconds, {SHORTEST:g} or more")


def _windows(audio: LongAudio) -> Iterator[tuple[torch.Tensor, int]]:
    """Windows for the detector, the last one filled up, and how many samples each has."""
    rest = np.zeros(0, np.float32)
    for block in audio.blocks(RATE):
        samples = np.concatenate([rest, block])
        whole = len(samples) // WINDOW * WINDOW
        for window in torch.from_numpy(samples[:whole]).split(WINDOW):
            yield window, WINDOW
        rest = samples[whole:]
    if len(rest):
        yield torch.from_numpy(np.pad(rest, (0, WINDOW - len(rest)))), len(rest)


def _cut(start: float, end: float, longest: float) -> list[Span]:
    """A span in equal pieces that are short enough: the detector's own bound leaves some over."""
    count = max(1, int(np.ceil((end - start) / longest - 1e-9)))
    edges = np.linspace(start, end, count + 1).tolist()
    return list(zip(edges[:-1], edges[1:], strict=True))


def stitch(parts: Sequence[tuple[Span, Result]], outputs: Sequence[str]) -> Result:
    """The results of the parts as one: texts with a space between, tokens one after another.

    Times are those in the whole audio; a sum of scores says little, but is written all the same.
    """
    best = [(span, result.best) for span, result in parts]
    return Result(
        {name: [_joined([(span[0], one[name]) for span, one in best])] for name in outputs},
        tuple(Part(*span, result) for span, result in parts),
    )


def _joined(pieces: Sequence[tuple[float, Hypothesis]]) -> Hypothesis:
    said = [(start, piece) for start, piece in pieces if piece.tokens]
    times = [
        None if piece.times is None else [(start + a, start + b) for a, b in piece.times]
        for start, piece in said
    ]
    scorers = {name for _, piece in pieces for name in piece.scores}
    return Hypothesis(
        text=" ".join(piece.text for _, piece in said),
        tokens=tuple(token for _, piece in said for token in piece.tokens),
        token_ids=tuple(i for _, piece in said for i in piece.token_ids),
        score=sum(piece.score for _, piece in pieces),
        scores={name: sum(p.scores.get(name, 0.0) for _, p in pieces) for name in sorted(scorers)},
        confidences=tuple(sure for _, piece in said for sure in piece.confidences),
        times=None if None in times or not said else tuple(span for own in times for span in own),
    )
