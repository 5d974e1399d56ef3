"""Signals ask a training to stop; a training of several processes on one machine exits as one."""

import multiprocessing
import os
import signal

import pytest
import torch.distributed as dist
from torch.multiprocessing import ProcessExitedException

from espnet_ext.bin import cli
from espnet_ext.errors import Interrupted
from espnet_ext.training import signals


def test_first_signal_is_noted_and_a_second_ctrl_c_ends_the_training(capfd):
    before = signal.getsignal(signal.SIGTERM)
    with signals.stop_requests() as request:
        assert not request.signal
        os.kill(os.getpid(), signal.SIGTERM)
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
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    with pytest.raises(SystemExit) as stopped, signals.exit_code_of_subprocess():
        raise Interrupted("saved")
    assert stopped.value.code == 75
    assert capsys.readouterr().err == "note: saved\n"


def test_parent_reports_the_interruption_of_its_subprocesses():
    with (
        pytest.raises(Interrupted, match="SIGUSR1.*run the same command again"),
        signals.interruption_of_subprocesses(is_parent=True),
    ):
        os.kill(os.getpid(), signal.SIGUSR1)
        raise ProcessExitedException("process 0 terminated", 0, 1, 75)
    with (
        pytest.raises(ProcessExitedException),
        signals.interruption_of_subprocesses(is_parent=True),
    ):
        raise ProcessExitedException("process 0 terminated", 0, 1, 1)


def test_interrupted_command_exits_with_75(capsys):
    def main(argv):
        raise Interrupted("exp/checkpoint.pth: saved")

    assert cli.run(main, []) == 75
    assert capsys.readouterr().err == "note: exp/checkpoint.pth: saved\n"
