"""Faults of checkpoints, disks, audio and processes: training continues, or says why it stops."""

import errno
import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402

from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.training import checkpoints, health  # noqa: E402

LONGER = ("--max_epoch", "3")


class Bomb:
    """Runs code when it is unpickled by pickle."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('the bomb went off')",))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def arm(path):
    torch.save({"model": Bomb()}, path)


def arm_without_record(path):
    arm(path)
    (path.parent / "checksums.json").unlink()


DAMAGES = {
    "truncated": (truncate, "damaged"),
    "bit-flipped": (flip_bit, "damaged"),
    "empty": (empty, "empty"),
    "missing": (Path.unlink, "missing"),
    "pickle bomb": (arm, "damaged or changed"),
    "pickle bomb without record": (arm_without_record, "cannot resume training from this"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("recipe"))
    recipe.train(options=["--max_epoch", "2"])
    return recipe, recipe.train("whole", options=LONGER)


@pytest.fixture
def recipe(trained, tmp_path):
    """A copy of the recipe with two trained epochs; it shares the audio."""
    shutil.copytree(trained[0].root, tmp_path / "recipe", symlinks=True)
    return tiny_recipe.Recipe(tmp_path / "recipe", trained[0].token_types)


@pytest.mark.parametrize("damage", DAMAGES)
def test_training_continues_from_the_checkpoint_before_a_damaged_one(
    recipe, trained, damage, capfd, monkeypatch
):
    monkeypatch.setenv("ESPNET_ALLOW_UNSAFE_TORCH_LOAD", "1")
    function, reason = DAMAGES[damage]
    function(recipe.root / "exp/checkpoint.pth")
    folder = recipe.train(options=LONGER)
    (warning,) = [line for line in capfd.readouterr().err.splitlines() if "warning: " in line]
    assert reason in warning and "continues from checkpoint.previous.pth" in warning
    weights = [torch.load(f / "model.pth", weights_only=True) for f in (folder, trained[1])]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
    assert (folder / "checkpoint.pth.damaged").exists() == (damage != "missing")


def test_two_damaged_checkpoints_raise_user_error(recipe):
    truncate(recipe.root / "exp/checkpoint.pth")
    empty(recipe.root / "exp/checkpoint.previous.pth")
    with pytest.raises(UserError, match="checkpoint.pth: damaged.*previous.pth: damaged") as error:
        recipe.train(options=LONGER)
    assert error.value.remedy.startswith("restore the file from a backup; or rename the folder")


def test_pickle_bomb_alone_raises_user_error(recipe, monkeypatch):
    monkeypatch.setenv("ESPNET_ALLOW_UNSAFE_TORCH_LOAD", "1")
    (recipe.root / "exp/checkpoint.previous.pth").unlink()
    arm_without_record(recipe.root / "exp/checkpoint.pth")
    with pytest.raises(UserError, match="checkpoint.pth: cannot resume training"):
        recipe.train(options=LONGER)


def test_checkpoint_survives_two_kills_before_it_is_replaced(tmp_path, monkeypatch):
    """The SHA-256 of the next checkpoint is recorded before the file is renamed."""
    path = tmp_path / "checkpoint.pth"
    state = dict.fromkeys(("model", "optimizers", "schedulers", "reporter"), {})

    def save(number, fails):
        with checkpoints.atomic_torch_save(tmp_path):
            if fails:
                original = checkpoints.os.replace
                monkeypatch.setattr(
                    checkpoints.os,
                    "replace",
                    lambda a, b: original(a, b) if b != path else (_ for _ in ()).throw(Killed()),
                )
            try:
                torch.save({**state, "number": number}, path)
            finally:
                monkeypatch.undo()

    save(1, fails=False)
    for number in (2, 3, 4):
        with pytest.raises(Killed):
            save(number, fails=True)
        checkpoints.recover(tmp_path)  # as the next start does
        assert torch.load(path, weights_only=True)["number"] == 1
        assert not checkpoints.problem_of(path)
        assert not checkpoints.problem_of(tmp_path / "checkpoint.previous.pth")


class Killed(BaseException):
    pass


STATE = dict.fromkeys(("model", "optimizers", "schedulers", "reporter"), {})


def test_checkpoint_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    flush, replace = os.fsync, os.replace

    def record_flush(descriptor):
        calls.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        flush(descriptor)

    def record_replace(source, target):
        calls.append(f"rename to {Path(target).name}")
        replace(source, target)

    with checkpoints.atomic_torch_save(tmp_path):
        monkeypatch.setattr(os, "fsync", record_flush)
        monkeypatch.setattr(os, "replace", record_replace)
        torch.save(STATE, tmp_path / "checkpoint.pth")
    names = ("flush .checkpoint.pth.tmp", "rename to checkpoint.pth", f"flush {tmp_path.name}")
    assert [call for call in calls if call in names] == list(names)
    assert calls[-2:] == ["flush checksums.json", names[-1]]


@pytest.mark.parametrize(
    ("took", "ago", "expected"),
    [(10, 599, False), (10, 601, True), (0.5, 249, False), (0.5, 251, True)],
)
def test_slow_flushes_are_left_out_for_ten_minutes_at_most(
    tmp_path, monkeypatch, took, ago, expected
):
    writer = checkpoints._Writer(tmp_path, torch.save)
    writer._flush_seconds, writer._flushed_at = took, time.monotonic() - ago
    flushed = []
    monkeypatch.setattr(checkpoints, "_flush", flushed.append)
    writer.write(STATE, tmp_path / "checkpoint.pth")
    assert bool(flushed) is expected


# -- faults while a training runs


def after_batches(monkeypatch, count, action):
    """Run an action after a number of batches of training."""
    original, calls = health.StepMonitor.after_batch, []

    def after_batch(self, *args, **kwargs):
        original(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == count:
            action()

    monkeypatch.setattr(health.StepMonitor, "after_batch", after_batch)


ONE_BY_ONE = {"batch_type": "unsorted", "batch_size": 1, "save_interval_steps": 1}


def remove_audio(root):
    for path in root.glob("wav/train*.wav"):
        path.unlink()


def corrupt_audio(root):
    for path in root.glob("wav/train*.wav"):
        path.write_bytes(b"not audio")


def cut_off_audio(root):
    for path in root.glob("wav/train*.wav"):
        path.write_bytes(path.read_bytes()[:9000])


AUDIO_FAULTS = {
    "vanished": (remove_audio, "cannot read: "),
    "corrupt": (corrupt_audio, "cannot read: "),
    "cut off": (cut_off_audio, "samples, but had 8000 when its length was measured"),
}


@pytest.mark.parametrize(
    ("fault", "workers"), [("vanished", "0"), ("vanished", "1"), ("corrupt", "0"), ("cut off", "1")]
)
def test_audio_that_fails_in_an_epoch_is_named_and_training_continues_when_it_is_back(
    tmp_path, monkeypatch, fault, workers
):
    function, reason = AUDIO_FAULTS[fault]
    recipe = tiny_recipe.make(tmp_path)
    shutil.copytree(tmp_path / "wav", tmp_path / "backup")
    after_batches(monkeypatch, 3, lambda: function(tmp_path))
    options = ["--max_epoch", "1", "--num_workers", workers]
    with pytest.raises(UserError, match=rf"wav.scp: s\d-train\d: .*{reason}") as error:
        recipe.train(config=ONE_BY_ONE, options=options)
    assert error.value.remedy.startswith("restore the file")
    shutil.copytree(tmp_path / "backup", tmp_path / "wav", dirs_exist_ok=True)
    monkeypatch.undo()
    folder = recipe.train(config=ONE_BY_ONE, options=options)
    assert (folder / "train.json").exists()


def test_full_disk_within_an_epoch_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    recipe = tiny_recipe.make(tmp_path)
    original = checkpoints._Writer.write

    def write(self, obj, target, *args, **kwargs):
        if obj.get("within_epoch", {}).get("batches") == 4:
            self._torch_save = fill_disk
        original(self, obj, target, *args, **kwargs)

    def fill_disk(obj, path):
        path.write_bytes(b"incomplete")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints._Writer, "write", write)
    with pytest.raises(UserError, match="checkpoint.pth: cannot write: No space left .* are free"):
        recipe.train(config=ONE_BY_ONE)
    monkeypatch.undo()
    folder = tmp_path / "exp"
    assert not list(folder.glob(".*.tmp"))
    position = torch.load(folder / "checkpoint.pth", weights_only=True)["within_epoch"]
    assert position["batches"] == 3 and not checkpoints.problem_of(folder / "checkpoint.pth")
    recipe.train(config=ONE_BY_ONE)


def test_killed_process_that_reads_data_raises_user_error(tmp_path, monkeypatch):
    recipe = tiny_recipe.make(tmp_path)
    others = multiprocessing.active_children()  # of earlier tests
    after_batches(monkeypatch, 3, lambda: kill_workers(others))
    options = ["--max_epoch", "1", "--num_workers", "1"]
    with pytest.raises(UserError, match="a process that reads data has ended: .* killed by signal"):
        recipe.train(config=ONE_BY_ONE, options=options)
    monkeypatch.undo()
    recipe.train(config=ONE_BY_ONE, options=options)


def kill_workers(others):
    for process in set(multiprocessing.active_children()) - set(others):
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.2)  # until the system has told this process


@pytest.mark.parametrize("accum_grad", [1, 2])
def test_batches_of_a_step_with_invalid_gradients_are_saved(tmp_path, monkeypatch, accum_grad):
    recipe = tiny_recipe.make(tmp_path)
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda *args, **options: torch.tensor(torch.nan)
    )
    config = {**ONE_BY_ONE, "max_invalid_steps": 2, "accum_grad": accum_grad}
    with pytest.raises(UserError, match=r"step 2: .* of the last of them: (.*)/invalid_batch.pt"):
        recipe.train(config=config)
    saved = torch.load(tmp_path / "exp/invalid_batch.pt", weights_only=True)
    assert saved["step"] == 2 and len(saved["batches"]) == accum_grad
    assert len({one["utterances"][0] for one in saved["batches"]}) == accum_grad
    for one in saved["batches"]:
        assert one["utterances"][0].startswith("s") and one["batch"]["speech"].shape == (1, 8000)
