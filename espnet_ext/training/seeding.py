"""Random numbers of the processes that load data, which do not depend on earlier batches."""

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


class SeededItems:
    """Reads the utterances of a batch; a process that loads data is seeded before.

    The seed depends on the epoch and the utterances. A continued training thus augments a batch as
    an uninterrupted one does, and the number of processes makes no difference.

    Args:
        dataset: utterance id → utterance.
    """

    def __init__(self, dataset: Any):
        self._dataset = dataset

    def __call__(self, utterances: Sequence[Any]) -> list[Any]:
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            base = worker.seed - worker.id  # the same for all processes of an epoch
            digest = hashlib.sha256(f"{base} {utterances}".encode()).digest()
            random.seed(digest)
            np.random.seed(int.from_bytes(digest[:4], "big"))
            torch.manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return [self._dataset[utterance] for utterance in utterances]


def seed_each_batch(dataset: Any) -> None:
    """Make a DataLoader read the batches of a dataset by `SeededItems`."""
    dataset.__getitems__ = SeededItems(dataset)
