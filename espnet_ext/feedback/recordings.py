"""The recordings that a command names, and the prompts that belong to them."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.data.paths import hint_for_missing
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError

STDIN = "-"
# Suffixes that count as audio in a folder
SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aiff", ".aif", ".au", ".caf", ".w64"),
    *(".rf64", ".sph", ".nist"),
)


@dataclass(frozen=True)
class Recording:
    """A recording by name, and the file that holds it; None for standard input."""

    name: str
    path: Path | None

    @property
    def key(self) -> str:
        """The name in a file of prompts."""
        return "-" if self.path is None else self.path.stem


class Recordings:
    """The recordings of files, folders and standard input, in this order.

    Args:
        names: paths; "-" is standard input. A folder stands for its audio files, sorted by path.

    Raises:
        UserError: a file does not exist, a folder has no audio file, or standard input is named
            twice.
    """

    def __init__(self, names: Sequence[str]):
        self.recordings: list[Recording] = []
        for name in names:
            path = Path(name)
            if name == STDIN:
                self.recordings.append(Recording("stdin", None))
            elif path.is_dir():
                files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
                if not files:
                    raise UserError(
                        f"{name}: no audio file in this folder",
                        f"give a folder with files such as *{', *'.join(SUFFIXES[:4])}",
                    )
                self.recordings += [Recording(str(file), file) for file in files]
            elif path.exists():
                self.recordings.append(Recording(name, path))
            else:
                remedy = hint_for_missing(name) or "correct the path"
                raise UserError(f"{name}: no such audio file or folder", remedy)
        if sum(recording.path is None for recording in self.recordings) > 1:
            raise UserError("standard input (-) is named twice", "name it once")

    def __len__(self) -> int:
        return len(self.recordings)

    def __iter__(self) -> Iterator[Recording]:
        return iter(self.recordings)


@contextlib.contextmanager
def file_of(recording: Recording) -> Iterator[Path]:
    """Yield the file of a recording; standard input is read into a temporary one."""
    if recording.path is not None:
        yield recording.path
        return
    content = sys.stdin.buffer.read()
    if not content:
        raise UserError("stdin: no audio", "send an audio file to standard input")
    with tempfile.NamedTemporaryFile(prefix="stdin-", suffix=_suffix(content)) as handle:
        handle.write(content)
        handle.flush()
        yield Path(handle.name)


def _suffix(content: bytes) -> str:
    """Return the suffix of an MP3, whose format is not always known from its content."""
    is_mp3 = content[:3] == b"ID3" or (content[:1] == b"\xff" and content[1:2] >= b"\xe0")
    return ".mp3" if is_mp3 else ""


def read_prompts(path: str, recordings: Recordings) -> dict[str, str]:
    """Return the prompt of each recording by its `key`.

    Raises:
        UserError: the file lacks the prompt of a recording, or two recordings have the same name.
    """
    table = read_table(path)
    keys: dict[str, str] = {}
    for recording in recordings:
        if recording.key in keys:
            raise UserError(
                f"{path}: {keys[recording.key]} and {recording.name} have the same name "
                f"'{recording.key}'",
                "judge them in two calls, or rename one",
            )
        keys[recording.key] = recording.name
    missing = [key for key in keys if key not in table]
    if missing:
        raise UserError(
            f"{path}: no prompt for {len(missing)} of {len(keys)} recordings (the first is "
            f"{missing[0]})",
            "add a line `name sentence`, where name is that of the file without suffix",
        )
    return {key: table[key] for key in keys}
