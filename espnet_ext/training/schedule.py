"""The numbers that only the data knows: steps of a one-cycle schedule, batches of another set."""

import argparse
import copy
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.training.repeat import batches_of, repeating_sampler


def total_steps(args: argparse.Namespace) -> int | None:
    """`total_steps` of OneCycleLR (Smith & Topin, arXiv 1708.07120); None where it is given.

    Args:
        args: ESPnet's training arguments; counted with the very sampler that training will use.
    """
    if (args.scheduler or "").lower() != "onecyclelr":
        return None
    if {"total_steps", "epochs", "steps_per_epoch"} & set(args.scheduler_conf):
        return None
    # The tail of gradient accumulation makes no step.
    steps = args.max_epoch * max(1, batches_per_epoch(args) // args.accum_grad)
    # PyTorch divides by the steps of the rise less one, which a toy corpus may make nothing.
    return steps + (abs(steps * args.scheduler_conf.get("pct_start", 0.3) - 1) < 1e-6)


def matching_batches(args: argparse.Namespace, shapes: Path) -> int:
    """Batches an epoch of another training set, so that epochs over this one may be as long.

    Then validations, the weights that they choose and their average are the same in number too.

    Args:
        args: ESPnet's training arguments; shapes: folder with the other set's shape files.
    """
    other = copy.copy(args)
    other.repeat_power = 0.0  # that set as it is
    other.train_shape_file = [str(shapes / Path(path).name) for path in args.train_shape_file]
    for path in other.train_shape_file:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file", "run stage 10")
    return batches_per_epoch(other)


def batches_per_epoch(args: argparse.Namespace) -> int:
    """Batches in one epoch, which every process has as many of."""
    if args.num_iters_per_epoch is not None:
        return args.num_iters_per_epoch
    if args.repeat_power:
        return len(repeating_sampler(args, processes=processes(args)))
    return len(batches_of(args, args.train_shape_file, processes(args)))


def processes(args: argparse.Namespace) -> int:
    """How many processes will train together, before ESPnet has started them."""
    nodes = args.dist_world_size or 1
    return args.ngpu * nodes if args.multiprocessing_distributed and args.ngpu else nodes
