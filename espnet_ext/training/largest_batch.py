"""Run the largest batches before the first update, so that a lack of memory shows at once.

Which batch needs most memory depends on the network: convolutions grow with the frames of a batch,
output layers with its tokens, and attention with products of lengths. For each of these quantities,
the batch in which it is largest is run forward and backward. Weights, statistics, optimizer,
sampler and random numbers do not change, so losses are the same with and without it.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_ext.errors import UserError, is_out_of_memory
from espnet_ext.model import espnet
from espnet_ext.progress import say
from espnet_ext.training.batching import Batches, read_lengths
from espnet_ext.training.precision import noise_batch, unchanged
from espnet_ext.training.processes import is_first_process

AUTO, ON, OFF = "auto", "true", "false"
_NAMED = 5  # utterances in a message
_MOMENTS = 2  # of Adam, per parameter


def choice(text: str) -> str:
    """Parse the value of `--scan_largest_batch` or `--chunked_loss`."""
    value = text.lower()
    if value not in (AUTO, ON, OFF):
        raise argparse.ArgumentTypeError(f"{text} is not auto, true or false: write one of them")
    return value


def is_enabled(value: Any, ngpu: int) -> bool:
    """Return whether to run the largest batches: `auto` does on GPUs, where memory is fixed.

    Args:
        value: value of `scan_largest_batch`; a boolean if it is from YAML.
        ngpu: number of GPUs per process.
    """
    value = str(value).lower()
    return value == ON or (value == AUTO and ngpu > 0)


def largest_batches(batches: Batches, ids: Sequence[str], lengths: np.ndarray) -> Batches:
    """Return the batches that may need most memory.

    They are largest in frames, tokens, or a product of two lengths, each times the utterances.

    Args:
        batches: utterance ids.
        ids: utterance ids (N).
        lengths: (N, S) of the input, then of the transcripts.
    """
    rows = {utt_id: row for row, utt_id in enumerate(ids)}
    known = [batch for batch in batches if batch and all(utt_id in rows for utt_id in batch)]
    of_lengths = [np.array([rows[utt_id] for utt_id in batch]) for batch in known]
    return [known[number] for number in largest_of(*sizes_of(of_lengths, lengths))]


def sizes_of(batches: Sequence[np.ndarray], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the utterances (B,) and the longest lengths (B, S) of batches.

    Args:
        batches: rows of the lengths.
        lengths: (N, S).
    """
    counts = np.array([len(rows) for rows in batches], dtype=np.float64)
    longest = [lengths[rows].max(0) for rows in batches]
    return counts, np.array(longest).reshape(len(batches), lengths.shape[1])


def largest_of(counts: np.ndarray, longest: np.ndarray) -> list[int]:
    """Return the numbers of the batches that are largest in what memory may grow with.

    Args:
        counts: (B,) utterances.
        longest: (B, S) longest input, and longest transcripts.
    """
    if not len(counts):
        return []
    frames, tokens = longest[:, 0].astype(np.float64), longest[:, 1:].sum(1)
    sizes = (frames, tokens, frames**2, frames * tokens, tokens**2)
    return list(dict.fromkeys(int(np.argmax(counts * size)) for size in sizes))


def run_largest_batches(
    model: Any, optimizers: Sequence[torch.optim.Optimizer], factory: Any, options: Any
) -> None:
    """Run the largest batches of a training set forward and backward, and print the memory.

    Args:
        model: `DualOutputModel` on its device, not wrapped.
        optimizers: memory for the state that they do not have yet is reserved.
        factory: ESPnet's SequenceIterFactory of the training set.
        options: `trainer.Options`.

    Raises:
        UserError: if memory does not suffice; it names the batch.
    """
    plan = getattr(factory, "plan", None)  # of shards
    sampler, dataset = getattr(factory, "sampler", None), getattr(factory, "dataset", None)
    if plan is None and (sampler is None or dataset is None or factory.collate_fn is None):
        if is_first_process():
            say("note: scan_largest_batch: not done for chunks (iterator_type: chunk)")
        return
    start = time.monotonic()
    reduce_stats = model.reduce_stats
    # Gradients that stay between the batches of an update, and DistributedDataParallel's copy
    copies = int(options.accum_grad > 1) + int(torch.distributed.is_initialized())
    has_state = all(optimizer.state for optimizer in optimizers)
    trained = [
        parameter
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
    ]
    with unchanged(model), reserved(trained, copies + (0 if has_state else _MOMENTS)):
        model.train()
        model.reduce_stats = False  # the processes run different batches
        try:
            for make in _makers(model, factory, options):
                _run(model, make, options)
        finally:
            model.reduce_stats = reduce_stats
    line = f"the largest batches fit into memory ({time.monotonic() - start:.1f} s)"
    if options.ngpu:
        peak = torch.cuda.max_memory_allocated() / 2**30
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / 2**30
        line += f": at most {peak:.1f} of {total:.1f} GiB"
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if is_first_process():
        say(line)


Maker = Callable[[], tuple[Sequence[str], dict[str, torch.Tensor]]]  # → ids, tensors of a batch


def _makers(model: Any, factory: Any, options: Any) -> list[Maker]:
    """Return functions that make the largest batches: of shards, noise of the same lengths."""
    shape_files = options.configuration["train_shape_file"]
    ids, lengths = read_lengths(shape_files)
    if (plan := getattr(factory, "plan", None)) is not None:
        batches = list(plan.rows())
        names = [Path(path).name.removesuffix("_shape") for path in shape_files]
        numbers = largest_of(*sizes_of(batches, lengths))
        return [partial(_noise, model, ids, names, lengths, batches[i]) for i in numbers]
    sampler = factory.sampler
    of_ids = sampler.all_batches() if hasattr(sampler, "all_batches") else sampler.generate(0)
    return [partial(_read, factory, batch) for batch in largest_batches(of_ids, ids, lengths)]


def _read(factory: Any, utterances: Sequence[str]) -> tuple[Sequence[str], dict[str, torch.Tensor]]:
    return factory.collate_fn([factory.dataset[utt_id] for utt_id in utterances])


def _noise(
    model: Any, ids: Sequence[str], names: Sequence[str], lengths: np.ndarray, rows: np.ndarray
) -> tuple[Sequence[str], dict[str, torch.Tensor]]:
    batch = noise_batch(model, dict(zip(names, lengths[rows].T.tolist(), strict=True)))
    return [ids[row] for row in rows], batch


def forward_and_backward(model: Any, batch: dict[str, Any], device: str, *, use_amp: bool) -> None:
    """Run a batch forward and backward on a device, and remove the gradients."""
    batch = espnet.load("to_device")(batch, device)
    with torch.autocast("cuda", enabled=use_amp and device == "cuda"):
        loss = model(**batch)[0]
    loss.backward()
    model.zero_grad(set_to_none=True)


def _run(model: Any, make: Maker, options: Any) -> None:
    """Run one batch forward and backward."""
    utterances: Sequence[str] = ()
    size = ""
    try:
        utterances, tensors = make()
        shapes = (
            f"{key} {'×'.join(map(str, t.shape))}" for key, t in tensors.items() if t.dim() > 1
        )
        size = ", ".join(shapes)
        device = "cuda" if options.ngpu else "cpu"
        batch = {**tensors, "utt_id": utterances}
        forward_and_backward(model, batch, device, use_amp=bool(options.use_amp))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        named = ", ".join(utterances[:_NAMED])
        more = f" and {len(utterances) - _NAMED} more" if len(utterances) > _NAMED else ""
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"the largest batch does not fit into memory: {len(utterances)} utterances ({size}): "
            f"{named}{more}: {reason}",
            "lower batch_bins, and raise accum_grad to keep the batch per update; if utterances "
            "differ much in length, set batching: buckets and batching_conf.quadratic_bins",
        ) from error


@contextlib.contextmanager
def reserved(parameters: Sequence[torch.Tensor], copies: int) -> Iterator[None]:
    """Allocate memory that later updates need: `copies` of each parameter."""
    held = [torch.empty_like(parameter) for parameter in parameters for _ in range(copies)]
    try:
        yield
    finally:
        held.clear()
