"""Download, verify and unpack archives of corpora.

Archives are not trusted. An archive is used only if its SHA-256 checksum is the expected one, or if
the user accepts it without a checksum. Only regular files inside the target folder are unpacked, up
to a limited number and size.
"""

import http.client
import io
import json
import lzma
import os
import stat
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from espnet_ext import files
from espnet_ext.corpora.preparation import CorpusOptions
from espnet_ext.errors import UserError
from espnet_ext.progress import say, track

BLOCK = 1 << 20  # bytes per read; the unit of the progress bar
TIMEOUT = 60  # seconds without data
ATTEMPTS = 4  # connections; each resumes where the previous one broke off
MAX_BYTES = 64 << 30  # unpacked; the largest corpus here has about 10 GB
MAX_MEMBERS = 500_000
_NETWORK_ERRORS = (OSError, http.client.HTTPException)  # URLError and timeouts are OSErrors
_ARCHIVE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression method that zipfile does not know
    RuntimeError,  # an encrypted zip
)


@dataclass(frozen=True)
class Source:
    """Where a corpus can be downloaded, and how its root folder is recognised."""

    corpus: str
    marker: str  # glob that matches below the root folder
    how_to_get: str  # remedy where there is no download
    url: str = ""  # "": no direct download
    sha256: str = ""  # "": the publishers give none
    size: int = 0  # bytes, as public recipes give it; 0: unknown


@dataclass(frozen=True)
class ArchiveOptions(CorpusOptions):
    """Options of corpora that are published as one archive."""

    corpus_dir: str | os.PathLike = ""  # the unpacked corpus
    archive: str = ""  # the archive, instead of `corpus_dir`
    downloads_dir: str = "downloads"  # where archives are unpacked
    download: bool = False  # download the archive
    sha256: str = ""  # expected checksum of the archive
    accept_unverified: bool = False  # use a downloaded archive without a checksum


def corpus_folder(options: ArchiveOptions, source: Source) -> str | os.PathLike:
    """Return the corpus folder: `corpus_dir`, or the folder of the unpacked archive or download."""
    from_archive = options.archive or options.download
    if options.corpus_dir and from_archive:
        message = "--corpus_dir is given, and also --archive or --download"
        raise UserError(message, "give one of them")
    if not from_archive:
        return options.corpus_dir
    return obtain(
        source,
        options.downloads_dir,
        archive=options.archive,
        sha256=options.sha256,
        accept_unverified=options.accept_unverified,
    )


def obtain(
    source: Source,
    downloads_dir: str | os.PathLike,
    *,
    archive: str = "",
    sha256: str = "",
    accept_unverified: bool = False,
) -> Path:
    """Unpack `archive`, or the download, and return the root folder of the corpus.

    A second call finds the unpacked folder and returns at once.
    """
    folder = Path(downloads_dir)
    expected = sha256 or source.sha256
    if archive:
        file = Path(archive)
        if not file.is_file():
            raise UserError(f"{archive}: no such archive", "correct --archive FILE")
        if expected:
            verify(file, expected)
    elif source.url:
        file = folder / source.url.rpartition("/")[2]
        fetch(source.url, file)
        _accept(file, expected, source, accept_unverified)
    else:
        raise UserError(f"{source.corpus}: has no direct download", source.how_to_get)
    unpacked = unpack(file, folder / source.corpus)
    for depth in ("", "*/", "*/*/"):
        for root in sorted(unpacked.glob(depth)) if depth else [unpacked]:
            if next(root.glob(source.marker), None) is not None:
                return root
    remedy = f"check that it is the right archive; {source.how_to_get}"
    raise UserError(f"{file}: does not contain {source.corpus}: no {source.marker}", remedy)


def _accept(file: Path, expected: str, source: Source, accept_unverified: bool) -> None:
    """Raise a UserError unless a download has the expected checksum or the user accepts it."""
    if expected:
        verify(file, expected)
        return
    checksum = files.sha256_of(file)
    size = file.stat().st_size
    comparison = ""
    if source.size:
        same = "the" if size == source.size else "NOT the"
        comparison = f" ({same} size in public recipes: {source.size})"
    description = f"{size} bytes{comparison}, sha256 {checksum}"
    if not accept_unverified:
        raise UserError(
            f"{file}: cannot be verified, as the publishers give no checksum: {description}",
            f"compare the checksum with that of a trusted copy and give --sha256 {checksum}, or "
            "use the file without verification: --accept_unverified true (it is kept and not "
            "downloaded again)",
        )
    say(f"{file}: used without verification: {description}")


def verify(file: str | os.PathLike, sha256: str) -> None:
    """Raise a UserError, which names both checksums, if a file has another SHA-256."""
    expected = sha256.strip().lower()
    if len(expected) != 64 or set(expected) - set("0123456789abcdef"):
        raise UserError(f"'{sha256}' is not a SHA-256 checksum", "give its 64 hexadecimal digits")
    actual = files.sha256_of(file)
    if actual != expected:
        raise UserError(
            f"{file}: wrong content: its sha256 is {actual}, expected {expected}",
            "remove the file and download it again; if the checksum is still another, the "
            "published file has changed",
        )


def fetch(url: str, target: str | os.PathLike) -> Path:
    """Download to `target`, completely or not at all; resume an interrupted download.

    The incomplete file is `<target>.part`. It is resumed only if the server confirms that the file
    is the same (entity tag or date); otherwise the download starts again. An existing target is
    kept.
    """
    target = Path(target)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https", "file"):
        raise UserError(f"{url}: not an http, https or file URL", "correct the URL")
    if target.is_file():
        return target
    part, state = Path(f"{target}.part"), Path(f"{target}.part.json")
    error: Exception | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(ATTEMPTS):
            before = part.stat().st_size if part.exists() else 0
            try:
                _fetch_once(url, part, state)
                part.replace(target)
                state.unlink(missing_ok=True)
                return target
            except _DiskError:
                raise
            except urllib.error.HTTPError as failure:
                error = failure
                if failure.code < 500:  # another attempt would get the same answer
                    break
            except _NETWORK_ERRORS as failure:
                error = failure
                if not part.exists() or part.stat().st_size == before == 0:
                    break  # the server cannot be reached
    except OSError as failure:
        raise UserError(
            f"{target}: cannot write: {failure.strerror or failure}", "free space on that disk"
        ) from None
    received = part.stat().st_size if part.exists() else 0
    reason = getattr(error, "reason", None) or error
    remedy = "check the connection and run again: the download is resumed"
    raise UserError(f"{url}: download failed after {received} bytes: {reason}", remedy) from None


class _DiskError(OSError):
    """The local disk failed, not the network."""


def _fetch_once(url: str, part: Path, state: Path) -> None:
    """Download over one connection; append to `part` if the server can resume, else restart."""
    previous = _read_state(state)
    have = part.stat().st_size if part.exists() else 0  # bytes
    request = urllib.request.Request(url)
    tag = previous.get("tag", "") if previous.get("url") == url else ""
    if have and tag:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the file ends where ours does, or it has changed
            part.unlink(missing_ok=True)
            raise ConnectionError("the server does not have this range; restarting") from None
        raise
    with response:
        resumed = getattr(response, "status", None) == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise ConnectionError("the server sent another range; restarting")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdecimal() else None
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        tag = "" if tag.startswith("W/") else tag  # a weak tag does not guarantee the same bytes
        files.write_json(state, {"url": url, "tag": tag})
        blocks = _blocks(response)
        expected = (total - have + BLOCK - 1) // BLOCK if total is not None else None
        with _opened(part, "ab" if resumed else "wb") as handle:
            for block in track(blocks, f"downloading {url}", total=expected, unit="MB"):
                _write(handle, block)
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"the connection ended at {part.stat().st_size} of {total} bytes")


def _read_state(state: Path) -> dict[str, str]:
    try:
        value = json.loads(state.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    except (OSError, ValueError):
        return {}


def _blocks(response: IO[bytes]) -> Iterator[bytes]:
    while block := response.read(BLOCK):
        yield block


def _opened(path: Path, mode: str) -> IO[bytes]:
    try:
        return open(path, mode)
    except OSError as error:
        raise _DiskError(error.errno, error.strerror) from None


def _write(handle: IO[bytes], block: bytes) -> None:
    try:
        handle.write(block)
    except OSError as error:
        raise _DiskError(error.errno, error.strerror) from None


def unpack(
    archive: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
) -> Path:
    """Unpack a tar (of any compression) or zip, and zips inside it, completely or not at all.

    A folder that was unpacked from the same archive (name, size, time) is kept.

    Raises:
        UserError: The archive has a link, a device, or a path outside the folder; it is larger than
            the limits; or `folder` exists and is not from this archive.
    """
    archive, folder = Path(archive), Path(folder)
    status = archive.stat()
    identity = {"archive": archive.name, "bytes": status.st_size, "time": int(status.st_mtime)}
    stamp = folder / ".unpacked.json"
    if folder.exists():
        if _read_state(stamp) == identity:
            return folder
        remedy = f"remove {folder} to unpack {archive.name} there"
        raise UserError(f"{folder}: exists, but was not unpacked from this archive", remedy)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
            inner = Path(temporary) / "content"
            inner.mkdir()
            budget = _Budget(max_bytes, max_members, archive)
            _unpack_one(archive, inner, budget)
            for nested in sorted([*inner.glob("*.zip"), *inner.glob("*/*.zip")]):
                _unpack_one(nested, nested.parent, budget)
                nested.unlink()
            files.write_json(inner / stamp.name, identity)
            inner.replace(folder)
    except _ARCHIVE_ERRORS as error:
        remedy = "the archive is damaged, or not a tar or zip: download it again"
        raise UserError(f"{archive}: cannot unpack: {error}", remedy) from None
    except OSError as error:
        message = f"{folder}: cannot unpack {archive.name}: {error.strerror or error}"
        raise UserError(message, "free space on that disk, or download the archive again") from None
    return folder


@dataclass
class _Budget:
    """Bytes and files that an archive may still unpack; raises a UserError when exceeded."""

    bytes_left: int
    members_left: int
    archive: Path

    def spend(self, size: int = 0, members: int = 0) -> None:
        self.bytes_left -= size
        self.members_left -= members
        if self.bytes_left < 0 or self.members_left < 0:
            what = "bytes" if self.bytes_left < 0 else "files"
            raise UserError(
                f"{self.archive}: unpacks to too many {what}", "check that it is the right archive"
            )


def _unpack_one(archive: Path, folder: Path, budget: _Budget) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bundle:
            for info in track(bundle.infolist(), f"unpacking {archive.name}", unit="file"):
                _unpack_zip_member(bundle, info, folder, budget)
        return
    with tarfile.open(archive, "r:*") as tar:
        for member in track(tar, f"unpacking {archive.name}", unit="file"):
            budget.spend(members=1)
            if member.isdir():
                _inside(folder, member.name, archive)
            elif member.isfile():
                with tar.extractfile(member) or io.BytesIO() as source:
                    _copy(source, folder, member.name, budget)
            else:
                _refuse(archive, member.name, "is a link or a device")


def _unpack_zip_member(
    bundle: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, budget: _Budget
) -> None:
    budget.spend(members=1)
    mode = member.external_attr >> 16  # Unix mode; 0 if the zip was made on another system
    if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode) and stat.S_IFMT(mode):
        _refuse(Path(bundle.filename or ""), member.filename, "is a link or a device")
    if member.is_dir():
        _inside(folder, member.filename, Path(bundle.filename or ""))
    else:
        with bundle.open(member) as source:
            _copy(source, folder, member.filename, budget)


def _copy(source: IO[bytes], folder: Path, name: str, budget: _Budget) -> None:
    """Copy a member to the folder; count the bytes read, as the header's size may be wrong."""
    target = _inside(folder, name, budget.archive)
    base = PurePosixPath(name).name
    if "__MACOSX" in PurePosixPath(name).parts or base == ".DS_Store" or base.startswith("._"):
        return  # macOS metadata
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as handle:
        while block := source.read(BLOCK):
            budget.spend(size=len(block))
            handle.write(block)


def _inside(folder: Path, name: str, archive: Path) -> Path:
    """Return the path of a member inside the folder; raise a UserError if it is outside."""
    path = PurePosixPath(name)
    not_posix = "\\" in name or "\0" in name or name[1:2] == ":"
    if not name or path.is_absolute() or ".." in path.parts or not_posix:
        _refuse(archive, name, "has a path outside the folder")
    return folder.joinpath(*path.parts)


def _refuse(archive: Path, name: str, why: str) -> None:
    raise UserError(
        f"{archive}: member '{name[:200]}' {why}; nothing was unpacked",
        "do not use this archive",
    )
