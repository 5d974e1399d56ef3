"""Two gloo processes: interruption, death of one, and equality with one process."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest
import tiny_encoders
import tiny_recipe
import torch
import tqdm
import yaml
from child_processes import fork, free_port
from test_auto_batch_bins import limit_memory
from torch.multiprocessing.spawn import ProcessContext

from espnet_ext.data.shards import write_shards
from espnet_ext.errors import Interrupted, UserError
from espnet_ext.training import auto_batch_bins, health, processes, sharding, shards, signals
from espnet_ext.training.shards import ShardBatches

NO_DROPOUT = {
    "dropout_rate": 0.0,
    "positional_dropout_rate": 0.0,
}
CONFIG = {
    "batch_type": "unsorted",
    "batch_size": 2,  # one utterance per process
    "max_epoch": 2,
    "specaug": "specaug",
    "specaug_conf": {"apply_time_mask": True, "time_mask_width_range": 5},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    made = tiny_recipe.make(tmp_path_factory.mktemp("recipe"))
    made.train("single", {**CONFIG, "max_epoch": 1})  # imports everything before processes fork
    return made


def start(recipe, name, config, prepare: Callable[[int], None] = lambda rank: None) -> list[int]:
    """Start a training of two processes, which are copies of this one; return their ids."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}

    def train(rank: int) -> int:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", **address}
        prepare(rank)
        try:
            recipe.train(name, config, options=processes.process_options(2, 0, []))
        except Interrupted as error:
            print(error, file=sys.stderr)
            return error.EXIT_CODE
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0

    return [fork(partial(train, rank), recipe.root / f"{name}.{rank}.log") for rank in (0, 1)]


def finished(recipe, name, config, *prepare: Callable[[int], None], seconds=120) -> list[int]:
    """Train in two processes; return their exit statuses, as `os.waitstatus_to_exitcode` does."""
    ids = start(recipe, name, config, *prepare)
    deadline = time.monotonic() + seconds
    statuses = {}
    try:
        while len(statuses) < len(ids):
            if time.monotonic() > deadline:
                logs = [(recipe.root / f"{name}.{rank}.log").read_text() for rank in (0, 1)]
                pytest.fail("\n".join([f"these hang: {set(ids) - set(statuses)} of {ids}", *logs]))
            for process in set(ids) - set(statuses):
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    statuses[process] = os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
    finally:
        for process in set(ids) - set(statuses):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    return [statuses[process] for process in ids]


def signal_after(count: int, number: int):
    """Let this process send itself a signal after a number of batches."""
    original, calls = health.StepMonitor.after_batch, []

    def after_batch(self, *args, **kwargs):
        original(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), number)

    health.StepMonitor.after_batch = after_batch


def weights(folder):
    return torch.load(folder / "model.pth", weights_only=True)


def test_interruption_of_one_process_saves_and_stops_both(recipe):
    assert finished(recipe, "whole", CONFIG) == [0, 0]

    def interrupt(rank):
        if rank == 1:
            signal_after(6, signal.SIGUSR1)

    assert finished(recipe, "parts", CONFIG, interrupt) == [75, 75]
    assert "saved after 2 batches of epoch 2" in (recipe.root / "parts.0.log").read_text()
    assert finished(recipe, "parts", CONFIG) == [0, 0]
    first, second = weights(recipe.root / "whole"), weights(recipe.root / "parts")
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("number", "reaches_all"),
    [(signal.SIGUSR1, False), (signal.SIGINT, True)],
    ids=["SIGUSR1 to the parent", "Ctrl-C in a terminal"],
)
def test_signal_to_their_parent_saves_and_stops_both(recipe, number, reaches_all):
    """ESPnet starts such processes on GPUs only, so the test starts them, from a copy of itself."""
    name = f"{number.name}-{reaches_all}"
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}

    def train(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", **address}
        if rank == 1:
            send_after(3, number, reaches_all)
        recipe.train(name, CONFIG, options=processes.process_options(2, 0, []))

    def send_after(count: int, number: int, reaches_all: bool) -> None:
        original, calls = health.StepMonitor.after_batch, []

        def after_batch(self, *args, **kwargs):
            original(self, *args, **kwargs)
            calls.append(1)
            if len(calls) == count:
                targets = (recipe.root / f"{name}.pids").read_text().split() if reaches_all else []
                for process in {os.getppid(), *map(int, targets)}:
                    os.kill(process, number)
                time.sleep(0.5)  # the forwarded signal arrives in this step, or while it is saved

        health.StepMonitor.after_batch = after_batch

    def parent() -> int:
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=train, args=(rank,)) for rank in (0, 1)]
        try:
            with signals.interruption_of_subprocesses(is_parent=True):
                for child in children:
                    child.start()
                pids = " ".join(str(child.pid) for child in children)
                (recipe.root / f"{name}.pids").write_text(pids)
                while not ProcessContext(children, ["", ""]).join(grace_period=60):
                    pass
        except Interrupted as error:
            print(error, [child.exitcode for child in children], file=sys.stderr)
            return error.EXIT_CODE
        return 0

    log = recipe.root / f"{name}.log"
    _, status = os.waitpid(fork(parent, log), 0)
    text = log.read_text()
    assert os.waitstatus_to_exitcode(status) == 75, text
    assert f"interrupted ({number.name}): run the same command again to continue [75, 75]" in text
    saved = torch.load(recipe.root / name / "checkpoint.pth", weights_only=True)
    assert (
        saved["within_epoch"]["batches"] == 3 and len(saved["within_epoch"]["random_states"]) == 2
    )
    assert text.count("saved after 3 batches of epoch 1") == 1


def test_death_of_one_process_ends_the_other_with_its_cause(recipe):
    def die(rank):
        if rank == 1:
            signal_after(3, signal.SIGKILL)

    assert finished(recipe, "death", CONFIG, die, seconds=60) == [1, -signal.SIGKILL]
    message = (recipe.root / "death.0.log").read_text()
    assert "error: the connection to another process of this training failed" in message


def deterministic_config():
    """Return a configuration whose losses do not depend on the process of an utterance."""
    encoder = {**tiny_recipe.CONFIG["encoder_conf"], **NO_DROPOUT, "attention_dropout_rate": 0.0}
    encoder["use_cnn_module"] = False  # batch norm has statistics per process
    decoder = {**tiny_recipe.CONFIG["decoder_conf"], **NO_DROPOUT}
    decoder |= {"self_attention_dropout_rate": 0.0, "src_attention_dropout_rate": 0.0}
    return {
        **CONFIG,
        "specaug": None,
        "encoder_conf": encoder,
        "decoder_conf": decoder,
        "optim": "sgd",
        "optim_conf": {"lr": 0.05},
    }


@pytest.mark.parametrize("accum_grad", [1, 2])
def test_two_processes_train_as_one_with_the_joint_batch(recipe, accum_grad):
    config = {**deterministic_config(), "accum_grad": accum_grad}
    assert finished(recipe, f"two{accum_grad}", config) == [0, 0]
    two = weights(recipe.root / f"two{accum_grad}")
    one = weights(recipe.train(f"one{accum_grad}", config))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)


def record_utterances(file):
    """Let this process append the utterances of each batch to a file."""
    original = health.StepMonitor.after_batch

    def after_batch(self, number, utterances, *args):
        original(self, number, utterances, *args)
        with file.open("a") as handle:
            handle.write(f"{self.reporter.get_epoch()} {' '.join(utterances)}\n")

    health.StepMonitor.after_batch = after_batch


def joint_factory(args, options, rank, processes):
    """Return what `shards.iter_factory` does, with the batches of two processes as one."""
    plans = [shards.ShardPlan(args, rank, 2) for rank in (0, 1)]
    dataset = shards.ShardDataset(shards._tables(args), options.preprocess_fn)

    class Factory(shards.AbsIterFactory):
        def build_iter(self, epoch, shuffle=None):
            count = plans[0].batches_per_epoch
            parts = [ShardBatches(p, (epoch - 1) * count, count, decode=False) for p in plans]
            batches = [first + second for first, second in zip(*parts, strict=True)]
            return torch.utils.data.DataLoader(
                dataset, batch_sampler=batches, collate_fn=options.collate_fn
            )

    return Factory()


def test_two_processes_with_shards_train_as_one_with_the_joint_batch(recipe, monkeypatch):
    write_shards(recipe.root / "dump/train", 2)
    config = {
        **deterministic_config(),
        "batching": "buckets",
        "batch_bins": 4 * 8000,  # two utterances per process
        "train_shards": str(recipe.root / "dump/train/shards"),
        "shard_buffer": 1,
    }
    files = [recipe.root / f"utterances.{rank}" for rank in (0, 1)]
    run = finished(recipe, "shards2", config, lambda rank: record_utterances(files[rank]))
    assert run == [0, 0]
    drawn = [[line.split() for line in file.read_text().splitlines()] for file in files]
    first, second = ([line[0] for line in lines] for lines in drawn)
    assert first == second and set(first) == {"1", "2"}  # equally many batches in each epoch
    for epoch in ("1", "2"):
        utterances = [u for lines in drawn for line in lines if line[0] == epoch for u in line[1:]]
        assert sorted(utterances) == sorted(f"s{i}-train{i}" for i in range(8))
    monkeypatch.setattr(shards, "iter_factory", joint_factory)
    one = weights(recipe.train("shards1", config))
    two = weights(recipe.root / "shards2")
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)


def test_two_processes_agree_on_the_smaller_number_of_bins(recipe):
    config = {"batching": "buckets", "batch_bins": "auto", "max_epoch": 1}

    def prepare(rank):
        limit_memory(setattr, (4.9 if rank == 0 else 2.9) * 8000)  # 85 %: 4 and 2 utterances

    assert finished(recipe, "auto", config, prepare) == [0, 0]
    bins = yaml.safe_load((recipe.root / "auto/config.yaml").read_text())["batch_bins"]
    assert 4 * 8000 <= bins < 5 * 8000  # two utterances for each process
    assert f"auto: {bins} (85% of the free memory" in (recipe.root / "auto.0.log").read_text()

    def read_only_in_the_first(rank):  # config.yaml may be empty in others: the first rewrites it
        limit_memory(setattr, 99 * 8000)
        if rank:
            auto_batch_bins._previous = None

    assert finished(recipe, "auto", {**config, "max_epoch": 2}, read_only_in_the_first) == [0, 0]
    continued = f"auto: {bins} (of the training that continues)"
    assert continued in (recipe.root / "auto.0.log").read_text()


SHARDED = {"fsdp": True}
# With a large eps, rounding does not decide on the sign of an update.
ADAM = {
    "optim": "adam",
    "optim_conf": {"lr": 0.01, "eps": 0.01},
    "accum_grad": 2,
    "freeze_param": ["encoder.embed", "encoder.encoders.0.feed_forward"],
}


def assert_close(first, second, where=""):
    """Compare nested states: the same keys, shapes and types, and values equal up to rounding."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_close(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for number, pair in enumerate(zip(first, second, strict=True)):
            assert_close(*pair, f"{where}.{number}")
    elif torch.is_tensor(first):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5, msg=lambda m: where + m)
    else:
        assert first == second, where


@pytest.mark.parametrize("changed", [{}, ADAM], ids=["sgd", "adam and accum_grad"])
def test_sharded_training_writes_the_checkpoint_of_one_process_and_of_copies(recipe, changed):
    config = {**deterministic_config(), **changed, "grad_clip": 1.0}
    name = changed.get("optim", "sgd")
    assert finished(recipe, f"sharded-{name}", {**config, **SHARDED}) == [0, 0]
    assert finished(recipe, f"copied-{name}", config) == [0, 0]
    recipe.train(f"one-{name}", config)
    sharded, copied, one = (
        torch.load(recipe.root / f"{kind}-{name}/checkpoint.pth", weights_only=True)
        for kind in ("sharded", "copied", "one")
    )
    for part in ("model", "optimizers"):
        assert_close(sharded[part], copied[part], part)
        assert_close(sharded[part], one[part], part)
    statistics = [state["reporter"]["stats"][2] for state in (sharded, copied)]
    for phase, key in (("train", "grad_norm"), ("train", "loss"), ("valid", "loss")):
        first, second = (float(s[phase][key]) for s in statistics)
        assert first == pytest.approx(second, rel=1e-4), key
    assert float(statistics[0]["train"]["clip"]) > 0  # some gradients were clipped


def test_sharded_pretrained_encoder_trains_as_its_copies(recipe, monkeypatch):
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # no thread
    model = {"model": str(tiny_encoders.save(tiny_encoders.build("wavlm"), recipe.root / "wavlm"))}
    config = {
        **CONFIG,
        **ADAM,
        **{"frontend": "pretrained", "frontend_conf": model, "normalize": None},
        **{"encoder": "pretrained", "encoder_conf": model, "specaug": None},
        "finetune_conf": {"encoder_lr": 0.5, "layer_decay": 0.9},
        "freeze_param": ["frontend"],
    }
    assert finished(recipe, "sharded-wavlm", {**config, **SHARDED}) == [0, 0]
    assert finished(recipe, "copied-wavlm", config) == [0, 0]
    sharded, copied = (
        torch.load(recipe.root / f"{kind}-wavlm/checkpoint.pth", weights_only=True)
        for kind in ("sharded", "copied")
    )
    for part in ("model", "optimizers"):
        assert_close(sharded[part], copied[part], part)


def test_sharded_training_continues_as_if_it_had_not_been_interrupted(recipe):
    config = {**CONFIG, **SHARDED}  # with batch normalisation, dropout and SpecAugment
    assert finished(recipe, "sharded-whole", config) == [0, 0]

    def interrupt(rank):
        if rank == 1:
            signal_after(6, signal.SIGUSR1)

    assert finished(recipe, "sharded-parts", config, interrupt) == [75, 75]
    assert finished(recipe, "sharded-parts", config) == [0, 0]
    whole, parts = (
        torch.load(recipe.root / f"sharded-{name}/checkpoint.pth", weights_only=True)
        for name in ("whole", "parts")
    )
    for part in ("model", "optimizers"):
        assert repr(whole[part]) == repr(parts[part])
    first, second = weights(recipe.root / "sharded-whole"), weights(recipe.root / "sharded-parts")
    assert all(torch.equal(first[key], second[key]) for key in first)
    # One process continues it, and two continue that one.
    recipe.train("sharded-parts", {**config, "max_epoch": 3})
    assert finished(recipe, "sharded-parts", {**config, "max_epoch": 4}) == [0, 0]
    reporter = torch.load(recipe.root / "sharded-parts/checkpoint.pth", weights_only=True)
    assert sorted(reporter["reporter"]["stats"]) == [1, 2, 3, 4]


def test_sharded_processes_skip_a_step_whose_gradient_is_not_finite_in_one(recipe):
    def prepare(rank):
        original, calls = sharding.ShardedModel.forward, []

        def forward(self, **batch):
            loss, *others = original(self, **batch)
            calls.append(1)
            return loss * (float("nan") if rank == 1 and len(calls) == 2 else 1), *others

        sharding.ShardedModel.forward = forward

    config = {**CONFIG, **SHARDED, "max_epoch": 1}
    assert finished(recipe, "sharded-nan", config, prepare) == [0, 0]
    assert "1 of 4 steps were skipped" in (recipe.root / "sharded-nan.0.log").read_text()
    trained = weights(recipe.root / "sharded-nan")
    assert all(value.isfinite().all() for value in trained.values())
