"""Processes that load data are seeded by epoch, utterances and occurrence of a batch."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from espnet_ext.training import task
from espnet_ext.training.repeat import RepeatFactorSampler
from espnet_ext.training.resume import _order_of, _RemainingBatches
from espnet_ext.training.seeding import seed_each_batch

ONCE = [("a", "b"), ("c", "d"), ("e",)]
AGAIN = [([("a", "b"), ("c",)], 2.0)]  # (a, b) three times per epoch, (c) twice


class Augmented(torch.utils.data.Dataset):
    """Utterances with a random number each."""

    def __getitem__(self, utterance):
        return utterance, float(np.random.rand()), float(torch.rand(()))


def build_factory(monkeypatch, **options):
    """Return the task's factory of batches for the sampler above, without files."""
    dataset = Augmented()
    seed_each_batch(dataset)
    monkeypatch.setattr(task, "configured_sampler", lambda *_: RepeatFactorSampler(ONCE, AGAIN))
    monkeypatch.setattr(task.DualOutputTask, "build_dataset", lambda *_: dataset)
    args = SimpleNamespace(
        train_shards=None, seed=0, shuffle_within_batch=False, num_workers=2, ngpu=0
    )
    values = {"distributed": False, "num_iters_per_epoch": None, "collate_fn": tuple, **options}
    return task.DualOutputTask.build_sequence_iter_factory(args, SimpleNamespace(**values), "train")


@pytest.mark.parametrize("count", [None, 14])  # 14: two rounds in one epoch
def test_repeated_batches_are_augmented_anew_and_first_ones_as_before(monkeypatch, count):
    factory = build_factory(monkeypatch, num_iters_per_epoch=count)
    torch.manual_seed(0)
    batches = list(factory.build_iter(3))
    assert len(batches) == (count or 7)
    numbers = [row[1:] for batch in batches for row in batch]
    assert len({n for n, _ in numbers}) == len({t for _, t in numbers}) == len(numbers)
    torch.manual_seed(0)
    base = torch.empty((), dtype=torch.int64).random_().item()  # as a DataLoader draws it
    first = {tuple(row[0] for row in batch): batch for batch in reversed(batches)}
    assert len(first) == 4
    for utterances, batch in first.items():
        digest = hashlib.sha256(f"{base} {utterances}".encode()).digest()
        random = np.random.RandomState(int.from_bytes(digest[:4], "big"))
        assert [row[1] for row in batch] == [random.rand() for _ in batch]


def test_continued_epoch_has_the_same_random_numbers(monkeypatch):
    factory = build_factory(monkeypatch)
    torch.manual_seed(0)
    batches = list(factory.build_iter(2))
    for skipped in range(len(batches)):
        torch.manual_seed(0)
        loader = factory.build_iter(2)
        plain = SimpleNamespace(batch_sampler=[tuple(row[0] for row in b) for b in batches])
        assert _order_of(loader) == _order_of(plain)  # that of checkpoints
        assert list(_RemainingBatches(loader, skipped)) == batches[skipped:]


def test_next_epoch_has_other_random_numbers(monkeypatch):
    factory = build_factory(monkeypatch)
    torch.manual_seed(0)
    epochs = [[row for batch in factory.build_iter(epoch) for row in batch] for epoch in (1, 2)]
    assert not {row[1] for row in epochs[0]} & {row[1] for row in epochs[1]}
