"""Checks of paths that commands make before they import PyTorch, which takes seconds or minutes.

The commands check the same again where they read the files.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from espnet_ext.data.directory import read_sources, require_directory
from espnet_ext.errors import UserError
from espnet_ext.feedback.recordings import SUFFIXES
from espnet_ext.model.archive import CONFIG, find_model_dir
from espnet_ext.overwriting import require_no_input


def require_model(model: str) -> Path:
    """Return the model directory that a user names, in which there is a configuration.

    Raises:
        UserError: there is none.
    """
    folder = find_model_dir(model)
    require_configuration(folder)
    return folder


def require_configuration(folder: str | os.PathLike) -> None:
    """Raise a `UserError` if a model directory has no configuration."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise UserError(f"{path}: no such file", "give a directory that stage 11 has trained")


def require_data(folders: Iterable[str]) -> None:
    """Raise a `UserError` if one of the folders is not a data directory."""
    for folder in folders:
        require_directory(folder)


def check_decoding(model: str, data: str, output_dir: str, *, reads_audio: bool = True) -> None:
    """Check model, data and output folder of a command that decodes a data directory.

    Args:
        reads_audio: the audio is decoded, so that `data` needs a `wav.scp`.

    Raises:
        UserError: the model or the data is missing, or one of them is also the output.
    """
    if reads_audio:
        _require_wav_scp(model, data)
        read_sources(data)
    require_no_input(output_dir, [data, model])
    require_model(model)


def _require_wav_scp(model: str, data: str) -> None:
    """Raise a `UserError` if recordings are named instead of a data directory."""
    folder = Path(data)
    if (folder / "wav.scp").exists():
        return
    is_url = re.match(r"[a-z]+:/", data) is not None
    is_audio = folder.is_file() or (
        folder.is_dir() and any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
    )
    if is_url or is_audio:
        remedy = f"for recordings: espnet-ext transcribe {model} {'FILE' if is_url else data}"
        remedy = f"download it; {remedy}" if is_url else remedy
        message = f"{data}: not a data directory (a folder with wav.scp and utt2spk)"
        raise UserError(message, f"{remedy} (or judge, or the Python API)")
