"""Failures of the machine end a training with an error that names the cause and the remedy."""

import errno
import os
import resource
import subprocess
import sys

import pytest
import tiny_recipe
import torch

from espnet_ext.errors import UserError
from espnet_ext.training import failures
from espnet_ext.training.trainer import atomic_torch_save


def start(recipe, limit=None, **options):
    """Run the training command in a process with a resource limit."""
    recipe.write_yaml("base", tiny_recipe.CONFIG)
    recipe.write_yaml("system", {"outputs": tiny_recipe.OUTPUTS})
    return subprocess.run(
        [sys.executable, "-m", "espnet_ext.bin.train", *recipe.arguments()],
        text=True,
        capture_output=True,
        preexec_fn=limit,
        **options,
    )


def test_full_disk_raises_user_error_that_says_how_much_is_free(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pth"
    torch.save({"epoch": 1}, path)

    def save(obj, file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", save)
    with (
        pytest.raises(UserError, match=r"checkpoint.pth: cannot write: No space .* MiB are free"),
        atomic_torch_save(tmp_path),
    ):
        torch.save({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["checkpoint.pth"]


def test_file_that_pytorch_cannot_write_raises_user_error(recipe):
    """A limit of the size of files makes PyTorch's writer fail as a full disk does."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = start(recipe, limit)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-2:]
    assert last[0].startswith("error: ") and "checkpoint.pth: cannot write: " in last[0]
    assert "MiB are free" in last[0]
    assert last[1].startswith("  remedy: free space on the disk of ")
    assert not list((recipe.root / "exp").glob("*.tmp"))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_deleted_audio_raises_user_error_that_names_the_utterance(recipe, workers):
    (recipe.root / "wav/train3.wav").unlink()
    with pytest.raises(UserError) as caught:
        recipe.train(options=["--num_workers", workers])
    assert "train/wav.scp: s3-train3: cannot read: " in caught.value.message
    assert caught.value.message.count("\n") == 0
    assert caught.value.remedy.startswith("restore the file")


def test_folder_that_cannot_be_written_raises_user_error(recipe):
    (recipe.root / "file").touch()
    with pytest.raises(UserError, match=r"file/exp/.*: cannot write: Not a directory"):
        recipe.train("file/exp")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("could not create a primitive"), "not enough memory for this training"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "not enough memory .*DefaultCPUAllocator",
        ),
        (MemoryError(), "not enough memory for this training: MemoryError"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (OSError(errno.EROFS, "Read-only file system", "x/config.yaml"), "x/config.yaml: cannot"),
        (
            RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "),
            r"a process that reads data has ended: DataLoader worker \(pid 12\) is killed",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
            "a process that reads data has ended",
        ),
        (
            RuntimeError("[/gloo/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"),
            "the connection to another process of this training failed",
        ),
        (
            RuntimeError("can't start new thread"),
            r"cannot start a further thread or process: .*\n  remedy: lower OMP_NUM_THREADS",
        ),
        (
            BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
            "cannot start a further thread or process",
        ),
        (
            Exception(
                "Traceback (most recent call last):\n  …\n"
                "espnet_ext.errors.UserError: wav.scp: u1: cannot read: no\n  remedy: restore it\n"
            ),
            "^wav.scp: u1: cannot read: no\n  remedy: restore it$",
        ),
    ],
)
def test_failures_are_explained(tmp_path, error, message):
    with pytest.raises(UserError, match=message), failures.as_user_errors(tmp_path, processes=2):
        raise error


def test_other_errors_keep_their_stack_trace(tmp_path):
    with pytest.raises(ValueError, match="a bug"), failures.as_user_errors(tmp_path):
        raise ValueError("a bug")
    with pytest.raises(UserError, match="plain"), failures.as_user_errors(tmp_path):
        raise UserError("plain")


def test_failed_download_of_a_training_of_one_process_keeps_its_error(tmp_path):
    with (
        pytest.raises(ConnectionResetError, match="reset by peer"),
        failures.as_user_errors(tmp_path),
    ):
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    with pytest.raises(RuntimeError, match="^Connection reset"), failures.as_user_errors(tmp_path):
        raise RuntimeError("Connection reset by huggingface.co")


def test_training_survives_a_closed_terminal(recipe):
    """`train 2>&1 | less`, and the user leaves less."""
    recipe.write_yaml("base", tiny_recipe.CONFIG)
    recipe.write_yaml("system", {"outputs": tiny_recipe.OUTPUTS})
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-m", "espnet_ext.bin.train", *recipe.arguments()],
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    assert process.wait(timeout=240) == 0
    assert (recipe.root / "exp/train.json").exists()
