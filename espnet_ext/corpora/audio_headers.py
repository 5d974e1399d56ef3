"""Read the headers of many audio files, for `database`; say why a file may be missing."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from espnet_ext.errors import UserError


class Header(NamedTuple):
    """What the header of an audio file says."""

    audio_id: int
    seconds: float
    fault: str | None  # why the file cannot be used
    odd_size: bool  # a headerless file with an odd number of bytes, thus half a sample too many


def read_headers(rows: Sequence[tuple[int, str]]) -> list[Header]:
    """Read the headers of audio files, given as (id, entry of wav.scp)."""
    from espnet_ext.data import zips
    from espnet_ext.data.audio import audio_info

    headers = []
    for audio_id, source in rows:
        member = zips.parse_reference(source)
        try:
            info = audio_info(source)
            size = member.size if member else os.path.getsize(source)
            odd_size = info.format == "RAW" and bool(size % 2)
            fault = None if info.frames else f"{source}: has no samples"
            headers.append(Header(audio_id, info.seconds, fault, odd_size))
        except UserError as error:
            headers.append(Header(audio_id, 0.0, error.message, False))
        except OSError as error:
            headers.append(Header(audio_id, 0.0, f"{source}: {error.strerror}", False))
    return headers


def hint_for_unreadable(source: str) -> str:
    """Return what may be the cause that an audio file cannot be read; "" if nothing is known."""
    from espnet_ext.data.audio import source_file
    from espnet_ext.data.paths import existing_path, hint_for_missing

    path = source_file(source)
    if not path or os.path.exists(existing_path(path)):
        return ""
    hints = [hint_for_missing(path)]
    if not os.path.isabs(path):
        hints.append(
            f"relative paths start in the current folder, {os.getcwd()}, or in the folder of "
            "wav.scp; espnet-ext import --root names another"
        )
    return "".join(f"{hint}; " for hint in hints if hint)
