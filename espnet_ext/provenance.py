"""Provenance of a number: command, commit, machine and versions."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the clone
PACKAGES = ("espnet", "torch", "numpy", "rapidfuzz")


def provenance(verb: str, argv: Sequence[str], with_gpu: bool = False) -> dict:
    """Return `{"command", "commit", "date", "machine": {…}, "versions": {…}}`; loads no torch.

    Args:
        verb: names the command, as in `python -m espnet_ext.bin.<verb>`.
        argv: the arguments of the command. Absolute paths within this clone are written relative to
            the working directory, so that the command also runs in another clone.
        with_gpu: whether the command uses a GPU. `machine` then has the models of this machine's
            GPUs.

    >>> provenance("score", ["--data", "a b"])["command"]
    "python -m espnet_ext.bin.score --data 'a b'"
    """
    return {
        "command": shlex.join(
            ["python", "-m", f"espnet_ext.bin.{verb}", *map(_relative_in_clone, argv)]
        ),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {**machine(), **({"gpu": _gpu_models()} if with_gpu else {})},
        "versions": versions(),
    }


def _relative_in_clone(argument: str) -> str:
    if os.path.isabs(argument) and Path(argument).is_relative_to(ROOT):
        return os.path.relpath(argument)
    return argument


def commit(folder: Path | None = None) -> str | None:
    """Return the git commit of the source tree, or that of the wheel; None if it is not known.

    A "+" follows it if tracked files differ.
    """
    folder = folder or Path(__file__).parent
    of_wheel = folder / "commit.txt"  # written by setup.py
    if of_wheel.is_file():
        return of_wheel.read_text(encoding="utf-8").strip()
    try:
        # An environment inside the clone of something else does not have the commit of that.
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=5,
    )
    return done.stdout.strip()


def machine() -> dict:
    """Return the processor model, the cores usable by this process, and the operating system."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": _cpu_model(), "cores": usable, "system": platform.platform(terse=True)}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu_models() -> str:
    """Return the models of this machine's GPUs, without creating a CUDA context."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "GPU of unknown model"
    return ", ".join(dict.fromkeys(done.stdout.strip().splitlines()))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
