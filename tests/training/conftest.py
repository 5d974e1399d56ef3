"""A recipe that trains in a second."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402


@pytest.fixture
def recipe(tmp_path):
    return tiny_recipe.make(tmp_path)
