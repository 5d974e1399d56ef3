"""Digests of the input files of a step.

The digest of a file is computed from its content, and that of a YAML file from its values, without
comments and layout. For a very large file, it is computed from samples of the content, the size and
the modification time. The audio that a `wav.scp` names has one digest, of the content of all files.
Digests are cached: a digest is computed again only if the size, inode, modification time or change
time (ctime, which no program can set) of a file has changed. The digest of a file that changed
within the last seconds is not cached, because a second change could leave all of these the same.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espnet_ext.files import write_text

WHOLE = 2**32  # bytes: larger files are sampled
SAMPLES, SAMPLE = 64, 2**16  # blocks of a large file, bytes of each
SETTLED = 2.0  # seconds since the last change after which a digest is cached
VERSION = 1
AUDIO = ": audio"  # after the path of a wav.scp: the files that it names
MANY = 2**31  # bytes of audio whose reading is announced
MISSING = "missing"


class Digests:
    """Digests of files, cached in a JSON file between runs."""

    def __init__(self, memory: Path):
        self.memory = memory
        saved = _read(memory)
        self.files: dict[str, list] = saved["files"]  # path → [signature, digest]
        self.modules: dict[str, list] = saved["modules"]  # kept for `code`
        self.changed = False
        self.sounds: dict[str, tuple[list, str]] = {}  # as `files`, of audio that was read

    def of(self, path: str) -> dict[str, str]:
        """Return path → digest for an input.

        An input folder consists of the files directly in it, without hidden files and subfolders.
        In a data directory, reports (`*.json`, `*.tsv`) are left out. A `wav.scp` also has a digest
        of the audio that it names. A path that does not exist has the digest "missing".
        """
        paths = [path]
        if os.path.isdir(path):
            with os.scandir(path) as entries:
                names = sorted(e.name for e in entries if e.name[0] != "." and e.is_file())
            if "wav.scp" in names:
                names = [name for name in names if not name.endswith((".json", ".tsv"))]
            paths = [f"{path}/{name}" for name in names]
        digests = {name: self.of_file(name) for name in paths}
        for name in paths:
            if os.path.basename(name) == "wav.scp" and digests[name] != MISSING:
                digests[name + AUDIO] = self.of_audio(name)
        return digests

    def of_file(self, path: str) -> str:
        """Return the digest of a file; "missing" if it cannot be read."""
        try:
            status = os.stat(path)
            key = os.path.abspath(path)
            signature = _signature(status)
            if key in self.files and self.files[key][0] == signature:
                return self.files[key][1]
            digest = _content(path, status.st_size, status.st_mtime_ns)
        except OSError:
            return MISSING
        self._remember(key, signature, digest, _last_change([status]))
        return digest

    def of_audio(self, table: str) -> str:
        """Return the digest of the content of all audio that a `wav.scp` names.

        All of it is read again if the signature of one file has changed.
        """
        files = [_find(path) for path in _audio_files(table)]
        statuses = [status for _, status in files if status is not None]
        total = hashlib.sha256()
        for path, status in files:
            text = f"{path} {_signature(status) if status else MISSING}\n"
            total.update(text.encode("utf-8", "surrogateescape"))
        signature = [total.hexdigest()]
        key = os.path.abspath(table) + AUDIO
        if key in self.files and self.files[key][0] == signature:
            return self.files[key][1]
        if (size := sum(status.st_size for status in statuses)) > MANY:
            line = f"    reading the audio of {table} ({size / 1e9:.0f} GB), whose content decides "
            with contextlib.suppress(OSError):  # the reader may have ended
                print(f"{line}which steps run again", file=sys.stderr, flush=True)
        total = hashlib.sha256()
        with ThreadPoolExecutor(4) as pool:
            for digest in pool.map(self._of_sound, files):
                total.update(f"{digest}\n".encode())
        self._remember(key, signature, total.hexdigest(), _last_change(statuses))
        return total.hexdigest()

    def _of_sound(self, file: tuple[str, os.stat_result | None]) -> str:
        """Return the digest of an audio file, which is read once per run for all sets."""
        path, status = file
        if status is None:
            return MISSING
        signature = _signature(status)
        if path not in self.sounds or self.sounds[path][0] != signature:
            try:
                digest = _content(path, status.st_size, status.st_mtime_ns)
            except OSError:
                return MISSING
            self.sounds[path] = (signature, digest)
        return self.sounds[path][1]

    def _remember(self, key: str, signature: list, digest: str, last_change: float) -> None:
        if time.time() - last_change > SETTLED:
            self.files[key] = [signature, digest]
            self.changed = True

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


def _signature(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _last_change(statuses: Iterable[os.stat_result]) -> float:
    """Return the time of the last change of files, in seconds."""
    return max((max(status.st_mtime, status.st_ctime) for status in statuses), default=0.0)


def _audio_files(table: str) -> Iterator[str]:
    """Yield the files that a `wav.scp` names, each once; what a pipe reads is not known."""
    seen = set()
    with open(table, encoding="utf-8", errors="surrogateescape") as handle:
        for line in handle:
            entry = "".join(line.split(maxsplit=1)[1:]).strip()
            if not entry or entry.endswith("|"):
                continue
            path = re.sub(r":\d+(\[[^]]*\])?$", "", entry)  # an entry of an ark
            if path not in seen:
                seen.add(path)
                yield path


def _find(path: str) -> tuple[str, os.stat_result | None]:
    """Return the name and status of a file; its name may be composed or decomposed (NFC, NFD)."""
    for name in dict.fromkeys([path, *(unicodedata.normalize(f, path) for f in ("NFC", "NFD"))]):
        try:
            return name, os.stat(name)
        except (OSError, ValueError):
            continue
    return path, None


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
