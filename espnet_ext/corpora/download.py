"""Archives of corpora: fetched if asked for, checked against a checksum, unpacked with distrust.

An archive from the network may be cut, changed, or made to write elsewhere: it is used only when
its SHA-256 is the given one (or the user accepts it as it is), and only plain files below the
target folder come out of it, within limits of number and size.
"""

import http.client
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from espnet_ext import files
from espnet_ext.errors import UserError
from espnet_ext.progress import say, track

BLOCK = 1 << 20  # bytes; the unit of progress
TIMEOUT = 60  # seconds without a byte
ATTEMPTS = 4  # connections, each resuming where the last broke
MAX_BYTES = 64 << 30  # unpacked; the largest corpus here has some 10 GB
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
    """Where a corpus comes from and how its root is recognised."""

    corpus: str
    marker: str  # glob below the corpus root
    how_to_get: str
    url: str = ""  # empty: no direct download
    sha256: str = ""  # empty: its publishers give none
    size: int = 0  # bytes, where public recipes state it; 0: unknown


def obtain(
    source: Source,
    downloads_dir: str | os.PathLike,
    *,
    archive: str = "",
    sha256: str = "",
    accept_unverified: bool = False,
) -> Path:
    """The corpus root, unpacked from `archive` or from the download; a second call is instant."""
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
    remedy = f"is it the right archive? {source.how_to_get}"
    raise UserError(f"{file}: {source.corpus} is not in it: no {source.marker}", remedy)


def _accept(file: Path, expected: str, source: Source, accept_unverified: bool) -> None:
    """Let a download pass if its checksum is right, or if the user accepts it without one."""
    if expected:
        verify(file, expected)
        return
    found = files.sha256_of(file)
    size = file.stat().st_size
    known = ""
    if source.size:
        same = "the" if size == source.size else "NOT the"
        known = f" ({same} size that public recipes state: {source.size})"
    facts = f"{size} bytes{known}, sha256 {found}"
    if not accept_unverified:
        raise UserError(
            f"{file}: its publishers give no checksum, so it cannot be verified: {facts}",
            f"compare the sum with a trusted copy's and give --sha256 {found}, or take it as it is "
            "with --accept_unverified true (the file is kept and not fetched again)",
        )
    say(f"{file}: taken without verification: {facts}")


def verify(file: str | os.PathLike, sha256: str) -> None:
    """Check a file's SHA-256; a `UserError` names both sums."""
    expected = sha256.strip().lower()
    if len(expected) != 64 or set(expected) - set("0123456789abcdef"):
        raise UserError(f"'{sha256}' is no SHA-256", "give its 64 hexadecimal digits")
    found = files.sha256_of(file)
    if found != expected:
        raise UserError(
            f"{file}: wrong content: its sha256 is {found}, expected {expected}",
            "remove the file and fetch it again; if it stays so, the source has changed",
        )


def fetch(url: str, target: str | os.PathLike) -> Path:
    """Download to `target`, whole or not at all; a broken download is taken up where it ended.

    The part fetched so far is `<target>.part`. It is continued only if the server says that the
    file is still the same (entity tag or date), else begun anew. An existing target stays.
    """
    target = Path(target)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https", "file"):
        raise UserError(f"{url}: not an http, https or file address", "correct the address")
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
                if failure.code < 500:  # it will be no other the next time
                    break
            except _NETWORK_ERRORS as failure:
                error = failure
                if not part.exists() or part.stat().st_size == before == 0:
                    break  # nobody there
    except OSError as failure:
        raise UserError(
            f"{target}: cannot write: {failure.strerror or failure}", "free space on that disk"
        ) from None
    got = part.stat().st_size if part.exists() else 0
    reason = getattr(error, "reason", None) or error
    remedy = "check the connection and run again: the download goes on where it ended"
    raise UserError(f"{url}: not fetched ({got} bytes so far): {reason}", remedy) from None


class _DiskError(OSError):
    """The local disk's fault, not the network's."""


def _fetch_once(url: str, part: Path, state: Path) -> None:
    """One connection; appends to the part if the server agrees, else starts it again."""
    begun = _read_state(state)
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    tag = begun.get("tag", "") if begun.get("url") == url else ""
    if have and tag:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after what we have, or the file is another by now
            part.unlink(missing_ok=True)
            raise ConnectionError("the server has no such range; starting again") from None
        raise
    with response:
        resumed = getattr(response, "status", None) == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise ConnectionError("the server sent another range; starting again")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdecimal() else None
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        tag = "" if tag.startswith("W/") else tag  # weak tags do not promise the same bytes
        files.write_json(state, {"url": url, "tag": tag})
        blocks = _blocks(response)
        expected = (total - have + BLOCK - 1) // BLOCK if total is not None else None
        with _opened(part, "ab" if resumed else "wb") as handle:
            for block in track(blocks, f"fetching {url}", total=expected, unit="MB"):
                _write(handle, block)
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"ended at {part.stat().st_size} of {total} bytes")


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
    """Unpack a tar (any compression) or zip, and zips in it, into `folder`; whole or not at all.

    Only plain files come out; a member that is a link or device, or whose path leaves the folder,
    is refused, and so is an archive beyond the limits. A folder unpacked from the same archive
    (name, size, time) is left as it is.
    """
    archive, folder = Path(archive), Path(folder)
    status = archive.stat()
    mark = {"archive": archive.name, "bytes": status.st_size, "time": int(status.st_mtime)}
    stamp = folder / ".unpacked.json"
    if folder.exists():
        if _read_state(stamp) == mark:
            return folder
        remedy = f"remove {folder} to unpack {archive.name} there"
        raise UserError(f"{folder}: is there already, but not from this archive", remedy)
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
            files.write_json(inner / stamp.name, mark)
            inner.replace(folder)
    except _ARCHIVE_ERRORS as error:
        remedy = "the archive is damaged or not a tar or zip: fetch it again"
        raise UserError(f"{archive}: cannot unpack: {error}", remedy) from None
    except OSError as error:
        message = f"{folder}: cannot unpack {archive.name}: {error.strerror or error}"
        raise UserError(message, "free space on that disk, or fetch the archive again") from None
    return folder


@dataclass
class _Budget:
    """What an archive may still unpack to; refuses what goes beyond."""

    bytes_left: int
    members_left: int
    archive: Path

    def spend(self, size: int = 0, members: int = 0) -> None:
        self.bytes_left -= size
        self.members_left -= members
        if self.bytes_left < 0 or self.members_left < 0:
            what = "bytes" if self.bytes_left < 0 else "files"
            raise UserError(
                f"{self.archive}: unpacks to too many {what}", "is it the right archive?"
            )


def _unpack_one(archive: Path, folder: Path, budget: _Budget) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bundle:
            members = track(bundle.infolist(), f"unpacking {archive.name}", unit="file")
            for member in members:
                _unpack_zip_member(bundle, member, folder, budget)
        return
    with tarfile.open(archive, "r:*") as bundle:
        for member in track(bundle, f"unpacking {archive.name}", unit="file"):
            budget.spend(members=1)
            if member.isdir():
                _inside(folder, member.name, archive)
            elif member.isfile():
                _copy(lambda m=member: bundle.extractfile(m), folder, member.name, budget)
            else:
                _refuse(archive, member.name, "is a link or a device")


def _unpack_zip_member(
    bundle: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, budget: _Budget
) -> None:
    budget.spend(members=1)
    mode = member.external_attr >> 16  # Unix mode, 0 where the zip was made elsewhere
    if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode) and stat.S_IFMT(mode):
        _refuse(Path(bundle.filename or ""), member.filename, "is a link or a device")
    if member.is_dir():
        _inside(folder, member.filename, Path(bundle.filename or ""))
    else:
        _copy(lambda: bundle.open(member), folder, member.filename, budget)


def _copy(open_member: Callable[[], IO[bytes]], folder: Path, name: str, budget: _Budget) -> None:
    """Copy a member out, counting the bytes that really come (a header can lie)."""
    target = _inside(folder, name, budget.archive)
    base = PurePosixPath(name).name
    if "__MACOSX" in PurePosixPath(name).parts or base == ".DS_Store" or base.startswith("._"):
        return  # what a Mac adds to archives
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_member() as source, open(target, "wb") as sink:
        while block := source.read(BLOCK):
            budget.spend(size=len(block))
            sink.write(block)


def _inside(folder: Path, name: str, archive: Path) -> Path:
    """The member's place below the folder; a path that leaves it is refused."""
    path = PurePosixPath(name)
    strange = "\\" in name or "\0" in name or name[1:2] == ":"
    if not name or path.is_absolute() or ".." in path.parts or strange:
        _refuse(archive, name, "leaves the folder")
    return folder.joinpath(*path.parts)


def _refuse(archive: Path, name: str, why: str) -> None:
    raise UserError(
        f"{archive}: member '{name[:200]}' {why}; nothing was unpacked", "do not use it"
    )
