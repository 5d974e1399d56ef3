"""Two trainings never write to one folder at the same time."""

import errno
import fcntl
import shutil
import subprocess
import sys

import pytest

from espnet_ext.errors import UserError
from espnet_ext.training.lock import FolderLock

HOLD = """
import sys
from pathlib import Path
from espnet_ext.training.lock import FolderLock
with FolderLock(Path(sys.argv[1])) as lock:
    lock.acquire()
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path/exp."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "exp")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_second_training_in_a_folder_raises_user_error(tmp_path, holder):
    with pytest.raises(UserError, match=f"another training .* process {holder.pid} on "):
        FolderLock(tmp_path / "exp").__enter__()
    with FolderLock(tmp_path / "exp", enabled=False) as lock:  # a further process of the training
        lock.acquire()
    holder.kill()
    holder.wait()
    with FolderLock(tmp_path / "exp") as lock:  # the system released the lock
        lock.acquire()


def test_lock_of_a_renamed_folder_is_taken_again_in_the_new_one(tmp_path):
    (tmp_path / "exp").mkdir()
    with FolderLock(tmp_path / "exp") as lock:
        shutil.move(tmp_path / "exp", tmp_path / "aside")
        lock.acquire()
        assert (tmp_path / "exp/.lock").is_file() and (tmp_path / "aside/.lock").is_file()


def test_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, capfd):
    def lockf(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with FolderLock(tmp_path / "exp") as held:
        held.acquire()
        held.acquire()
    warning = f"warning: {tmp_path}/exp/.lock: cannot be locked (No locks available): do not start"
    assert capfd.readouterr().err.count(warning) == 1


def test_folder_is_not_created_before_the_training_may_start(tmp_path):
    with FolderLock(tmp_path / "exp"):
        assert not (tmp_path / "exp").exists()
