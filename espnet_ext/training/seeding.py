"""Random numbers of the processes that load data, which do not depend on earlier batches."""

import collections
import hashlib
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch


class SeededItems:
    """Reads the utterances of a batch; a process that loads data is seeded before.

    The seed depends on the epoch, the utterances, and how often the epoch has had this batch before
    (`RepeatedBatch`). A continued training thus augments a batch as an uninterrupted one does, and
    the number of processes makes no difference.

    Args:
        dataset: utterance id → utterance.
    """

    def __init__(self, dataset: Any):
        self._dataset = dataset

    def __call__(self, utterances: Sequence[Any]) -> list[Any]:
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            base = worker.seed - worker.id  # the same for all processes of an epoch
            occurrence = getattr(utterances, "occurrence", 0)
            suffix = f" {occurrence}" if occurrence else ""
            digest = hashlib.sha256(f"{base} {utterances}{suffix}".encode()).digest()
            random.seed(digest)
            np.random.seed(int.from_bytes(digest[:4], "big"))
            torch.manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return [self._dataset[utterance] for utterance in utterances]


class RepeatedBatch(tuple):
    """A batch that is not the first one of its epoch with these utterances.

    Attributes:
        occurrence: how many batches before it have the same utterances in the same order.
    """

    occurrence: int


def number_repeated(batches: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """Return the batches of an epoch; those that were there before become `RepeatedBatch`.

    >>> [getattr(batch, "occurrence", 0) for batch in number_repeated([("a",), ("b",), ("a",)])]
    [0, 0, 1]
    """
    counts: collections.Counter[tuple[Any, ...]] = collections.Counter()
    numbered: list[Sequence[Any]] = []
    for batch in batches:
        key = tuple(batch)
        if occurrence := counts[key]:
            batch = RepeatedBatch(key)
            batch.occurrence = occurrence
        counts[key] += 1
        numbered.append(batch)
    return numbered


def seed_repeated_batches(factory: Any) -> Any:
    """Make an ESPnet SequenceIterFactory number the repeated batches of an epoch; return it.

    They are numbered before any batch is skipped, so a training that continues inside an epoch
    gives them the same numbers.
    """
    build = factory.build_iter

    def build_iter(epoch: int, shuffle: bool | None = None) -> torch.utils.data.DataLoader:
        loader = build(epoch, shuffle)
        loader.batch_sampler[:] = number_repeated(loader.batch_sampler)
        return loader

    factory.build_iter = build_iter
    return factory


def seed_each_batch(dataset: Any) -> None:
    """Make a DataLoader read the batches of a dataset by `SeededItems`."""
    dataset.__getitems__ = SeededItems(dataset)
