"""Floating-point operations of a training step per second of audio, by PyTorch's FLOP counter.

    python benchmarks/flops.py --config train.yaml --system so_surface do

Counts the matrix products and convolutions of forward and backward pass for one utterance, with
ESPnet's layers. The numbers do not depend on the machine.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from espnet_ext.files import read_yaml  # noqa: E402
from espnet_ext.model.build import build_model  # noqa: E402
from espnet_ext.training.config import merge  # noqa: E402
from espnet_ext.training.precision import noise_batch  # noqa: E402

RATE = 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="train.yaml", help="in conf/")
    parser.add_argument("--system", nargs="+", default=["so_surface", "do"], help="in conf/systems")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the utterance")
    parser.add_argument("--tokens", type=int, default=80, help="tokens of each transcript")
    parser.add_argument("--vocabulary", type=int, default=50, help="tokens of each output")
    options = parser.parse_args()
    for system in options.system:
        count = operations(
            options.config, system, options.seconds, options.tokens, options.vocabulary
        )
        print(f"{system}: {count / options.seconds / 1e9:.2f} GFLOP per second of audio")


def operations(config: str, system: str, seconds: float, tokens: int, vocabulary: int) -> int:
    """Return the floating-point operations of forward and backward pass for one utterance."""
    from torch.utils.flop_counter import FlopCounterMode

    merged = merge(
        read_yaml(ROOT / "conf" / config), read_yaml(ROOT / "conf/systems" / f"{system}.yaml")
    )
    merged |= {"normalize": "utterance_mvn", "cpu_autocast": None}  # needs no statistics
    for output in merged["outputs"].values():
        output["token_list"] = ["<blank>", "<unk>", *map(str, range(vocabulary - 3)), "<sos/eos>"]
    torch.manual_seed(0)
    model = build_model(merged).train()
    lengths = {f"text_{name}": [tokens] for name in merged["outputs"]}
    batch = noise_batch(model, {"speech": [int(seconds * RATE)], **lengths})
    with FlopCounterMode(display=False) as counter:
        model(**batch)[0].backward()
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
