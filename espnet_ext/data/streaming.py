"""Write data directories of any size, one utterance at a time."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from espnet_ext import files
from espnet_ext.data.directory import (
    LABEL_TABLES,
    optional_tables,
    remove_stale,
    require_writable,
    transcript,
)
from espnet_ext.data.record import NA, Utterance
from espnet_ext.data.table import encoded_row, normalized
from espnet_ext.errors import UserError


class DirectoryWriter:
    """Writes what `write_directory` writes, for utterances sorted by id, and holds none of them.

    A context manager: on success all tables are renamed into place, `wav.scp` last; on an
    exception none is. Tables of an earlier write that get no row are removed.

    Args:
        path: the folder to write.
        extra: names of further tables that `add` may fill.
        fill_missing: outputs whose missing rows are written as `<na>`, as in `write_directory`.
        empty_texts: write empty transcripts; otherwise they are errors.
        any_speakers: speakers need not be in order. Their ids are then held, about 30 bytes each.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with DirectoryWriter(folder) as writer:
    ...         writer.add(Utterance("s1-u1", "s1", "u1.wav", {"meaning": "국물"}))
    ...     sorted(os.listdir(folder))
    ['spk2utt', 'text.meaning', 'utt2spk', 'wav.scp']
    """

    def __init__(
        self,
        path: str | os.PathLike,
        extra: Sequence[str] = (),
        *,
        fill_missing: Sequence[str] = (),
        empty_texts: bool = False,
        any_speakers: bool = False,
    ):
        self._folder = os.fspath(path)
        self._empty_texts = empty_texts
        self._extra = tuple(extra)
        self._fill_missing = tuple(fill_missing)
        self._any_speakers = any_speakers
        self._stack = ExitStack()
        self._tables: dict[str, IO[bytes]] = {}
        self._last_id = self._speaker = ""
        self._ids: list[str] = []  # of the current speaker
        self._rows: dict[str, bytearray] = {}  # of spk2utt, if speakers are in any order

    def __enter__(self) -> "DirectoryWriter":
        self._stack.__enter__()
        # The stack closes, and so renames, the tables in reverse order: wav.scp last.
        for name in ("wav.scp", "utt2spk", "spk2utt"):
            self._table(name)
        return self

    def add(self, utterance: Utterance, extra: Mapping[str, str] | None = None) -> None:
        """Write the rows of an utterance.

        Args:
            extra: values of further tables, by table name.

        Raises:
            UserError: if the utterance is out of order or cannot be written.
        """
        utt_id = utterance.utt_id
        self._require_order(utterance)
        require_writable(self._folder, utterance)
        self._write("wav.scp", utt_id, utterance.audio)
        self._write("utt2spk", utt_id, utterance.speaker)
        for name in dict.fromkeys((*self._fill_missing, *utterance.texts)):
            text = transcript(self._folder, utterance, name, self._empty_texts)
            if text is None and name in self._fill_missing:
                text = NA
            if text is not None:
                self._write(f"text.{name}", utt_id, text)
        for name, attribute in LABEL_TABLES.items():
            if label := normalized(getattr(utterance, attribute) or ""):
                self._write(name, utt_id, label)
        for name, value in (extra or {}).items():
            if name not in self._extra:
                raise ValueError(f"{name} is not a table of this directory")
            if value := normalized(value):
                self._write(name, utt_id, value)
        if utterance.speaker != self._speaker:
            self._end_speaker()
            self._speaker = utterance.speaker
        self._ids.append(utt_id)
        self._last_id = utt_id

    def add_row(self, name: str, key: str, value: str) -> None:
        """Write a row of a further table, which may be one of speakers, in order of its ids."""
        self._write(name, key, value)

    def _require_order(self, utterance: Utterance) -> None:
        place = f"{self._folder}: {utterance.utt_id}"
        if utterance.utt_id == self._last_id:
            raise UserError(f"{place}: two utterances have this id", "give each its own id")
        if utterance.utt_id < self._last_id:
            raise UserError(f"{place}: out of order", "sort the utterances by id")
        if utterance.speaker < self._speaker and not self._any_speakers:
            message = f"{place}: sorted by id, the utterances are not sorted by speaker"
            raise UserError(message, "use only letters, digits and '_' in speaker names")

    def _write(self, name: str, key: str, value: str) -> None:
        self._table(name).write(encoded_row(f"{self._folder}/{name}", key, value))

    def _table(self, name: str) -> IO[bytes]:
        if name not in self._tables:
            handle = self._stack.enter_context(files.atomic_write(f"{self._folder}/{name}", "wb"))
            self._tables[name] = handle
        return self._tables[name]

    def _end_speaker(self) -> None:
        ids, self._ids = " ".join(self._ids), []
        if self._any_speakers and ids:
            row = self._rows.setdefault(self._speaker, bytearray())
            row += f" {ids}".encode()
        elif ids:
            self._write("spk2utt", self._speaker, ids)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                self._end_speaker()
                for speaker in sorted(self._rows):
                    self._write("spk2utt", speaker, self._rows[speaker].decode())
                for name in {*optional_tables(self._folder), *self._extra} - self._tables.keys():
                    remove_stale(Path(self._folder, name))
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)
