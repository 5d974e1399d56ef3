"""Run the largest batches before the first update, so that a lack of memory shows at once.

Which batch needs most memory depends on the network: convolutions grow with the frames of a batch,
output layers with its tokens, and attention with products of lengths. For each of these quantities,
the batch in which it is largest is run forward and backward. Weights, statistics, optimizer,
sampler and random numbers do not change, so losses are the same with and without it.
"""

import argparse
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from espnet_ext.errors import UserError, is_out_of_memory
from espnet_ext.model import espnet
from espnet_ext.progress import say
from espnet_ext.training.batching import Batches, read_lengths
from espnet_ext.training.precision import unchanged

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
        value: of `scan_largest_batch`; a boolean if it is from YAML.
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
    if not known:
        return []
    longest = np.array([lengths[[rows[i] for i in batch]].max(0) for batch in known])  # (B, S)
    counts = np.array([len(batch) for batch in known], dtype=np.float64)
    frames, tokens = longest[:, 0].astype(np.float64), longest[:, 1:].sum(1)
    sizes = (frames, tokens, frames**2, frames * tokens, tokens**2)
    numbers = dict.fromkeys(int(np.argmax(counts * size)) for size in sizes)
    return [known[number] for number in numbers]


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
    sampler, dataset = getattr(factory, "sampler", None), getattr(factory, "dataset", None)
    if sampler is None or dataset is None or factory.collate_fn is None:
        if _is_first():
            say("note: scan_largest_batch: not done for shards and chunks (iterator_type: chunk)")
        return
    ids, lengths = read_lengths(options.configuration["train_shape_file"])
    batches = sampler.all_batches() if hasattr(sampler, "all_batches") else sampler.generate(0)
    start = time.monotonic()
    reduce_stats = model.reduce_stats
    # Gradients that stay between the batches of an update, and DistributedDataParallel's copy
    copies = int(options.accum_grad > 1) + int(torch.distributed.is_initialized())
    with unchanged(model), _reserved(optimizers, copies):
        model.train()
        model.reduce_stats = False  # the processes run different batches
        try:
            for batch in largest_batches(batches, ids, lengths):
                _run(model, batch, factory, options)
        finally:
            model.reduce_stats = reduce_stats
    line = f"the largest batches fit into memory ({time.monotonic() - start:.1f} s)"
    if options.ngpu:
        peak = torch.cuda.max_memory_allocated() / 2**30
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / 2**30
        line += f": at most {peak:.1f} of {total:.1f} GiB"
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if _is_first():
        say(line)


def _is_first() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _run(model: Any, utterances: Sequence[str], factory: Any, options: Any) -> None:
    """Run one batch forward and backward."""
    device = "cuda" if options.ngpu else "cpu"
    size = ""
    try:
        dataset = factory.dataset
        names, tensors = factory.collate_fn([dataset[utt_id] for utt_id in utterances])
        shapes = (
            f"{key} {'×'.join(map(str, t.shape))}" for key, t in tensors.items() if t.dim() > 1
        )
        size = ", ".join(shapes)
        batch = espnet.load("to_device")({**tensors, "utt_id": names}, device)
        with torch.autocast("cuda", enabled=bool(options.use_amp and options.ngpu)):
            loss = model(**batch)[0]
        loss.backward()
        model.zero_grad(set_to_none=True)
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
def _reserved(optimizers: Sequence[torch.optim.Optimizer], copies: int) -> Iterator[None]:
    """Allocate memory that later updates need: `copies` per parameter, and states not made yet."""
    reserved = [
        torch.empty_like(parameter)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
        for _ in range(copies + (0 if optimizer.state else _MOMENTS))
    ]
    try:
        yield
    finally:
        reserved.clear()
