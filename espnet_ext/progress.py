"""Progress on standard error: a bar on a terminal, lines with an estimate in a log file.

A command continues if the reader of its standard error has ended (a pager was closed), or if it was
started without standard error (`2>&-`).
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized

_SILENT_SECONDS = 3
_SECONDS_BETWEEN_LINES = 10


def say(line: str) -> None:
    """Print a line to standard error at once; standard output is for results."""
    _Stderr().write(f"{line}\n")


def open_stderr() -> None:
    """Open standard error on /dev/null if the process was started without it.

    Without it, the next file that the process opens would get its number, and receive the messages
    of libraries written in C.
    """
    if sys.stderr is None:
        _discard_stderr()
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


class _Stderr:
    """Standard error as a file that can be written after its reader has ended."""

    def write(self, text: str) -> None:
        if sys.stderr is None:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except BrokenPipeError:
            _discard_stderr()

    def flush(self) -> None:
        self.write("")


def _discard_stderr() -> None:
    """Send everything that is written to standard error from now on to /dev/null.

    It includes what other libraries, logging and child processes write.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    if null != 2:
        os.dup2(null, 2)
        os.close(null)


def track[Item](
    items: Iterable[Item], label: str, total: int | None = None, unit: str = "utt"
) -> Iterator[Item]:
    """Yield the items and show progress, unless they take less than three seconds.

    >>> sum(track([1, 2, 3], "adding"))
    6
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr is not None and sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(
            items,
            desc=label,
            total=total,
            unit=unit,
            delay=_SILENT_SECONDS,
            dynamic_ncols=True,
            file=_Stderr(),
        )
        return
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - start > _SILENT_SECONDS and now - last > _SECONDS_BETWEEN_LINES and done:
            say(f"{label}: {_progress(done, total, now - start, unit)}")
            last = now
        yield item


def _progress(done: int, total: int | None, seconds: float, unit: str) -> str:
    if not total:
        return f"{done} {unit}, {seconds:.0f} s"
    remaining = seconds / done * (total - done)
    return f"{done}/{total} {unit}, {seconds:.0f} s, about {remaining:.0f} s left"
