"""Read files within zip archives in place: nothing is unpacked to disk.

`list_members` reads the directory of an archive once. After that, a member is read by its offset
and sizes alone, so that an entry of wav.scp can refer to a member without opening the directory
again. Archives are untrusted: sizes are limited and compared, and checksums are verified.
"""

import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from espnet_ext.data.paths import existing_path
from espnet_ext.errors import UserError

MAX_MEMBER = 2 << 30  # uncompressed bytes; no single recording or label file is larger
_MAX_RATIO = 1100  # uncompressed to compressed bytes; deflate reaches 1032
_BLOCK = 1 << 16
_LOCAL_HEADER = struct.Struct("<4s2x2H4x3L2H")  # APPNOTE.TXT 6.3.9, section 4.3.7
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x1, 0x8, 0x800  # flags
_WIDE = 0xFFFFFFFF  # in the local header: the size has 64 bits and is stored elsewhere
_REFERENCE = re.compile(
    r"(?P<path>.+\.zip):(?P<offset>\d+):(?P<compressed>\d+):(?P<size>\d+):(?P<kind>[a-z0-9]{0,8})",
    re.IGNORECASE,
)


class Member(NamedTuple):
    """A file in an archive."""

    name: str  # its path in the archive, with "/"
    offset: int  # position of its local header
    compressed_size: int  # bytes
    size: int  # bytes after decompression, according to the archive
    problem: str = ""  # why it cannot be read

    def reference(self, archive: str) -> str:
        """Return an entry for wav.scp: `archive.zip:offset:compressed size:size:kind`.

        >>> Member("a/b.WAV", 10, 20, 30).reference("c.zip")
        'c.zip:10:20:30:wav'
        """
        kind = re.sub(r"[^a-z0-9]", "", os.path.splitext(self.name)[1].lower())[:8]
        return f"{archive}:{self.offset}:{self.compressed_size}:{self.size}:{kind}"


class Reference(NamedTuple):
    """A parsed entry of wav.scp that refers to a member."""

    path: str
    offset: int
    compressed_size: int
    size: int
    kind: str  # suffix of the member in lower case: "wav", "pcm"


def parse_reference(source: str) -> Reference | None:
    """Parse an entry of wav.scp; None if it does not refer to a member of a zip archive.

    >>> parse_reference("c.zip:10:20:30:wav")
    Reference(path='c.zip', offset=10, compressed_size=20, size=30, kind='wav')
    >>> parse_reference("c.wav") is None
    True
    """
    match = _REFERENCE.fullmatch(source)
    if not match:
        return None
    return Reference(
        match["path"],
        int(match["offset"]),
        int(match["compressed"]),
        int(match["size"]),
        match["kind"].lower(),
    )


def list_members(path: str | os.PathLike) -> Iterator[Member]:
    """Yield the files of an archive (not its folders) in its order.

    Names that are not marked as UTF-8 are decoded as UTF-8 if possible, else as CP949, which
    Korean archives use. `UserError` if the file is not a complete zip archive.
    """
    remedy = "download it again; if it came in parts (.zip.part0, …), join them first"
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except OSError as error:
        message = f"{path}: cannot read: {error.strerror or error}"
        raise UserError(message, "check its permissions, or download it again") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise UserError(f"{path}: not a complete zip archive: {error}", remedy) from None
    for info in infos:
        if info.header_offset < 0:
            raise UserError(f"{path}: not a complete zip archive: a member lies outside", remedy)
        name = _decode_name(info)
        if not name.endswith("/"):
            sizes = (info.compress_size, info.file_size)
            yield Member(name, info.header_offset, *sizes, _problem_of(info))


def _decode_name(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _UTF8:
        return info.orig_filename.replace("\\", "/")
    content = info.orig_filename.encode("cp437")  # zipfile's decoding, which loses nothing
    for encoding in ("utf-8", "cp949"):
        try:
            return content.decode(encoding).replace("\\", "/")
        except UnicodeDecodeError:
            continue
    return content.decode("utf-8", "replace")


def _problem_of(info: zipfile.ZipInfo) -> str:
    """Return why a member cannot be read; "" if it can."""
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"has compression method {info.compress_type}, which is not supported"
    if info.file_size > MAX_MEMBER:
        return f"has {info.file_size} bytes, too many"
    if info.file_size > _MAX_RATIO * (info.compress_size + 20):
        return "has a size that its compressed data cannot have"
    return ""


class _MemberError(ValueError):
    """A member cannot be read; the message says why."""


def read_member(handle: IO[bytes], offset: int, compressed_size: int, size: int) -> bytes:
    """Return the content of a member of an open archive.

    Its checksum is verified, unless the archive was written to a stream and has it elsewhere.

    Raises:
        ValueError: with the reason, if the member is damaged or is not what the sizes say.
    """
    method, checksum = _seek_data(handle, offset, compressed_size, size)
    contradict = compressed_size > 2 * size + 1024  # deflate does not double any data
    if contradict or (method == zipfile.ZIP_STORED and compressed_size != size):
        raise _MemberError("its sizes contradict each other")
    content = handle.read(compressed_size)
    if len(content) != compressed_size:
        raise _MemberError("the archive ends within it")
    if method == zipfile.ZIP_DEFLATED:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
        except zlib.error as error:
            raise _MemberError(str(error)) from None
        if len(content) != size:
            raise _MemberError("it has another size than the archive says")
    if checksum and zlib.crc32(content) != checksum:
        raise _MemberError("its checksum is wrong")
    return content


def _seek_data(handle: IO[bytes], offset: int, compressed_size: int, size: int) -> tuple[int, int]:
    """Move to the data of a member; return compression method and checksum (0: not known)."""
    if size > MAX_MEMBER:
        raise _MemberError(f"{size} bytes are too many")
    handle.seek(offset)
    header = handle.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise _MemberError("no file begins here: the archive has changed")
    _, flags, method, checksum, *sizes, name, extra = _LOCAL_HEADER.unpack(header)
    if flags & _ENCRYPTED or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _MemberError("it is encrypted or has an unknown compression method")
    are_here = not flags & _SIZES_FOLLOW and _WIDE not in sizes
    if are_here and sizes != [compressed_size, size]:
        raise _MemberError("another file begins here: the archive has changed")
    handle.seek(name + extra, os.SEEK_CUR)
    return method, checksum


class MemberStream(io.RawIOBase):
    """An uncompressed member as a seekable file. Closing it closes the archive.

    A damaged member reads as if it ended there; `error` then says why. (Exceptions cannot pass
    through libsndfile, which reads from such streams.)
    """

    def __init__(self, handle: IO[bytes], size: int):
        self._handle, self._start, self._size, self._position = handle, handle.tell(), size, 0
        self.error = ""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer) -> int:
        content = self._read(min(len(buffer), max(0, self._size - self._position)))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def _read(self, count: int) -> bytes:
        """Return up to `count` bytes from the current position."""
        self._handle.seek(self._start + self._position)
        return self._handle.read(count)

    def close(self) -> None:
        self._handle.close()
        super().close()


class _DeflatedStream(MemberStream):
    """A deflated member as a seekable file, decompressed only as far as it is read."""

    def __init__(self, handle: IO[bytes], compressed_size: int, size: int):
        super().__init__(handle, size)
        self._compressed_size = compressed_size
        self._restart()

    def _restart(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._bytes_in = self._bytes_out = 0

    def _read(self, count: int) -> bytes:
        if self._position < self._bytes_out:
            self._restart()
        while self._bytes_out < self._position:
            if not self._inflate(self._position - self._bytes_out):
                return b""
        blocks = []
        while count and (block := self._inflate(count)):
            blocks.append(block)
            count -= len(block)
        return b"".join(blocks)

    def _inflate(self, count: int) -> bytes:
        """Return up to `count` further bytes; none at the end, or, with `error`, if damaged."""
        try:
            while not self._inflater.eof:
                compressed = self._inflater.unconsumed_tail
                if not compressed:
                    self._handle.seek(self._start + self._bytes_in)
                    remaining = self._compressed_size - self._bytes_in
                    compressed = self._handle.read(min(_BLOCK, remaining))
                    self._bytes_in += len(compressed)
                    if not compressed:
                        self.error = "the archive ends within it"
                        return b""
                block = self._inflater.decompress(compressed, min(_BLOCK, count))
                self._bytes_out += len(block)
                if block:
                    return block
        except zlib.error as error:
            self.error = str(error)
        return b""


def open_member(handle: IO[bytes], offset: int, compressed_size: int, size: int) -> MemberStream:
    """Return a member of an open archive as a stream; ValueError if no such member begins there."""
    method, _ = _seek_data(handle, offset, compressed_size, size)
    if method == zipfile.ZIP_STORED:
        return MemberStream(handle, min(compressed_size, size))
    return _DeflatedStream(handle, compressed_size, size)


def read_reference(reference: Reference) -> bytes:
    """Return the content that an entry of wav.scp refers to; `UserError` if it is damaged."""
    path, offset, compressed_size, size, _ = reference
    try:
        with open(existing_path(path), "rb") as handle:
            return read_member(handle, offset, compressed_size, size)
    except (OSError, ValueError) as error:
        raise unreadable(reference, error) from None


def open_reference(reference: Reference) -> MemberStream:
    """Return a stream of the archive member that an entry of wav.scp refers to."""
    path, offset, compressed_size, size, _ = reference
    handle = None
    try:
        handle = open(existing_path(path), "rb")  # noqa: SIM115 closed with the stream
        return open_member(handle, offset, compressed_size, size)
    except (OSError, ValueError) as error:
        if handle is not None:
            handle.close()
        raise unreadable(reference, error) from None


def unreadable(reference: Reference, error: Exception | str) -> UserError:
    """Return the error for a member that cannot be read."""
    reason = getattr(error, "strerror", None) or str(error)
    remedy = "if the archive was moved or replaced, run data preparation (stage 1) again"
    return UserError(f"{reference.path}:{reference.offset}: cannot be read: {reason}", remedy)
