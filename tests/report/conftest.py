"""Makes the generator beside the tests importable, and makes one result tree for all of them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    from make_results import make

    return make(tmp_path_factory.mktemp("results"), extra='<script>alert("1")</script> & "맛"')
