"""Steps of a one-cycle schedule, also if a training is continued; batches per epoch."""

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.training.repeat import batches_of
from espnet_ext.training.shards import ShardPlan
from espnet_ext.training.unit_training import configured_sampler


def total_steps(args: argparse.Namespace) -> int | None:
    """Return `total_steps` of OneCycleLR (Smith & Topin, arXiv 1708.07120).

    The steps are counted with the sampler that the training uses.

    Args:
        args: ESPnet's training arguments.
    Returns:
        The number of optimizer steps; None for other schedulers, and if the number is configured.

    Raises:
        UserError: if the configured number is smaller than the number of steps.
    """
    if (args.scheduler or "").lower() != "onecyclelr":
        return None
    conf = args.scheduler_conf
    if {"total_steps", "epochs", "steps_per_epoch"} & set(conf):
        configured = conf.get("total_steps") or conf.get("epochs", 0) * conf.get(
            "steps_per_epoch", 0
        )
        needed = args.max_epoch * (batches_per_epoch(args) // args.accum_grad)
        if configured and configured < needed:
            raise UserError(
                f"scheduler_conf: {configured} steps, but {args.max_epoch} epochs have {needed}",
                "remove total_steps, epochs and steps_per_epoch: they are computed from max_epoch",
            )
        return None
    # The last batches of an epoch make no step if they are fewer than `accum_grad`.
    steps = args.max_epoch * max(1, batches_per_epoch(args) // args.accum_grad)
    # PyTorch divides by (warm-up steps − 1), which is 0 for a very small corpus.
    return steps + (abs(steps * args.scheduler_conf.get("pct_start", 0.3) - 1) < 1e-6)


@dataclass
class OneCycle:
    """The number of steps of a one-cycle scheduler, before the state of a checkpoint is loaded.

    That state includes the number of steps of the whole schedule. If it differs, because
    `max_epoch` or the number of batches changed, `fit` stretches or compresses the schedule, so
    that it ends with the training. After a finished schedule, the learning rate therefore rises
    again before it falls to its minimum.
    """

    scheduler: Any
    total: int
    phases: list[dict[str, Any]]

    def fit(self, epochs: int, max_epoch: int, steps: int = 0) -> str:
        """Continue the loaded state with the number of steps that are left.

        Args:
            epochs: epochs of the checkpoint.
            max_epoch: epochs of this training.
            steps: steps of the checkpoint after these epochs.
        Returns:
            A message about the change; "" without a change.
        """
        scheduler = self.scheduler
        previous = scheduler.total_steps
        if previous == self.total or epochs >= max_epoch:
            return ""
        step = scheduler.last_epoch
        total = step - steps + (max_epoch - epochs) * (self.total // max_epoch)
        scale = total / self.total
        scheduler.total_steps = total
        scheduler._schedule_phases = [
            {**phase, "end_step": (phase["end_step"] + 1) * scale - 1} for phase in self.phases
        ]
        group = scheduler.optimizer.param_groups[0]
        rate = group["lr"]
        scheduler.last_epoch -= 1
        scheduler.step()  # sets the learning rate of this step
        return (
            f"note: the one-cycle schedule had {previous} steps and now has {total}. Training "
            f"continues at step {step}: the learning rate changes from {rate:.2g} to "
            f"{group['lr']:.2g} and then follows the new schedule. The result differs from a "
            "training with this schedule from the start."
        )


def one_cycles(schedulers: Sequence[Any]) -> list[OneCycle]:
    """Return the one-cycle schedulers among ESPnet's schedulers, with their numbers of steps."""
    return [
        OneCycle(scheduler, scheduler.total_steps, scheduler._schedule_phases)
        for scheduler in schedulers
        if hasattr(scheduler, "_schedule_phases")
    ]


def matching_batches(args: argparse.Namespace, shapes: Path) -> int:
    """Return the number of batches per epoch of another training set.

    Used to give this training equally long epochs. Then both trainings also have the same number
    of validations, and average the same number of checkpoints.

    Args:
        args: ESPnet's training arguments.
        shapes: folder with the shape files of the other set.
    """
    other = copy.copy(args)
    other.repeat_power, other.text_ratio = 0.0, None  # the other set is not oversampled
    other.balance = {}
    other.train_shards = None  # and is not in these shards
    other.train_shape_file = [str(shapes / Path(path).name) for path in args.train_shape_file]
    for path in other.train_shape_file:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file", "run stage 10")
    return batches_per_epoch(other)


def batches_per_epoch(args: argparse.Namespace) -> int:
    """Return the number of batches per epoch, which is the same for all processes."""
    if args.num_iters_per_epoch is not None:
        return args.num_iters_per_epoch
    if getattr(args, "train_shards", None) is not None:  # language models have none
        return ShardPlan(args, processes=process_count(args)).batches_per_epoch
    sampler = configured_sampler(args, processes=process_count(args))
    if sampler is not None:
        return len(sampler)
    return len(batches_of(args, args.train_shape_file, process_count(args)))


def process_count(args: argparse.Namespace) -> int:
    """Return the number of processes that ESPnet will start for this training."""
    nodes = args.dist_world_size or 1
    return args.ngpu * nodes if args.multiprocessing_distributed and args.ngpu else nodes
