"""Digests of the input files of a step.

The digest of a file is computed from its content, and that of a YAML file from its values, without
comments and layout. For a very large file, it is computed from samples of the content, the size and
the modification time. Digests are cached: a digest is computed again only if the file's size,
inode, modification time or change time (ctime, which no program can set) has changed. The digest of
a file that changed within the last seconds is not cached, because a second change could leave all
of these the same.
"""

import hashlib
import json
import os
import time
from pathlib import Path

from espnet_ext.files import write_text

WHOLE = 256 * 2**20  # bytes: larger files are sampled
SAMPLES, SAMPLE = 64, 2**16  # blocks of a large file, bytes of each
SETTLED = 2.0  # seconds since the last change after which a digest is cached
VERSION = 1


class Digests:
    """Digests of files, cached in a JSON file between runs."""

    def __init__(self, memory: Path):
        self.memory = memory
        saved = _read(memory)
        self.files: dict[str, list] = saved["files"]  # path → [signature, digest]
        self.modules: dict[str, list] = saved["modules"]  # kept for `code`
        self.changed = False

    def of(self, path: str) -> dict[str, str]:
        """Return path → digest for an input.

        An input folder consists of the files directly in it, without hidden files and subfolders.
        In a data directory, reports (`*.json`, `*.tsv`) are left out, and changed audio is noticed
        only if a table changes. A path that does not exist has the digest "missing".
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
        """Write the cache if a digest was computed since it was read."""
        if self.changed:
            saved = {"version": VERSION, "files": self.files, "modules": self.modules}
            write_text(self.memory, json.dumps(saved))
            self.changed = False


def _read(memory: Path) -> dict[str, dict[str, list]]:
    """Return the cached digests; none if the file is missing, broken or of another version."""
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
