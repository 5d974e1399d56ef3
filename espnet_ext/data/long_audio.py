"""Audio that is too long to be held at once: read in blocks, or a part at a time.

Symbols: T samples of one channel.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from espnet_ext.data import audio
from espnet_ext.errors import UserError

if TYPE_CHECKING:
    import numpy as np

BLOCK_SECONDS = 60.0


class LongAudio:
    """A sound file that stays on disk; what is read of it is float32, one channel, finite.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     audio.write_audio(folder + "/a.wav", numpy.zeros(16000), 16000)
    ...     long = LongAudio(folder + "/a.wav")
    ...     long.seconds, sum(map(len, long.blocks(8000))), len(long.part(0.5, 2, 8000))
    (1.0, 8000, 4000)
    """

    def __init__(self, source: str):
        import soundfile

        self.source = source
        opened = audio.open_source(source, allow_pipes=False)
        if isinstance(opened, tuple):  # samples of an ark, which are in memory already
            rate, samples = opened
            opened = io.BytesIO()
            soundfile.write(opened, samples, rate, format="WAV", subtype="FLOAT")
            opened.seek(0)
        try:
            self.file = audio.open_sound(source, opened)
        except (soundfile.SoundFileError, RuntimeError, OSError) as error:
            raise audio.unreadable(source, error) from None
        audio.check_whole(self.file, source)
        if not self.file.frames:
            raise UserError(f"{source}: has no samples", "record it again or remove the utterance")
        self.rate = self.file.samplerate
        self.seconds = self.file.frames / self.rate

    def close(self) -> None:
        self.file.close()

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """All of it, block by block, at this rate in Hz."""
        import soxr

        stream = soxr.ResampleStream(self.rate, rate, 1, dtype="float32")
        size = int(BLOCK_SECONDS * self.rate)
        for start in range(0, self.file.frames, size):
            block = self._read(start, size)
            if rate != self.rate:
                block = stream.resample_chunk(block, last=start + size >= self.file.frames)
            yield block

    def part(self, start: float, end: float, rate: int) -> np.ndarray:
        """Samples from `start` to `end` in seconds, at this rate in Hz."""
        first = int(start * self.rate)
        samples = self._read(first, int(end * self.rate) - first)
        return audio.resample(samples, self.rate, rate) if rate != self.rate else samples

    def _read(self, start: int, count: int) -> np.ndarray:
        import numpy as np
        import soundfile

        try:
            self.file.seek(start)
            samples = self.file.read(count, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError, OSError) as error:
            raise audio.unreadable(self.source, error) from None
        finite = np.isfinite(samples).all(1)
        if not finite.all():
            at = f"at {(start + int(finite.argmin())) / self.rate:.1f} s"
            remedy = "export it again, or remove the utterance"
            raise UserError(f"{self.source}: samples that are not finite {at}", remedy)
        return audio.one_channel(samples, None, self.source)
