"""Damaged checkpoints: training continues from the one before, or stops and says why."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402

from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.training import checkpoints  # noqa: E402

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
