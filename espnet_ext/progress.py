"""Progress on standard error: a bar on a terminal, lines with an estimate in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized

_SILENT_SECONDS = 3
_SECONDS_BETWEEN_LINES = 10


def say(line: str) -> None:
    """Print a line to standard error at once; standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def track[Item](
    items: Iterable[Item], label: str, total: int | None = None, unit: str = "utt"
) -> Iterator[Item]:
    """Yield the items and show progress, unless they take less than three seconds.

    >>> sum(track([1, 2, 3], "adding"))
    6
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(
            items,
            desc=label,
            total=total,
            unit=unit,
            delay=_SILENT_SECONDS,
            dynamic_ncols=True,
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
