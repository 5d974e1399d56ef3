"""Progress that suits where it is read: a bar on a terminal, lines with an estimate in a log."""

import sys
import time
from collections.abc import Iterable, Iterator


def say(line: str) -> None:
    """One line for the reader, on standard error, at once (standard output is for results)."""
    print(line, file=sys.stderr, flush=True)


def track[Item](
    items: Iterable[Item], label: str, total: int | None = None, unit: str = "utt"
) -> Iterator[Item]:
    """Yield the items and show how far along they are; silent when over within three seconds.

    >>> sum(track([1, 2, 3], "adding"))
    6
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=label, total=total, unit=unit, delay=3, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - start > 3 and now - last > 10 and done:
            say(f"{label}: {_estimate(done, total, now - start, unit)}")
            last = now
        yield item


def _estimate(done: int, total: int | None, seconds: float, unit: str) -> str:
    if not total:
        return f"{done} {unit}, {seconds:.0f} s"
    left = seconds / done * (total - done)
    return f"{done}/{total} {unit}, {seconds:.0f} s, about {left:.0f} s left"
