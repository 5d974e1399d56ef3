"""The scale of float samples.

Full scale is 1. A float file can nevertheless contain integers (16, 24 or 32 bits) that were cast
to floats, or samples above full scale, which 16-bit audio cannot contain. Both are divided by a
number, so that training, from the 16-bit audio of stage 3, and decoding in Python receive the same
samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from espnet_ext.errors import UserError

_MAX_PEAK = 16.0  # 24 dB above full scale; larger samples are on the scale of integers
_INTEGER_BITS = (16, 24, 32)
_MAX_OVERSHOOT = 1.5  # of integers that were resampled or filtered as floats


@dataclass(frozen=True)
class Range:
    """The range of the samples of a file, or of a part of it; ranges are added."""

    minimum: float = 0.0
    maximum: float = 0.0
    is_integer: bool = True  # all samples are whole numbers

    @classmethod
    def of(cls, samples: np.ndarray, is_integer: bool = True) -> Range:
        """Return the range of the finite samples.

        Args:
            is_integer: False if it is known that not all samples of the file are whole numbers.
        """
        finite = samples if np.isfinite(samples).all() else samples[np.isfinite(samples)]
        if not finite.size:
            return cls(is_integer=is_integer)
        is_integer = is_integer and bool((finite == np.rint(finite)).all())
        return cls(float(finite.min()), float(finite.max()), is_integer)

    def __add__(self, other: Range) -> Range:
        return Range(
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.is_integer and other.is_integer,
        )


@dataclass(frozen=True)
class Scale:
    """The divisor of the samples of a file, and the values that it follows from."""

    divisor: float = 1.0
    peak: float = 0.0  # largest magnitude before the division
    bits: int = 0  # bits of the integers that the samples were; 0: floats

    def apply(self, samples: np.ndarray) -> np.ndarray:
        return samples if self.divisor == 1.0 else samples / np.float32(self.divisor)

    def __str__(self) -> str:
        if self.bits:
            return (
                f"has float samples up to {self.peak:g}, taken as {self.bits}-bit integers: they "
                f"are divided by {self.divisor:g}"
            )
        return f"has float samples up to {self.peak:.2f} times full scale: they are divided by that"


def scale_of(samples: Range, source: str) -> Scale:
    """Return the scale of a float file.

    Args:
        samples: the range of all its samples.
        source: names the file in errors.

    Raises:
        UserError: if the samples are on no scale that is known.

    >>> scale_of(Range(-0.5, 1.0, False), "a.wav")
    Scale(divisor=1.0, peak=1.0, bits=0)
    >>> scale_of(Range(-1.7, 1.5, False), "a.wav").divisor
    1.7
    >>> scale_of(Range(-13000, 12000), "a.wav").divisor
    32768.0
    """
    peak = max(-samples.minimum, samples.maximum)
    if peak <= 1:
        return Scale(peak=peak)
    if not samples.is_integer and peak <= _MAX_PEAK:
        return Scale(peak, peak)
    if samples.minimum >= 0:
        raise UserError(
            f"{source}: has no sample below 0 and samples up to {peak:g}: unsigned integers",
            "subtract the zero level (128 for 8 bits) and export it again as 16-bit audio",
        )
    for bits in _INTEGER_BITS:
        full_scale = 2.0 ** (bits - 1)
        if peak <= _MAX_OVERSHOOT * full_scale:
            return Scale(max(full_scale, peak), peak, bits)
    raise UserError(
        f"{source}: has samples up to {peak:g}, on an unknown scale",
        "divide them by their full scale, so that they are between -1 and 1",
    )
