"""Fixtures of the analysis tests: a trained system, and a directory with results."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import tiny_recipe  # noqa: E402


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A recipe with `exp/` trained for one epoch; not to be changed."""
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("trained"))
    recipe.train(options=["--max_epoch", "1"])
    return recipe


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """An experiment directory with scores and analyses of made-up systems."""
    from result_tree import make

    return make(tmp_path_factory.mktemp("results"), audio=False)
