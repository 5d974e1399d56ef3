"""`batch_bins: auto`: find the largest `batch_bins` whose batches fit into the memory of the GPU.

A number of bins is tried by forming the batches of the training set with it, and running the
largest ones forward and backward with noise of their lengths. The number is doubled until a batch
does not fit, and then found by bisection. It replaces `auto` in the arguments, so config.yaml has a
number. A training that continues keeps the number, which batch_bins.json has too: ESPnet rewrites
config.yaml at each start, and may be killed meanwhile.
"""

import contextlib
import copy
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist

from espnet_ext.errors import UserError, is_out_of_memory
from espnet_ext.files import read_json, read_yaml, write_json
from espnet_ext.progress import say
from espnet_ext.training import checkpoints, speed
from espnet_ext.training.batching import read_lengths
from espnet_ext.training.largest_batch import (
    forward_and_backward,
    largest_of,
    reserved,
    sizes_of,
)
from espnet_ext.training.precision import noise_batch, unchanged
from espnet_ext.training.repeat import batches_of
from espnet_ext.training.schedule import batches_per_epoch, total_steps
from espnet_ext.training.shards import ShardPlan
from espnet_ext.training.unit_training import configured_sampler

AUTO = "auto"
NUMBER = "batch_bins.json"  # in the folder of the model: the number that was found
SHARE = 0.85  # of the free memory, up to which it may be used; allocators fragment the rest
_PRECISION = 1.05  # ratio of the smallest number that does not fit to the largest that does
_MOST = 1 << 36  # bins; more than any GPU takes
_COPIES = 2  # of each parameter: the moments of Adam
_FEW = 20  # updates per epoch, below which a warning is printed
_LOST = 0  # stands for a number that cannot be read
_WITH_BINS = ("numel", "length")  # values of `batch_type` that use `batch_bins`


class Meter(Protocol):
    """Measures the memory of this process."""

    def available(self) -> int:
        """Return the bytes that this process has and can still get."""

    def start(self) -> None:
        """Begin to measure the peak."""

    def peak(self) -> int:
        """Return the most bytes that this process has had since `start`."""


class GpuMeter:
    """Measures what PyTorch has reserved on the current GPU, including fragments."""

    def available(self) -> int:
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()

    def start(self) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        return torch.cuda.max_memory_reserved()


def meter_of(args: Namespace) -> Meter | None:
    """Return the meter of a training; None on a CPU, whose memory other programs use too."""
    return GpuMeter() if args.ngpu else None


def add_arguments(parser: ArgumentParser) -> None:
    """Let ESPnet's option `--batch_bins` be `auto`."""
    for action in parser._actions:
        if action.dest == "batch_bins":
            action.type = number_or_auto
            action.help = f"{action.help}; auto: as large as the memory of a GPU allows"


def number_or_auto(text: str) -> int | str:
    """Parse the value of `--batch_bins`."""
    return AUTO if text == AUTO else int(text)


def check(args: Namespace, source: str) -> None:
    """Raise `UserError` where `batch_bins: auto` cannot work.

    Args:
        args: training arguments.
        source: name of the configuration in messages.
    """
    if args.batch_bins != AUTO:
        return
    if meter_of(args) is None:
        raise UserError(
            f"{source}: batch_bins: auto measures the memory of a GPU, and this training has none",
            "write a number: the samples of a batch, e.g. 320000 (20 s at 16 kHz) as in "
            "conf/train_small.yaml; lower it if memory is short",
        )
    uses_bins = args.batching is not None or args.batch_type in _WITH_BINS
    if args.iterator_type != "sequence" or not uses_bins:
        raise UserError(
            f"{source}: batch_bins: auto has no effect with iterator_type: {args.iterator_type}, "
            f"batch_type: {args.batch_type}",
            "write batching: buckets, or a number",
        )
    if args.input_size is not None or args.frontend == "units" or args.encoder_cache:
        raise UserError(
            f"{source}: batch_bins: auto imitates audio, but this system reads something else",
            "write a number, and raise it until scan_largest_batch: true says that it is too large",
        )


def resolve(model: Any, args: Namespace) -> None:
    """Replace `auto` in the arguments by a number; of several processes, by one for all.

    Args:
        model: `DualOutputModel`. Weights, statistics and random numbers do not change.
        args: training arguments. `batch_bins` is set, and what follows from it.

    Raises:
        UserError: if the longest utterances do not fit into memory, or the training continues
            and its number is lost.
    """
    if args.batch_bins != AUTO:
        return
    is_joint = dist.is_available() and dist.is_initialized()
    processes = dist.get_world_size() if is_joint else 1
    is_first = not is_joint or dist.get_rank() == 0
    bins = _previous(args) if is_first else None
    if is_joint:  # the others must do as the first process does, which rewrites config.yaml later
        choices = [bins]
        dist.broadcast_object_list(choices)
        (bins,) = choices
    if bins == _LOST:
        raise UserError(
            f"{args.output_dir}: batch_bins: auto: a training continues, but neither {NUMBER} nor "
            "config.yaml has its number",
            "write the number as batch_bins; the log of the training has it",
        )
    source = "of the training that continues"
    is_new = bins is None
    if bins is None:
        numbers = [measure(model, args, processes)]
        if is_joint:
            (number,), numbers = numbers, [0] * processes
            dist.all_gather_object(numbers, number)
        bins = min(numbers)
        source = f"{SHARE:.0%} of the free memory suffice for it"
        if processes > 1:
            source += f" on each of {processes} GPUs"
    args.batch_bins = bins
    steps = total_steps(args)
    if steps is not None:
        args.scheduler_conf = {**args.scheduler_conf, "total_steps": steps}
    if is_first:
        write_json(Path(args.output_dir) / NUMBER, {"batch_bins": bins})
        say(f"batch_bins: auto: {bins} ({source})")
        if line := speed.describe_batches(args):
            say(line)
        updates = batches_per_epoch(args) // args.accum_grad
        if is_new and args.num_iters_per_epoch is None and updates < _FEW:
            say(
                f"warning: batch_bins: auto makes {updates} updates per epoch, which may train "
                "badly: write a smaller number as batch_bins to make more"
            )


def _previous(args: Namespace) -> int | None:
    """Return the number of the training that continues; None if none does, `_LOST` without it."""
    folder = Path(args.output_dir)
    if not (args.resume and checkpoints.exists(folder)):
        return None
    for name, read in ((NUMBER, read_json), ("config.yaml", read_yaml)):
        with contextlib.suppress(UserError):  # missing, or killed while it was written
            kept = read(folder / name)
            bins = kept.get("batch_bins") if isinstance(kept, dict) else None
            if isinstance(bins, int) and bins > 0:
                return bins
    return _LOST


def measure(model: Any, args: Namespace, processes: int = 1) -> int:
    """Return the largest number of bins with which this process's part of a batch fits.

    Args:
        processes: number of processes that share a batch.
    """
    meter = meter_of(args)
    if meter is None:
        raise UserError("batch_bins: auto without a GPU", "write a number")
    device = "cuda" if args.ngpu else "cpu"
    model.to(device)
    names, lengths = _names_and_lengths(args)
    # Gradients that stay between the batches of an update, and DistributedDataParallel's copy
    copies = _COPIES + int(args.accum_grad > 1) + int(dist.is_initialized())
    known: dict[tuple, bool] = {}  # sizes of a batch → whether it fits

    def fits(bins: int) -> bool:
        batches = _batches(args, bins, processes)
        return all(fits_batch(batches[i]) for i in largest_of(*sizes_of(batches, lengths)))

    def fits_batch(rows: np.ndarray) -> bool:
        key = (len(rows), *lengths[rows].max(0))
        if key not in known:
            batch = noise_batch(model, dict(zip(names, lengths[rows].T.tolist(), strict=True)))
            known[key] = _fits(model, batch, meter, limit, device, use_amp=bool(args.use_amp))
        return known[key]

    with unchanged(model), _without_reduction(model), _frozen(model, args.freeze_param):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        limit = SHARE * meter.available()
        with reserved(trained, copies):
            model.train()
            longest = int(lengths[:, 0].max())
            bins = largest_that_fits(fits, processes * longest, _everything(args, lengths))
    if not bins:
        raise UserError(
            f"batch_bins: auto: an utterance of {longest} samples does not fit into "
            f"{limit / 2**30:.1f} GiB, {SHARE:.0%} of the free memory",
            "lower --max_wav_duration (stage 4), end other programs on this GPU, or train a "
            "smaller model",
        )
    return bins


def largest_that_fits(fits: Callable[[int], bool], first: int, most: int) -> int:
    """Return a number up to `most` that fits, at most 5 % below one that does not; 0: none.

    >>> largest_that_fits(lambda bins: bins <= 1000, 30, 10**6)
    990
    >>> largest_that_fits(lambda bins: True, 30, 100), largest_that_fits(lambda bins: False, 30, 9)
    (100, 0)
    """
    if not fits(first):
        return 0
    low, high = first, first
    while low < most:
        high = min(2 * low, most)
        if not fits(high):
            break
        low = high
    while high > low * _PRECISION and high > low + 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def _fits(
    model: Any, batch: dict, meter: Meter, limit: float, device: str, *, use_amp: bool
) -> bool:
    """Return whether a batch runs forward and backward in less memory than the limit."""
    meter.start()
    try:
        forward_and_backward(model, {**batch, "utt_id": []}, device, use_amp=use_amp)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        model.zero_grad(set_to_none=True)
    return meter.peak() <= limit


def _names_and_lengths(args: Namespace) -> tuple[list[str], np.ndarray]:
    """Return the parts of a batch (S), and the lengths (N, S) of all utterances in order of ids."""
    names = [Path(path).name.removesuffix("_shape") for path in args.train_shape_file]
    return names, read_lengths(args.train_shape_file)[1]


def _batches(args: Namespace, bins: int, processes: int) -> list[np.ndarray]:
    """Return the parts of all batches that one process gets, as rows of the lengths.

    It is the first process, whose parts are largest; with shards, any process.
    """
    args = copy.copy(args)
    args.batch_bins = bins
    if args.train_shards is not None:
        # A plan of one process with the limits of each of several: these share the shards evenly
        args.batch_bins = bins // processes
        if most := args.batching_conf.get("max_utterances"):
            args.batching_conf = {**args.batching_conf, "max_utterances": max(1, most // processes)}
        return list(ShardPlan(args).rows())
    ids = read_lengths(args.train_shape_file[:1])[0]
    rows = {utt_id: row for row, utt_id in enumerate(ids)}
    sampler = configured_sampler(args, 0, processes)
    if sampler is None:
        joint = batches_of(args, args.train_shape_file, processes)
        batches = [batch[::processes] for batch in joint]
    else:
        batches = sampler.all_batches()
    return [np.array([rows[utt_id] for utt_id in batch]) for batch in batches]


def _everything(args: Namespace, lengths: np.ndarray) -> int:
    """Return a number of bins with which all utterances are in one batch."""
    if args.batching is not None or args.batch_type == "length":
        return int(len(lengths) * lengths.max())
    return _MOST  # `numel` multiplies tokens with the size of the vocabulary


@contextlib.contextmanager
def _without_reduction(model: Any) -> Iterator[None]:
    """Let processes run different batches."""
    reduce_stats, model.reduce_stats = model.reduce_stats, False
    try:
        yield
    finally:
        model.reduce_stats = reduce_stats


@contextlib.contextmanager
def _frozen(model: Any, names: Sequence[str]) -> Iterator[None]:
    """Freeze what `--freeze_param` names, which ESPnet does after the model is built."""
    trained = [
        parameter
        for key, parameter in model.named_parameters()
        if parameter.requires_grad and any(key == n or key.startswith(f"{n}.") for n in names)
    ]
    for parameter in trained:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad = True
