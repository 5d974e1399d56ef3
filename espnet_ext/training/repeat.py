"""Repeat factor sampling: oversample utterances that have a label for a rare output.

Gupta, Dollár & Girshick (LVIS, arXiv 1908.03195, section 3.2) repeat an image by the rarest
category in it. Here an utterance is repeated by the rarest output that it has a label for.
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

Batches = list[tuple[str, ...]]


def repeat_factors(
    labelled: Mapping[str, Collection[str]], utterances: Collection[str], power: float
) -> dict[str, float]:
    """Return how often each utterance is drawn per epoch, 1 or more.

    The factor is max over an utterance's outputs o of (max n / n_o) ** power, where n_o is the
    number of utterances with a label for o.

    Args:
        labelled: output → utterances with a label for it.
        utterances: all utterances, also those without any label.
        power: with 0 every utterance is drawn once. With 1 an utterance with a label that is a
            tenth as frequent is drawn ten times, with its other labels. LVIS uses 0.5.

    >>> repeat_factors({"surface": ["a"], "meaning": ["a", "b", "c", "d"]}, "abcd", 0.5)
    {'a': 2.0, 'b': 1.0, 'c': 1.0, 'd': 1.0}
    """
    factors = dict.fromkeys(utterances, 1.0)
    most = max(map(len, labelled.values()), default=0)
    for utt_ids in labelled.values():
        factor = (most / len(utt_ids)) ** power if utt_ids else 1.0
        factors.update({i: max(factors[i], factor) for i in utt_ids if i in factors})
    return factors


AbsSampler: Any = espnet.load("AbsSampler")


class RepeatFactorSampler(AbsSampler):
    """Draw every utterance once per epoch, and utterances with a factor above 1 again.

    Repeats have batches of their own, so no batch contains an utterance twice. Utterances with the
    same factor are a group. From a group's batches an epoch takes the number that its factor needs
    (a whole number, at least 1) and continues where the previous epoch stopped. All epochs thus
    have the same number of batches, and over many epochs all utterances of a group are drawn
    equally often. An epoch only depends on its number.

    Args:
        once: batches of all utterances.
        again: for each group of repeated utterances, in order of their factors, its batches and
            the number of additional draws per epoch. A group contains all groups after it.
        rank: of this process, which takes every `processes`-th utterance of a batch from `rank` on.
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
        self.again = [(batches, max(1, round(times * len(batches)))) for batches, times in again]

    def __repr__(self) -> str:
        sizes = [sum(map(len, batches)) for batches in (self.once, *(b for b, _ in self.again))]
        times = itertools.accumulate((count / len(b) for b, count in self.again), initial=1.0)
        groups = [
            f"{size - repeated} utterances × {factor:.2f}"
            for size, repeated, factor in zip(sizes, [*sizes[1:], 0], times, strict=True)
        ]
        return f"{type(self).__name__}(N-batch={len(self)}, {', '.join(groups)})"

    def __len__(self) -> int:
        return len(self.once) + sum(count for _, count in self.again)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self.generate(0))

    def generate(self, seed: int) -> Batches:
        """Return the batches of one epoch.

        Args:
            seed: number of the epoch plus the seed of the training, from ESPnet.
        """
        chosen = list(self.once)
        for group, (batches, count) in enumerate(self.again):
            first = seed * count
            rounds = range(first // len(batches), -(-(first + count) // len(batches)))
            order = itertools.chain.from_iterable(
                np.random.default_rng([group, number]).permutation(len(batches))
                for number in rounds
            )
            skipped = first - rounds.start * len(batches)
            chosen += [batches[i] for i in itertools.islice(order, skipped, skipped + count)]
        return [batch[self.rank :: self.processes] for batch in chosen]

    def utterances(self) -> set[str]:
        """Return all utterances that this process draws in any epoch."""
        batches = itertools.chain(self.once, *(group for group, _ in self.again))
        return {utt_id for batch in batches for utt_id in batch[self.rank :: self.processes]}


def repeating_sampler(
    args: argparse.Namespace, rank: int = 0, processes: int = 1
) -> RepeatFactorSampler:
    """Return the sampler of a training set, with batches made by ESPnet (`args.batch_type`).

    Args:
        args: ESPnet's training arguments, with `repeat_power`.
        rank: of this process.
        processes: number of processes that train together.
    """
    labelled = {
        name.removeprefix(TEXT_PREFIX): [
            utt_id for utt_id, text in read_table(path).items() if text not in ("", NA)
        ]
        for path, name, _ in args.train_data_path_and_name_and_type
        if name.startswith(TEXT_PREFIX)
    }
    once = batches_of(args, args.train_shape_file, processes)
    # A group may consist of one batch, which must not be dropped.
    keep_all = argparse.Namespace(**{**vars(args), "drop_last_iter": False})
    if any(len(batch) < processes for batch in once):
        raise UserError(
            f"batch_type {args.batch_type}: a batch has fewer utterances than the {processes} "
            "processes that share it",
            "use batch_type: numel",
        )
    shapes = {path: read_table(path) for path in args.train_shape_file}
    factors = repeat_factors(labelled, next(iter(shapes.values())), args.repeat_power)
    levels = sorted({1.0, *factors.values()})
    again = []
    for low, high in itertools.pairwise(levels):
        chosen = {utt_id for utt_id, factor in factors.items() if factor >= high}
        if len(chosen) < processes:
            rare = min(filter(labelled.get, labelled), key=lambda name: len(labelled[name]))
            raise UserError(
                f"repeat_power {args.repeat_power}: {len(chosen)} utterances with a label for "
                f"'{rare}' cannot be distributed over {processes} processes",
                "remove repeat_power, or train with fewer processes",
            )
        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/{Path(path).name}" for path in shapes]
            for file, table in zip(files, shapes.values(), strict=True):
                write_table(file, {i: size for i, size in table.items() if i in chosen})
            again.append((_shared(batches_of(keep_all, files, processes), processes), high - low))
    return RepeatFactorSampler(once, again, rank, processes)


def _shared(batches: Batches, processes: int) -> Batches:
    """Return batches in which those with fewer utterances than processes are merged into others."""
    merged: Batches = []
    for batch in batches:
        if merged and min(len(batch), len(merged[-1])) < processes:
            merged[-1] = (*merged[-1], *batch)
        else:
            merged.append(batch)
    return merged


def batches_of(args: argparse.Namespace, shape_files: Sequence[str], processes: int) -> Batches:
    """Return the batches of one epoch that ESPnet makes of the utterances in shape files.

    Args:
        processes: number of processes that share a batch; with several, also the minimum batch
            size.
    """
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
