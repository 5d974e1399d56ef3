"""Checkpoints that survive crashes, full disks and power failures.

`checkpoint.pth` is the latest checkpoint of a training, `checkpoint.previous.pth` the one before.
A checkpoint is written to a temporary file, flushed to the disk and renamed; its SHA-256 is in
checksums.json (`model.checksums`). If the latest checkpoint is damaged or missing, `recover`
replaces it by the previous one.
"""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import checksums
from espnet_ext.progress import say
from espnet_ext.training import failures

CHECKPOINT = "checkpoint.pth"
PREVIOUS = "checkpoint.previous.pth"
DAMAGED = ".damaged"  # added to the name of a damaged file
REMEDY = (
    "restore the file from a backup; or rename the folder, to train from scratch (run.sh: --force "
    "true)"
)
# A checkpoint is not flushed to the disk if the last flush took more than this share of the time
# since then, and ended less than these seconds ago. Short epochs would otherwise wait for the disk.
_FLUSH_SHARE = 0.002
_LONGEST_UNFLUSHED = 600.0
_KEYS = ("model", "optimizers", "schedulers", "reporter")


def exists(folder: Path) -> bool:
    """Return whether a folder has a checkpoint from which a training may continue."""
    return (folder / CHECKPOINT).exists() or (folder / PREVIOUS).exists()


def recover(folder: Path) -> None:
    """Replace the latest checkpoint by the previous one if it is damaged or missing.

    The damaged file is renamed. Nothing is changed if there is no previous checkpoint.

    Raises:
        UserError: if both checkpoints are damaged.
    """
    latest, previous = folder / CHECKPOINT, folder / PREVIOUS
    checksums.settle(latest)
    checksums.settle(previous)
    if not previous.exists():
        return
    reason = problem_of(latest)
    if not reason:
        return
    other = problem_of(previous)
    if other:
        raise UserError(f"{latest}: {reason}; {previous}: {other}", REMEDY)
    if latest.exists():
        os.replace(latest, latest.with_name(latest.name + DAMAGED))
    checksums.copy_record(previous, latest)
    _link(previous, latest)
    say(f"warning: {latest}: {reason}: training continues from {PREVIOUS}, the checkpoint before")


def problem_of(checkpoint: Path) -> str:
    """Return why a training cannot continue from a checkpoint; "" if it can.

    The content is compared with the recorded SHA-256. It is read with `weights_only`, so a file
    cannot run code.
    """
    if not checkpoint.is_file():
        return "missing"
    if not checkpoint.stat().st_size:
        return "damaged: the file is empty"
    try:
        checksums.check(checkpoint, REMEDY)
    except UserError as error:
        return error.message.removeprefix(f"{checkpoint}: ")
    try:
        states = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds of errors for an invalid file
        reason = str(error).strip().partition("\n")[0]
        return f"cannot resume training from this checkpoint: {reason}"
    if not isinstance(states, dict) or (missing := [key for key in _KEYS if key not in states]):
        missing = missing if isinstance(states, dict) else list(_KEYS)
        return f"not a checkpoint of a training: it lacks {', '.join(missing)}"
    return ""


@contextlib.contextmanager
def atomic_torch_save(folder: Path | None = None) -> Iterator[None]:
    """Make `torch.save` write to a temporary file that is then renamed, while the context is open.

    ESPnet overwrites `checkpoint.pth` directly. A crash while writing would destroy the only
    checkpoint that training can resume from.

    Args:
        folder: model directory: the SHA-256 of the files in it is recorded (`model.checksums`), and
            the checkpoint before the latest one is kept.

    Raises:
        UserError: from `torch.save`, if the disk is full or cannot be written.
    """
    torch_save = torch.save
    writer = _Writer(folder, torch_save)

    def save(obj, f, *args, **kwargs):
        if not isinstance(f, str | os.PathLike):
            return torch_save(obj, f, *args, **kwargs)
        return writer.write(obj, Path(f), *args, **kwargs)

    torch.save = save
    try:
        yield
    finally:
        torch.save = torch_save


class _Writer:
    """Writes files of `torch.save`.

    Args:
        folder: model directory, or None.
        torch_save: the original function.
    """

    def __init__(self, folder: Path | None, torch_save: Callable[..., None]):
        self._folder = folder
        self._torch_save = torch_save
        self._flushed_at = float("-inf")
        self._flush_seconds = 0.0
        self._latest_is_flushed = True

    def write(self, obj: Any, target: Path, *args: Any, **kwargs: Any) -> None:
        temporary = target.with_name(f".{target.name}.tmp")
        is_recorded = self._folder is not None and target.parent == self._folder
        is_checkpoint = is_recorded and target.name == CHECKPOINT
        flush = is_checkpoint and self._may_flush()
        try:
            with failures.of_writing(target):
                self._torch_save(obj, temporary, *args, **kwargs)
                start = time.monotonic()
                if flush:
                    _flush(temporary)
                waited = time.monotonic() - start
                if is_checkpoint:
                    self._keep_previous(target)
                if is_recorded:
                    checksums.record(target, temporary)
                os.replace(temporary, target)
                if flush:
                    start = time.monotonic()
                    _flush_folder(target.parent)
                    self._flushed_at = time.monotonic()
                    self._flush_seconds = waited + self._flushed_at - start
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if is_checkpoint:
            self._latest_is_flushed = flush

    def _may_flush(self) -> bool:
        passed = time.monotonic() - self._flushed_at
        return self._flush_seconds <= _FLUSH_SHARE * passed or passed >= _LONGEST_UNFLUSHED

    def _keep_previous(self, target: Path) -> None:
        """Make the latest checkpoint the previous one, before another one replaces it.

        If only the previous one is certain to be on the disk, it stays.
        """
        if target.is_file() and self._latest_is_flushed:
            previous = target.with_name(PREVIOUS)
            checksums.copy_record(target, previous)
            _link(target, previous)


def flush(checkpoint: Path) -> None:
    """Wait until a checkpoint that was written is on the disk, with its SHA-256 and its name.

    Raises:
        UserError: if the disk is full or cannot be written.
    """
    with failures.of_writing(checkpoint):
        _flush(checkpoint)
        _flush_folder(checkpoint.parent)


def _link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy, replacing an existing file in one step."""
    temporary = target.with_name(f".{target.name}.link")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _flush_folder(folder: Path) -> None:
    """Wait until the names in a folder, and the recorded SHA-256, are on the disk."""
    _flush(folder / checksums.FILE)
    _flush(folder)


def _flush(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not possible on this file system
            raise
    finally:
        os.close(descriptor)
