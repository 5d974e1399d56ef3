"""Files within zip archives, read where they lie: nothing is unpacked, nothing can be overwritten.

`members` streams the list of contents (APPNOTE.TXT 6.3.9, section 4.3.12; zip64 too): an archive of
a million files costs no memory, where `zipfile` holds a record of each. A member is then read by
its offset and sizes alone, so an entry of wav.scp can point into an archive.
"""

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from espnet_ext.errors import UserError

MAX_MEMBER = 2 << 30  # bytes unpacked; no single sound or label is larger
_BLOCK = 1 << 16
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_HEAD = struct.Struct("<8x2H8x2L3H8xL")  # of an entry in the list of contents
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x1, 0x8, 0x800
_KINDS = frozenset((".wav", ".pcm"))  # told without further ado
_REFERENCE = re.compile(
    r"(?P<path>.+\.zip):(?P<offset>\d+):(?P<packed>\d+):(?P<size>\d+):(?P<kind>[a-z0-9]{0,8})",
    re.IGNORECASE,
)


class Member(NamedTuple):
    """A file in an archive."""

    name: str  # its path there, with "/"
    offset: int  # of its local header
    packed: int  # bytes in the archive
    size: int  # bytes unpacked, as the archive says
    problem: str = ""  # why it cannot be read

    def reference(self, archive: str) -> str:
        """An entry for wav.scp: `archive.zip:offset:packed:size:kind`.

        >>> Member("a/b.WAV", 10, 20, 30).reference("c.zip")
        'c.zip:10:20:30:wav'
        """
        kind = self.name[-4:].lower()
        if kind not in _KINDS:
            kind = re.sub(r"[^a-z0-9]", "", os.path.splitext(self.name)[1].lower())[:8]
        return f"{archive}:{self.offset}:{self.packed}:{self.size}:{kind.removeprefix('.')}"


class Reference(NamedTuple):
    path: str
    offset: int
    packed: int
    size: int
    kind: str  # the member's suffix in lower case: "wav", "pcm"


def parse_reference(source: str) -> Reference | None:
    """What an entry of wav.scp points at, if it points into a zip.

    >>> parse_reference("c.zip:10:20:30:wav")
    Reference(path='c.zip', offset=10, packed=20, size=30, kind='wav')
    >>> parse_reference("c.wav") is None
    True
    """
    match = _REFERENCE.fullmatch(source)
    if not match:
        return None
    numbers = (int(match[name]) for name in ("offset", "packed", "size"))
    return Reference(match["path"], *numbers, match["kind"].lower())


def members(path: str | os.PathLike) -> Iterator[Member]:
    """The files of an archive (no folders), in its order; `UserError` if it is no whole zip.

    Names without a mark of their encoding are UTF-8 if they can be, else CP949, as Korean archives
    have them.
    """
    try:
        with open(path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            start, length, count, shift = _directory(handle, size)
            handle.seek(start)
            yield from _entries(handle, length, count, shift)
    except OSError as error:
        remedy = "check its permissions, or fetch it again"
        raise UserError(f"{path}: cannot read: {error.strerror or error}", remedy) from None
    except _Broken as error:
        remedy = "fetch it again; if it came in parts (.zip.part0, …), put them together first"
        raise UserError(f"{path}: not a whole zip archive: {error}", remedy) from None


class _Broken(ValueError):
    """What is wrong with an archive."""


def _directory(handle: BinaryIO, size: int) -> tuple[int, int, int, int]:
    """Start and length of the list of contents, its entries, and what offsets are short of."""
    tail_start = max(0, size - 22 - 0xFFFF)
    handle.seek(tail_start)
    tail = handle.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise _Broken("it has no end")
    _, _, _, count, length, offset, _ = struct.unpack_from("<4H2LH", tail, at + 4)
    end = tail_start + at
    if count == 0xFFFF or length == 0xFFFFFFFF or offset == 0xFFFFFFFF:
        handle.seek(max(0, end - 20))
        locator = handle.read(20)
        if locator[:4] == _LOCATOR64:
            (end64,) = struct.unpack_from("<Q", locator, 8)
            # Bytes before the archive shift everything: the record then lies right before.
            for where in (end64, end - 20 - 56):
                handle.seek(max(0, where))
                record = handle.read(56)
                if record[:4] == _END64 and len(record) == 56:
                    count, length, offset = struct.unpack_from("<3Q", record, 32)
                    end = where
                    break
            else:
                raise _Broken("its zip64 end is damaged")
    shift = end - length - offset
    if shift < 0:
        raise _Broken("its list of contents lies outside")
    return end - length, length, count, shift


def _entries(handle: BinaryIO, length: int, count: int, shift: int) -> Iterator[Member]:
    left = length
    for _ in range(count):
        head = handle.read(46)
        left -= len(head)
        if len(head) < 46 or head[:4] != _ENTRY:
            raise _Broken("its list of contents is damaged")
        flags, method, packed, size, name_length, extra_length, comment_length, offset = (
            _HEAD.unpack(head)
        )
        rest = name_length + extra_length + comment_length
        text = handle.read(rest)
        left -= rest
        if len(text) < rest or left < 0:
            raise _Broken("its list of contents is cut off")
        if 0xFFFFFFFF in (packed, size, offset):
            extra = text[name_length : name_length + extra_length]
            size, packed, offset = _wide(extra, size, packed, offset)
        name = _decoded(text[:name_length], flags)
        if name.endswith("/"):
            continue
        problem = ""
        if flags & _ENCRYPTED:
            problem = "is encrypted"
        elif method not in (_STORED, _DEFLATED):
            problem = f"is packed by method {method}, which is not known here"
        elif size > MAX_MEMBER:
            problem = f"unpacks to {size} bytes, too many"
        elif size > 1100 * (packed + 20):  # deflate packs 1032 times at most
            problem = "says that it unpacks to more than it can"
        yield Member(name, offset + shift, packed, size, problem)


def _wide(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """64-bit values of an entry, from its extra field 1 (APPNOTE 4.5.3)."""
    values = [size, packed, offset]
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            body = extra[4 : 4 + length]
            for index, value in enumerate(values):
                if value == 0xFFFFFFFF:
                    if len(body) < 8:
                        raise _Broken("a zip64 size is missing")
                    (values[index],) = struct.unpack_from("<Q", body)
                    body = body[8:]
            break
        extra = extra[4 + length :]
    return values[0], values[1], values[2]


def _decoded(name: bytes, flags: int) -> str:
    for encoding in ("utf-8",) if flags & _UTF8 else ("utf-8", "cp949"):
        try:
            return name.decode(encoding).replace("\\", "/")
        except UnicodeDecodeError:
            continue
    return name.decode("utf-8", "replace")


def read(handle: BinaryIO, offset: int, packed: int, size: int) -> bytes:
    """The content of a member of an open archive; its checksum is compared if the archive has it.

    Raises ValueError with what is wrong. Never holds more than `size` bytes and a block.
    """
    method, crc, start = _local(handle, offset, packed, size)
    if size > MAX_MEMBER:
        raise _Broken(f"{size} bytes are too many")
    if method == _STORED:
        content = handle.read(packed)
        if len(content) != packed or packed != size:
            raise _Broken("the archive ends within it")
    elif packed <= _BLOCK and size <= _BLOCK:
        content = handle.read(packed)
        if len(content) < packed:
            raise _Broken("the archive ends within it")
        content = _inflated(content, size)
    else:
        source = _Inflating(handle, start, packed, size)
        content = source.read(size)
        if source.error or len(content) != size or source.beyond():
            raise _Broken(source.error or "it unpacks to another size than the archive says")
    if crc and zlib.crc32(content) != crc:
        raise _Broken("its checksum is wrong")
    return content


def _inflated(content: bytes, size: int) -> bytes:
    """A small member, unpacked at once."""
    inflater = zlib.decompressobj(-15)
    try:
        unpacked = inflater.decompress(content, size + 1)
    except zlib.error as error:
        raise _Broken(str(error)) from None
    if len(unpacked) != size:
        raise _Broken("it unpacks to another size than the archive says")
    return unpacked


def _local(handle: BinaryIO, offset: int, packed: int, size: int) -> tuple[int, int, int]:
    """Method, checksum (0: not given here) and start of the data, from the local header."""
    handle.seek(offset)
    head = handle.read(30)
    if len(head) < 30 or head[:4] != _LOCAL:
        raise _Broken("no file begins here: the archive has changed")
    flags, method, _, _, crc = struct.unpack_from("<4HL", head, 6)
    if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
        raise _Broken("it is encrypted or packed by an unknown method")
    says, name, extra = struct.unpack_from("<2L", head, 18), *struct.unpack_from("<2H", head, 26)
    # Sizes are not here where they follow the data (bit 3), or are of 64 bits.
    if not flags & _SIZES_FOLLOW and 0xFFFFFFFF not in says and says != (packed, size):
        raise _Broken("another file begins here: the archive has changed")
    start = offset + 30 + name + extra
    handle.seek(start)
    return method, crc, start


def open_member(handle: BinaryIO, offset: int, packed: int, size: int) -> io.RawIOBase:
    """A member as a seekable file: what is not read is not unpacked. Closing it closes `handle`.

    A damaged member reads as if it ended there; its attribute `error` says why.
    """
    method, _, start = _local(handle, offset, packed, size)
    if size > MAX_MEMBER:
        raise _Broken(f"{size} bytes are too many")
    if method == _STORED:
        opened = _Window(handle, start, min(packed, size))
    else:
        opened = _Inflating(handle, start, packed, size)
    opened.owns = True
    return opened


class _Window(io.RawIOBase):
    """A part of a file as a file."""

    owns = False  # whether closing this closes the file that it is a part of

    def __init__(self, handle: BinaryIO, start: int, size: int):
        self._handle, self._start, self._size, self._position = handle, start, size, 0
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
        content = self._bytes(min(len(buffer), max(0, self._size - self._position)))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def _bytes(self, count: int) -> bytes:
        self._handle.seek(self._start + self._position)
        return self._handle.read(count)

    def close(self) -> None:
        if self.owns:
            self._handle.close()
        super().close()


class _Inflating(_Window):
    """A deflated part of a file as a file: unpacked from its beginning as far as it is read."""

    def __init__(self, handle: BinaryIO, start: int, packed: int, size: int):
        super().__init__(handle, start, size)
        self._packed = packed
        self._rewind()

    def _rewind(self) -> None:
        self._inflater = zlib.decompressobj(-15)
        self._fed = self._unpacked = 0

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = max(0, self._size - self._position)
        content = self._bytes(min(size, max(0, self._size - self._position)))
        self._position += len(content)
        return content

    def _bytes(self, count: int) -> bytes:
        if self._position < self._unpacked:
            self._rewind()
        while self._unpacked < self._position:  # what was sought past
            if not self._next(min(_BLOCK, self._position - self._unpacked)):
                return b""
        parts = []
        while count:
            block = self._next(min(_BLOCK, count))
            if not block:
                break
            parts.append(block)
            count -= len(block)
        return b"".join(parts)

    def _next(self, most: int) -> bytes:
        """Up to `most` unpacked bytes; none at the end, or with `error` where it is damaged."""
        try:
            while not self._inflater.eof:
                fed = self._inflater.unconsumed_tail
                if not fed:
                    self._handle.seek(self._start + self._fed)
                    fed = self._handle.read(min(_BLOCK, self._packed - self._fed))
                    self._fed += len(fed)
                    if not fed:
                        self.error = "the archive ends within it"
                        return b""
                block = self._inflater.decompress(fed, most)
                self._unpacked += len(block)
                if block:
                    return block
        except zlib.error as error:
            self.error = str(error)
        return b""

    def beyond(self) -> bool:
        """Whether there is more than the size that the archive says."""
        return bool(self._next(1))


def load(reference: Reference) -> bytes:
    """The content that an entry of wav.scp points at; `UserError` if it is not there whole."""
    try:
        with open(reference.path, "rb") as handle:
            return read(handle, reference.offset, reference.packed, reference.size)
    except (OSError, ValueError) as error:
        raise unreadable(reference, error) from None


def opened(reference: Reference) -> io.RawIOBase:
    """The same as a seekable file, unpacked as far as it is read."""
    handle = None
    try:
        handle = open(reference.path, "rb")  # noqa: SIM115 closed with the member
        return open_member(handle, reference.offset, reference.packed, reference.size)
    except (OSError, ValueError) as error:
        if handle is not None:
            handle.close()
        raise unreadable(reference, error) from None


def unreadable(reference: Reference, error: Exception | str) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    remedy = "if the archive was moved or fetched anew, run data preparation (stage 1) again"
    return UserError(f"{reference.path}:{reference.offset}: cannot be read: {reason}", remedy)
