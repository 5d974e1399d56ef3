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
from espnet_ext.model import espnet
from espnet_ext.model.config import TEXT_PREFIX

Batches = list[tuple[str, ...]]


def repeat_factors(
    labelled: Mapping[str, Collection[str]], utterances: Collection[str], power: float
) -> dict[str, float]:
    """How often each utterance is drawn in an epoch, 1 or more.

    Args:
        labelled: output → utterances with a label for it, n_o of them.
        utterances: all of them, also those without any label.
        power: p of max over an utterance's outputs o of (max n / n_o) ** p: 0 leaves every
            utterance at once, 1 makes the labels of all outputs equally many, 0.5 is LVIS's.

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

    Copies so never stand in one batch. Of the batches of repeated utterances an epoch takes as many
    as their factor wants, where the epoch before has stopped: every epoch has as many batches, and
    after a few each utterance was drawn by its factor. An epoch depends on its number alone.

    Args:
        once: batches of all utterances.
        again: for each group of repeated utterances its batches, and the share of them an epoch.
        rank: of every batch, each `processes`-th utterance from this one on is kept.
        processes: how many share a batch.
    """

    def __init__(
        self, once: Batches, again: Sequence[tuple[Batches, float]], rank: int = 0,
        processes: int = 1,
    ):  # fmt: skip
        self.once, self.rank, self.processes = once, rank, processes
        self.again = [(batches, round(share * len(batches))) for batches, share in again]

    def __repr__(self) -> str:
        again = ", ".join(f"{count} of {len(batches)} again" for batches, count in self.again)
        return f"{type(self).__name__}(N-batch={len(self)}: {len(self.once)}, {again or 'no more'})"

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


def repeating_sampler(
    args: argparse.Namespace, rank: int = 0, processes: int = 1
) -> RepeatFactorSampler:
    """The sampler of a training set, batched by ESPnet's own sampler of `args.batch_type`.

    Args:
        args: ESPnet's training arguments, `repeat_power` among them.
        rank: this process among those that train together; processes: their number.
    """
    least = processes if processes > 1 else args.min_batch_size
    labelled = {
        name.removeprefix(TEXT_PREFIX): [
            one for one, text in read_table(path).items() if text not in ("", NA)
        ]
        for path, name, _ in args.train_data_path_and_name_and_type
        if name.startswith(TEXT_PREFIX)
    }
    shapes = [(path, read_table(path)) for path in args.train_shape_file]
    factors = repeat_factors(labelled, shapes[0][1], args.repeat_power)
    levels = sorted(set(factors.values()))
    again = []
    with tempfile.TemporaryDirectory() as folder:
        for low, high in itertools.pairwise([1.0, *(level for level in levels if level > 1.0)]):
            files = [str(Path(folder) / Path(path).name) for path, _ in shapes]
            for file, (_, table) in zip(files, shapes, strict=True):
                write_table(file, {k: v for k, v in table.items() if factors[k] >= high})
            again.append((batches_of(args, files, least), high - low))
    once = batches_of(args, args.train_shape_file, least)
    return RepeatFactorSampler(once, [one for one in again if one[0]], rank, processes)


def batches_of(
    args: argparse.Namespace, shape_files: Sequence[str], min_batch_size: int
) -> Batches:
    """One epoch's batches as ESPnet makes them of the utterances in shape files."""
    return list(espnet.load("build_batch_sampler")(
        type=args.batch_type, shape_files=list(shape_files), fold_lengths=args.fold_length,
        batch_size=args.batch_size, batch_bins=args.batch_bins, sort_in_batch=args.sort_in_batch,
        sort_batch=args.sort_batch, drop_last=args.drop_last_iter, min_batch_size=min_batch_size,
    ))  # fmt: skip

