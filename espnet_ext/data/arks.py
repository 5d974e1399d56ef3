"""Arks: files that hold many arrays (features, representations) or sounds, each at an offset."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from espnet_ext import files
from espnet_ext.data.paths import existing_path
from espnet_ext.data.record import id_problem
from espnet_ext.data.table import read_table, write_table
from espnet_ext.errors import UserError

if TYPE_CHECKING:
    import numpy as np

# An entry with a whole sound file: this marker, one byte with the width of the length, the length
# (little-endian), the file.
AUDIO = b"AUDIO"
_PICKLE = b"PKL"


@contextlib.contextmanager
def open_at(path: str, offset: int) -> Iterator[IO[bytes]]:
    """Open an ark at an offset.

    `UserError` for an offset outside the ark, and for a pickle, which could run any code.
    """
    try:
        handle = open(existing_path(path), "rb")  # noqa: SIM115 closed below
    except OSError as error:
        remedy = "correct its path in the scp file, or run the stage that writes the ark"
        raise UserError(f"{path}: cannot open the ark: {error.strerror}", remedy) from None
    with handle:
        if offset >= os.fstat(handle.fileno()).st_size:
            remedy = "the ark and its scp do not belong together: write both again"
            raise UserError(f"{path}:{offset}: the offset is beyond the ark's end", remedy)
        handle.seek(offset)
        if handle.read(len(_PICKLE)) == _PICKLE:
            remedy = "write it again as an array (pickles can run code and are never loaded)"
            raise UserError(f"{path}:{offset}: contains a pickle", remedy)
        handle.seek(offset)
        yield handle


def read_sound_file(handle: IO[bytes], source: str) -> bytes:
    """Return the sound file that follows an AUDIO marker."""
    width = handle.read(1)
    length = int.from_bytes(handle.read(width[0]), "little") if width else 0
    content = handle.read(length) if length <= os.fstat(handle.fileno()).st_size else b""
    if not length or len(content) != length:
        message = f"{source}: the ark ends within the sound"
        raise UserError(message, "write the ark again (stage 3)")
    return content


def encode_entry(utt_id: str, content: bytes) -> tuple[bytes, int]:
    """Return an ark entry with a sound file, and the offset in it that its scp row points to."""
    key = f"{utt_id} ".encode()
    width = (len(content).bit_length() + 7) // 8
    return key + AUDIO + bytes([width]) + len(content).to_bytes(width, "little") + content, len(key)


def read_at(path: str, offset: int) -> Any:
    """Return the array at an offset, or (rate, samples) of a sound."""
    from kaldiio.matio import read_kaldi

    with open_at(path, offset) as handle:
        try:
            return read_kaldi(handle)
        except UserError:
            raise
        except Exception as error:  # kaldiio's parser raises many kinds of exceptions
            remedy = "the offset or the ark is damaged: write both again"
            raise UserError(f"{path}:{offset}: no array here: {error}", remedy) from None


def write_arrays(
    path: str | os.PathLike, arrays: Iterable[tuple[str, np.ndarray]]
) -> dict[str, str]:
    """Write `<path>.ark` and `<path>.scp` atomically; return the rows of the scp file.

    Args:
        arrays: ids and arrays, float32 or float64 of shape (N,) or (N, D), or int32 of shape (N,),
            which are the types that Kaldi's readers accept.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = write_arrays(folder + "/feats", [("u1", numpy.eye(2, dtype="float32"))])
    ...     read_arrays(folder + "/feats.scp")["u1"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    from kaldiio.matio import write_array

    ark = Path(f"{path}.ark")
    rows: dict[str, str] = {}
    with files.atomic_write(ark, "wb") as handle:
        for key, array in arrays:
            if problem := id_problem(key):
                raise UserError(f"{ark}: the id {key!r} {problem}", "rename it")
            if key in rows:
                raise UserError(f"{ark}: {key}: two arrays have this id", "give each its own id")
            if array.dtype.name not in ("float32", "float64", "int32") or not 1 <= array.ndim <= 2:
                kind = f"{array.dtype.name} of shape {array.shape}"
                raise UserError(f"{ark}: {key}: cannot store {kind}", "convert it to float32")
            handle.write(f"{key} ".encode())
            rows[key] = f"{ark}:{handle.tell()}"
            write_array(handle, array)
    write_table(f"{path}.scp", rows)
    return rows


def read_arrays(scp: str | os.PathLike) -> ArrayReader:
    """Open an scp file of arrays; see `write_arrays` for an example."""
    return ArrayReader(scp)


class ArrayReader(Mapping):
    """The arrays of an scp file by id; each access reads one. Pipes and pickles are refused."""

    def __init__(self, scp: str | os.PathLike):
        self.scp = str(scp)
        self.rows = read_table(scp)

    def __getitem__(self, key: str) -> np.ndarray:
        path, _, offset = self.rows[key].rpartition(":")
        if not path or not offset.isdigit():
            remedy = "use entries of the form file.ark:offset"
            raise UserError(f"{self.scp}: {key}: no offset in '{self.rows[key]}'", remedy)
        value = read_at(path, int(offset))
        if isinstance(value, tuple):
            remedy = "read it with espnet_ext.data.audio.load_audio"
            raise UserError(f"{self.scp}: {key}: contains audio, not an array", remedy)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)
