"""Progress on standard error: a bar on a terminal, lines with an estimate in a log file.

A command continues if the reader of its standard error has ended (a pager was closed), or if it was
started without standard error (`2>&-`).
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any

_SILENT_SECONDS = 3
_SECONDS_BETWEEN_LINES = 10


def say(line: str) -> None:
    """Print a line to standard error at once; standard output is for results."""
    if sys.stderr is not None:
        stderr = GuardedStream(sys.stderr)
        stderr.write(f"{line}\n")
        stderr.flush()


class GuardedStream:
    """A text stream that discards what is written after its reader has ended.

    Other attributes are those of the stream.

    Args:
        stream: standard output or standard error.
    """

    def __init__(self, stream: Any):
        self.stream = stream
        self.has_ended = False  # the reader

    def write(self, text: str) -> int:
        with self._discard_if_broken():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._discard_if_broken():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextlib.contextmanager
    def _discard_if_broken(self) -> Iterator[None]:
        """Send everything to /dev/null from now on if the pipe is broken.

        It includes what libraries, logging and child processes write.
        """
        try:
            yield
        except BrokenPipeError:
            self.has_ended = True
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.stream.fileno())
            os.close(null)


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard standard output and standard error, so that an ended reader does not end a command.

    A process that was started without standard error (`2>&-`) gets /dev/null. Otherwise, the next
    file that it opens would get the number of standard error, and messages of C libraries.
    """
    before = sys.stdout, sys.stderr
    if sys.stderr is None:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != 2:
            os.dup2(null, 2)
            os.close(null)
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (
        stream if stream is None or isinstance(stream, GuardedStream) else GuardedStream(stream)
        for stream in (sys.stdout, sys.stderr)
    )
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()  # while a broken pipe does not raise an error
    finally:
        sys.stdout, sys.stderr = before


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
            file=GuardedStream(sys.stderr),
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
