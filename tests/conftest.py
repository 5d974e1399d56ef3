"""What all tests share: one thread, seeds, no network, and GPU tests only where there is a GPU."""

import os
import random
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # tests import `timing` from here

# A machine that is busy with something else is slow, and no test is wrong for that.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


TORCH_SEED = 67280421310721  # of PyTorch in a new process
# Long files without a test marked slow. They start first, together with the files that have one:
# otherwise one process of pytest-xdist would still run a long file when the others have finished.
LONG_FILES = ("test_pipeline.py", "test_forked_trainings.py", "test_processes.py")


def pytest_configure(config):
    """Receive Ctrl-C in the processes of pytest-xdist, which ignore it as their children do."""
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Reset random numbers and PyTorch's threads, so that no test depends on earlier ones."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(TORCH_SEED)
        torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow and item.path.name not in LONG_FILES)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch  # only here: collecting the other tests need not load it

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
