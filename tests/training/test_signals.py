"""Signals ask a training to stop; a training of several processes on one machine exits as one."""

import multiprocessing
import os
import signal
import time

import pytest
import tiny_recipe
import torch.distributed as dist
from child_processes import record_signals
from torch.multiprocessing import ProcessExitedException

from espnet_ext.bin import cli
from espnet_ext.bin import train as command
from espnet_ext.errors import Interrupted
from espnet_ext.training import encoder_cache, run, signals, task


def test_first_signal_is_noted_and_a_second_ctrl_c_ends_the_training(capfd):
    before = signal.getsignal(signal.SIGTERM)
    with signals.stop_requests() as request:
        assert not request.signal
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # ignored: the first Ctrl-C
        assert request.name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before
    assert capfd.readouterr().err == "note: SIGTERM: the training stops after this step\n"


def test_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with signals.stop_requests() as request:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not request.signal
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_subprocess_exits_with_the_code_that_its_parent_understands(monkeypatch, capsys):
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "parent")
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    with pytest.raises(SystemExit) as stopped, signals.exit_code_of_subprocess():
        raise Interrupted("saved")
    assert stopped.value.code == 75
    assert capsys.readouterr().err == "note: saved\n"


@pytest.fixture
def start_children(tmp_path):
    """Return a function that starts two processes, as ESPnet does; they record their signals."""
    context = multiprocessing.get_context("spawn")
    files = [tmp_path / f"{rank}.signals" for rank in (0, 1)]
    children = [context.Process(target=record_signals, args=(file, 75)) for file in files]

    def start():
        for child in children:
            child.start()
        while not all(file.exists() for file in files):
            assert all(child.is_alive() for child in children)
            time.sleep(0.01)
        return children, files

    yield start
    for child in children:
        if child.is_alive():
            child.kill()
            child.join()


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_parent_forwards_the_first_signal_once_and_reports_it(start_children, number):
    with (
        pytest.raises(Interrupted, match=f"{number.name}.*run the same command again"),
        signals.interruption_of_subprocesses(is_parent=True),
    ):
        children, files = start_children()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        for child in children:
            child.join(60)
        raise ProcessExitedException("process 0 terminated", 0, 1, children[0].exitcode)
    assert [child.exitcode for child in children] == [75, 75]
    # A terminal sends SIGINT to the subprocesses, too, and a second one would end them at once.
    forwarded = "SIGTERM" if number == signal.SIGINT else number.name
    assert [file.read_text().split() for file in files] == [[forwarded]] * 2


def test_second_ctrl_c_kills_the_subprocesses(start_children):
    with signals.interruption_of_subprocesses(is_parent=True):
        children, _ = start_children()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [-signal.SIGKILL] * 2


def test_signal_before_the_first_subprocess_interrupts_at_once():
    with (
        pytest.raises(Interrupted, match="SIGTERM"),
        signals.interruption_of_subprocesses(is_parent=True),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("subprocesses would start, and get no signal")


def test_failure_of_a_subprocess_is_not_an_interruption():
    with (
        pytest.raises(ProcessExitedException),
        signals.interruption_of_subprocesses(is_parent=True),
    ):
        raise ProcessExitedException("process 0 terminated", 0, 1, 1)


@pytest.mark.parametrize("is_signalled", [True, False])
def test_subprocess_that_is_ended_by_the_signal_while_it_starts_is_interrupted(
    start_children, is_signalled
):
    with (
        pytest.raises(Interrupted if is_signalled else ProcessExitedException),
        signals.interruption_of_subprocesses(is_parent=True),
    ):
        if is_signalled:
            start_children()
            os.kill(os.getpid(), signal.SIGUSR1)
        raise ProcessExitedException("process 0 terminated", 0, 1, -signal.SIGUSR1, "SIGUSR1")


def test_signal_is_not_taken_for_an_error_of_what_runs():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGTERM.*run the same"), signals.interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:  # as around the reading of a checkpoint
            pytest.fail("an interruption looks like a damaged file")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("module", "function", "number"),
    [
        (run, "_label_sets", signal.SIGINT),
        (task, "build_model", signal.SIGTERM),
        (encoder_cache, "pad_sequence", signal.SIGUSR1),  # while the cache is written
        (run, "_finish", signal.SIGTERM),
    ],
)
def test_signal_before_the_first_and_after_the_last_step_exits_with_75(
    recipe, monkeypatch, capfd, module, function, number
):
    cache = recipe.root / "cache"
    config = {"freeze_param": ["encoder"], "encoder_cache": str(cache), "max_epoch": 1}
    recipe.write_yaml("base", {**tiny_recipe.CONFIG, **config})
    recipe.write_yaml("system", {"outputs": tiny_recipe.OUTPUTS})

    def interrupted(*args, **options):
        os.kill(os.getpid(), number)
        pytest.fail("the signal was ignored")

    monkeypatch.setattr(module, function, interrupted)
    assert cli.run(command.main, recipe.arguments()) == 75
    name = signal.Signals(number).name
    expected = f"note: interrupted ({name}): run the same command again to continue\n"
    assert expected in capfd.readouterr().err
    assert len(list(cache.rglob("*.ark"))) == 2 * (function == "_finish")
    monkeypatch.undo()
    assert cli.run(command.main, recipe.arguments()) == 0
    assert (recipe.root / "exp/train.json").exists()


def test_interrupted_command_exits_with_75(capsys):
    def main(argv):
        raise Interrupted("exp/checkpoint.pth: saved")

    assert cli.run(main, []) == 75
    assert capsys.readouterr().err == "note: exp/checkpoint.pth: saved\n"
