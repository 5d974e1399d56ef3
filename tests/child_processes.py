"""Ports and copies of this process, for tests with several processes."""

import faulthandler
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

_RANDOM = random.SystemRandom()  # tests set the seed of the other one: two would try the same ports
_PORTS = range(20000, 32000)  # the kernel gives none of these to outgoing connections


def free_port() -> int:
    """Return a port of this machine at which nothing listens."""
    while True:
        port = _RANDOM.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def fork(run: Callable[[], int], log: Path, seconds: float = 100) -> int:
    """Call a function in a copy of this process, which has imported everything; return its id.

    Args:
        run: returns the exit status. If it raises, the status is 1.
        log: file to which the copy appends its output and, once it has run for `seconds`, what
            its threads do.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    threads = [thread.name for thread in threading.enumerate()]
    assert len(threads) == 1, f"a copy of a process with several threads can hang: {threads}"
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        file = log.open("a", buffering=1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        faulthandler.dump_traceback_later(seconds, file=file)
        status = run()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def record_signals(file: Path, status: int, seconds: float = 0.5) -> None:
    """Write the names of the signals that this process gets to a file, and exit after the first.

    Args:
        file: is created, empty, when the process is ready.
        status: exit status.
        seconds: from the first signal to the exit.
    """

    def receive(number: int, frame: object) -> None:
        with file.open("a") as handle:
            handle.write(f"{signal.Signals(number).name}\n")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, receive)
    file.touch()
    parent = os.getppid()
    while not file.read_text() and os.getppid() == parent:
        time.sleep(0.01)
    time.sleep(seconds)
    sys.exit(status)
