"""The losses of the first 20 updates of a small dual-output training, in full precision.

`python tests/parity/golden_losses.py --update` writes golden/losses.json.
"""

import argparse
import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
import tiny_recipe  # noqa: E402

from espnet_ext.training import health  # noqa: E402

GOLDEN = Path(__file__).parent / "golden/losses.json"
STEPS = 20
CONFIG = {
    "batch_type": "unsorted",
    "batch_size": 2,
    "num_iters_per_epoch": STEPS // 2,
    "max_epoch": 2,
    "scheduler": "warmuplr",
    "scheduler_conf": {"warmup_steps": 10},
    "specaug": "specaug",
    "specaug_conf": {"apply_time_mask": True, "time_mask_width_range": 5},
}


def losses(root: Path, seed: int = 0) -> list[float]:
    """Train in a new folder, and return the loss of each update."""
    recorded: list[float] = []
    original = health.StepMonitor.finish

    def finish(self, nothing_updated):
        recorded.extend(float(value.value) for value in self.reporter.stats["loss"])
        original(self, nothing_updated)

    health.StepMonitor.finish = finish  # type: ignore[method-assign]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums over threads are rounded differently
    try:
        tiny_recipe.make(root).train(config={**CONFIG, "seed": seed})
    finally:
        torch.set_num_threads(threads)
        health.StepMonitor.finish = original  # type: ignore[method-assign]
    return recorded


def machine() -> dict[str, str]:
    """Return what the last bits of a loss depend on."""
    return {
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "processor": _of_processor("model name") or platform.processor(),
        "flags": hashlib.sha256(_of_processor("flags").encode()).hexdigest()[:16],
    }


def _of_processor(key: str) -> str:
    """Return an entry of /proc/cpuinfo; "" if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(": ")[2] for line in lines if line.startswith(key)), "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", required=True)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = losses(Path(folder))
    assert len(result) == STEPS
    GOLDEN.write_text(json.dumps({"machine": machine(), "losses": result}, indent=1) + "\n")
