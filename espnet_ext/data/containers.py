"""Compare what the header of a sound file promises with what the file contains.

libsndfile reads a truncated file to its end without an error, and it does not read some files whose
header was written before their length was known. Therefore the headers are parsed here:

- WAV (also RF64, BW64 and big-endian RIFX), Wave64, AIFF, AU, CAF and NIST SPHERE promise a number
  of bytes;
- Ogg (Vorbis, Opus, FLAC) consists of pages, and the last one is marked;
- MP3 consists of frames, and the first one may promise a number of bytes and of frames.

Other formats promise nothing, or libsndfile compares it with the content (FLAC).
"""

import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Literal, NamedTuple

_MAX_MISSING_SHARE = 0.01  # of what is promised; a last sample or block is often missing
_MAX_MISSING_BYTES = 4096  # an eighth of a second of 16-bit audio at 16 kHz
_MIN_EXTRA_BYTES = 4096  # after the samples: fewer bytes are padding
# From here on, a 32-bit length means that it was not known when the header was written: 2³²−1
# (ffmpeg), 2³¹−1 less a header (sox).
_UNKNOWN_32 = 0x7FFFF000
_UNKNOWN_64 = 1 << 62
_HEADER_BYTES = 1 << 12  # enough for the headers that are searched for text
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_TAGS = (b"ID3", b"TAG", b"APETAGEX")  # of MP3, which some programs write after other formats too
_COPY_AGAIN = "copy it again, or remove the utterance"


class Promise(NamedTuple):
    """A field of a header with the number of bytes of samples."""

    start: int  # offset of the samples
    length: int  # bytes of samples that the header promises
    field: int = 0  # offset of the field; 0: it cannot be corrected
    format: str = "<I"  # format of the field, for struct
    # Byte order of chunks that may follow the samples; "": none may; None: it does not matter
    chunks: Literal["<", ">", ""] | None = ""
    extra: int = 0  # bytes that the field counts in addition to the samples

    @property
    def is_unknown(self) -> bool:
        return self.length < 0 or self.length >= (
            _UNKNOWN_64 if struct.calcsize(self.format) == 8 else _UNKNOWN_32
        )


@dataclass(frozen=True)
class Contents:
    """Result of `inspect`: the problem of a sound file, and corrections to read it with."""

    problem: str = ""  # why not all of its audio is there or can be read
    remedy: str = _COPY_AGAIN
    # (offset, bytes) to be read in place of what the file has: a length that was not known
    patches: tuple[tuple[int, bytes], ...] = ()
    frames: int | None = None  # samples per channel, where libsndfile could only estimate them


def inspect(handle: IO[bytes]) -> Contents:
    """Inspect a sound file. Its position afterwards is undefined.

    >>> import io
    >>> wav = b"RIFF" + struct.pack("<I", 20036) + b"WAVEdata" + struct.pack("<I", 20000)
    >>> inspect(io.BytesIO(wav + bytes(10000))).problem
    'is truncated: it has 10000 of 20000 bytes of samples'
    """
    size = handle.seek(0, os.SEEK_END)
    handle.seek(0)
    head = handle.read(16)
    for magic, reader in _PROMISES.items():
        if re.match(magic, head, re.DOTALL):
            promise = reader(handle, head, size)
            return _compare(handle, promise, size) if promise else Contents()
    if head.startswith(b"OggS"):
        return _inspect_ogg(handle, size)
    if head.startswith(b"ID3") or _parse_mp3_header(head):
        return _inspect_mp3(handle, head, size)
    if head.startswith(b"fLaC"):
        return _inspect_flac(handle, size)
    return Contents()


def _compare(handle: IO[bytes], promise: Promise, size: int) -> Contents:
    """Compare the promised bytes with those that follow the header."""
    start, promised, available = promise.start, promise.length, size - promise.start
    is_empty = promised == 0 and available > 0 and not _is_chunk(handle, start, size, promise)
    if promise.is_unknown or is_empty:
        return Contents(patches=_known_length(promise, available))
    if is_truncated(promised, available):
        return Contents(
            f"is truncated: it has {available} of {promised} bytes of samples", _COPY_AGAIN
        )
    if promise.chunks is None:
        return Contents()
    end = start + promised
    padded = end + promised % 2  # chunks begin at even offsets, or should
    is_chunk = any(_is_chunk(handle, offset, size, promise) for offset in (end, padded))
    limit = max(_MIN_EXTRA_BYTES, _MAX_MISSING_SHARE * promised)
    if size - end > limit and not is_chunk and _has_content(handle, end):
        return Contents(
            f"has {available} bytes of samples, but its header says {promised}",
            "write it again; for WAV: ffmpeg -ignore_length 1 -i IN.wav OUT.wav",
        )
    return Contents()


def is_truncated(promised: int, available: int) -> bool:
    """Return whether more bytes (or samples) are missing than a last block.

    >>> is_truncated(32000, 31998), is_truncated(32000, 16000)
    (False, True)
    """
    missing = promised - available
    return missing > min(_MAX_MISSING_SHARE * promised, _MAX_MISSING_BYTES)


def _known_length(promise: Promise, available: int) -> tuple[tuple[int, bytes], ...]:
    """Return the patch that sets the length in the header to the number of available bytes."""
    length = available + promise.extra
    bits = 8 * struct.calcsize(promise.format)
    if not promise.field or length >> (bits - 1):
        return ()  # libsndfile takes such a length as unknown
    return ((promise.field, struct.pack(promise.format, length)),)


def _is_chunk(handle: IO[bytes], start: int, size: int, promise: Promise) -> bool:
    """Return whether a chunk begins at an offset: an id and a length that the file can have."""
    if not promise.chunks:
        return False
    header = struct.Struct(f"{promise.chunks}4s{promise.format[1]}")
    handle.seek(start)
    content = handle.read(header.size)
    if content.startswith(_TAGS):
        return True
    if len(content) < header.size:
        return False
    name, length = header.unpack(content)
    return all(32 <= byte < 127 for byte in name) and 0 <= length <= size - start - header.size


def _has_content(handle: IO[bytes], start: int) -> bool:
    handle.seek(start)
    return any(handle.read(_HEADER_BYTES))


# Readers of the promise: (handle, first bytes, size of the file) → promise, or None without samples


def _promise_of_wav(handle: IO[bytes], head: bytes, size: int) -> Promise | None:
    order: Literal["<", ">"] = ">" if head.startswith(b"RIFX") else "<"
    start, wide = 12, None
    for name, start, length in _chunks(handle, 12, size, f"{order}4sI"):
        if name == b"ds64" and length >= 16:
            handle.seek(start + 8)  # after the length of the whole file
            wide = (start + 8, *struct.unpack("<q", handle.read(8)))
        if name == b"data":
            if wide and length == 0xFFFFFFFF:
                return Promise(start, wide[1], wide[0], "<q", order)
            return Promise(start, length, start - 4, f"{order}I", order)
    return None


def _promise_of_wave64(handle: IO[bytes], head: bytes, size: int) -> Promise | None:
    position = 40
    while position + 24 <= size:
        handle.seek(position)
        name, length = struct.unpack("<16sq", handle.read(24))
        if name == _W64_DATA:
            # libsndfile ignores the length, and no other chunk follows where it is not known.
            return Promise(position + 24, length - 24, 0, "<q", None) if length > 24 else None
        if length < 24:
            return None
        position += (length + 7) // 8 * 8
    return None


def _promise_of_aiff(handle: IO[bytes], head: bytes, size: int) -> Promise | None:
    for name, start, length in _chunks(handle, 12, size, ">4sI"):
        if name == b"SSND":
            # The chunk begins with two fields. libsndfile reads to the end for a length of 0.
            return Promise(start + 8, length - 8, 0, ">I", ">") if length >= 8 else None
    return None


def _promise_of_au(handle: IO[bytes], head: bytes, size: int) -> Promise | None:
    order = ">" if head.startswith(b".snd") else "<"
    start, length = struct.unpack(f"{order}II", head[4:12])
    return Promise(start, length, 8, f"{order}I") if start < size else None


def _promise_of_caf(handle: IO[bytes], head: bytes, size: int) -> Promise | None:
    for name, start, length in _chunks(handle, 8, size, ">4sq"):
        if name == b"data":
            # The chunk begins with a field; −1 is an unknown length.
            return Promise(start + 4, max(length - 4, -1), start - 8, ">q", ">", extra=4)
    return None


def _promise_of_sphere(handle: IO[bytes], head: bytes, size: int) -> Promise | None:
    handle.seek(0)
    header = handle.read(_HEADER_BYTES)
    fields = dict(re.findall(rb"^(\w+) -(?:i|s\d+) (\S+)", header, re.MULTILINE))
    try:
        start = int(header[8:16])
        samples, width = int(fields[b"sample_count"]), int(fields[b"sample_n_bytes"])
        channels = int(fields.get(b"channel_count", b"1"))
    except (KeyError, ValueError):
        return None
    is_compressed = b"," in fields.get(b"sample_coding", b"")  # "pcm,embedded-shorten-v2.00"
    return None if is_compressed else Promise(start, samples * width * channels)


def _chunks(
    handle: IO[bytes], position: int, size: int, header_format: str
) -> Iterator[tuple[bytes, int, int]]:
    """Yield id, offset of the content and length of each chunk, until one is beyond the end."""
    header = struct.Struct(header_format)
    while position + header.size <= size:
        handle.seek(position)
        name, length = header.unpack(handle.read(header.size))
        position += header.size
        yield name, position, length
        if length < 0:
            return
        position += length + (length % 2 if header.size == 8 else 0)  # CAF does not pad


# First bytes of a file, as a regular expression → reader of its promise
_PROMISES: dict[bytes, Callable[[IO[bytes], bytes, int], Promise | None]] = {
    rb"(?:RIFF|RIFX|RF64|BW64)....WAVE": _promise_of_wav,
    re.escape(_W64_RIFF): _promise_of_wave64,
    rb"FORM....AIF[FC]": _promise_of_aiff,
    rb"\.snd|dns\.": _promise_of_au,
    rb"caff": _promise_of_caf,
    rb"NIST_1A": _promise_of_sphere,
}


def _inspect_ogg(handle: IO[bytes], size: int) -> Contents:
    """Walk through the pages of an Ogg file (RFC 3533, section 6)."""
    position, flags, streams = 0, 0, 0
    while position < size:
        handle.seek(position)
        header = handle.read(27)
        if not header.startswith(b"OggS"):
            break  # not Ogg any more: tags of another format, or damage that libsndfile reports
        lacing = handle.read(header[26]) if len(header) == 27 else b""
        end = position + 27 + len(lacing) + sum(lacing)
        if len(header) < 27 or len(lacing) < header[26] or end > size:
            return Contents(f"is truncated: it ends within a page, after {size} bytes", _COPY_AGAIN)
        is_first = bool(header[5] & 2)
        if is_first and flags & 4:
            return Contents(
                "consists of several streams, of which only the first could be read",
                "join them: ffmpeg -i IN.ogg OUT.flac",
            )
        flags, position, streams = header[5], end, streams + is_first
    if streams == 1 and not flags & 4:
        return Contents(
            "is truncated: its last page is not marked as the last one",
            "copy it again; if it is complete, write it again: ffmpeg -i IN.ogg OUT.flac",
        )
    return Contents()


def _inspect_flac(handle: IO[bytes], size: int) -> Contents:
    """Compare the size of the frames of a FLAC file with the number of samples in its header."""
    handle.seek(8)
    info = handle.read(34)
    if len(info) < 34:
        return Contents()
    fields = int.from_bytes(info[10:18])
    samples, bits = fields & ((1 << 36) - 1), (fields >> 36 & 31) + 1
    channels = (fields >> 41 & 7) + 1
    position, is_last = 4, False
    while not is_last and position + 4 <= size:  # blocks of metadata
        handle.seek(position)
        header = handle.read(4)
        is_last = bool(header[0] & 0x80)
        position += 4 + int.from_bytes(header[1:4])
    uncompressed = samples * channels * bits / 8
    if samples and size - position > 1.1 * uncompressed + _MIN_EXTRA_BYTES:
        return Contents(
            f"has more audio than the {samples} samples that its header says",
            "write it again: flac -d -F IN.flac -o OUT.wav (or ffmpeg -i IN.flac OUT.wav)",
        )
    return Contents()


class _Mp3Frame(NamedTuple):
    length: int  # bytes
    samples: int  # per channel
    rate: int  # Hz
    side_info: int  # bytes between the header and a Xing header


_BIT_RATES = {  # kbit/s by (MPEG 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: 1, 2: 2, 0: 4}  # MPEG 1, 2, 2.5: divisors of the rates of MPEG 1


def _parse_mp3_header(header: bytes) -> _Mp3Frame | None:
    """Parse the four bytes at the beginning of an MPEG audio frame (ISO 11172-3, 2.4.1.3)."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bit_rate, rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bit_rate in (0, 15) or rate_index == 3:
        return None
    is_mpeg1, is_mono = version == 3, header[3] >> 6 == 3
    rate = (44100, 48000, 32000)[rate_index] // _RATES[version]
    samples = 384 if layer == 1 else 576 if layer == 3 and not is_mpeg1 else 1152
    slot = 4 if layer == 1 else 1  # bytes that a frame is padded by
    bits = _BIT_RATES[is_mpeg1, layer][bit_rate - 1] * 1000
    length = (samples // (8 * slot) * bits // rate + (header[2] >> 1 & 1)) * slot
    side_info = (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)
    return _Mp3Frame(length, samples, rate, side_info)


def _inspect_mp3(handle: IO[bytes], head: bytes, size: int) -> Contents:
    """Compare an MP3 file with its Xing header, or without one count its frames."""
    start = 0
    while head.startswith(b"ID3"):  # a tag; there can be several
        length = 0
        for byte in head[6:10]:  # seven bits each
            length = length << 7 | byte & 127
        start += 10 + length
        handle.seek(start)
        head = handle.read(10)
    handle.seek(start)
    content = handle.read(_HEADER_BYTES)
    frame = _parse_mp3_header(content)
    if frame is None:
        return Contents()  # padding, or another format; libsndfile searches for the first frame
    xing = content[4 + frame.side_info :]
    if xing.startswith((b"Xing", b"Info")):
        flags = int.from_bytes(xing[4:8])
        fields = struct.unpack(">II", xing[8:16])
        if flags & 3 == 3:  # numbers of frames and of bytes
            return _compare_xing(handle, start, size, fields[0] * frame.samples, fields[1])
    samples, end = _walk_mp3(handle, start, size)
    if end > size:
        return Contents(
            f"is truncated: it ends within a frame, after {size} bytes",
            "copy it again; if it is complete, write it again: ffmpeg -i IN.mp3 OUT.flac",
        )
    return Contents(frames=samples)


def _compare_xing(
    handle: IO[bytes], start: int, size: int, samples: int, promised: int
) -> Contents:
    available = size - start
    if is_truncated(promised, available):
        return Contents(
            f"is truncated: it has {available} of {promised} bytes of samples", _COPY_AGAIN
        )
    if available - promised > max(_MIN_EXTRA_BYTES, _MAX_MISSING_SHARE * promised):
        further, _ = _walk_mp3(handle, start + promised, size)
        if further > _MAX_MISSING_SHARE * samples:
            return Contents(
                f"has more audio than the {samples} samples that its header says",
                "it may be several files joined into one: ffmpeg -i IN.mp3 OUT.flac",
            )
    return Contents()


def _walk_mp3(handle: IO[bytes], position: int, size: int) -> tuple[int, int]:
    """Return the samples per channel of the frames from an offset on, and where the last one ends.

    The last frame may end after the file.
    """
    samples = 0
    while position + 4 <= size:
        handle.seek(position)
        frame = _parse_mp3_header(handle.read(4))
        if frame is None:
            break  # a tag
        samples, position = samples + frame.samples, position + frame.length
    return samples, position
