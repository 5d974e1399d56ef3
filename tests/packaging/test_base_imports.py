"""Without the optional extras, only modules of `espnet-ext serve` cannot be imported."""

import subprocess
import sys
from pathlib import Path


def test_modules_need_only_what_the_package_requires():
    command = [sys.executable, str(Path(__file__).with_name("base_imports.py"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *failures, hidden = done.stdout.splitlines()
    assert {"transformers", "fastapi"} <= set(hidden.split())
    unexpected = [line for line in failures if not line.startswith("espnet_ext.serving.")]
    assert not unexpected
