"""Turn failures of the machine into errors that name the cause and the remedy.

These are a full disk, a read-only folder, too little memory, a killed process, and audio that
cannot be read. PyTorch reports them as `RuntimeError` or `OSError` with a stack trace.
"""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from espnet_ext.errors import UserError, is_out_of_memory

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PERMISSION = (errno.EROFS, errno.EACCES, errno.EPERM)
_CONTINUE = "run again: training continues from its last checkpoint"
_THREADS = re.compile(
    "Resource temporarily unavailable|can't start new thread|failed to create thr"
)
_CONNECTION = re.compile("onnection (was )?(closed|reset)|Socket Timeout|Broken pipe.*gloo")
# A user error from a subprocess: the last lines of a stack trace.
_USER_ERROR = re.compile(r"^espnet_ext\.errors\.UserError: (.*?)(?:\n  remedy: (.*))?$", re.M)


@contextlib.contextmanager
def of_writing(path: Path) -> Iterator[None]:
    """Raise `UserError` if a file cannot be written by PyTorch or by the system."""
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error.strerror or str(error), error.errno) from error
    except RuntimeError as error:
        text = str(error)
        if not re.search("inline_container|PytorchStreamWriter|File .* cannot be opened", text):
            raise
        reason = re.search(r"errno (\d+)", text)
        number = int(reason[1]) if reason else errno.ENOSPC
        raise _cannot_write(path, os.strerror(number), number) from error


def _cannot_write(path: Path, reason: str, number: int | None) -> UserError:
    message = f"{path}: cannot write: {reason}"
    if number in _DISK:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            message += f" ({free / 2**20:,.0f} MiB are free on its disk)"
        return UserError(message, f"free space on the disk of {path.parent}, and {_CONTINUE}")
    return UserError(message, f"check the permissions of {path.parent}, and {_CONTINUE}")


@contextlib.contextmanager
def as_user_errors(folder: Path, processes: int = 1) -> Iterator[None]:
    """Raise `UserError` for failures of the machine during a training.

    Args:
        folder: model directory.
        processes: number of processes of the training. One alone has no connection to others, so
            that a connection that fails is another one, such as that of a download.
    """
    try:
        yield
    except UserError as error:
        if from_subprocess := _from_subprocess(str(error)):
            raise from_subprocess from None
        raise
    except OSError as error:
        if error.errno in (*_DISK, *_PERMISSION):
            path = Path(error.filename) if error.filename else folder / "*"
            raise _cannot_write(path, error.strerror or str(error), error.errno) from error
        if error.errno == errno.ENOMEM:
            raise _out_of_memory(error) from error
        if _THREADS.search(str(error)):
            raise _no_thread(error) from error
        raise
    except MemoryError as error:
        raise _out_of_memory(error) from error
    except Exception as error:
        if explained := _explained(str(error), processes):
            raise explained from error
        raise


def _explained(text: str, processes: int) -> UserError | None:
    """Return the error that explains a message of PyTorch; None for other messages."""
    if error := _from_subprocess(text):
        return error
    if worker := re.search(r"DataLoader worker \(pid\(?s?\)? [^)]*\)+ .*", text):
        return UserError(
            f"a process that reads data has ended: {worker[0].partition(chr(10))[0]}",
            "if the machine ran out of memory, lower --num_workers (0 reads in the main process); "
            f"for a bus error, enlarge /dev/shm; then {_CONTINUE}",
        )
    if is_out_of_memory(RuntimeError(text)):
        return _out_of_memory(text)
    if _THREADS.search(text):
        return _no_thread(text)
    if processes > 1 and _CONNECTION.search(text):
        return UserError(
            f"the connection to another process of this training failed: {_first_line(text)}",
            f"see the log of the other processes for the cause, and {_CONTINUE}",
        )
    return None


def _from_subprocess(text: str) -> UserError | None:
    """Return the user error that a stack trace of a subprocess ends with, if it does."""
    matches = list(_USER_ERROR.finditer(text)) if "Traceback" in text else []
    return UserError(matches[-1][1], matches[-1][2] or "") if matches else None


def _out_of_memory(error: object) -> UserError:
    return UserError(
        f"not enough memory for this training: {_first_line(str(error)) or 'MemoryError'}",
        "lower batch_bins (or batch_size), raise accum_grad to keep the batch per update, or raise "
        f"the memory limit (ulimit -v); {_CONTINUE}",
    )


def _no_thread(error: object) -> UserError:
    return UserError(
        f"cannot start a further thread or process: {_first_line(str(error))}",
        "lower OMP_NUM_THREADS and num_workers, or raise the limits of processes and memory "
        f"(ulimit -u, ulimit -v); {_CONTINUE}",
    )


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
