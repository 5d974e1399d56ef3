"""Audio in memory: recordings are read and decoded in the first epoch only."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from espnet_ext.training.reading import WrappedLoader

_SCALE = 32768.0  # of 16-bit samples


class AudioCache(WrappedLoader):
    """A loader of audio that keeps 16-bit recordings until a number of bytes is reached.

    The samples are returned bit by bit as the loader returned them. Recordings with other samples
    than 16-bit ones are read each time.

    Args:
        loader: utterance id → samples, numbers from −1 to 1.
        megabytes: how much is kept. An hour of speech at 16 kHz takes 115 MB.
    """

    def __init__(self, loader: Mapping[str, Any], megabytes: float):
        super().__init__(loader)
        self._free = int(megabytes * 1e6)
        self._samples: dict[str, tuple[np.ndarray, np.dtype]] = {}

    def __getitem__(self, utterance: str) -> Any:
        if utterance in self._samples:
            kept, dtype = self._samples[utterance]
            return kept.astype(dtype) / dtype.type(_SCALE)
        audio = self._loader[utterance]
        samples = as_16_bit(audio)
        if samples is not None and samples.nbytes <= self._free:
            self._free -= samples.nbytes
            self._samples[utterance] = (samples, audio.dtype)
        return audio


def as_16_bit(audio: Any) -> np.ndarray | None:
    """Return audio as 16-bit integers; None if that would change it.

    >>> as_16_bit(np.array([0.5, -1.0])).tolist()
    [16384, -32768]
    """
    if not isinstance(audio, np.ndarray) or audio.dtype not in (np.float32, np.float64):
        return None
    scaled = audio * audio.dtype.type(_SCALE)
    if not np.isfinite(scaled).all() or np.abs(scaled).max(initial=0) > _SCALE:
        return None
    samples = scaled.clip(-_SCALE, _SCALE - 1).astype(np.int16)
    is_same = np.array_equal(samples, scaled) and not np.signbit(audio[audio == 0]).any()
    return samples if is_same else None


def cache_audio(dataset: Any, megabytes: float) -> None:
    """Make an ESPnetDataset keep the audio that it reads as `speech`."""
    loader = getattr(dataset, "loader_dict", {}).get("speech")
    if megabytes and loader is not None:
        dataset.loader_dict["speech"] = AudioCache(loader, megabytes)
