"""Threads: what the user has set is kept; otherwise small models get one thread."""

import os
import subprocess
import sys

import pytest
import torch

from espnet_ext.decoding import threads

SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", *threads._WAIT_SETTINGS)


@pytest.fixture
def clean(monkeypatch):
    """No settings of the user, and a machine with eight cores."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_available", lambda: (16, 8))
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield monkeypatch
    torch.set_num_threads(before)


def model(parameters):
    return torch.nn.Linear(parameters, 1, bias=False, device="meta")


def test_threads_grow_with_the_model_up_to_the_physical_cores(clean):
    unit = threads.PARAMETERS_PER_THREAD
    sizes = (1000, unit - 1, unit, 3 * unit, 100 * unit)
    assert [threads.choose_threads(model(size)) for size in sizes] == [1, 1, 2, 4, 8]
    clean.setenv("OMP_WAIT_POLICY", "passive")  # waking threads takes long for small models
    assert [threads.choose_threads(model(size)) for size in sizes] == [1, 1, 2, 4, 8]
    clean.setattr(threads, "_available", lambda: (8, 8, 2))  # a container with two CPUs
    assert threads.choose_threads(model(100 * unit)) == 2


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_settings_of_the_user_are_kept(clean, name):
    clean.setenv(name, "3")
    assert threads.choose_threads(model(1000)) is None


def test_threads_set_in_torch_are_kept(clean):
    torch.set_num_threads(3)
    assert threads.choose_threads(model(1000)) is None


def test_limit_is_only_in_force_in_its_context(clean):
    with threads.limit_threads(2):
        assert torch.get_num_threads() == 2
        with threads.limit_threads(None):
            assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 8


def test_available_cores_respect_the_affinity():
    assert 1 <= threads.available_cores() <= (os.cpu_count() or 1)
    code = "from espnet_ext.decoding.threads import available_cores as a; print(a())"
    command = ["taskset", "-c", "0", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, "PASSIVE 0"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "5"}, "None None"),
    ],
)
def test_wait_policy_is_set_before_torch_unless_the_user_has(variables, expected):
    code = (
        "import os, espnet_ext.decoding.api; g = os.environ.get; "
        "print(g('OMP_WAIT_POLICY'), g('KMP_BLOCKTIME'))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **variables}, capture_output=True
    )
    assert done.stdout.decode().strip() == expected


def test_command_and_api_use_the_same_threads(clean, trained):
    from espnet_ext.decoding.api import DualSpeech2Text

    recogniser = DualSpeech2Text.from_pretrained(trained.root / "exp")
    assert recogniser.num_threads == 1
    used = []
    encode = recogniser.model.encode

    def watch(*args):
        used.append(torch.get_num_threads())
        return encode(*args)

    recogniser.model.encode = watch
    recogniser(torch.zeros(8000))
    assert used[-1] == 1 and torch.get_num_threads() == 8
