"""Data directories of any size: utterances come sorted by id and are written as they come."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from espnet_ext import files
from espnet_ext.data.directory import LABEL_TABLES, remove_stale, text_files
from espnet_ext.data.record import NA, Utterance, id_problem, is_output_name
from espnet_ext.data.table import encoded_row, normalized
from espnet_ext.errors import UserError


class DirectoryWriter:
    """What `write_directory` does, for utterances sorted by id, of which it holds none.

    Used as a context: all tables appear when it ends well, `wav.scp` last, and none otherwise.
    `extra` names further tables that `add` may fill; of those and of all others, what an earlier
    write left and this one does not fill is removed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with DirectoryWriter(folder) as writer:
    ...         writer.add(Utterance("s1-u1", "s1", "u1.wav", {"meaning": "국물"}))
    ...     sorted(os.listdir(folder))
    ['spk2utt', 'text.meaning', 'utt2spk', 'wav.scp']
    """

    def __init__(self, path: str | os.PathLike, extra: Sequence[str] = ()):
        self._folder = os.fspath(path)
        self._extra = tuple(extra)
        self._stack = ExitStack()
        self._tables: dict[str, IO[bytes]] = {}
        self._last_id = self._speaker = ""
        self._ids: list[str] = []  # of one speaker

    def __enter__(self) -> "DirectoryWriter":
        self._stack.__enter__()
        for name in ("wav.scp", "utt2spk", "spk2utt"):  # closed, and so renamed, last to first
            self._table(name)
        return self

    def add(self, one: Utterance, extra: Mapping[str, str] | None = None) -> None:
        """Write an utterance's rows; `UserError` if it is out of order or cannot be written."""
        self._check(one)
        self._row("wav.scp", one.utt_id, one.audio)
        self._row("utt2spk", one.utt_id, one.speaker)
        for name, text in one.texts.items():
            if text != NA:
                self._row(f"text.{name}", one.utt_id, self._text(one, name, text))
        for name, attribute in LABEL_TABLES.items():
            if label := normalized(getattr(one, attribute) or ""):
                self._row(name, one.utt_id, label)
        for name, value in (extra or {}).items():
            if name not in self._extra:
                raise ValueError(f"{name} is no table of this directory")
            if value := normalized(value):
                self._row(name, one.utt_id, value)
        if one.speaker != self._speaker:
            self._end_speaker()
            self._speaker = one.speaker
        self._ids.append(one.utt_id)
        self._last_id = one.utt_id

    def _check(self, one: Utterance) -> None:
        where = f"{self._folder}: {one.utt_id}"
        if one.utt_id <= self._last_id:
            what = "two utterances have this id" if one.utt_id == self._last_id else "out of order"
            raise UserError(f"{where}: {what}", "give every utterance an id of its own, and sort")
        if one.speaker != self._speaker:
            if problem := id_problem(one.speaker):
                message = f"{where}: the speaker {one.speaker!r} {problem}"
                raise UserError(message, "rename the speaker")
            if one.speaker < self._speaker:
                message = f"{where}: speakers are not in order when utterances are"
                raise UserError(message, "name speakers with letters, digits and '_' alone")
        if not one.audio or one.audio != one.audio.strip():
            message = f"{where}: the audio path {one.audio!r} is empty or has whitespace around it"
            raise UserError(message, "rename the file: wav.scp cannot hold such a path")

    def _text(self, one: Utterance, name: str, text: str) -> str:
        where = f"{self._folder}: {one.utt_id}"
        if not is_output_name(name):
            remedy = "use letters, digits and '_', beginning with a letter"
            raise UserError(f"{where}: '{name}' is no name for an output", remedy)
        normal = normalized(text)
        if not normal:
            remedy = "leave the transcript out if there is none (unlabelled)"
            raise UserError(f"{where}: the {name} transcript is empty", remedy)
        return normal

    def _row(self, name: str, key: str, value: str) -> None:
        self._table(name).write(encoded_row(f"{self._folder}/{name}", key, value))

    def _table(self, name: str) -> IO[bytes]:
        if name not in self._tables:
            handle = self._stack.enter_context(files.atomic_write(f"{self._folder}/{name}", "wb"))
            self._tables[name] = handle
        return self._tables[name]

    def _end_speaker(self) -> None:
        if self._ids:
            self._row("spk2utt", self._speaker, " ".join(self._ids))
            self._ids = []

    def _stale(self) -> Iterator[str]:
        earlier = {"text", *LABEL_TABLES, *self._extra}
        earlier |= {f"text.{name}" for name in text_files(self._folder)}
        yield from sorted(earlier - self._tables.keys())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                self._end_speaker()
                for name in self._stale():
                    remove_stale(Path(self._folder, name))
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)
