"""Tests that fork trainings, in processes of their own.

A copy of a process in which PyTorch has used several threads can hang, and the process that runs
all tests is one. The files are not collected otherwise, because their names lack `test_`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("file", ["faults/killed_training.py", "training/two_process_training.py"])
def test_file_passes_in_a_new_process(file):
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(TESTS / file)], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
