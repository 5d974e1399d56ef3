"""Signals that ask a training to stop: it finishes its step and saves its state first.

This module does not import torch when it is imported: signals may come while torch is loaded.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from espnet_ext.errors import Interrupted
from espnet_ext.progress import say

# Ctrl-C; the end of a job; slurm's warning before the end of a job (sbatch --signal=USR1@120).
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether a signal has asked the training to stop.

    A second Ctrl-C raises `KeyboardInterrupt` at once. Other signals after the first are ignored: a
    process of a job may get a signal twice, with the job and from its parent.
    """

    def __init__(self) -> None:
        self.signal = 0  # number of the first signal; 0: none
        self._is_ctrl_c_received = False

    @property
    def name(self) -> str:
        """The name of the signal, for messages."""
        return signal.Signals(self.signal).name if self.signal else "another process"

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Note a signal (a handler of `signal.signal`)."""
        if number == signal.SIGINT:
            if self._is_ctrl_c_received:
                raise KeyboardInterrupt
            self._is_ctrl_c_received = True
        if not self.signal:
            self.signal = number
            again = ". Press Ctrl-C again to end it at once" if number == signal.SIGINT else ""
            line = f"note: {self.name}: the training stops after this step{again}\n"
            with contextlib.suppress(OSError):  # print() may be interrupted, and cannot be nested
                os.write(2, line.encode())


class _ForwardedRequest(StopRequest):
    """A `StopRequest` of a process whose subprocesses train: it sends them the first signal.

    Ctrl-C in a terminal reaches the subprocesses without this. A second SIGINT would end them
    before they have saved, so they are sent SIGTERM instead. A second Ctrl-C kills them.
    """

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        is_first = not self.signal
        try:
            super().receive(number, frame)
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.kill()
            raise
        if not is_first:
            return
        processes = multiprocessing.active_children()
        if not processes:  # before the first is started: nothing to save
            _interrupt(number)
        for process in processes:
            if process.pid is not None:
                forwarded = signal.SIGTERM if number == signal.SIGINT else number
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, forwarded)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Yield a `StopRequest` that receives `SIGNALS` while the context is open."""
    request = StopRequest()
    with _handler(request.receive):
        yield request


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` at once if one of `SIGNALS` comes while the context is open.

    This is for the parts of a training that have nothing to save: before its first step, and after
    its last one. `stop_requests` replaces it in between.
    """
    with _handler(_interrupt):
        yield


def _interrupt(number: int, frame: FrameType | None = None) -> None:
    raise Interrupted(_message(signal.Signals(number).name))


def _message(name: str) -> str:
    return f"interrupted ({name}): run the same command again to continue"


@contextlib.contextmanager
def _handler(function: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Make a function receive `SIGNALS` while the context is open.

    A signal that this process ignores is ignored still. Only the main thread can receive signals.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, function)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def exit_code_of_subprocess() -> Iterator[None]:
    """Exit with the code of `Interrupted` if it is raised in a subprocess, which prints it."""
    try:
        yield
    except Interrupted as error:
        if multiprocessing.parent_process() is None:
            raise
        import torch.distributed as dist

        if dist.is_initialized() and dist.get_rank() == 0:
            say(f"note: {error}")
        sys.exit(error.EXIT_CODE)


@contextlib.contextmanager
def interruption_of_subprocesses(is_parent: bool) -> Iterator[None]:
    """Forward a signal to the subprocesses, and raise `Interrupted` when they have saved.

    Args:
        is_parent: the training runs in subprocesses of this process, one per GPU.
    """
    if not is_parent:
        yield
        return
    from torch.multiprocessing import ProcessExitedException

    request = _ForwardedRequest()
    with _handler(request.receive):
        try:
            yield
        except ProcessExitedException as error:
            # A subprocess that has just been started does not handle signals yet.
            is_killed_by_it = bool(request.signal) and -error.exit_code in SIGNALS
            if error.exit_code != Interrupted.EXIT_CODE and not is_killed_by_it:
                raise
            raise Interrupted(_message(request.name)) from None


class WorkerInit:
    """Makes a process that loads data ignore `SIGNALS`, which reach all processes of a job.

    The process ends when the training no longer needs it. The second SIGTERM ends it too: Python
    sends one when the training exits, and waits.

    Args:
        function: the `worker_init_fn` that a DataLoader had.
    """

    def __init__(self, function):
        self.function = function

    def __call__(self, worker: int) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _allow_next)
        if self.function is not None:
            self.function(worker)


def _allow_next(number: int, frame: FrameType | None) -> None:
    """Ignore a signal, and let the next one end the process."""
    signal.signal(number, signal.SIG_DFL)


def keep_workers(loader: object) -> None:
    """Make the processes of a DataLoader ignore `SIGNALS`; other iterables stay as they are."""
    from torch.utils.data import DataLoader

    if not isinstance(loader, DataLoader) or not loader.num_workers:
        return
    if not isinstance(loader.worker_init_fn, WorkerInit):
        loader.worker_init_fn = WorkerInit(loader.worker_init_fn)
