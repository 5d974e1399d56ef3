"""Repeat factor sampling: oversample utterances that are labelled for a rare output.

Gupta, Dollár & Girshick (LVIS, arXiv 1908.03195, section 3.2) repeat an image according to the
rarest category in it. Here, an utterance is repeated according to the rarest output that it has a
label for.
"""

import argparse
import itertools
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table, write_table
from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.config import TEXT_PREFIX
from espnet_ext.training.batching import BUCKETS, bucket_batches

Batches = list[tuple[str, ...]]


def repeat_factors(
    labelled: Mapping[str, Collection[str]], utterances: Collection[str], power: float
) -> dict[str, float]:
    """Return the repeat factor of each utterance: how often to draw it per epoch, at least 1.

    The factor of an utterance is the maximum of (max n / n_o) ** p over the outputs o that it has
    a label for, where n_o is the number of utterances with a label for o.

    Args:
        labelled: output → utterances with a label for the output.
        utterances: all utterances, also those without any label.
        power: the exponent p. With 0 every utterance is drawn once. With 1 an utterance whose
            rarest label is a tenth as frequent as the most frequent label is drawn ten times.
            LVIS uses 0.5.

    >>> repeat_factors({"surface": ["a"], "meaning": ["a", "b", "c", "d"]}, "abcd", 0.5)
    {'a': 2.0, 'b': 1.0, 'c': 1.0, 'd': 1.0}
    """
    factors = dict.fromkeys(utterances, 1.0)
    most = max((len(utt_ids) for utt_ids in labelled.values()), default=0)
    for utt_ids in labelled.values():
        factor = (most / len(utt_ids)) ** power if utt_ids else 1.0
        factors.update({utt: max(factors[utt], factor) for utt in utt_ids if utt in factors})
    return factors


AbsSampler: Any = espnet.load("AbsSampler")


class RepeatFactorSampler(AbsSampler):
    """Samples every utterance once per epoch, then groups of repeated utterances again.

    Repetitions are in separate batches, so no batch contains an utterance twice. Each epoch uses
    the next n batches of a group, n = factor × number of batches, rounded, at least 1, and
    continues where the previous epoch stopped. All epochs have the same number of batches. The
    batches of an epoch depend only on the number of the epoch.

    Args:
        once: batches of all utterances.
        again: (batches, factor) per group of repeated utterances. The factor is the number of
            additional draws per epoch. Each group contains the utterances of all later groups.
        rank: rank of this process; it gets every `processes`-th utterance of each batch.
        processes: number of processes that share a batch.
    """

    def __init__(
        self,
        once: Batches,
        again: Sequence[tuple[Batches, float]],
        rank: int = 0,
        processes: int = 1,
    ):
        self.once, self.rank, self.processes = once, rank, processes
        self.again = [(batches, max(1, round(factor * len(batches)))) for batches, factor in again]

    def __repr__(self) -> str:
        sizes = [sum(map(len, batches)) for batches in (self.once, *(b for b, _ in self.again))]
        factors = itertools.accumulate((count / len(b) for b, count in self.again), initial=1.0)
        groups = [
            f"{size - next_size} utterances × {factor:.2f}"
            for size, next_size, factor in zip(sizes, [*sizes[1:], 0], factors, strict=True)
        ]
        return f"{type(self).__name__}(N-batch={len(self)}, {', '.join(groups)})"

    def __len__(self) -> int:
        return len(self.once) + sum(count for _, count in self.again)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self.generate(0))

    def generate(self, seed: int) -> Batches:
        """Return the batches of one epoch.

        Args:
            seed: the number of the epoch plus the seed of the training, as ESPnet passes it.
        """
        chosen = list(self.once)
        for group, (batches, count) in enumerate(self.again):
            first = seed * count
            # Each round goes through all batches of the group in a new random order.
            rounds = range(first // len(batches), -(-(first + count) // len(batches)))
            indices = itertools.chain.from_iterable(
                np.random.default_rng([group, r]).permutation(len(batches)) for r in rounds
            )
            skipped = first - rounds.start * len(batches)
            chosen += [batches[i] for i in itertools.islice(indices, skipped, skipped + count)]
        return [batch[self.rank :: self.processes] for batch in chosen]

    def utterances(self) -> set[str]:
        """Return the ids of all utterances that this process draws in any epoch."""
        return {utt_id for batch in self.all_batches() for utt_id in batch}

    def all_batches(self) -> Batches:
        """Return the batches of this process that any epoch can contain."""
        every = itertools.chain(self.once, *(batches for batches, _ in self.again))
        return [batch[self.rank :: self.processes] for batch in every]

    def draws(self) -> dict[str, float]:
        """Return utterance id → how often all processes together draw it per epoch, on average."""
        draws = {utt_id: 1.0 for batch in self.once for utt_id in batch}
        for batches, count in self.again:
            for utt_id in itertools.chain.from_iterable(batches):
                draws[utt_id] = draws.get(utt_id, 0.0) + count / len(batches)
        return draws


def repeating_sampler(
    args: argparse.Namespace, rank: int = 0, processes: int = 1
) -> RepeatFactorSampler:
    """Build the sampler of a training set. ESPnet's sampler of `args.batch_type` forms the batches.

    Args:
        args: ESPnet's training arguments, and `repeat_power`.
        rank: rank of this process.
        processes: number of processes that train together.
    """
    labelled = {
        name.removeprefix(TEXT_PREFIX): [
            utt_id for utt_id, text in read_table(path).items() if text not in ("", NA)
        ]
        for path, name, _ in args.train_data_path_and_name_and_type
        if name.startswith(TEXT_PREFIX)
    }
    factors = repeat_factors(labelled, read_table(args.train_shape_file[0]), args.repeat_power)
    return sampler_of_factors(
        args, factors, f"repeat_power {args.repeat_power}", rank, processes, labelled=labelled
    )


def sampler_of_factors(
    args: argparse.Namespace,
    factors: Mapping[str, float],
    option: str,
    rank: int = 0,
    processes: int = 1,
    *,
    labelled: Mapping[str, Collection[str]] | None = None,
    least_step: float = 1.0,
    kind: Any = None,
) -> Any:
    """Build the sampler that draws utterances as often as their factors say.

    Args:
        args: ESPnet's training arguments.
        factors: utterance id → draws per epoch, at least 1.
        option: the option with its value, for messages.
        rank: rank of this process.
        processes: number of processes that train together.
        labelled: output → utterances with a label for it, for messages.
        least_step: ratio of two factors below which the larger one becomes the smaller one. Above
            1, additional draws of less than half a batch are left out too.
        kind: class of the sampler; default: `RepeatFactorSampler`.
    """
    once = batches_of(args, args.train_shape_file, processes)
    if any(len(batch) < processes for batch in once):
        raise UserError(
            f"batch_type {args.batch_type}: a batch has fewer utterances than the {processes} "
            "processes that share it",
            "use batch_type: numel",
        )
    shapes = {path: read_table(path) for path in args.train_shape_file}
    again = []
    low = 1.0
    for high in sorted({1.0, *factors.values()})[1:]:
        chosen = {utt_id for utt_id, factor in factors.items() if factor >= high}
        if least_step > 1:
            batches = len(once) * len(chosen) / len(factors)  # about
            if high < low * least_step or (high - low) * batches < 0.5:
                continue
        if len(chosen) < processes:
            rare = ""
            if labelled:
                name = min(filter(labelled.get, labelled), key=lambda name: len(labelled[name]))
                rare = f" with a label for '{name}'"
            raise UserError(
                f"{option}: {len(chosen)} utterances{rare} cannot be distributed over {processes} "
                "processes",
                f"remove {option.split(' ')[0].rstrip(':')}, or use fewer processes",
            )
        again.append((batches_of_group(args, shapes, chosen, processes), high - low))
        low = high
    return (kind or RepeatFactorSampler)(once, again, rank, processes)


def batches_of_group(
    args: argparse.Namespace,
    shapes: Mapping[str, Mapping[str, str]],
    chosen: Collection[str],
    processes: int,
) -> Batches:
    """Return batches of some utterances, of at least as many utterances as there are processes.

    Args:
        shapes: shape file → utterance id → shape.
        chosen: ids of the utterances.
    """
    # A group may consist of a single batch, so its last batch must not be dropped.
    group_args = argparse.Namespace(**{**vars(args), "drop_last_iter": False})
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{Path(path).name}" for path in shapes]
        for file, table in zip(files, shapes.values(), strict=True):
            write_table(file, {utt: size for utt, size in table.items() if utt in chosen})
        return _merge_small_batches(batches_of(group_args, files, processes), processes)


def _merge_small_batches(batches: Batches, processes: int) -> Batches:
    """Merge batches that have fewer utterances than processes with a neighbouring batch."""
    merged: Batches = []
    for batch in batches:
        if merged and min(len(batch), len(merged[-1])) < processes:
            merged[-1] = (*merged[-1], *batch)
        else:
            merged.append(batch)
    return merged


def batches_of(args: argparse.Namespace, shape_files: Sequence[str], processes: int) -> Batches:
    """Return the batches of the utterances in shape files, for one epoch.

    ESPnet forms them, or `batching.bucket_batches`.

    Args:
        processes: number of processes that share a batch. If it is above 1, ESPnet is asked for
            batches of at least this many utterances.
    """
    if getattr(args, "batching", None) == BUCKETS:
        return bucket_batches(args, shape_files, processes)
    return list(
        espnet.load("build_batch_sampler")(
            type=args.batch_type,
            shape_files=list(shape_files),
            fold_lengths=args.fold_length,
            batch_size=args.batch_size,
            batch_bins=args.batch_bins,
            sort_in_batch=args.sort_in_batch,
            sort_batch=args.sort_batch,
            drop_last=args.drop_last_iter,
            min_batch_size=processes if processes > 1 else args.min_batch_size,
        )
    )
