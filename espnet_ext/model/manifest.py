"""The manifest of a packed model: SHA-256 of every file, and the versions that wrote them.

It is verified when an archive is unpacked, so that a changed, missing or added file is noticed.
"""

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_ext import __version__
from espnet_ext.errors import UserError
from espnet_ext.files import sha256_of, write_json
from espnet_ext.text import unicode

FILE = "manifest.json"
KIND, VERSION = "espnet-ext/pack", 1


def write(folder: Path) -> None:
    """Write the manifest of all files in a folder."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    content = {
        "kind": KIND,
        "version": VERSION,
        "espnet_ext": __version__,
        "normalisation": unicode.NORMAL_FORM,
        "unicode": unicodedata.unidata_version,
        "files": {name: sha256_of(folder / name) for name in names if name != FILE},
    }
    write_json(folder / FILE, content)


def verify(folder: Path, source: Path) -> str:
    """Verify the files of an unpacked archive.

    Args:
        source: the archive, for messages.

    Returns:
        A note about an archive without a manifest, or with another normalisation; else "".

    Raises:
        UserError: a file was changed, removed or added.
    """
    path = folder / FILE
    if not path.is_file():
        return f"note: {source}: not verified: it has no {FILE} (packed by an earlier version)"
    content = _read(path, source)
    expected: Mapping[str, str] = content["files"]
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {FILE}
    problems = [f"{name} is missing" for name in sorted(expected.keys() - names)]
    problems += [f"{name} was added" for name in sorted(names - expected.keys())]
    problems += [
        f"{name} was changed"
        for name in sorted(names & expected.keys())
        if sha256_of(folder / name) != expected[name]
    ]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(
            f"{source}: not as it was packed: {', '.join(problems[:3])}{more}",
            "get the archive again; to change a model, change its directory and pack it",
        )
    if content.get("normalisation") != unicode.NORMAL_FORM:
        return (
            f"note: {source}: packed with version {content.get('normalisation')} of the text "
            f"normalisation; this is version {unicode.NORMAL_FORM}"
        )
    return ""


def _read(path: Path, source: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_manifest = (content["kind"], content["version"]) == (KIND, VERSION)
        if not is_manifest or not isinstance(content["files"], dict):
            raise ValueError("another kind or version")
    except (ValueError, KeyError, TypeError) as error:
        message = f"{source}: {FILE} is not a manifest of this version: {error}"
        raise UserError(message, "get the archive again, or a newer espnet-ext") from None
    return content
