"""Stages 10 and 11: collect statistics of one language, or train a system."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from espnet_ext.bin import cli

if TYPE_CHECKING:
    from espnet_ext.training.run import Data


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Train one system, or collect lengths and statistics. Options of ESPnet follow after --."
    )
    add_data_options(parser)
    parser.add_argument("--exp_dir", default=None, help="experiment folder of the model")
    parser.add_argument(
        "--collect_stats", type=cli.boolean, default=False, help="collect statistics (stage 10)"
    )
    parser.add_argument(
        "--match_updates",
        default=None,
        metavar="DIR",
        help="folder with the statistics of another training set; use its number of batches per "
        "epoch",
    )
    parser.add_argument(
        "--pretrained",
        default="",
        metavar="MODEL",
        help="checkpoint for frontend and encoder: pretrained, a folder with config.json, "
        "preprocessor_config.json and model.safetensors, or a name on the Hugging Face hub",
    )
    parser.add_argument(
        "--joint_token_dir",
        default=None,
        metavar="DIR",
        help="for frontend: units: the joint vocabulary that unit_tokens wrote",
    )
    parser.add_argument(
        "--units",
        default=None,
        metavar="DIR",
        help="for frontend: units: the k-means that learn_kmeans wrote",
    )
    parser.add_argument("--ngpu", type=int, default=0, help="number of GPUs; 0 trains on the CPU")
    parser.add_argument(
        "--num_nodes",
        type=int,
        default=1,
        help="number of nodes; slurm or torchrun starts one process of this command on each. "
        "Without GPUs they communicate by gloo",
    )
    add_continuation_options(parser)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for all")
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    args = parser.parse_args(arguments[:split])
    if not args.collect_stats and not args.exp_dir:
        parser.error("--exp_dir is required for training")
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)

    from espnet_ext.training import signals

    with signals.interruptible():
        _run(args, arguments, arguments[split + 1 :])
    return 0


def _run(args: argparse.Namespace, arguments: Sequence[str], further: Sequence[str]) -> None:
    """Train, or collect statistics.

    Args:
        args: parsed options.
        arguments: all words of the command line.
        further: options of ESPnet.
    """
    from pathlib import Path

    from espnet_ext.provenance import provenance
    from espnet_ext.training import processes, run
    from espnet_ext.training.config import naming_the_file

    require_gpus(args.ngpu)
    data = dataclasses.replace(
        data_of(args),
        joint_tokens=Path(args.joint_token_dir) if args.joint_token_dir else None,
        units=Path(args.units) if args.units else None,
    )
    options = ["--ngpu", str(args.ngpu), *further]
    options += processes.process_options(args.num_nodes, args.ngpu, further)
    config, overlays = Path(args.config), [Path(path) for path in args.system]
    with naming_the_file(config, overlays, options):
        if args.collect_stats:
            run.collect_stats(config, data, options, args.feats_normalize, args.pretrained)
            return
        run.train(
            config,
            overlays,
            data,
            Path(args.exp_dir),
            options,
            match_updates=Path(args.match_updates) if args.match_updates else None,
            feats_normalize=args.feats_normalize,
            pretrained=args.pretrained,
            resume_changed=args.resume_changed,
            overwrite=args.overwrite,
            provenance=provenance("train", arguments, with_gpu=args.ngpu > 0),
        )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name configuration and data of a training."""
    parser.add_argument("--config", required=True, help="base configuration (YAML)")
    parser.add_argument(
        "--system", action="append", default=[], help="YAML overlay of the system; may be repeated"
    )
    parser.add_argument("--data_dir", required=True, help="dumped sets of one language")
    parser.add_argument("--train_set", default="train", help="name of the training set")
    parser.add_argument("--valid_set", default="valid", help="name of the validation set")
    parser.add_argument("--token_dir", required=True, help="folder with <output>_<type>/tokens.txt")
    parser.add_argument(
        "--outputs", type=cli.words, required=True, help='token types: "surface=phone meaning=char"'
    )
    parser.add_argument("--stats_dir", required=True, help="folder of shape files and statistics")
    parser.add_argument(
        "--feats_normalize",
        default="",
        choices=("", "global_mvn", "utterance_mvn", "none"),
        help="normalisation of features; default: normalize of the configuration",
    )


def add_continuation_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for a folder whose training began differently."""
    parser.add_argument(
        "--resume_changed",
        type=cli.boolean,
        default=False,
        help="continue the training in --exp_dir although its configuration or data changed",
    )
    parser.add_argument(
        "--overwrite",
        type=cli.boolean,
        default=False,
        help="if the training in --exp_dir had another configuration or other data, rename the "
        "folder and train from scratch",
    )


def data_of(args: argparse.Namespace) -> "Data":
    """Return the data that the options name."""
    from pathlib import Path

    from espnet_ext.training import run

    return run.Data(
        dump=Path(args.data_dir),
        train_set=args.train_set,
        valid_set=args.valid_set,
        token_dir=Path(args.token_dir),
        token_types=run.parse_token_types(args.outputs),
        stats=Path(args.stats_dir),
    )


def require_gpus(count: int) -> None:
    """Raise a UserError unless PyTorch sees as many GPUs as the training uses on this node."""
    if not count:
        return
    import torch

    from espnet_ext.errors import UserError

    visible = torch.cuda.device_count()
    if visible < count:
        gpus = {0: "no GPU", 1: "1 GPU"}.get(visible, f"{visible} GPUs")
        raise UserError(
            f"--ngpu {count}, but PyTorch sees {gpus}",
            f"use --ngpu {visible}, or check nvidia-smi, CUDA_VISIBLE_DEVICES and that PyTorch is "
            "a build for CUDA",
        )


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
