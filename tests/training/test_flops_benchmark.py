"""`benchmarks/flops.py` counts the operations of a training step."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import flops  # noqa: E402


def test_two_outputs_share_one_encoder():
    counts = {
        system: flops.operations("train_small.yaml", system, 0.5, 4, 10)
        for system in ("so_surface", "so_meaning", "do")
    }
    single = [counts["so_surface"], counts["so_meaning"]]
    assert max(single) < counts["do"] < sum(single)
