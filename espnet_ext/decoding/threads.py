"""How many CPU threads decoding uses, and how idle threads wait.

By default, PyTorch runs one OpenMP thread per core, and idle threads spin. If another program uses
the cores, every operation waits until its last thread runs again. A search consists of thousands of
short operations, so decoding is then ten times slower than with one thread. Therefore idle threads
sleep. Waking a sleeping thread takes longer than a short operation of a small model, so small
models use one thread. `benchmarks/threads.py` measures this.

Importing this module sets how threads wait. PyTorch reads that when it is loaded, so this module
must be imported first; otherwise the threads spin.

Settings of the user have priority: OMP_NUM_THREADS, MKL_NUM_THREADS, `torch.set_num_threads`, and
the wait policy of OpenMP.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Both are read when PyTorch is imported: the first by GNU's OpenMP, the second by LLVM's.
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_WAIT_SETTINGS = (*SLEEPING, "GOMP_SPINCOUNT", "KMP_LIBRARY")
_COUNT_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
PARAMETERS_PER_THREAD = 10_000_000  # see benchmarks/README.md
MAX_THREADS = 8  # more were never measured


def _let_idle_threads_sleep() -> None:
    """Set OpenMP's wait policy, unless the user has, or PyTorch is loaded already."""
    if "torch" in sys.modules or any(map(os.environ.get, _WAIT_SETTINGS)):
        return
    os.environ.update(SLEEPING)


def threads_in_use(count: int | None) -> int:
    """Return `count`, or the number of threads that PyTorch uses if it is None."""
    import torch

    return count or torch.get_num_threads()


def choose_threads(model: Any) -> int | None:
    """Return the number of threads for a model on the CPU; None if the user has chosen one.

    It is one for small models, and grows with the number of parameters, up to the number of
    physical cores.

    Args:
        model: a `torch.nn.Module`.
    """
    import torch

    is_default = torch.get_num_threads() in (os.cpu_count(), *_available())
    if not is_default or any(map(os.environ.get, _COUNT_SETTINGS)):
        return None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    useful = 1 + parameters // PARAMETERS_PER_THREAD
    return max(1, min(useful, available_cores(), MAX_THREADS))


@contextlib.contextmanager
def limit_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch use `count` threads in this context; None changes nothing."""
    import torch

    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def available_cores() -> int:
    """Return the physical cores that this process may use.

    Hyper-threads of one core count once. The affinity (taskset, slurm) and the CPU quota of a
    container are respected.
    """
    return min(_available())


def _available() -> tuple[int, ...]:
    """Return the logical CPUs that are allowed, their physical cores, and the quota in CPUs."""
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
    else:  # macOS
        cpus = set(range(os.cpu_count() or 1))
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    cores = {_read(topology.format(cpu)) or str(cpu) for cpu in cpus}
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    limits = [int(quota) // int(period)] if quota.isdecimal() and period.isdecimal() else []
    return (len(cpus), len(cores), *(max(1, limit) for limit in limits))


def _read(path: str) -> str:
    """Return the stripped content of a file; "" if it cannot be read."""
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


_let_idle_threads_sleep()  # on import: modules import this one before PyTorch
