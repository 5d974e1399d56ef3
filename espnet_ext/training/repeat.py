"""Repeat factor sampling: what is labelled for a rare output is met more often in an epoch.

Gupta, Dollár & Girshick (LVIS, arXiv 1908.03195, section 3.2) repeat an image by the rarest
category in it; here an utterance is repeated by the rarest output that it has a label for.
"""

import argparse
import itertools
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

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
    """How often each utterance is to be drawn in an epoch, 1 or more.

    Args:
        labelled: output → utterances with a label for it, n_o of them.
        utterances: all of them, also those without any label.
        power: p of max over an utterance's outputs o of (max n / n_o) ** p: with 0 every utterance
            is drawn once, with 1 those with a label that is a tenth as frequent ten times (and what
            else they are labelled for with it); 0.5 is LVIS's.

    >>> repeat_factors({"surface": ["a"], "meaning": ["a", "b", "c", "d"]}, "abcd", 0.5)
    {'a': 2.0, 'b': 1.0, 'c': 1.0, 'd': 1.0}
    """
    factors = dict.fromkeys(utterances, 1.0)
    most = max((len(found) for found in labelled.values()), default=0)
    for found in labelled.values():
        factor = (most / len(found)) ** power if found else 1.0
        factors.update({one: max(factors[one], factor) for one in found if one in factors})
    return factors


class RepeatFactorSampler(espnet.load("AbsSampler")):
    """Every utterance once an epoch, then those with a factor above 1 again, in their own batches.

    Copies so never stand in one batch. Of the batches of a group of repeated utterances an epoch
    takes as many as make its factor, a whole number of at least one, from where the epoch before
    has stopped: all epochs have as many batches, and each utterance of the group is drawn as often
    in the long run. An epoch depends on its number alone.

    Args:
        once: batches of all utterances.
        again: for each group of repeated utterances its batches, and how often it is drawn besides;
            a group holds those that follow it.
        rank: of every batch, each `processes`-th utterance from this one on is kept.
        processes: how many share a batch.
    """

    def __init__(
        self,
        once: Batches,
        again: Sequence[tuple[Batches, float]],
        rank: int = 0,
        processes: int = 1,
    ):
        self.once, self.rank, self.processes = once, rank, processes
        self.again = [(found, max(1, round(times * len(found)))) for found, times in again]

    def __repr__(self) -> str:
        sizes = [sum(map(len, batches)) for batches in (self.once, *(b for b, _ in self.again))]
        times = itertools.accumulate((count / len(b) for b, count in self.again), initial=1.0)
        told = [
            f"{size - further} utterances × {factor:.2f}"
            for size, further, factor in zip(sizes, [*sizes[1:], 0], times, strict=True)
        ]
        return f"{type(self).__name__}(N-batch={len(self)}, {', '.join(told)})"

    def __len__(self) -> int:
        return len(self.once) + sum(count for _, count in self.again)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self.generate(0))

    def generate(self, seed: int) -> Batches:
        """The batches of one epoch. `seed`: its number, to which ESPnet adds the training's."""
        chosen = list(self.once)
        for group, (batches, count) in enumerate(self.again):
            first = seed * count
            rounds = range(first // len(batches), -(-(first + count) // len(batches)))
            walk = itertools.chain.from_iterable(
                np.random.default_rng([group, one]).permutation(len(batches)) for one in rounds
            )
            skipped = first - rounds.start * len(batches)
            chosen += [batches[i] for i in itertools.islice(walk, skipped, skipped + count)]
        return [batch[self.rank :: self.processes] for batch in chosen]

    def utterances(self) -> set[str]:
        """All that this process will ever draw."""
        every = itertools.chain(self.once, *(batches for batches, _ in self.again))
        return {one for batch in every for one in batch[self.rank :: self.processes]}


def repeating_sampler(
    args: argparse.Namespace, rank: int = 0, processes: int = 1
) -> RepeatFactorSampler:
    """The sampler of a training set, batched by ESPnet's own sampler of `args.batch_type`.

    Args:
        args: ESPnet's training arguments, `repeat_power` among them.
        rank: this process among those that train together; processes: their number.
    """
    labelled = {
        name.removeprefix(TEXT_PREFIX): [
            one for one, text in read_table(path).items() if text not in ("", NA)
        ]
        for path, name, _ in args.train_data_path_and_name_and_type
        if name.startswith(TEXT_PREFIX)
    }
    once = batches_of(args, args.train_shape_file, processes)
    whole = argparse.Namespace(**{**vars(args), "drop_last_iter": False})  # groups may be one batch
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
        chosen = {one for one, factor in factors.items() if factor >= high}
        if len(chosen) < processes:
            rare = min(filter(labelled.get, labelled), key=lambda name: len(labelled[name]))
            raise UserError(
                f"repeat_power {args.repeat_power}: {len(chosen)} utterances with a label for "
                f"'{rare}' cannot be shared by {processes} processes",
                "leave repeat_power out, or train on fewer",
            )
        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/{Path(path).name}" for path in shapes]
            for file, table in zip(files, shapes.values(), strict=True):
                write_table(file, {one: size for one, size in table.items() if one in chosen})
            again.append((_shared(batches_of(whole, files, processes), processes), high - low))
    return RepeatFactorSampler(once, again, rank, processes)


def _shared(batches: Batches, processes: int) -> Batches:
    """Those with fewer utterances than processes are put to the batch before, or the one after."""
    found: Batches = []
    for batch in batches:
        if found and min(len(batch), len(found[-1])) < processes:
            found[-1] = (*found[-1], *batch)
        else:
            found.append(batch)
    return found


def batches_of(args: argparse.Namespace, shape_files: Sequence[str], processes: int) -> Batches:
    """One epoch's batches as ESPnet makes them of the utterances in shape files.

    Args:
        processes: how many share a batch; the least that one holds if there are several.
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
