"""Training steps of a pre-trained Whisper: all weights, LoRA and DoRA.

    python benchmarks/adapters.py --model FOLDER --json adapters.json

Each setting runs in its own process, on one thread. Times are seconds of CPU time, which other
programs on the machine lengthen less than the time on the clock.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = {
    "all weights": {},
    "LoRA": {"adapter": {"type": "lora"}},
    "DoRA": {"adapter": {"type": "dora"}},
}
TEXTS = ("he had your dark suit in greasy wash water all year", "she sells sea shells")
RATE = 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of a Whisper checkpoint")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each utterance")
    parser.add_argument("--utterances", type=int, default=2, help="utterances per batch")
    parser.add_argument("--steps", type=int, default=3, help="measured steps, after one more")
    parser.add_argument("--json", help="file to write the numbers to")
    parser.add_argument("--setting", choices=SETTINGS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.setting:
        print(json.dumps(measure(args)))
        return
    results = {}
    for name in SETTINGS:
        command = [sys.executable, *sys.argv, "--setting", name]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results[name] = json.loads(printed.splitlines()[-1])
        print(name, results[name], flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Return parameters, seconds per step, peak memory and size of a checkpoint of one setting."""
    import torch

    from espnet_ext.model.build import build_model
    from espnet_ext.model.pretrained.base_weights import saved_without_base

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model(configuration(args)).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    batch = batch_of(model, args)
    seconds = []
    for _ in range(args.steps + 1):
        start = time.process_time()
        loss, _, _ = model(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    state = model.state_dict()
    if model.adapters is not None:
        with saved_without_base(model):
            state = model.state_dict()
    with tempfile.NamedTemporaryFile() as file:
        torch.save(state, file.name)
        size = Path(file.name).stat().st_size / 2**20
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "seconds per step": round(min(seconds[1:]), 3),
        "peak memory in MiB": round(peak),
        "checkpoint in MiB": round(size, 1),
    }


def configuration(args: argparse.Namespace) -> dict:
    """Return a system with CTC for 40 phones, and Whisper's decoder with its own tokens."""
    from espnet_ext.text.tokenizers import HuggingFaceTokenizer

    model = {"model": args.model}
    phones = ["<blank>", "<unk>", *(f"P{number}" for number in range(40)), "<sos/eos>"]
    tokens = HuggingFaceTokenizer(Path(args.model) / "tokenizer.json").token_list(TEXTS)
    return {
        "frontend": "pretrained",
        "frontend_conf": model,
        "encoder": "pretrained",
        "encoder_conf": model,
        "decoder": "pretrained",
        "decoder_conf": {**model, "language": "en"},
        "finetune_conf": SETTINGS[args.setting],
        "outputs": {
            "surface": {
                "branch": "ctc",
                "ctc_weight": 0.5,
                "token_type": "phone",
                "token_list": phones,
            },
            "meaning": {
                "branch": "attention",
                "attention_weight": 0.5,
                "token_type": "hugging_face",
                "token_list": tokens,
            },
        },
    }


def batch_of(model, args: argparse.Namespace) -> dict:
    """Return a batch of noise with random transcripts of 60 phones and 20 tokens."""
    import torch

    count, samples = args.utterances, int(args.seconds * RATE)
    batch = {
        "speech": 0.1 * torch.randn(count, samples),
        "speech_lengths": torch.full((count,), samples),
    }
    for name, length in (("surface", 60), ("meaning", 20)):
        vocabulary = len(model.heads[name].tokens)
        batch[f"text_{name}"] = torch.randint(2, vocabulary - 1, (count, length))
        batch[f"text_{name}_lengths"] = torch.full((count,), length)
    return batch


if __name__ == "__main__":
    main()
