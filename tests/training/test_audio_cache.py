"""Audio that is kept in memory is the audio that was read."""

from collections import Counter

import numpy as np
import pytest

from espnet_ext.training.audio_cache import AudioCache, as_16_bit


class Loader(dict):
    """Counts how often each utterance is read."""

    def __init__(self, audio):
        super().__init__(audio)
        self.reads = Counter()

    def __getitem__(self, key):
        self.reads[key] += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_16_bit_audio_is_read_once_and_returned_exactly(dtype):
    levels = np.arange(-32768, 32768).astype(dtype) / dtype(32768)
    loader = Loader({"a": levels, "b": levels.reshape(-1, 2)})
    cache = AudioCache(loader, megabytes=1)
    for _ in range(3):
        for key in cache:
            audio = cache[key]
            assert audio.dtype == dtype and np.array_equal(audio, loader.get(key))
    assert loader.reads == {"a": 1, "b": 1} and len(cache) == 2


def test_audio_that_16_bits_would_change_is_read_each_time():
    tiny = np.array([1e-6, 0.5])
    cases = {
        "between levels": tiny,
        "too loud": np.array([1.5]),
        "upper end": np.array([1.0]),
        "negative zero": np.array([-0.0]),
        "not finite": np.array([np.nan]),
    }
    assert all(as_16_bit(audio) is None for audio in cases.values())
    cache = AudioCache(loader := Loader(cases), megabytes=1)
    for _ in range(2):
        for key in cases:
            assert cache[key] is loader.get(key)
    assert as_16_bit(np.array([1, 2])) is None and as_16_bit((16000, tiny)) is None


def test_no_more_is_kept_than_allowed():
    loader = Loader({name: np.zeros(300_000) for name in "abc"})  # 0.6 MB each
    cache = AudioCache(loader, megabytes=1.3)
    for _ in range(3):
        for key in "abc":
            cache[key]
    assert loader.reads == {"a": 1, "b": 1, "c": 3}


def test_processes_that_load_data_forget_the_audio(recipe, monkeypatch, capsys):
    """A recipe may set the cache, and a configuration processes."""
    monkeypatch.setattr(AudioCache, "__init__", lambda *_: pytest.fail("cached"))
    recipe.train(config={"audio_cache_mb": 1, "num_workers": 1, "max_epoch": 1})
    assert "audio_cache_mb has no effect: the processes of num_workers: 1" in (
        capsys.readouterr().err
    )
