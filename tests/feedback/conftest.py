"""A tiny trained system, shared by the tests of feedback."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A recipe with `exp/`, trained for one epoch; tests must not change it."""
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("trained"))
    recipe.train(options=["--max_epoch", "1"])
    return recipe
