"""Audio that users pass to the Python API, as samples at the model's rate."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path

import numpy as np
import torch

from espnet_ext.data.audio import (
    CHOOSE_CHANNEL,
    audio_info,
    is_pipe,
    load_audio,
    require_sound_file,
    resample_to_audio,
    source_file,
    to_full_scale,
)
from espnet_ext.data.narrowband import band_of
from espnet_ext.errors import UserError
from espnet_ext.model.conditions import ids_of
from espnet_ext.progress import say

Audio = str | Path | np.ndarray | torch.Tensor  # path of an audio file, or samples (S,)


def audio_path(path: object) -> str:
    """Return the path of an audio file that a user gave.

    Raises:
        UserError: there is no such file.
    """
    if not isinstance(path, str | Path):
        raise UserError(f"audio of type {type(path).__name__}", "give the path of an audio file")
    source = str(path)
    if is_pipe(source):
        raise UserError(f"{source}: is a command", "give the path of an audio file")
    if source_file(source) == source:  # not a part of an archive
        require_sound_file(source, is_listed=False)
    return source


def to_waveform(
    audio: Audio, sample_rate: int | None, model_rate: int, channel: int | str | None = None
) -> torch.Tensor:
    """Return audio as samples (S,) in float32 at `model_rate` Hz.

    Args:
        audio: path of an audio file, or samples (S,) as floats from −1 to 1. Other floats are
            scaled as those in files are (`data.scale`).
        sample_rate: sample rate of arrays, in Hz; None: `model_rate`. Files have their own.
        model_rate: sample rate of the model, in Hz.
        channel: which of several channels of a file to take: a number from 0, or "mix".

    Raises:
        UserError: for audio that cannot be used.
    """
    is_number = isinstance(sample_rate, Real) and not isinstance(sample_rate, bool)
    if sample_rate is not None and not (is_number and 1000 <= sample_rate < float("inf")):
        raise UserError(f"sample_rate {sample_rate!r}", "give it in Hz, e.g. 16000")
    if isinstance(audio, str | Path):
        samples, _ = load_audio(
            audio_path(audio), model_rate, channel=channel, channel_remedy=CHOOSE_CHANNEL
        )
        return torch.from_numpy(samples)
    if isinstance(audio, np.ndarray):  # PyTorch needs native byte order and positive strides
        audio = audio.astype(audio.dtype.newbyteorder("="))
    try:
        wave = torch.as_tensor(audio).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"audio of type {type(audio).__name__}",
            "give the path of an audio file, or samples as an array of floats from -1 to 1",
        ) from None
    if wave.dim() != 1 or not wave.is_floating_point():
        raise UserError(
            f"samples of shape {tuple(wave.shape)} and type {wave.dtype}",
            "give one channel, shape (S,), as floats from -1 to 1",
        )
    wave = wave.float()
    if not len(wave):
        raise UserError("there are no samples", "leave out recordings without samples")
    if not torch.isfinite(wave).all():
        raise UserError("some samples are not finite (NaN or infinite)", "repair the audio")
    wave = torch.from_numpy(to_full_scale(wave.numpy(), "samples"))
    if sample_rate is not None and sample_rate != model_rate:
        wave = torch.from_numpy(resample_to_audio(wave.numpy(), sample_rate, model_rate))
    return wave


def value_ids(
    values: Mapping[str, Sequence[str]],
    audios: Sequence[Audio],
    sample_rate: int | None,
    conditions: Mapping[str, str | Sequence[str]] | None,
) -> dict[str, list[int]]:
    """Return the value ids of conditions for audio; the band is that of the rate unless given.

    Args:
        values: conditions that the model reads → their values.
        audios: files have their own rates.
        sample_rate: sample rate of samples, in Hz. If it is None, their band must be given.
        conditions: those that are given: a label for all audio, or one for each.
    """
    labels = dict(conditions or {})
    is_file = [isinstance(audio, str | Path) for audio in audios]
    if "band" in values and "band" not in labels and (sample_rate is not None or all(is_file)):
        rates = [
            audio_info(audio_path(audio)).rate if of_file else sample_rate
            for audio, of_file in zip(audios, is_file, strict=True)
        ]
        labels["band"] = [band_of(rate) for rate in rates if rate is not None]
    return ids_of(values, labels, len(audios))


def audio_name(audio: Audio, index: int, count: int) -> str:
    """Return how errors name an audio: its path, or its number in a batch; "" for a single one."""
    if isinstance(audio, str | Path):
        return f"{audio}: "
    return f"audio {index + 1} of {count}: " if count > 1 else ""


def check_list(audios: object) -> list[Audio]:
    """Return a batch of audio as a list."""
    is_single = isinstance(audios, str | bytes | Path) or getattr(audios, "ndim", 1) == 0
    if is_single or not isinstance(audios, Iterable):
        raise UserError(f"batch of audio: {audios!r} is not a list", "give a list of audio")
    return list(audios)


def read_all(
    read: Callable[[Audio], torch.Tensor], audios: Sequence[Audio], names: Sequence[str]
) -> list[torch.Tensor]:
    """Return the samples of each audio; errors begin with its name (see `audio_name`)."""
    waves = []
    for audio, name in zip(audios, names, strict=True):
        try:
            waves.append(read(audio))
        except UserError as error:
            is_named = error.message.startswith(name)
            message = error.message if is_named else f"{name}{error.message}"
            raise UserError(message, error.remedy) from None
    return waves


def warn_too_short(names: Sequence[str], seconds: Sequence[float], flags: Sequence[bool]) -> None:
    """Print a warning about audio that is too short for the model, if there is any.

    Args:
        names: see `audio_name`.
        seconds: durations.
        flags: whether it is too short.
    """
    short = [i for i, flag in enumerate(flags) if flag]
    if not short:
        return
    first = f"{names[short[0]]}{seconds[short[0]]:.3f} s"
    if len(names) == 1:
        say(f"warning: {first} of audio are too short for the model: empty transcripts")
    else:
        say(
            f"warning: {len(short)} of {len(names)} recordings are too short for the model: empty "
            f"transcripts; the first: {first}"
        )
