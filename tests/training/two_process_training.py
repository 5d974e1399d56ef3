"""Two gloo processes: interruption, death of one, and equality with one process."""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest
import tiny_recipe
import torch
from child_processes import fork, free_port

from espnet_ext.errors import Interrupted, UserError
from espnet_ext.training import health, processes

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


def test_death_of_one_process_ends_the_other_with_its_cause(recipe):
    def die(rank):
        if rank == 1:
            signal_after(3, signal.SIGKILL)

    assert finished(recipe, "death", CONFIG, die, seconds=60) == [1, -signal.SIGKILL]
    message = (recipe.root / "death.0.log").read_text()
    assert "error: the connection to another process of this training failed" in message


@pytest.mark.parametrize("accum_grad", [1, 2])
def test_two_processes_train_as_one_with_the_joint_batch(recipe, accum_grad):
    encoder = {**tiny_recipe.CONFIG["encoder_conf"], **NO_DROPOUT, "attention_dropout_rate": 0.0}
    encoder["use_cnn_module"] = False  # batch norm has statistics per process
    decoder = {**tiny_recipe.CONFIG["decoder_conf"], **NO_DROPOUT}
    decoder |= {"self_attention_dropout_rate": 0.0, "src_attention_dropout_rate": 0.0}
    config = {
        **CONFIG,
        "specaug": None,
        "encoder_conf": encoder,
        "decoder_conf": decoder,
        "optim": "sgd",
        "optim_conf": {"lr": 0.05},
        "accum_grad": accum_grad,
    }
    assert finished(recipe, f"two{accum_grad}", config) == [0, 0]
    two = weights(recipe.root / f"two{accum_grad}")
    one = weights(recipe.train(f"one{accum_grad}", config))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)
