"""The one number that a one-cycle schedule needs and only the data knows: its steps."""

import argparse

from espnet_ext.model import espnet


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


def updates_per_epoch(args: argparse.Namespace) -> int:
    """Optimiser steps in one epoch; the tail of gradient accumulation makes none."""
    batches = args.num_iters_per_epoch
    if batches is None:
        batches = len(list(espnet.load("build_batch_sampler")(
            type=args.batch_type, shape_files=args.train_shape_file,
            fold_lengths=args.fold_length, batch_size=args.batch_size, batch_bins=args.batch_bins,
            sort_in_batch=args.sort_in_batch, sort_batch=args.sort_batch,
            drop_last=args.drop_last_iter, min_batch_size=args.min_batch_size,
        )))  # fmt: skip
    return max(1, batches // args.accum_grad)
