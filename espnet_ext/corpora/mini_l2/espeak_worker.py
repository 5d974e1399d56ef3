"""The process that synthesises speech: reads one JSON line per speaker, prints ids of utterances.

    python -m espnet_ext.corpora.mini_l2.espeak_worker < jobs.jsonl

Only this process loads espeak-ng (GPL-3.0). espeak-ng keeps state between calls. So each speaker is
a fork that initialises it, and each utterance a fork of that one: the audio of an utterance depends
on its own parameters only, not on the utterances before it.
"""

import ctypes
import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from espnet_ext.data.audio import resample, write_audio

RATE = 16000  # Hz, of the files
END_OF_JOB = "."  # line on standard output; no utterance has this id
_SYNCHRONOUS = 2  # samples are passed to a callback without a thread, which a fork would lose
_RATE, _PITCH, _RANGE, _WORD_GAP = 1, 3, 4, 7  # espeak_PARAMETER
_FLAGS = 0x1 | 0x100  # espeakCHARS_UTF8 | espeakPHONEMES ([[…]] are phonemes)
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
PEAK = 0.4  # magnitude of the loudest sample, before the random level
EDGE = 0.06  # seconds of silence kept at the start and the end


class Espeak:
    """A voice of espeak-ng."""

    def __init__(self, voice: str, words_per_minute: int, pitch: int, pitch_range: int):
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = str(espeakng_loader.get_data_path()).encode()
        self.rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, data_path, 0)
        if self.rate <= 0:
            raise RuntimeError(f"espeak-ng does not find its data in {data_path.decode()}")
        self._chunks: list[np.ndarray] = []
        self._callback = _CALLBACK(self._receive)  # kept here, as ctypes holds no reference
        self.library.espeak_SetSynthCallback(self._callback)
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {voice}")
        parameters = {_RATE: words_per_minute, _PITCH: pitch, _RANGE: pitch_range, _WORD_GAP: 0}
        for parameter, value in parameters.items():
            self.library.espeak_SetParameter(parameter, value, 0)

    def _receive(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str) -> np.ndarray:
        """Return samples (T,), float32 in [-1, 1], at `self.rate`."""
        self._chunks.clear()
        data = text.encode() + b"\0"
        size = ctypes.c_size_t(len(data))
        if self.library.espeak_Synth(data, size, 0, 1, 0, _FLAGS, None, None) != 0:
            raise RuntimeError(f"espeak-ng cannot speak {text!r}")
        if not self._chunks:
            raise RuntimeError(f"espeak-ng returns no samples for {text!r}")
        return np.concatenate(self._chunks).astype(np.float32) / 32768


def record(dry: np.ndarray, rng: np.random.Generator, snr_db: float, tilt: float) -> np.ndarray:
    """Simulate a recording with a microphone in a small room.

    Adds a first-order spectral tilt, 60 ms of decaying reflections, noise, and a random level
    within ±6 dB.

    Args:
        dry: Speech, float32 (T,), at 16 kHz.
        rng: Random numbers.
        snr_db: Signal-to-noise ratio; varied by ±3 dB.
        tilt: Spectral tilt: above 0 dull, below 0 bright.
    Returns:
        float32 (T,) at 16 kHz, with `EDGE` of silence at both ends.
    """
    loud = np.flatnonzero(np.abs(dry) > 0.01 * np.abs(dry).max())
    edge = int(EDGE * RATE)
    dry = dry[max(0, loud[0] - edge) : loud[-1] + edge]
    dry = _two_taps(dry, tilt)
    tail = int(0.06 * RATE)
    room = rng.standard_normal(tail, np.float32)
    room *= 0.03 * np.exp(np.linspace(0, -6.9, tail, dtype=np.float32))
    room[0] = 1.0
    length = -(-(len(dry) + tail) // 2048) * 2048  # a multiple of 2048, for a fast FFT
    wet = np.fft.irfft(np.fft.rfft(dry, length) * np.fft.rfft(room, length), length)[: len(dry)]
    wet *= PEAK / np.abs(wet).max()
    noise = _two_taps(rng.standard_normal(len(wet), np.float32), 0.7)
    ratio = 10 ** ((snr_db + rng.uniform(-3, 3)) / 20)
    noise *= np.sqrt(np.vdot(wet, wet) / np.vdot(noise, noise)) / ratio
    level = 10 ** (rng.uniform(-6, 6) / 20)
    return ((wet + noise) * level).clip(-1, 1).astype(np.float32, copy=False)


def _two_taps(samples: np.ndarray, second: float) -> np.ndarray:
    """Apply the filter 1 + second·z⁻¹."""
    filtered = samples.copy()
    filtered[1:] += second * samples[:-1]
    return filtered


def speak_to_file(espeak: Espeak, utterance: dict[str, Any], job: dict[str, Any]) -> None:
    """Synthesise an utterance and write its file."""
    dry = resample(espeak.speak(utterance["text"]), espeak.rate, RATE)
    rng = np.random.default_rng(utterance["seed"])
    write_audio(utterance["path"], record(dry, rng, job["snr_db"], job["tilt"]), RATE)


def speak_job(job: dict[str, Any]) -> None:
    """Synthesise all utterances of a speaker, each in a fork."""
    espeak = Espeak(job["voice"], job["words_per_minute"], job["pitch"], job["pitch_range"])
    for utterance in job["utterances"]:
        if not in_fork(utterance["utt_id"], speak_to_file, espeak, utterance, job):
            raise RuntimeError(f"{utterance['utt_id']} could not be synthesised")
        print(utterance["utt_id"], flush=True)


def in_fork(name: str, function: Callable[..., None], *arguments: Any) -> bool:
    """Call a function in a fork of this process and return whether it succeeded.

    The error of a failure is printed on standard error with `name`.
    """
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
            os._exit(0)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def warm_up() -> None:
    """Load what numpy and the audio library load lazily, once instead of in each fork."""
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    record(resample(noise, 22050, RATE), np.random.default_rng(0), 20.0, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        write_audio(os.path.join(folder, "warm.flac"), noise * 0.1, RATE)
    gc.collect()
    gc.freeze()  # garbage collection in a fork would copy every page


def main() -> int:
    warm_up()
    for line in sys.stdin:
        job = json.loads(line)
        if not in_fork(job["voice"], speak_job, job):
            return 1
        print(END_OF_JOB, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
