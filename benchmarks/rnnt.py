"""Cost of the transducer loss, compared with other implementations.

`python benchmarks/rnnt.py --vocabulary 60 500 --rounds 3` runs the joint network, the loss and the
backward pass, from projected encoder and prediction network outputs to their gradients. Each
implementation runs in a process of its own, for its memory; losses and gradients are compared.

Implementations:
- pieces: our loss as used in training, on a part of the logits at a time
- whole: our loss on all logits at once
- torchaudio: torchaudio's `rnnt_loss`
- espnet: `RNNTLossNumba`, which is part of ESPnet
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

WAYS = ("pieces", "whole", "torchaudio", "espnet")


class Batch(NamedTuple):
    """Random inputs of the loss. N utterances, T frames, U labels, J joint size."""

    encoder_projection: torch.Tensor  # (N, T, J)
    label_projection: torch.Tensor  # (N, U + 1, J)
    labels: torch.Tensor  # (N, U)
    frame_lengths: torch.Tensor  # (N,)
    label_lengths: torch.Tensor  # (N,)


def random_batch(options: argparse.Namespace) -> tuple[torch.nn.Module, Batch]:
    """Return a joint network and a batch, with lengths from 60 % of the maximum to the maximum."""
    from espnet_ext.model import espnet

    torch.manual_seed(0)
    vocab_size = options.vocabulary[0]
    joint = espnet.load("JointNetwork")(vocab_size, 8, 8, options.joint)
    size, frames, labels = options.batch, options.frames, options.labels
    frame_lengths = torch.linspace(0.6 * frames, frames, size).round().long()
    label_lengths = torch.linspace(0.6 * labels, labels, size).round().long()
    tensors = (
        torch.randn(size, frames, options.joint),
        torch.randn(size, labels + 1, options.joint),
        torch.randint(1, vocab_size, (size, labels)),
        frame_lengths,
        label_lengths,
    )
    return joint.to(options.device), Batch(*(tensor.to(options.device) for tensor in tensors))


def loss_by(way: str, joint: torch.nn.Module, batch: Batch) -> torch.Tensor:
    from espnet_ext.model.rnnt import joint_loss, rnnt_loss

    def logits_of(encoder_projection, label_projection):
        return joint(encoder_projection, label_projection, no_projection=True)

    if way == "pieces":
        return joint_loss(logits_of, joint.lin_out.out_features, *batch).sum()
    logits = logits_of(batch.encoder_projection[:, :, None], batch.label_projection[:, None])
    if way == "whole":
        return rnnt_loss(logits, batch.labels, batch.frame_lengths, batch.label_lengths).sum()
    arguments = (
        logits,
        batch.labels.int(),
        batch.frame_lengths.int(),
        batch.label_lengths.int(),
    )
    if way == "torchaudio":
        from torchaudio.functional import rnnt_loss as torchaudio_loss

        return torchaudio_loss(*arguments, blank=0, reduction="sum")
    from espnet2.asr.transducer.rnnt_multi_blank.rnnt_multi_blank import RNNTLossNumba

    return RNNTLossNumba(blank=0, reduction="sum")(*arguments).sum()


def measure(way: str, options: argparse.Namespace) -> dict:
    """Return seconds per round, the growth of memory in MiB, and the loss; save the gradients.

    On a CPU, seconds are CPU time.
    """
    joint, batch = random_batch(options)
    batch.encoder_projection.requires_grad_()
    batch.label_projection.requires_grad_()
    inputs = [batch.encoder_projection, batch.label_projection, *joint.lin_out.parameters()]
    # A tiny batch first, so that imports and compilation are neither timed nor counted as memory.
    tiny = Batch(
        batch.encoder_projection[:1, :2],
        batch.label_projection[:1, :2],
        batch.labels[:1, :1],
        torch.tensor([2], device=options.device),
        torch.tensor([1], device=options.device),
    )
    torch.autograd.grad(loss_by(way, joint, tiny), inputs[:2])
    on_gpu = options.device != "cpu"
    clock = time.perf_counter if on_gpu else time.process_time
    kib_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(options.rounds):
        start = clock()
        loss = loss_by(way, joint, batch)
        gradients = torch.autograd.grad(loss, inputs)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    kib_added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kib_before
    mib = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else kib_added / 1024
    torch.save([gradient.cpu() for gradient in gradients], options.gradients)
    return {"way": way, "seconds": seconds, "mib": mib, "loss": float(loss.detach())}


def compare(options: argparse.Namespace) -> list[dict]:
    """Measure all implementations; compare them with the first one named by `--ways`."""
    rows = []
    for vocab_size in options.vocabulary:
        with tempfile.TemporaryDirectory() as folder:
            results = {
                way: _measure_in_process(way, vocab_size, options, folder) for way in options.ways
            }
            first_gradients = torch.load(f"{folder}/{options.ways[0]}.pt")
            for way, row in results.items():
                gradients = torch.load(f"{folder}/{way}.pt")
                row["gradient_difference"] = max(
                    float((a - b).abs().max() / a.abs().max())
                    for a, b in zip(first_gradients, gradients, strict=True)
                )
        first = results[options.ways[0]]
        for row in results.values():
            row |= {"vocabulary": vocab_size, "median": statistics.median(row["seconds"])}
            row["ratio"] = row["median"] / statistics.median(first["seconds"])
            row["loss_difference"] = abs(row["loss"] - first["loss"]) / abs(first["loss"])
            print(
                f"V {vocab_size:5} {row['way']:10}: {row['median']:8.3f} s (ratio "
                f"{row['ratio']:6.2f}), {row['mib']:7.0f} MiB; relative differences: loss "
                f"{row['loss_difference']:.0e}, largest gradient {row['gradient_difference']:.0e}",
                flush=True,
            )
            rows.append(row)
    return rows


def _measure_in_process(
    way: str, vocab_size: int, options: argparse.Namespace, folder: str
) -> dict:
    command = [sys.executable, __file__, "--inside", way, "--vocabulary", str(vocab_size)]
    command += ["--gradients", f"{folder}/{way}.pt"]
    for name in ("batch", "frames", "labels", "joint", "rounds", "threads", "device"):
        command += [f"--{name}", str(getattr(options, name))]
    completed = subprocess.run(command, capture_output=True, text=True)
    if completed.returncode:
        sys.exit(f"{way}: {completed.stderr}")
    return json.loads(completed.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--vocabulary", type=int, nargs="+", default=[60, 500], help="vocabulary sizes"
    )
    parser.add_argument(
        "--ways", nargs="+", default=list(WAYS), choices=WAYS, help="implementations to compare"
    )
    parser.add_argument("--batch", type=int, default=8, help="number of utterances")
    parser.add_argument("--frames", type=int, default=250, help="encoder frames")
    parser.add_argument("--labels", type=int, default=60, help="labels per utterance")
    parser.add_argument("--joint", type=int, default=256, help="joint size")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these is reported")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--inside", choices=WAYS, help=argparse.SUPPRESS)  # one measurement
    parser.add_argument("--gradients", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.inside:
        print(json.dumps(measure(options.inside, options)))
        return
    rows = compare(options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
