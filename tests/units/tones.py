"""Noisy tones, and a data directory of them."""

from pathlib import Path

import numpy as np

from espnet_ext.data.audio import write_audio
from espnet_ext.data.directory import write_directory
from espnet_ext.data.record import Utterance

RATE = 16000


def wave(seconds: float, seed: int) -> np.ndarray:
    """Return a sequence of noisy tones (S,)."""
    random = np.random.default_rng(seed)
    count = int(seconds * RATE)
    pitches = random.uniform(100, 4000, 1 + count // 1600).repeat(1600)[:count]
    phase = 2 * np.pi * np.cumsum(pitches) / RATE
    return (0.3 * np.sin(phase) + 0.02 * random.normal(size=count)).astype("float32")


def write_corpus(folder: Path, seconds, prefix: str = "s1-u") -> Path:
    """Write a data directory with one utterance per duration; return its path."""
    utterances = []
    for i, duration in enumerate(seconds):
        path = folder / "audio" / f"{prefix}{i:02}.wav"
        write_audio(path, wave(duration, i), RATE)
        texts = {"surface": "ab ba", "meaning": "ab"}
        utterances.append(Utterance(f"{prefix}{i:02}", "s1", str(path), texts))
    write_directory(folder, utterances)
    return folder
