"""Cost of an encoder pass with experts, against the same encoder without experts.

    python benchmarks/experts.py --json experts.json

A batch of B utterances has both bands, half of the rows each. With experts per output, an encoder
pass for two outputs has 2 B rows in the layers with experts, so it is compared with two passes of
the dense encoder; the subsampling below runs once. Times are seconds of CPU time, which other
programs on the machine lengthen less than the time on the clock. The settings take turns, and the
fastest step of each counts. Experts are copies at the start, so all settings compute the same
numbers; the largest difference is printed.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from espnet_ext.files import read_yaml
from espnet_ext.model.build import build_model
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.training.config import merge

CONF = Path(__file__).resolve().parents[1] / "conf"
RATE = 16000
TOKENS = ["<blank>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "<sos/eos>"]
# setting → system, passes of the dense encoder that it is compared with
SETTINGS = {
    "experts per band": ("do_experts_band", 1),
    "experts per output": ("do_experts", 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="train_small.yaml", help="in conf/")
    parser.add_argument("--utterances", type=int, default=16, help="B")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each utterance")
    parser.add_argument("--steps", type=int, default=10, help="measured steps, after one more")
    parser.add_argument("--json", help="file to write the numbers to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {name: measure(args, *setting) for name, setting in SETTINGS.items()}
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


def measure(args: argparse.Namespace, system: str, passes: int) -> dict[str, float]:
    """Return seconds of the dense encoder and with experts, and their ratios; print them."""
    speech = 0.1 * torch.randn(args.utterances, int(args.seconds * RATE))
    dense, experts = (build(args.config, name) for name in ("do", system))
    bands = torch.arange(args.utterances) % 2  # rows of both bands alternate
    conditions = {"band": bands} if experts.conditions else {}
    runs = {
        "dense": encoder_pass(dense, speech, {}, passes),
        "experts": encoder_pass(experts, speech, conditions),
    }
    values: dict[str, float] = {}
    difference = float((runs["dense"](False) - runs["experts"](False)).abs().max())
    for what, backward in (("forward", False), ("forward and backward", True)):
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for step in range(args.steps + 1):
            for name, run in runs.items():
                start = time.process_time()
                run(backward)
                if step:  # the first one is slower
                    seconds[name].append(time.process_time() - start)
        fastest = {name: min(times) for name, times in seconds.items()}
        ratio = fastest["experts"] / fastest["dense"]
        values |= {f"{what}, {name}": round(value, 4) for name, value in fastest.items()}
        values[f"{what}, ratio"] = round(ratio, 3)
        dense_time, expert_time = fastest.values()
        print(
            f"{system}, {what}: dense {dense_time:.3f} s, experts {expert_time:.3f} s, ratio "
            f"{ratio:.3f}; largest difference of the results {difference:.1e}",
            flush=True,
        )
    return values


def build(config: str, system: str) -> Any:
    """Return the model of a system in evaluation mode, with the same weights as `do`."""
    merged = merge(read_yaml(CONF / config), read_yaml(CONF / f"systems/{system}.yaml"))
    merged |= {"specaug": None, "cpu_autocast": None, "conditions": {"band": ["narrow", "wide"]}}
    if system != "do_experts_band":
        del merged["conditions"]
    for output in merged["outputs"].values():
        output["token_list"] = TOKENS
    torch.manual_seed(0)
    return build_model(merged).eval()


def encoder_pass(
    model: Any, speech: torch.Tensor, conditions: dict[str, torch.Tensor], passes: int = 1
) -> Callable[[bool], torch.Tensor]:
    """Return a function that encodes a batch for all outputs and returns their states.

    They are (P·B, T, D) for P passes, or (G·B, T, D) for G outputs with states of their own. The
    argument of the function says whether the backward pass is run too.
    """
    lengths = torch.full((len(speech),), speech.size(1))
    request = EncoderRequest(conditions=conditions)

    def run(backward: bool) -> torch.Tensor:
        model.zero_grad()
        results: list[torch.Tensor] = []
        for _ in range(passes):
            with torch.set_grad_enabled(backward):
                hidden = model.encode(speech, lengths, request).hidden.values()
                states = torch.cat(list({id(one): one for one in hidden}.values()))
                if backward:
                    states.square().mean().backward()
            results.append(states.detach())
        return torch.cat(results)

    return run


if __name__ == "__main__":
    main()
