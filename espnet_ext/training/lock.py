"""A lock on the folder of a model, so that two trainings never write to it at the same time."""

import fcntl
import os
from pathlib import Path
from typing import IO, Any

from espnet_ext.errors import UserError
from espnet_ext.progress import say

FILE = ".lock"


class FolderLock:
    """Holds the lock of a folder from `acquire` to the end of the context.

    The system releases the lock when the process ends, also if it is killed.

    Args:
        folder: model directory.
        enabled: False for the further processes of a training.
    """

    def __init__(self, folder: Path, enabled: bool = True):
        self._folder, self._enabled = folder, enabled
        self._files: list[IO[Any]] = []

    def __enter__(self) -> "FolderLock":
        # A folder that cannot be written may have a finished training, which is only read.
        if self._folder.is_dir() and os.access(self._folder, os.W_OK):
            self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    def acquire(self) -> None:
        """Create the folder, and lock it unless this object has.

        Raises:
            UserError: if another training has the lock.
        """
        path = self._folder / FILE
        if not self._enabled or any(_is_same(file, path) for file in self._files):
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (closed by `__exit__`)
        except OSError as error:
            raise UserError(
                f"{path}: cannot write: {error.strerror}",
                f"check the permissions of {self._folder}",
            ) from error
        try:
            # Unlike flock, this is not inherited by processes that outlive a killed training.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().strip() or "an unknown process"
            file.close()
            raise UserError(
                f"{self._folder}: another training is running in this folder: {holder}",
                "wait for it, or end it; or train in another folder",
            ) from None
        except OSError as error:  # a file system without locks
            say(
                f"warning: {path}: cannot be locked ({error.strerror}): do not start another "
                "training in this folder"
            )
        self._files.append(file)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()


def _is_same(file: IO[Any], path: Path) -> bool:
    """Return whether an open file is the one that has a name now; its folder may be renamed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
