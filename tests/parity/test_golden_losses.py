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


GOLDEN = json.loads(golden_losses.GOLDEN.read_text())
HERE = golden_losses.machine()
DIFFERENT = [f"{key} {HERE[key]}" for key, value in GOLDEN["machine"].items() if HERE[key] != value]


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not torch.backends.mkl.is_available(),
    reason="another generator of random numbers",
)
def test_losses_of_20_updates_are_nearly_those_of_the_golden_file(losses):
    assert losses == pytest.approx(GOLDEN["losses"], rel=1e-4)


@pytest.mark.skipif(
    bool(DIFFERENT), reason=f"the golden file is of another machine: {', '.join(DIFFERENT)}"
)
def test_losses_of_20_updates_are_exactly_those_of_the_golden_file(losses):
    assert losses == GOLDEN["losses"]
