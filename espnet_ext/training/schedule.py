"""The one number that a one-cycle schedule needs and only the data knows: its steps."""

import argparse
import copy
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.training.repeat import batches_of, repeating_sampler


def fill_total_steps(args: argparse.Namespace) -> None:
    """Set `scheduler_conf.total_steps` of OneCycleLR (Smith & Topin, arXiv 1708.07120) if absent.

    Args:
        args: ESPnet's training arguments; counted with the very sampler that training will use.
    """
    if (args.scheduler or "").lower() != "onecyclelr":
        return
    conf = dict(args.scheduler_conf)
    if not {"total_steps", "epochs", "steps_per_epoch"} & set(conf):
        steps = args.max_epoch * updates_per_epoch(args)
        # PyTorch divides by the steps of the rise less one, which a toy corpus may make nothing.
        conf["total_steps"] = steps + (abs(steps * conf.get("pct_start", 0.3) - 1) < 1e-6)
        args.scheduler_conf = conf


def matching_epochs(args: argparse.Namespace, shapes: Path) -> int:
    """Epochs that come nearest to the updates of `max_epoch` epochs over another training set.

    Args:
        args: ESPnet's training arguments; shapes: folder with the other set's shape files.
    """
    other = copy.copy(args)
    other.repeat_power = 0.0  # that set as it is
    other.train_shape_file = [str(shapes / Path(path).name) for path in args.train_shape_file]
    for path in other.train_shape_file:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file", "run stage 10")
    wanted = args.max_epoch * updates_per_epoch(other)
    return max(1, round(wanted / updates_per_epoch(args)))


def updates_per_epoch(args: argparse.Namespace) -> int:
    """Optimiser steps in one epoch; the tail of gradient accumulation makes none."""
    batches = args.num_iters_per_epoch
    if batches is None:
        if args.repeat_power:
            batches = len(repeating_sampler(args))
        else:
            batches = len(batches_of(args, args.train_shape_file, args.min_batch_size))
    return max(1, batches // args.accum_grad)
