"""Corpora as they are delivered: folders and zip archives in any mixture, read in parallel.

Archives stay packed: labels are read out of them, and sounds are pointed at (`data.zips`).
"""

import codecs
import os
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import BinaryIO, NamedTuple

from espnet_ext.data import zips
from espnet_ext.errors import UserError

MAX_LABEL = 1 << 20  # bytes of one utterance's label; published ones have about 1,000
SOUNDS = frozenset((".wav", ".flac", ".pcm"))
FOREIGN_SOUNDS = frozenset(  # known as sounds, but not read here
    (
        ".3gp",
        ".aac",
        ".ac3",
        ".aif",
        ".aiff",
        ".amr",
        ".ape",
        ".au",
        ".avi",
        ".caf",
        ".m4a",
        ".mkv",
        ".mov",
        ".mp3",
        ".mp4",
        ".oga",
        ".ogg",
        ".opus",
        ".raw",
        ".snd",
        ".sph",
        ".webm",
        ".wma",
    )
)
_OTHER_ARCHIVES = re.compile(r"\.(?:part\d*|z\d\d|tar|tgz|gz|7z|rar|alz|egg)$", re.IGNORECASE)
_AHEAD = 4  # chunks a process that may wait for it


class Place(NamedTuple):
    """A file: on its own, or within a zip."""

    path: str  # the file, or the archive
    name: str  # where it is within the corpus, archives being folders there
    offset: int = -1  # within an archive; -1: on its own
    packed: int = 0
    size: int = 0

    @property
    def stem(self) -> str:
        """Name without folder and suffix, in Unicode normal form C.

        >>> Place("a/b.c.JSON", "a/b.c.JSON").stem
        'b.c'
        """
        name = self.name.rpartition("/")[2]
        return unicodedata.normalize("NFC", name.rpartition(".")[0] or name)

    @property
    def suffix(self) -> str:
        """In small letters, with its dot; "" if there is none.

        >>> Place("a.b/c.WAV", "a.b/c.WAV").suffix, Place("a.b/c", "a.b/c").suffix
        ('.wav', '')
        """
        name, dot, suffix = self.name.rpartition("/")[2].rpartition(".")
        return f".{suffix.lower()}" if name and dot else ""

    @property
    def source(self) -> str:
        """Its entry for wav.scp."""
        if self.offset < 0:
            return self.path
        member = zips.Member(self.name, self.offset, self.packed, self.size)
        return member.reference(self.path)


def walk(root: str, found: Callable[[str, str], None]) -> Iterator[Place]:
    """All files below `root`, or in it if it is an archive; those in archives are yielded too.

    `found(name, reason)` is told of archives and members that cannot be read. Links are followed,
    each folder once. What a Mac adds, and hidden files, are passed over.
    """
    if os.path.isfile(root):
        yield from _in_archive(root, os.path.basename(root), found)
        return
    folders, seen = [("", root)], set()
    while folders:
        name, folder = folders.pop()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        try:
            entries = os.scandir(folder)
        except OSError as error:
            found(_readable(name), f"cannot read the folder: {error.strerror}")
            continue
        with entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                inner = f"{name}/{_readable(entry.name)}" if name else _readable(entry.name)
                if entry.is_dir():
                    folders.append((inner, entry.path))
                elif entry.name.lower().endswith(".zip"):
                    yield from _in_archive(entry.path, inner, found)
                elif _OTHER_ARCHIVES.search(entry.name):
                    found(inner, "an archive that is not read here: unpack it, or join its parts")
                else:
                    yield Place(entry.path, inner)


def _in_archive(path: str, name: str, found: Callable[[str, str], None]) -> Iterator[Place]:
    try:
        for member in zips.list_members(path):
            # Not pathlib: it interns every name, which Python 3.12 then never forgets.
            parts = member.name.split("/")
            if "__MACOSX" in parts or parts[-1].startswith(".") or not parts[-1]:
                continue
            inner = f"{name}/{member.name}"
            if member.problem:
                found(inner, member.problem)
            elif member.name.lower().endswith(".zip") or _OTHER_ARCHIVES.search(member.name):
                found(inner, "an archive within an archive: unpack the outer one")
            else:
                yield Place(path, inner, member.offset, member.compressed_size, member.size)
    except UserError as error:
        found(name, error.message.removeprefix(f"{path}: "))


def _readable(name: str) -> str:
    """A file's name; one that is not UTF-8 is CP949, as old unpackers leave it."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return os.fsencode(name).decode("cp949", "replace")


def is_writable(path: str) -> bool:
    """Whether a path can stand in wav.scp."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path == path.strip() and path.isprintable()


class Reader:
    """Reads places, keeping the archive of the last one open."""

    def __init__(self) -> None:
        self._path = ""
        self._handle: BinaryIO | None = None

    def read(self, place: Place, most: int = MAX_LABEL) -> bytes:
        """The whole content; ValueError or OSError where there is none of at most `most` bytes."""
        if place.offset < 0:
            # Unbuffered, and by its size: a buffer of `most` bytes would take longer than the file.
            with open(place.path, "rb", buffering=0) as handle:
                content = handle.read(min(os.fstat(handle.fileno()).st_size, most) + 1)
        else:
            if place.size > most:
                raise ValueError(f"{place.size} bytes are too many")
            if self._path != place.path:
                self.close()
                self._handle, self._path = open(place.path, "rb"), place.path  # noqa: SIM115
            content = zips.read_member(self._handle, place.offset, place.packed, place.size)
        if len(content) > most:
            raise ValueError(f"more than {most} bytes are too many")
        return content

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()
        self._handle, self._path = None, ""


def decoded(content: bytes) -> str:
    """Text in UTF-8, with or without a byte-order mark, or in CP949; else ValueError.

    >>> decoded("국물".encode("cp949")), decoded("국물".encode("utf-8-sig"))
    ('국물', '국물')
    """
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("cp949")
    except UnicodeDecodeError:
        raise ValueError("is neither UTF-8 nor CP949") from None


def chunks[Item](items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one shorter."""
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk


def spread[Work, Done](
    function: Callable[[Work], Done], works: Iterable[Work], nj: int
) -> Iterator[Done]:
    """`map` over `nj` processes, in order; only a few works are taken ahead of the results."""
    if nj <= 1:
        yield from map(function, works)
        return
    waiting: deque = deque()
    with ProcessPoolExecutor(nj, mp_context=get_context("fork")) as pool:
        try:
            for work in works:
                waiting.append(pool.submit(function, work))
                if len(waiting) >= _AHEAD * nj:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
