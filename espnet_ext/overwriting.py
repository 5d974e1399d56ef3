"""Protect files that a command would overwrite or remove, but did not write itself.

One rule for every command that writes: it refuses an output that is its input. Without
`--overwrite true` it also refuses to replace files that it did not write, or that have changed
since. A hidden file in the folder, `MARK`, records what each command wrote.
"""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from espnet_ext.errors import UserError
from espnet_ext.files import sha256_of, write_json

MARK = ".written_by.json"  # command → name of a file → SHA-256 of its content
_MAX_NAMED = 3  # files that an error names

Paths = Iterable[str | os.PathLike]


class OutputFolder:
    r"""A folder that a command writes; a context manager that yields its path.

    Entering it checks the rule and creates the folder. Until it is left, all files in it that match
    count as written by the command, so that an interrupted command can be repeated.

    Args:
        folder: the folder, which need not exist.
        command: name of the command, with what makes its result another one: "prepare plain".
        names: regular expression for names of files that it writes or removes.
        inputs: folders and files that it reads.
        overwrite: write in any case, except into an input.
        evidence: files that show, in a folder without a record, that an earlier version of the
            command wrote it. All of them must exist.
        replaces: other commands whose files it may overwrite.

    Raises:
        UserError: if the folder is an input, or contains files that the command did not write.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as temporary:
    ...     with OutputFolder(temporary, "copy", r".*\.txt") as folder:
    ...         _ = (folder / "a.txt").write_text("a")
    ...     with OutputFolder(temporary, "copy", r".*\.txt") as folder:  # it may do that again
    ...         _ = (folder / "a.txt").write_text("b")
    ...     _ = (folder / "a.txt").write_text("by hand")
    ...     try:
    ...         OutputFolder(temporary, "copy", r".*\.txt").check()
    ...     except UserError as error:
    ...         print(error.message.removeprefix(temporary))
    : a.txt would be overwritten, but it has changed since `copy` wrote it
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        command: str,
        names: str,
        *,
        inputs: Paths = (),
        overwrite: bool = False,
        evidence: Sequence[str] = (),
        replaces: Sequence[str] = (),
    ):
        self.folder = Path(folder)
        self.command = command
        self.names = re.compile(names)
        self.inputs = tuple(inputs)
        self.overwrite = overwrite
        self.evidence = tuple(evidence)
        self.replaces = tuple(replaces)
        self._is_new = False

    def check(self) -> None:
        """Raise a `UserError` if the command must not write here. Nothing is created."""
        require_no_input(self.folder, self.inputs)
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise UserError(f"{self.folder}: is not a folder", "name another output")
            if not self.overwrite:
                self._require_written_here()
        except OSError as error:
            remedy = "name another output, or check the folder's permissions"
            message = f"{self.folder}: cannot read: {error.strerror}"
            raise UserError(message, remedy) from None

    def _require_written_here(self) -> None:
        files = self._files()
        written = self._read()
        records = [written[one] for one in (self.command, *self.replaces) if one in written]
        if not records and self._has_evidence():
            return
        if any(record.get("unfinished") for record in records):
            return
        digests = {name: {r[name] for r in records if name in r} for name in files}
        protected = [name for name in files if not digests[name]]
        if not protected:
            protected = [name for name, path in files.items() if _digest(path) not in digests[name]]
        if protected:
            pronoun = "it" if len(protected) == 1 else "them"
            reason = f"`{self.command}` did not write {pronoun}"
            if digests[protected[0]]:
                has = "it has" if len(protected) == 1 else "they have"
                reason = f"{has} changed since `{self.command}` wrote {pronoun}"
            raise UserError(
                f"{self.folder}: {_listed(protected)} would be overwritten, but {reason}",
                "name another output, or move this folder away; --overwrite true overwrites it",
            )

    def _has_evidence(self) -> bool:
        return bool(self.evidence) and all((self.folder / name).exists() for name in self.evidence)

    def _files(self) -> dict[str, Path]:
        """Return the files in the folder that the command may write or remove, by name."""
        if not self.folder.is_dir():
            return {}
        return {
            path.name: path
            for path in sorted(self.folder.iterdir())
            if path.name != MARK
            and self.names.fullmatch(path.name)
            and (path.is_symlink() or not path.is_dir())
        }

    def _read(self) -> dict[str, dict]:
        return _read_record(self.folder)

    def _write(self, files: Mapping[str, str | bool]) -> None:
        # Several commands may write to the folder at once, and each keeps the others' records.
        with _locked(self.folder):
            others = {name: of for name, of in self._read().items() if name not in self.replaces}
            write_json(self.folder / MARK, {**others, self.command: dict(files)})

    def __enter__(self) -> Path:
        self.check()
        self._is_new = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            remedy = "choose another output, or check the folder's permissions"
            message = f"{self.folder}: cannot write: {error.strerror}"
            raise UserError(message, remedy) from None
        self._write({"unfinished": True})
        return self.folder

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self._is_new and os.listdir(self.folder) == [MARK]:
            (self.folder / MARK).unlink()
            self.folder.rmdir()
            return
        self._write({name: _digest(path) for name, path in self._files().items()})


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time be in this context for a folder, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # network file systems without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def records_of(folder: str | os.PathLike) -> list[dict[str, str]]:
    """Return the files, with their SHA-256, that each command recorded as written to a folder."""
    return [files for files in _read_record(folder).values() if not files.get("unfinished")]


def _read_record(folder: str | os.PathLike) -> dict[str, dict]:
    """Return the record of all commands of a folder; a broken one counts as missing."""
    try:
        value = json.loads((Path(folder) / MARK).read_text(encoding="utf-8"))
        return {name: dict(files) for name, files in value.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def require_no_input(output: str | os.PathLike, inputs: Paths) -> None:
    """Raise a `UserError` if an output is one of the inputs, under any name."""
    path = os.path.realpath(output)
    for item in inputs:
        if os.path.realpath(item) == path:
            raise UserError(f"{output}: is both input and output", "name another output")


def require_new_file(
    output: str | os.PathLike, *, inputs: Paths = (), overwrite: bool = False
) -> None:
    """Raise a `UserError` if a file exists that a command would overwrite.

    Args:
        inputs: files that the command reads, which it must not overwrite in any case.
        overwrite: the user allows to overwrite the output.
    """
    require_no_input(output, inputs)
    if os.path.isdir(output):
        raise UserError(f"{output}: is a folder", "name a file")
    if os.path.lexists(output) and not overwrite and not _is_special(output):
        raise UserError(
            f"{output}: exists and would be overwritten",
            "name another output, or move this file away; --overwrite true overwrites it",
        )


def require_result_file(
    output: str | os.PathLike, is_result: Callable[[Path], bool], *, inputs: Paths = ()
) -> None:
    """Raise a `UserError` if a file exists that is not a result of the same command.

    For commands whose results can be recognised by their content.

    Args:
        is_result: returns whether a file is a result of the command; it may raise an `OSError`, a
            `ValueError` or a `UserError` if it is not.
        inputs: files that the command reads.
    """
    require_no_input(output, inputs)
    if os.path.isdir(output):
        raise UserError(f"{output}: is a folder", "name a file")
    if not os.path.lexists(output) or _is_special(output):
        return
    try:
        if is_result(Path(output)):
            return
    except (OSError, ValueError, UserError):
        pass
    raise UserError(
        f"{output}: exists, and is not a result of this command",
        "name another output, or move this file away",
    )


def _is_special(path: str | os.PathLike) -> bool:
    """Return whether a path is a device or a pipe, such as /dev/stdout."""
    return os.path.exists(path) and not os.path.isfile(path)


def _digest(path: Path) -> str:
    """Return the digest of a file; "" if it cannot be read, so that it counts as changed."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
