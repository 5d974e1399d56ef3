"""Files written whole or not at all: to a temporary name beside the target, then renamed."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from espnet_ext.errors import UserError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on success it becomes `path`.

    The temporary name keeps the target's suffix, because sound libraries choose a format by it.
    A full disk becomes a `UserError` naming the target.
    """
    target = Path(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".tmp-", suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes files private; give them what an ordinary open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot write: {error.strerror or error}",
            "free space on that disk, or check the folder's permissions, and run again",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file for writing text ("w") or bytes ("wb"); rename it on success."""
    options = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with atomic_path(path) as temporary, open(temporary, mode, **options) as handle:
        yield handle


def write_text(path: str | os.PathLike, text: str) -> None:
    with atomic_write(path) as handle:
        handle.write(text)


def write_json(path: str | os.PathLike, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read JSON; a missing or broken file is a `UserError` naming it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "run the stage that writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON: {error}", "remove it and run its stage") from None


def read_json_lines(path: str | os.PathLike) -> list[Any]:
    """One JSON value a line; a missing or broken file is a `UserError` naming it and the line.

    A last line that does not end is left out: it is being written, or its writer was killed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "run the stage that writes it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8: {error}", "remove it and run its stage") from None
    values = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            message = f"{path}:{number}: not valid JSON: {error}"
            raise UserError(message, "remove it and run its stage") from None
    return values


def sha256_of(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
