"""Waiting and measuring that do not depend on how busy the machine is."""

import resource
import time
from collections.abc import Callable


def cpu_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until a condition holds; an AssertionError if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
