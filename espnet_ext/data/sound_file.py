"""An open recording, read by libsndfile: every format in sequence and to its end.

soundfile itself asks libsndfile for its position and moves there after each block. Some codecs do
not support this (GSM 6.10, G.721, DWVW). Here blocks are read one after the other, and a recording
of unknown length is read until it ends.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import soundfile

from espnet_ext.data.containers import Contents, inspect
from espnet_ext.data.scale import Range, Scale, scale_of
from espnet_ext.errors import UserError

_BLOCK = 1 << 18  # samples per channel that are read at once where the length is not known
_MAX_MISSING_SHARE = 0.01  # of the samples, which the header says and the decoder does not return
_MAX_MISSING_SECONDS = 0.1
# Samples per byte that a file can have. Silence has the most. A header that says more is verified.
_MAX_DENSITY = {"FLAC": 16}
_DEFAULT_DENSITY = 1000
_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
_LOSSY_SUBTYPES = ("VORBIS", "OPUS", "MPEG")  # whose decoders overshoot full scale a little
_PCM: dict[str, Any] = {  # the format of headerless files
    "samplerate": 16000,
    "channels": 1,
    "format": "RAW",
    "subtype": "PCM_16",
    "endian": "LITTLE",
}
# Lines of libsndfile's log about formats that `containers` does not know: SVX, WVE, MAT4, VOC
_TRUNCATED = re.compile(
    r"^ *(?:BODY *:|Data length|\*\*\* File seems to be truncated\.) *(?P<first>\d+) "
    r"(?:\(should be|should be|<-->) (?P<second>\d+)|^Seems to be a truncated file",
    re.MULTILINE,
)


def unreadable(source: str, error: Exception) -> UserError:
    """Return the error for audio that cannot be read."""
    reason = getattr(error, "strerror", None) or str(error).rsplit(": ", 1)[-1].rstrip(".")
    remedy = "try to play it; export it again as WAV or FLAC, or remove the utterance"
    if "ormat not recogni" in reason:
        remedy = (
            "if it plays, convert it (libsndfile does not read M4A, AAC, WMA, WebM, …): "
            "ffmpeg -i IN.m4a OUT.wav; if not, export it again, or remove the utterance"
        )
    return UserError(f"{source}: cannot be read as audio: {reason or type(error).__name__}", remedy)


class _Decoder(soundfile.SoundFile):
    """A SoundFile that never seeks unless `seek` is called.

    `soundfile` seeks after every read of a file that is `seekable`. That fails for codecs that
    report that they can seek, but cannot (DWVW).
    """

    def seekable(self) -> bool:
        return False

    def can_seek(self) -> bool:
        """Return whether libsndfile supports `seek` for this file."""
        return super().seekable()


class _PatchedFile(io.RawIOBase):
    """A file of which some bytes are replaced while it is read. Closing it closes the file."""

    def __init__(self, handle: IO[bytes], patches: tuple[tuple[int, bytes], ...]):
        self._handle, self._patches = handle, patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._handle.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._handle.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        start = self._handle.tell()
        content = bytearray(self._handle.read(len(buffer)))
        for offset, replacement in self._patches:
            for index, byte in enumerate(replacement, offset - start):
                if 0 <= index < len(content):
                    content[index] = byte
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._handle.close()
        super().close()


class Sound:
    """An open recording; a context manager.

    Args:
        source: names the recording in errors.
        file: path, or the open file.
        kind: suffix of its name in lower case; "pcm" may be a file without a header.

    Attributes:
        samplerate: sample rate in Hz.
        channels: number of channels.
        format, subtype: libsndfile's names, such as "WAV" and "PCM_16".
        has_length: the header says how long the recording is.

    Raises:
        UserError: if it is unreadable or incomplete.
    """

    def __init__(self, source: str, file: str | IO[bytes], kind: str = ""):
        self.source = source
        self._file = file
        self._contents = Contents()
        self._options: dict[str, Any] = {}
        self._position = 0
        try:
            self._size = self._inspect(kind)
            if self._contents.problem:
                raise UserError(f"{source}: {self._contents.problem}", self._contents.remedy)
            self._decoder = self._open()
        except UserError:
            raise
        except Exception as error:  # a decoder may raise anything for damaged files
            raise unreadable(source, error) from None
        self.samplerate: int = self._decoder.samplerate
        self.channels: int = self._decoder.channels
        self.format: str = self._decoder.format
        self.subtype: str = self._decoder.subtype
        self._frames = self._header_frames()
        self.has_length = self._frames is not None and not self._contents.patches
        self._require_complete()

    def _inspect(self, kind: str) -> int:
        """Inspect the header, if there is one; return the size of the file in bytes."""
        if isinstance(self._file, str):
            with open(os.fsencode(self._file), "rb") as handle:
                return self._inspect_open(handle, kind)
        return self._inspect_open(self._file, kind)

    def _inspect_open(self, handle: IO[bytes], kind: str) -> int:
        if not handle.seek(0, os.SEEK_END):
            remedy = "copy or record it again, or remove the utterance"
            raise UserError(f"{self.source}: is empty (0 bytes)", remedy)
        handle.seek(0)
        if kind != "pcm" or handle.read(4) == b"RIFF":
            self._contents = inspect(handle)
        else:
            self._options = _PCM
        return handle.seek(0, os.SEEK_END)

    def _open(self) -> _Decoder:
        path, patches = self._file, self._contents.patches
        if not isinstance(path, str):
            path.seek(0)
            return _Decoder(_PatchedFile(path, patches) if patches else path, **self._options)
        if patches:
            handle = open(os.fsencode(path), "rb")  # noqa: SIM115 closed with the decoder
            return _Decoder(_PatchedFile(handle, patches))
        return _Decoder(os.fsencode(path), **self._options)

    def _header_frames(self) -> int | None:
        """Return the number of samples per channel, or None if the header does not say it."""
        frames: int = self._decoder.frames
        counted = self._contents.frames
        if counted is not None and abs(frames - counted) > _MAX_MISSING_SHARE * counted:
            if frames < counted:
                self.close()
                raise UserError(
                    f"{self.source}: has {counted} samples, but no header that says so, and only "
                    f"{frames} of them can be read",
                    "write it again: ffmpeg -i IN.mp3 OUT.flac",
                )
            return None
        density = _MAX_DENSITY.get(self.format, _DEFAULT_DENSITY)
        return None if frames > density * self._size else frames

    def _require_complete(self) -> None:
        """Raise a `UserError` for a truncated file that libsndfile only mentions in its log."""
        if not (truncated := _TRUNCATED.search(self._decoder.extra_info)):
            return
        self.close()
        counts = sorted(int(truncated[name] or 0) for name in ("first", "second"))
        detail = f": it has {counts[0]} of {counts[1]} bytes of samples" if counts[1] else ""
        remedy = "copy it again, or remove the utterance"
        raise UserError(f"{self.source}: is truncated{detail}", remedy)

    @property
    def frames(self) -> int:
        """Number of samples per channel. If no header states it, the whole file is decoded."""
        if self._frames is None:
            position = self._position
            self._rewind()
            count = sum(map(len, self._blocks(None)))
            self.seek(position)
            self._frames = count
        return self._frames

    @property
    def is_float(self) -> bool:
        return self.subtype in _FLOAT_SUBTYPES

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._close_decoder()
        if not isinstance(self._file, str):
            self._file.close()

    def _close_decoder(self) -> None:
        self._decoder.close()
        if isinstance(self._file, str) and isinstance(self._decoder.name, _PatchedFile):
            self._decoder.name.close()

    def require_last_sample(self) -> None:
        """Raise a `UserError` if the end of a FLAC file cannot be decoded.

        libsndfile takes the length of FLAC from its header and notices the end when it reads it.
        """
        if self.format == "FLAC" and self._frames and isinstance(self._file, str):
            self.seek(self._frames - 1)
            if not len(self.read(1)):
                remedy = "copy it again, or remove the utterance"
                raise UserError(f"{self.source}: is truncated: its end is missing", remedy)

    def seek(self, position: int) -> None:
        """Move to sample `position`, by decoding up to it if the decoder cannot seek."""
        if position == self._position:
            return
        if self._decoder.can_seek() and self._frames is not None:
            try:
                self._position = self._decoder.seek(position)
                return
            except RuntimeError:  # DWVW says that it can, and cannot
                self._rewind()
        if position < self._position:
            self._rewind()
        for _ in self._blocks(position - self._position):
            pass

    def read(self, count: int | None = None) -> np.ndarray:
        """Return the next `count` samples (None: all), float32 of shape (T, channels).

        There are fewer at the end of the recording. Float samples are returned as they are in the
        file; `scale` says what to divide them by.

        Raises:
            UserError: if the recording has fewer samples than its header says.
        """
        start = self._position
        block_size = _BLOCK if self._frames is None else max(1, self._frames)
        blocks = list(self._blocks(count, block_size))
        samples = blocks[0] if len(blocks) == 1 else np.concatenate([*blocks, self._nothing()])
        if self._frames is not None:
            expected = self._frames - start if count is None else min(count, self._frames - start)
            missing = expected - len(samples)
            allowed = min(_MAX_MISSING_SHARE * self._frames, _MAX_MISSING_SECONDS * self.samplerate)
            if missing > allowed:
                raise UserError(
                    f"{self.source}: is truncated: it has {self._position} of {self._frames} "
                    "samples",
                    "copy it again, or remove the utterance",
                )
        if self.subtype.startswith(_LOSSY_SUBTYPES):
            np.clip(samples, -1.0, 1.0, out=samples)
        return samples

    def scale(self) -> Scale:
        """Return the scale of a float recording; all of it is read."""
        if not self.is_float:
            return Scale()
        position = self._position
        self.seek(0)
        total = Range()
        for block in self._blocks(None):
            total += Range.of(block, total.is_integer)
        self.seek(position)
        return scale_of(total, self.source)

    def _rewind(self) -> None:
        """Open the recording again, which every codec supports."""
        try:
            self._close_decoder()
            self._decoder = self._open()
        except Exception as error:
            raise unreadable(self.source, error) from None
        self._position = 0

    def _blocks(self, count: int | None, block_size: int = _BLOCK) -> Iterator[np.ndarray]:
        """Yield the next `count` samples (None: all) in blocks."""
        end = self._frames if count is None else self._position + count
        while end is None or self._position < end:
            size = block_size if end is None else min(block_size, end - self._position)
            try:
                block = self._decoder.read(size, dtype="float32", always_2d=True)
            except Exception as error:
                raise unreadable(self.source, error) from None
            self._position += len(block)
            if len(block):
                yield block
            if len(block) < size:
                return

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self.channels), np.float32)
