"""What the transducer loss costs, from projected states to their gradients, beside other ways.

`python benchmarks/rnnt.py --vocabulary 60 500 --rounds 3`. Each way runs the joint network, the
loss and the backward pass, in a process of its own for its memory; losses and gradients of all are
compared. Ways: `pieces`, what training does; `whole`, our loss on all logits at once; `torchaudio`,
its rnnt_loss; `espnet`, RNNTLossNumba, which ESPnet ships.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

WAYS = ("pieces", "whole", "torchaudio", "espnet")


def problem(options: argparse.Namespace):
    """Projections of encoder and prediction network, labels and lengths; lengths differ."""
    from espnet_ext.model import espnet

    torch.manual_seed(0)
    joint = espnet.load("JointNetwork")(options.vocabulary[0], 8, 8, options.joint)
    batch, high, wide = options.batch, options.frames, options.labels
    frames = torch.linspace(0.6 * high, high, batch).round().long()
    labels = torch.linspace(0.6 * wide, wide, batch).round().long()
    heard = torch.randn(batch, high, options.joint)
    said = torch.randn(batch, wide + 1, options.joint)
    targets = torch.randint(1, options.vocabulary[0], (batch, wide))
    move = [tensor.to(options.device) for tensor in (heard, said, targets, frames, labels)]
    return joint.to(options.device), *move


def loss_by(way: str, joint, heard, said, targets, frames, labels) -> torch.Tensor:
    from espnet_ext.model.rnnt import joint_loss, rnnt_loss

    def logits_of(one, other):
        return joint(one, other, no_projection=True)

    if way == "pieces":
        size = joint.lin_out.out_features
        return joint_loss(logits_of, size, heard, said, targets, frames, labels).sum()
    logits = logits_of(heard[:, :, None], said[:, None])
    if way == "whole":
        return rnnt_loss(logits, targets, frames, labels).sum()
    arguments = logits, targets.int(), frames.int(), labels.int()
    if way == "torchaudio":
        from torchaudio.functional import rnnt_loss as peer

        return peer(*arguments, blank=0, reduction="sum")
    from espnet2.asr.transducer.rnnt_multi_blank.rnnt_multi_blank import RNNTLossNumba

    return RNNTLossNumba(blank=0, reduction="sum")(*arguments).sum()


def measure(way: str, options: argparse.Namespace) -> dict:
    """Seconds of each round (on a CPU those of the processor), MiB that the process grew by, loss.

    Gradients go into a file.
    """
    joint, heard, said, *rest = problem(options)
    heard.requires_grad_()
    said.requires_grad_()
    tensors = [heard, said, *joint.lin_out.parameters()]
    # A tiny one first, so that imports and compilation are neither timed nor counted.
    few = torch.tensor([2], device=options.device)
    one = torch.tensor([1], device=options.device)
    small = heard[:1, :2], said[:1, :2], rest[0][:1, :1], few, one
    torch.autograd.grad(loss_by(way, joint, *small), [heard, said])
    on_gpu = options.device != "cpu"
    clock = time.perf_counter if on_gpu else time.process_time
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(options.rounds):
        start = clock()
        loss = loss_by(way, joint, heard, said, *rest)
        gradients = torch.autograd.grad(loss, tensors)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    mib = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else grown / 1024
    torch.save([gradient.cpu() for gradient in gradients], options.gradients)
    return {"way": way, "seconds": seconds, "mib": mib, "loss": float(loss.detach())}


def compare(options: argparse.Namespace) -> list[dict]:
    rows = []
    for vocabulary in options.vocabulary:
        with tempfile.TemporaryDirectory() as folder:
            found = {way: _apart(way, vocabulary, options, folder) for way in options.ways}
            mine = torch.load(f"{folder}/{options.ways[0]}.pt")
            for way, row in found.items():
                other = torch.load(f"{folder}/{way}.pt")
                row["off"] = max(
                    float((a - b).abs().max() / a.abs().max())
                    for a, b in zip(mine, other, strict=True)
                )
        first = found[options.ways[0]]
        for row in found.values():
            row |= {"vocabulary": vocabulary, "median": statistics.median(row["seconds"])}
            row["ratio"] = row["median"] / statistics.median(first["seconds"])
            row["loss_off"] = abs(row["loss"] - first["loss"]) / abs(first["loss"])
            print(
                f"V {vocabulary:5} {row['way']:10}: {row['median']:8.3f} s (ratio "
                f"{row['ratio']:6.2f}), {row['mib']:7.0f} MiB; off by {row['loss_off']:.0e} of the "
                f"loss, {row['off']:.0e} of the largest gradient",
                flush=True,
            )
            rows.append(row)
    return rows


def _apart(way: str, vocabulary: int, options: argparse.Namespace, folder: str) -> dict:
    arguments = [
        sys.executable,
        __file__,
        "--inside",
        way,
        "--vocabulary",
        str(vocabulary),
        "--gradients",
        f"{folder}/{way}.pt",
    ]
    for name in ("batch", "frames", "labels", "joint", "rounds", "threads", "device"):
        arguments += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[60, 500])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--labels", type=int, default=60)
    parser.add_argument("--joint", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--inside", choices=WAYS, help=argparse.SUPPRESS)
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
