"""Read recordings that are too long to be held in memory: block by block, or one part at a time.

Symbols: T samples of one channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from espnet_ext.data import audio
from espnet_ext.errors import UserError

if TYPE_CHECKING:
    import numpy as np

BLOCK_SECONDS = 60.0


class LongAudio:
    """An open recording, of which parts are read as float32 samples of one channel, (T,).

    Args:
        source: the recording.
        channel: which of several channels to take: a number from 0, or "mix" for their mean.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     audio.write_audio(folder + "/a.wav", numpy.zeros(16000), 16000)
    ...     long = LongAudio(folder + "/a.wav")
    ...     long.seconds, sum(map(len, long.blocks(8000))), len(long.part(0.5, 2, 8000))
    (1.0, 8000, 4000)
    """

    def __init__(self, source: str, channel: int | str | None = None):
        self.source, self.channel = source, channel
        self.file = audio.open_sound(source)
        if not self.file.frames:
            raise UserError(f"{source}: has no samples", "record it again or remove the utterance")
        self.rate = self.file.samplerate
        self.seconds = self.file.frames / self.rate
        self._scale = self.file.scale()

    def close(self) -> None:
        self.file.close()

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """Yield the whole recording in blocks of `BLOCK_SECONDS`, resampled to `rate` in Hz."""
        import soxr

        stream = soxr.ResampleStream(self.rate, rate, 1, dtype="float32")
        size = int(BLOCK_SECONDS * self.rate)
        for start in range(0, self.file.frames, size):
            block = self._read(start, size)
            if rate != self.rate:
                block = stream.resample_chunk(block, last=start + size >= self.file.frames)
            yield block

    def part(self, start: float, end: float, rate: int) -> np.ndarray:
        """Return the samples from `start` to `end` in seconds, resampled to `rate` in Hz."""
        first = int(start * self.rate)
        samples = self._read(first, int(end * self.rate) - first)
        if rate == self.rate:
            return samples
        return audio.resample_to_audio(samples, self.rate, rate)

    def _read(self, start: int, count: int) -> np.ndarray:
        import numpy as np

        self.file.seek(start)
        samples = self.file.read(count)
        finite = np.isfinite(samples).all(1)
        if not finite.all():
            seconds = (start + int(finite.argmin())) / self.rate
            remedy = "export it again, or remove the utterance"
            raise UserError(f"{self.source}: samples are not finite at {seconds:.1f} s", remedy)
        scaled = self._scale.apply(samples)
        return audio.to_mono(scaled, self.channel, self.source, audio.CHOOSE_CHANNEL)
