"""One experiment directory for all tests of the report."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    from pages import HOSTILE
    from result_tree import make

    return make(tmp_path_factory.mktemp("results"), extra=HOSTILE)
