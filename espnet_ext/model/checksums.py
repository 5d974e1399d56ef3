"""SHA-256 of the weights and checkpoints in a model directory, to notice damaged files.

Training, export and packing record the digest of each file that they write. A file is checked
before training resumes from it, before it is averaged, and when a model is loaded for decoding or
export. Without a recorded digest, the check uses the CRC-32 checksums that `torch.save` writes into
the file; these notice damage, but not that the file was replaced by other weights.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

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


def copy_record(path: str | os.PathLike, copy: str | os.PathLike) -> None:
    """Record the digests of a file for a copy of it in the same folder, which is written next.

    The digest that the copy had before stays valid too, as for `record`.
    """
    source, target = Path(path), Path(copy)
    digests = _read(source.parent)
    if source.name in digests:
        digests[target.name] = [*digests[source.name], *digests.get(target.name, [])[:1]]
    else:
        digests.pop(target.name, None)
    write_json(source.parent / FILE, digests)


def settle(path: str | os.PathLike) -> None:
    """Record only the digest that a file has, of those that it may have.

    `record` keeps one earlier digest. A file that a process was killed before replacing would lose
    its digest with the second such process.
    """
    target = Path(path)
    digests = _read(target.parent)
    if len(digests.get(target.name, ())) > 1 and target.is_file():
        actual = sha256_of(target)
        if actual in digests[target.name]:
            digests[target.name] = [actual]
            write_json(target.parent / FILE, digests)


def matches(path: str | os.PathLike) -> bool:
    """Return whether nothing shows that a file changed since it was written. Links are followed."""
    expected, _ = _recorded(Path(path))
    if expected:
        return sha256_of(path) in expected
    return _crc_matches(path) is not False


def check(path: str | os.PathLike, remedy: str) -> str:
    """Raise `UserError` if a file exists whose content is not what was written.

    Args:
        remedy: what to do about a damaged file.

    Returns:
        A note that the file is not verified, if no SHA-256 of it is recorded; otherwise "".
    """
    if not os.path.isfile(path):
        return ""
    expected, folder = _recorded(Path(path))
    if expected:
        if sha256_of(path) in expected:
            return ""
        raise UserError(
            f"{path}: damaged or changed: its SHA-256 is not the one that was recorded in "
            f"{folder / FILE}",
            f"{remedy}. If you changed the file yourself, save it under another name",
        )
    crc_matches = _crc_matches(path)
    if crc_matches is False:
        raise UserError(f"{path}: damaged: the CRC-32 checksums in the file do not match", remedy)
    note = f"note: {path}: not verified: {folder / FILE} has no SHA-256 of it"
    return f"{note}; only the CRC-32 checksums in the file match" if crc_matches else note


def _recorded(path: Path) -> tuple[list[str], Path]:
    """Return the digests that a file may have, and the folder that records them.

    Links are followed: the file that they lead to may be recorded in its own folder, and a link
    beside its name in the folder of the link, as in a snapshot of the Hugging Face hub.
    """
    for candidate in (path.resolve(), *_links(path)):
        if digests := _read(candidate.parent).get(candidate.name):
            return digests, candidate.parent
    return [], path.resolve().parent


def _links(path: Path) -> Iterator[Path]:
    """Yield the links that lead from a path to a file, the last one first."""
    if path.is_symlink():
        yield from _links(path.parent / path.readlink())
        yield path


def _crc_matches(path: str | os.PathLike) -> bool | None:
    """Return whether all CRC-32 checksums in a file that `torch.save` wrote match.

    Returns:
        None if the file has no checksums: `torch.save` wrote its former format, or was set to
        leave them out (`torch.serialization.set_crc32_options`), so that none matches.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            results = [_entry_matches(archive, entry) for entry in archive.infolist()]
    except zipfile.BadZipFile:
        return False
    return all(results) or (False if any(results) else None)


def _entry_matches(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as content:
            while content.read(2**20):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return False
    return True


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


def sha256_of_tensors(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the SHA-256 of the names, types, sizes and values of tensors, in the order of names.

    >>> sha256_of_tensors({"a": torch.zeros(2)}) == sha256_of_tensors({"a": torch.zeros(1, 2)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.digest()
