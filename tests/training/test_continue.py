"""Training longer, and a folder with a training of another configuration or of other data."""

import json
import shlex
import shutil

import pytest
import tiny_recipe
import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.training import trained_with
from espnet_ext.training.schedule import OneCycle, one_cycles

CYCLE = {"scheduler": "onecyclelr", "scheduler_conf": {"max_lr": 0.01, "pct_start": 0.2}}


def weights(path):
    return torch.load(path, weights_only=True)


def is_equal(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


def content(folder):
    """Return bytes and time of the files that a finished training must not change."""
    names = ("model.pth", "config.yaml", "train.json", "checkpoint.pth", "trained_with.json")
    return {n: ((folder / n).read_bytes(), (folder / n).stat().st_mtime_ns) for n in names}


@pytest.mark.parametrize(
    "config", [{}, {"scheduler": "warmuplr", "scheduler_conf": {"warmup_steps": 5}}]
)
def test_continued_training_equals_a_longer_one(recipe, config, capfd):
    whole = recipe.train("whole", {**config, "max_epoch": 4})
    parts = recipe.train("parts", {**config, "max_epoch": 2})
    recipe.train("parts", {**config, "max_epoch": 4})
    assert is_equal(weights(whole / "model.pth"), weights(parts / "model.pth"))
    assert f"note: {parts}: 2 of 4 epochs are trained; training continues" in capfd.readouterr().err


def test_one_cycle_schedule_is_continued_with_a_note(recipe, capfd):
    folder = recipe.train(config=CYCLE)
    before = weights(folder / "checkpoint.pth")["schedulers"][0]
    capfd.readouterr()
    recipe.train(config=CYCLE, options=["--max_epoch", "4"])
    after = weights(folder / "checkpoint.pth")["schedulers"][0]
    steps = before["total_steps"]
    assert after["last_epoch"] == after["total_steps"] == 2 * steps
    message = capfd.readouterr().err
    assert f"one-cycle schedule had {steps} steps and now has {2 * steps}" in message
    assert f"continues at step {steps}: the learning rate changes from" in message
    assert json.loads((folder / "train.json").read_text())["epochs"] == 4

    # the original command keeps the longer training
    saved = content(folder)
    recipe.train(config=CYCLE)
    assert content(folder) == saved
    assert "kept: it was trained for 4 epochs (max_epoch 2)" in capfd.readouterr().err


def scheduler(total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total)


def run_steps(schedule, count):
    rates = []
    for _ in range(count):
        schedule.optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    return rates


@pytest.mark.parametrize(
    ("total", "max_epoch"),
    [
        (20, 20),  # the same max_epoch, two batches per epoch instead of one
        (8, 10),  # fewer batches than epochs cannot be, but must not fail
        (40, 40),
        (12, 12),  # fewer epochs
    ],
)
def test_one_cycle_ends_with_the_training(total, max_epoch):
    """After 10 epochs of one batch, the rest of the epochs follow the new schedule to its end."""
    old = scheduler(15)
    run_steps(old, 10)
    new = scheduler(total)
    (cycle,) = one_cycles([None, new])
    new.load_state_dict(old.state_dict())
    new.optimizer.load_state_dict(old.optimizer.state_dict())
    note = cycle.fit(10, max_epoch)
    if max_epoch <= 10:
        assert note == ""
        return
    remaining = (max_epoch - 10) * (total // max_epoch)
    rates = run_steps(new, remaining)
    assert new.last_epoch == new.total_steps
    assert rates[-2] == pytest.approx(min(rates), rel=0.2) and "note: the one-cycle" in note


def test_one_cycle_of_equal_length_is_not_touched():
    new = scheduler(20)
    assert OneCycle(new, 20, []).fit(5, 10) == ""
    assert new.last_epoch == 0


def test_configured_schedule_that_is_too_short_raises_user_error_before_training(recipe):
    config = {**CYCLE, "scheduler_conf": {"max_lr": 0.01, "total_steps": 2}, "max_epoch": 9}
    with pytest.raises(UserError, match="scheduler_conf: 2 steps, but 9 epochs have"):
        recipe.train(config=config)
    assert not (recipe.root / "exp").exists()


@pytest.mark.parametrize("has_record", [True, False])
def test_other_configuration_raises_user_error_that_lists_the_keys(recipe, has_record):
    folder = recipe.train(config=CYCLE)
    if not has_record:  # of an earlier version
        (folder / trained_with.FILE).unlink()
    saved = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    config = {**CYCLE, "optim_conf": {"lr": 0.5}, "batch_bins": 30000}
    with pytest.raises(UserError, match=r"batch_bins: 40000, now 30000; .*optim_conf.lr: 0.002"):
        recipe.train(config=config)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == saved
    recipe.train(config=CYCLE)  # the same configuration is not refused


def test_other_transcripts_raise_user_error_and_resume_changed_records_them(recipe, capfd):
    folder = recipe.train()
    text = recipe.root / "dump/train/text.meaning"
    text.write_text(text.read_text().replace("a cat", "a tac"))
    with pytest.raises(UserError, match="train text.meaning: another content"):
        recipe.train(options=["--max_epoch", "3"])
    recipe.train(options=["--max_epoch", "3"], resume_changed=True)
    assert "although it began differently: train text.meaning" in capfd.readouterr().err
    record = json.loads((folder / trained_with.FILE).read_text())
    digests = [record["data"]["train text.meaning"]]
    digests += [earlier["data"]["train text.meaning"] for earlier in record["earlier"]]
    assert len(set(digests)) == 2


def test_other_recordings_raise_user_error(recipe):
    folder = recipe.train()
    record = json.loads((folder / trained_with.FILE).read_text())
    assert "train audio" not in record["data"]  # the set has no digest
    digest = recipe.root / "dump/train/audio.sha256"
    digest.write_text("a\n")
    try:
        recipe.train()  # it was not recorded before, so nothing can be said
        recipe.train("recorded")
        digest.write_text("b\n")
        with pytest.raises(UserError, match="train audio: another content"):
            recipe.train("recorded")
    finally:
        digest.unlink()
    recipe.train("recorded")


def test_exponents_are_numbers_on_the_command_line(recipe):
    folder = recipe.train(options=["--optim_conf", "lr=1e-3", "--optim_conf", "{eps: 1e-9}"])
    written = yaml.safe_load((folder / "config.yaml").read_text())["optim_conf"]
    assert written == {"lr": 0.001, "eps": 1e-9}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--optim_conf lrr=0.1", "optim_conf: unknown key 'lrr'"),
        ("--scheduler warmuplr --scheduler_conf warmup_step=10", "unknown key 'warmup_step'"),
        ("--optim_conf lr='\"1e-4\"'", "optim_conf.lr: .* is a string"),
        ("--accum_grad 0", "accum_grad: 0"),
        ("--batch_bins -5", "batch_bins: -5"),
        ("--seed -1", "seed: -1"),
        ("--max_epoch 0", "max_epoch: 0"),
        ("--keep_nbest_models 3 0", "keep_nbest_models: 0"),
    ],
)
def test_options_of_the_command_line_are_checked_before_training(recipe, options, message):
    with pytest.raises(UserError, match=message):
        recipe.train(options=shlex.split(options))
    assert not (recipe.root / "exp").exists()


def test_the_recorded_loss_does_not_depend_on_accumulated_gradients(recipe):
    """ESPnet's trainer divides the loss by their number, in place; weights hardly change here."""
    still = {"max_epoch": 1, "batch_bins": 20000, "optim_conf": {"lr": 1e-12}}
    losses = []
    for count in (1, 3):
        folder = recipe.train(f"accumulated{count}", {**still, "accum_grad": count})
        epoch = weights(folder / "checkpoint.pth")["reporter"]["stats"][1]
        losses.append([epoch[part]["loss"] for part in ("train", "valid")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_overwrite_renames_the_folder_of_another_training(recipe, capfd):
    folder = recipe.train()
    old = (folder / "model.pth").read_bytes()
    recipe.train(config={"seed": 5}, overwrite=True)
    (aside,) = recipe.root.glob("exp.before-*")
    assert (aside / "model.pth").read_bytes() == old != (folder / "model.pth").read_bytes()
    assert "since it was trained differently: seed: 0, now 5" in capfd.readouterr().err
    recipe.train(config={"seed": 5}, overwrite=True)  # nothing differs
    assert len(list(recipe.root.glob("exp.before-*"))) == 1


def test_maximum_rates_of_fine_tuning_are_compared_without_a_record(recipe):
    """config.yaml has one maximum per parameter group, which the configuration does not have."""
    config = {**CYCLE, "finetune_conf": {"encoder_lr": 0.5}}
    folder = recipe.train(config=config)
    assert isinstance(
        yaml.safe_load((folder / "config.yaml").read_text())["scheduler_conf"]["max_lr"], list
    )
    (folder / trained_with.FILE).unlink()
    recipe.train(config=config)  # nothing differs
    changed = {**config, "scheduler_conf": {**CYCLE["scheduler_conf"], "max_lr": 0.005}}
    (folder / trained_with.FILE).unlink(missing_ok=True)
    with pytest.raises(UserError, match="scheduler_conf.max_lr: 0.01, now 0.005"):
        recipe.train(config=changed)


@pytest.mark.parametrize(
    "options", [["--optim_conf", "lrr=3"], ["--encoder_conf", "blocks=3"], ["--max_epock", "3"]]
)
def test_mistyped_option_leaves_the_folder_of_another_training_in_place(recipe, options, capfd):
    folder = recipe.train()
    saved = content(folder)
    with pytest.raises((Exception, SystemExit)):
        recipe.train(options=options, overwrite=True)
    assert content(folder) == saved and not list(recipe.root.glob("exp.before-*"))


def test_changed_initial_weights_raise_user_error(recipe):
    first = recipe.train("first") / "model.pth"
    copy = recipe.root / "start.pth"
    shutil.copyfile(first, copy)
    options = ["--init_param", f"{copy}:encoder:encoder"]
    recipe.train(options=options)
    state = weights(copy)
    torch.save({key: value + 1 for key, value in state.items()}, copy)
    with pytest.raises(UserError, match="init_param :encoder:encoder: another content"):
        recipe.train(options=options)


def test_training_may_end_elsewhere_with_other_selection(recipe):
    folder = recipe.train(options=["--max_epoch", "3", "--keep_nbest_models", "3"])
    saved = (folder / "model.pth").read_bytes()
    options = ["--max_epoch", "3", "--keep_nbest_models", "1", "--num_workers", "1"]
    recipe.train(options=options)
    assert (folder / "model.pth").read_bytes() != saved
    assert (folder / "model.pth").resolve().name.endswith("epoch.pth")


def test_weights_without_checkpoint_are_never_overwritten(recipe):
    folder = recipe.train()
    for path in folder.glob("checkpoint*.pth"):
        path.unlink()
    recipe.train()  # finished: nothing to do
    with pytest.raises(UserError, match="2 epochs without checkpoint.pth"):
        recipe.train(options=["--max_epoch", "3"])
    (folder / "train.json").unlink()
    with pytest.raises(UserError, match="weights but no checkpoint.pth"):
        recipe.train()


def test_flipped_bit_in_the_only_checkpoint_raises_user_error(recipe):
    folder = recipe.train()
    (folder / "checkpoint.previous.pth").unlink()
    content = bytearray((folder / "checkpoint.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "checkpoint.pth").write_bytes(content)
    with pytest.raises(UserError, match="checkpoint.pth: damaged"):
        recipe.train(options=["--max_epoch", "3"])


def test_damaged_weights_of_the_last_epoch_are_restored_from_the_checkpoint(recipe):
    folder = recipe.train()
    path = folder / "2epoch.pth"
    state = weights(path)
    path.write_bytes(path.read_bytes()[:200])
    recipe.train(options=["--max_epoch", "3", "--keep_nbest_models", "3"])
    assert is_equal(state, weights(path))


def test_damaged_weights_of_an_earlier_epoch_raise_user_error_when_averaged(recipe, capfd):
    options = ["--keep_nbest_models", "9"]
    folder = recipe.train(options=options)
    path = folder / "1epoch.pth"
    path.write_bytes(path.read_bytes()[:100])
    longer = ["--keep_nbest_models", "3", "--max_epoch", "3"]
    with pytest.raises(UserError, match="1epoch.pth: damaged") as caught:
        recipe.train(options=longer)
    assert caught.value.remedy.startswith("remove the file and run again")
    path.unlink()
    recipe.train(options=longer)
    assert "1epoch.pth of the best epochs by valid.acc is missing" in capfd.readouterr().err
    assert (folder / "valid.acc.ave_2best.pth").exists()
    assert tiny_recipe.CONFIG["max_epoch"] == 2


def test_options_that_did_not_exist_when_a_training_began_are_no_difference():
    now = trained_with._configuration({"seed": 0, "train_shards": None, "shard_buffer": 2})
    before = {"configuration": {"seed": 0}}
    assert trained_with.differences(before, {"configuration": now}) == []
    now = trained_with._configuration({"seed": 0, "train_shards": "shards", "shard_buffer": 2})
    assert trained_with.differences(before, {"configuration": now}) != []


@pytest.mark.parametrize(
    ("option", "value"),
    [("cpu_autocast", "auto"), ("use_amp", True), ("use_tf32", True), ("fast_layers", True)],
)
def test_the_number_format_is_no_difference(option, value):
    before, now = ({"configuration": trained_with._configuration(c)} for c in ({}, {option: value}))
    assert trained_with.differences(before, now) == []


@pytest.mark.parametrize("has_record", [True, False])
def test_other_order_of_outputs_raises_user_error(recipe, has_record):
    """Task vectors and the weights of some objectives are stored in this order."""
    folder = recipe.train(config={"objective": "dwa"})
    if not has_record:
        (folder / "trained_with.json").unlink()
    saved = (folder / "checkpoint.pth").read_bytes()
    outputs = dict(reversed(tiny_recipe.OUTPUTS.items()))
    config = {"objective": "dwa", "max_epoch": 4}
    for resume_changed in (False, True):
        with pytest.raises(UserError, match="order of outputs: surface, meaning, now meaning") as e:
            recipe.train(config=config, outputs=outputs, resume_changed=resume_changed)
        assert e.value.remedy.startswith("write the outputs in the old order, or train in another")
    assert (folder / "checkpoint.pth").read_bytes() == saved


def test_initial_weights_of_outputs_in_another_order_raise_user_error(recipe):
    folder = recipe.train("first", {"objective": "dwa"})
    outputs = dict(reversed(tiny_recipe.OUTPUTS.items()))
    path = folder / "model.pth"
    with pytest.raises(UserError, match="objective.previous is stored in the order") as caught:
        recipe.train("second", {"objective": "dwa"}, outputs, ["--init_param", str(path)])
    remedy = f"--init_param {path}:::objective"
    assert caught.value.remedy.endswith(remedy)
    recipe.train("second", {"objective": "dwa"}, outputs, remedy.split())
