"""Telephone speech: the band of a sample rate, and a simulation of narrowband audio.

The simulation limits speech to the telephone band, samples it at 8 kHz and quantises it by μ-law
companding with 8 bits, as the codec G.711 does (ITU-T G.711; its segments are approximated by the
continuous law).

Symbols: S samples.
"""

import numpy as np

from espnet_ext.data.record import BANDS

NARROW, WIDE = BANDS
NARROW_RATE = 8000  # Hz
# Hz: where the telephone band begins and ends; gain rises and falls within these spans
_LOW, _HIGH = (200.0, 300.0), (3400.0, 3700.0)
_MU = 255.0


def band_of(rate: float) -> str:
    """Return the label in `utt2band` of audio with a sample rate in Hz.

    >>> band_of(8000), band_of(16000)
    ('narrow', 'wide')
    """
    return NARROW if rate <= NARROW_RATE else WIDE


def mu_law(samples: np.ndarray) -> np.ndarray:
    """Return samples after μ-law companding with 8 bits (sign and 127 levels), still from −1 to 1.

    >>> mu_law(np.array([0.0, 1.0, -1.0, 2.0])).round(9).tolist()
    [0.0, 1.0, -1.0, 1.0]
    """
    limited = np.clip(samples, -1.0, 1.0)
    companded = np.log1p(_MU * np.abs(limited)) / np.log1p(_MU)
    levels = np.round(companded * 127) / 127
    return np.sign(limited) * np.expm1(levels * np.log1p(_MU)) / _MU


def narrowband(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return speech (S,) as a telephone line transmits it, at the same sample rate.

    Args:
        samples: floats from −1 to 1.
        rate: sample rate in Hz, at least 8000.
    """
    count = len(samples)
    if not count:
        return samples
    low_count = max(1, round(count * NARROW_RATE / rate))
    spectrum = np.fft.rfft(samples)
    frequencies = np.fft.rfftfreq(count, 1 / rate)
    spectrum = spectrum * _ramp(frequencies, *_LOW) * (1 - _ramp(frequencies, *_HIGH))
    bins = low_count // 2 + 1
    low = np.fft.irfft(spectrum[:bins], low_count) * (low_count / count)  # at 8 kHz
    spectrum = np.fft.rfft(mu_law(low))
    return (np.fft.irfft(spectrum, count) * (count / low_count)).astype(samples.dtype)


def _ramp(frequencies: np.ndarray, start: float, end: float) -> np.ndarray:
    """Return a gain that rises from 0 to 1 between two frequencies as a raised cosine."""
    position = np.clip((frequencies - start) / (end - start), 0.0, 1.0)
    return 0.5 - 0.5 * np.cos(np.pi * position)
