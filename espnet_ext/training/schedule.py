"""Numbers that depend on the data: steps of a one-cycle schedule, batches of an epoch."""

import argparse
import copy
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.training.repeat import batches_of, repeating_sampler


def total_steps(args: argparse.Namespace) -> int | None:
    """Return `total_steps` of OneCycleLR (Smith & Topin, arXiv 1708.07120).

    Batches are counted with the sampler that training will use.

    Args:
        args: ESPnet's training arguments.
    Returns:
        The number of steps, or None if there is no such schedule or its length is configured.
    """
    if (args.scheduler or "").lower() != "onecyclelr":
        return None
    if {"total_steps", "epochs", "steps_per_epoch"} & set(args.scheduler_conf):
        return None
    # Batches left over from gradient accumulation make no step.
    steps = args.max_epoch * max(1, batches_per_epoch(args) // args.accum_grad)
    # PyTorch divides by the number of rising steps minus one, which is 0 for a toy corpus.
    return steps + (abs(steps * args.scheduler_conf.get("pct_start", 0.3) - 1) < 1e-6)


def matching_batches(args: argparse.Namespace, shapes: Path) -> int:
    """Return the number of batches per epoch of another training set.

    Two trainings with equally long epochs have the same number of updates and validations.

    Args:
        args: ESPnet's training arguments.
        shapes: folder with the other set's shape files.
    """
    other = copy.copy(args)
    other.repeat_power = 0.0  # without repeats
    other.train_shape_file = [str(shapes / Path(path).name) for path in args.train_shape_file]
    for path in other.train_shape_file:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file", "run stage 10")
    return batches_per_epoch(other)


def batches_per_epoch(args: argparse.Namespace) -> int:
    """Return the number of batches per epoch, which is the same for every process."""
    if args.num_iters_per_epoch is not None:
        return args.num_iters_per_epoch
    if args.repeat_power:
        return len(repeating_sampler(args, processes=processes(args)))
    return len(batches_of(args, args.train_shape_file, processes(args)))


def processes(args: argparse.Namespace) -> int:
    """Return the number of training processes that ESPnet will start."""
    nodes = args.dist_world_size or 1
    return args.ngpu * nodes if args.multiprocessing_distributed and args.ngpu else nodes
