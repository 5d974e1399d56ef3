"""Recordings on the page: embedded while they are small in total, else links to the files."""

import base64
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from espnet_ext.report.utterances import Utterance

PLAYABLE = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"}  # by browsers
Encode = Callable[[str], bytes | None]


def data_uri(content: bytes) -> str:
    """Return FLAC audio as a data URI."""
    return "data:audio/flac;base64," + base64.b64encode(content).decode()


def embed_all(utterances: Iterable[Utterance], encode: Encode, limit: int) -> list[bytes] | None:
    """Return the recordings of all utterances; None if they exceed the limit in total.

    Args:
        encode: returns a recording as FLAC, or None if it cannot be read.
        limit: bytes of FLAC.
    """
    contents = []
    for utterance in utterances:
        content = encode(utterance.audio) or b""
        limit -= len(content)
        if limit < 0:
            return None
        contents.append(content)
    return contents


def link(source: str, page: Path) -> str | None:
    """Return the relative URL of a sound file; None for what a browser cannot play.

    Args:
        source: an entry of wav.scp: a file, or an archive with an offset, or a command.
        page: the HTML file that has the link.
    """
    if Path(source).suffix.lower() not in PLAYABLE or not os.path.isfile(source):
        return None
    relative = os.path.relpath(os.path.abspath(source), os.path.abspath(page.parent))
    return "./" + quote(relative.replace(os.sep, "/"))
