"""A seed gives the same losses again: bit-equal on one machine, nearly equal on another."""

import json
import platform
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import golden_losses  # noqa: E402


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    return golden_losses.losses(tmp_path_factory.mktemp("first"))


def test_seed_gives_the_same_losses_again(losses, tmp_path):
    assert len(losses) == golden_losses.STEPS
    assert golden_losses.losses(tmp_path / "second") == losses
    assert golden_losses.losses(tmp_path / "third", seed=1) != losses


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not torch.backends.mkl.is_available(),
    reason="another generator of random numbers",
)
def test_losses_of_20_updates_are_those_of_the_golden_file(losses):
    golden = json.loads(golden_losses.GOLDEN.read_text())
    if golden["machine"] == golden_losses.machine():
        assert losses == golden["losses"]
    assert losses == pytest.approx(golden["losses"], rel=1e-4)
