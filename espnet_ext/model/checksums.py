"""SHA-256 of the weights and checkpoints in a model directory, to notice damaged files.

Training records the digest of each file that it writes. A file is checked before training resumes
from it, before it is averaged, and when a model is loaded for decoding or export.
"""

import json
import os
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.files import sha256_of, write_json

FILE = "checksums.json"  # name of a file in the folder → digests that it may have


def record(path: str | os.PathLike, content: str | os.PathLike) -> None:
    """Record the digest of a file that is about to be renamed to `path`.

    The digest that `path` had before stays valid too. If the process is killed before the file is
    renamed, the earlier content is still in place. Digests of removed files are dropped.

    Args:
        path: the final name.
        content: the file under its temporary name.
    """
    target = Path(path)
    digests = _read(target.parent)
    previous = digests.pop(target.name, [])[:1]
    digests = {name: values for name, values in digests.items() if (target.parent / name).exists()}
    digests[target.name] = [sha256_of(content), *previous]
    write_json(target.parent / FILE, digests)


def matches(path: str | os.PathLike) -> bool:
    """Return whether a file has a recorded digest, or none was recorded. Links are followed."""
    real = Path(path).resolve()
    expected = _read(real.parent).get(real.name)
    return not expected or sha256_of(real) in expected


def check(path: str | os.PathLike, remedy: str) -> None:
    """Raise `UserError` if a file exists whose content is not what training wrote.

    Args:
        remedy: what to do about a damaged file.
    """
    if os.path.isfile(path) and not matches(path):
        real = Path(path).resolve()
        raise UserError(
            f"{path}: damaged or changed: its SHA-256 is not the one that training recorded in "
            f"{real.parent / FILE}",
            f"{remedy}. If you changed the file yourself, save it under another name",
        )


def _read(folder: Path) -> dict[str, list[str]]:
    """Return the recorded digests of a folder; none if there is no record."""
    path = folder / FILE
    try:
        return {name: list(map(str, v)) for name, v in json.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path}: not a readable list of digests: {error}",
            "restore the file, or remove it to use the weights without this check",
        ) from None
