"""The files of a corpus: folders and zip archives in any mixture, read in parallel.

Archives are not unpacked. Labels are read from inside them, and `wav.scp` refers to audio inside
them (see `data.zips`).
"""

import codecs
import os
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import BinaryIO, NamedTuple

from espnet_ext.data import zips
from espnet_ext.errors import UserError

MAX_LABEL = 1 << 20  # bytes of the label of one utterance; published labels have about 1,000
AUDIO_SUFFIXES = frozenset((".wav", ".flac", ".pcm"))
UNSUPPORTED_AUDIO_SUFFIXES = frozenset(
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
_UNSUPPORTED_ARCHIVE = re.compile(r"\.(?:part\d*|z\d\d|tar|tgz|gz|7z|rar|alz|egg)$", re.IGNORECASE)
_QUEUED_PER_PROCESS = 4  # items that `parallel_map` submits ahead of the results


class CorpusFile(NamedTuple):
    """A file in a folder, or inside a zip archive."""

    path: str  # path of the file, or of the archive
    name: str  # path inside the corpus, in which archives count as folders
    offset: int = -1  # in the archive; -1: not in an archive
    compressed_size: int = 0  # bytes in the archive
    size: int = 0  # bytes

    @property
    def stem(self) -> str:
        """File name without folder and suffix, in Unicode normal form C.

        >>> CorpusFile("a/b.c.JSON", "a/b.c.JSON").stem
        'b.c'
        """
        name = self.name.rpartition("/")[2]
        return unicodedata.normalize("NFC", name.rpartition(".")[0] or name)

    @property
    def suffix(self) -> str:
        """Suffix in lower case with its dot, or "".

        >>> CorpusFile("a.b/c.WAV", "a.b/c.WAV").suffix, CorpusFile("a.b/c", "a.b/c").suffix
        ('.wav', '')
        """
        name, dot, suffix = self.name.rpartition("/")[2].rpartition(".")
        return f".{suffix.lower()}" if name and dot else ""

    @property
    def scp_entry(self) -> str:
        """Entry for wav.scp."""
        if self.offset < 0:
            return self.path
        member = zips.Member(self.name, self.offset, self.compressed_size, self.size)
        return member.reference(self.path)


def walk(root: str, on_unreadable: Callable[[str, str], None]) -> Iterator[CorpusFile]:
    """Yield all files below a folder, or in a zip archive, including those in archives below it.

    Links are followed; each folder is visited once. Hidden files and macOS metadata are skipped.

    Args:
        root: Folder or zip archive.
        on_unreadable: Called with the name of each folder, archive or archive member that cannot
            be read, and the reason.
    """
    if os.path.isfile(root):
        yield from _walk_archive(root, os.path.basename(root), on_unreadable)
        return
    folders, seen = [("", root)], set()
    while folders:
        name, folder = folders.pop()
        if (real_path := os.path.realpath(folder)) in seen:
            continue
        seen.add(real_path)
        try:
            entries = os.scandir(folder)
        except OSError as error:
            on_unreadable(_as_text(name), f"cannot read the folder: {error.strerror}")
            continue
        with entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                inner = f"{name}/{_as_text(entry.name)}" if name else _as_text(entry.name)
                if entry.is_dir():
                    folders.append((inner, entry.path))
                elif entry.name.lower().endswith(".zip"):
                    yield from _walk_archive(entry.path, inner, on_unreadable)
                elif _UNSUPPORTED_ARCHIVE.search(entry.name):
                    on_unreadable(inner, "unsupported archive: unpack it, or join its parts")
                else:
                    yield CorpusFile(entry.path, inner)


def _walk_archive(
    path: str, name: str, on_unreadable: Callable[[str, str], None]
) -> Iterator[CorpusFile]:
    try:
        for member in zips.list_members(path):
            # Not pathlib: it interns every name, and Python 3.12 never frees interned strings.
            parts = member.name.split("/")
            if "__MACOSX" in parts or parts[-1].startswith(".") or not parts[-1]:
                continue
            inner = f"{name}/{member.name}"
            if member.problem:
                on_unreadable(inner, member.problem)
            elif member.name.lower().endswith(".zip") or _UNSUPPORTED_ARCHIVE.search(member.name):
                on_unreadable(inner, "archive inside an archive: unpack the outer one")
            else:
                yield CorpusFile(path, inner, member.offset, member.compressed_size, member.size)
    except UserError as error:
        on_unreadable(name, error.message.removeprefix(f"{path}: "))


def _as_text(name: str) -> str:
    """Decode a file name that is not UTF-8 as CP949, which old unpacking programs write."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return os.fsencode(name).decode("cp949", "replace")


def fits_scp(entry: str) -> bool:
    """Return whether an entry can be written to wav.scp: UTF-8, printable, no outer spaces."""
    try:
        entry.encode()
    except UnicodeEncodeError:
        return False
    return entry == entry.strip() and entry.isprintable()


class FileReader:
    """Reads whole files; keeps the archive of the last file open."""

    def __init__(self) -> None:
        self._path = ""
        self._handle: BinaryIO | None = None

    def read(self, file: CorpusFile, max_bytes: int = MAX_LABEL) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file has more than `max_bytes`, or the archive is damaged.
        """
        if file.offset < 0:
            # Unbuffered and by the size of the file: a buffer of `max_bytes` would be slower.
            with open(file.path, "rb", buffering=0) as handle:
                content = handle.read(min(os.fstat(handle.fileno()).st_size, max_bytes) + 1)
        else:
            if file.size > max_bytes:
                raise ValueError(f"{file.size} bytes are too many")
            content = zips.read_member(
                self._archive(file.path), file.offset, file.compressed_size, file.size
            )
        if len(content) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes are too many")
        return content

    def _archive(self, path: str) -> BinaryIO:
        if self._handle is None or self._path != path:
            self.close()
            self._handle, self._path = open(path, "rb"), path  # noqa: SIM115
        return self._handle

    def close(self) -> None:
        """Close the open archive."""
        if self._handle is not None:
            self._handle.close()
        self._handle, self._path = None, ""


def decode_korean(content: bytes) -> str:
    """Decode UTF-8, CP949, or UTF-16 with a byte-order mark; otherwise raise ValueError.

    >>> decode_korean("국물".encode("cp949")), decode_korean("국물".encode("utf-8-sig"))
    ('국물', '국물')
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError:
            raise ValueError("is damaged UTF-16") from None
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("cp949")
    except UnicodeDecodeError:
        raise ValueError("is neither UTF-8 nor CP949") from None


def parallel_map[Item, Result](
    function: Callable[[Item], Result], items: Iterable[Item], nj: int
) -> Iterator[Result]:
    """Map a function over items in `nj` processes; yield the results in order.

    Only a few items are taken ahead of the results, so that `items` may be longer than memory.
    """
    if nj <= 1:
        yield from map(function, items)
        return
    pending: deque = deque()
    with ProcessPoolExecutor(nj, mp_context=get_context("fork")) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= _QUEUED_PER_PROCESS * nj:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            message = "a process that was reading the corpus was killed, perhaps for lack of memory"
            raise UserError(message, "run it again with a smaller --nj") from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
