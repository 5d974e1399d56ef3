"""Digests of files: what a step's inputs hold.

A file's digest is of its content; for YAML, of the values in it, without comments and layout. Very
large files are sampled, together with size and date. A digest is computed again only when the
file's size, inode, modification time or change time (ctime, which no program can set) differ from
when it was computed. A file that changed within the last seconds is not remembered, because a
second change could leave all of these the same.
"""

import hashlib
import json
import os
import time
from pathlib import Path

from espnet_ext.files import write_text

WHOLE = 256 * 2**20  # bytes: larger files are sampled
SAMPLES, SAMPLE = 64, 2**16  # blocks of a large file, bytes of each
SETTLED = 2.0  # seconds since the last change after which a digest is remembered
VERSION = 1


class Digests:
    """Digests of files, remembered in a JSON file between runs."""

    def __init__(self, memory: Path):
        self.memory = memory
        saved = _read(memory)
        self.files: dict[str, list] = saved["files"]  # path → [signature, digest]
        self.modules: dict[str, list] = saved["modules"]  # kept for `code`
        self.changed = False

    def of(self, path: str) -> dict[str, str]:
        """Return the digests of an input by path.

        A folder stands for the files directly in it, without hidden ones and subfolders. In a data
        directory, reports on the data (validation.json, removed.tsv) do not count, and audio counts
        through the tables that name it. What does not exist has the digest "missing".
        """
        if os.path.isdir(path):
            with os.scandir(path) as entries:
                names = sorted(e.name for e in entries if e.name[0] != "." and e.is_file())
            if "wav.scp" in names:
                names = [name for name in names if not name.endswith((".json", ".tsv"))]
            return {f"{path}/{name}": self.of_file(f"{path}/{name}") for name in names}
        return {path: self.of_file(path)}

    def of_file(self, path: str) -> str:
        try:
            status = os.stat(path)
        except OSError:
            return "missing"
        key = os.path.abspath(path)
        signature = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
        if key in self.files and self.files[key][0] == signature:
            return self.files[key][1]
        digest = _content(path, status.st_size, status.st_mtime_ns)
        settled = time.time() - max(status.st_mtime, status.st_ctime) > SETTLED
        if settled:
            self.files[key] = [signature, digest]
            self.changed = True
        return digest

    def save(self) -> None:
        """Write what was computed since the digests were read."""
        if self.changed:
            saved = {"version": VERSION, "files": self.files, "modules": self.modules}
            write_text(self.memory, json.dumps(saved))
            self.changed = False


def _read(memory: Path) -> dict[str, dict[str, list]]:
    """Return what was remembered; nothing if the file is missing, broken or of another version."""
    try:
        saved = json.loads(memory.read_text(encoding="utf-8"))
        if saved["version"] == VERSION:
            return {"files": dict(saved["files"]), "modules": dict(saved["modules"])}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"files": {}, "modules": {}}


def _content(path: str, size: int, modified: int) -> str:
    """Return the digest of a file's content, or of a sample of it for a very large file."""
    with open(path, "rb") as handle:
        if path.endswith(".yaml") and size <= WHOLE:
            return hashlib.sha256(_values(handle.read())).hexdigest()
        if size <= WHOLE:
            return hashlib.file_digest(handle, "sha256").hexdigest()
        digest = hashlib.sha256(f"{size} {modified}".encode())
        for number in range(SAMPLES):
            handle.seek((size - SAMPLE) * number // (SAMPLES - 1))
            digest.update(handle.read(SAMPLE))
        return digest.hexdigest()


def _values(content: bytes) -> bytes:
    """Return the values of a YAML file in one form; other content as it is."""
    import yaml  # only for a file that has changed

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return json.dumps(yaml.load(content, Loader=loader), default=str).encode()
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError):
        return content
