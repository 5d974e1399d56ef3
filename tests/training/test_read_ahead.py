"""Audio that is read ahead: the same losses, in the order of the batches, with errors in place."""

import threading
import types

import numpy as np
import pytest
import tiny_recipe
import torch
from test_resume import assert_equal_trainings

from espnet_ext.errors import UserError
from espnet_ext.training import task
from espnet_ext.training.read_ahead import ReadAhead, batches_ahead, one_ahead, read_ahead


class Dataset:
    """Utterance → number, like ESPnet's data set.

    It draws a random number per utterance, and has no preprocessor that says so.
    """

    def __init__(self, loader):
        self.loader_dict = {"speech": loader}
        read_ahead(self)

    def __getitem__(self, utterance):
        return self.loader_dict["speech"][utterance], np.random.rand()


class PlainDataset(Dataset):
    """Its preprocessor draws no random numbers."""

    preprocess = types.SimpleNamespace(is_random=False)

    def __getitem__(self, utterance):
        return self.loader_dict["speech"][utterance], threading.current_thread().name


class Loader(dict):
    """Records which thread reads what."""

    def __init__(self, names):
        super().__init__({name: i for i, name in enumerate(names)})
        self.read = []

    def __getitem__(self, name):
        self.read.append((name, threading.current_thread() is threading.main_thread()))
        if name == "broken":
            raise UserError("a.wav: cannot read", "restore it")
        return super().__getitem__(name)


def loader_of(names, dataset=Dataset, **options):
    batches = [names[i : i + 2] for i in range(0, len(names), 2)]
    reader = Loader(names)
    data = dataset(reader)
    return reader, torch.utils.data.DataLoader(
        data, batch_sampler=batches, collate_fn=list, **options
    )


def test_a_thread_reads_only_the_next_batch():
    reader, loader = loader_of(["a", "b", "c", "d", "e", "f"])
    iterator = batches_ahead(loader)
    assert [value for value, _ in next(iterator)] == [0, 1]
    loader.dataset.loader_dict["speech"]._thread.submit(lambda: None).result()
    assert reader.read == [("a", True), ("b", True), ("c", False), ("d", False)]
    assert [[v for v, _ in batch] for batch in iterator] == [[2, 3], [4, 5]]
    assert [name for name, _ in reader.read] == list("abcdef")  # each is read once


def test_whole_batches_are_prepared_ahead_without_random_numbers():
    reader, loader = loader_of(["a", "b", "c", "d", "e", "f"], PlainDataset)
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    iterator = batches_ahead(loader)
    batches = [next(iterator)]
    assert len(reader.read) <= 4  # at most one batch ahead
    batches += iterator
    assert [[value for value, _ in batch] for batch in batches] == [[0, 1], [2, 3], [4, 5]]
    assert all(name.startswith("read_ahead") for batch in batches for _, name in batch)
    assert (np.random.get_state()[1] == state).all()
    torch.manual_seed(0)
    list(iter(loader))
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(batches_ahead(loader))
    assert torch.equal(torch.rand(1), expected)


def test_random_numbers_are_drawn_in_the_order_of_the_batches():
    def numbers(iterate):
        np.random.seed(0)
        _, loader = loader_of(["a", "b", "c", "d"])
        drawn = []
        for batch in iterate(loader):
            drawn += [value for _, value in batch]
            drawn.append(np.random.rand())  # as the model may
        return drawn

    assert numbers(iter) == numbers(batches_ahead)


@pytest.mark.parametrize("dataset", [Dataset, PlainDataset])
def test_errors_are_raised_with_the_batch_that_has_them(dataset):
    _, loader = loader_of(["a", "b", "broken", "d"], dataset)
    iterator = batches_ahead(loader)
    next(iterator)
    with pytest.raises(UserError, match=r"a.wav: cannot read"):
        next(iterator)


def test_other_iterables_and_unused_reads_are_no_problem():
    assert list(batches_ahead([1, 2])) == [1, 2]
    reader = ReadAhead(Loader(["a", "b"]))
    reader.start(["a"])
    reader.start(["b"])
    assert (reader["a"], reader["b"]) == (0, 1)
    assert list(one_ahead(iter("abc"))) == ["a", "b", "c"]


@pytest.mark.parametrize("dataset", [Dataset, PlainDataset])
@pytest.mark.parametrize("batches", [1, 3])
def test_no_thread_remains_after_an_epoch_or_an_interruption(batches, dataset):
    _, loader = loader_of(["a", "b", "c", "d", "e", "f"], dataset)
    iterator = batches_ahead(loader)
    for _ in range(batches):
        next(iterator)
    assert any(thread.name.startswith("read_ahead") for thread in threading.enumerate())
    iterator.close()
    assert not any(thread.name.startswith("read_ahead") for thread in threading.enumerate())
    assert len(list(batches_ahead(loader))) == 3  # the next epoch starts a thread of its own


def test_one_ahead_raises_errors_in_order():
    def items():
        yield 1
        raise UserError("damaged", "restore it")

    iterator = one_ahead(items())
    assert next(iterator) == 1
    with pytest.raises(UserError, match="damaged"):
        next(iterator)


@pytest.mark.parametrize("narrowband_prob", [0.0, 0.5])
def test_losses_are_those_without_reading_ahead(tmp_path, monkeypatch, narrowband_prob):
    recipe = tiny_recipe.make(tmp_path)
    config = {"narrowband_prob": narrowband_prob, "batch_bins": 20000, "audio_cache_mb": 1}
    ahead = recipe.train("ahead", config)
    monkeypatch.setattr(task, "read_ahead", lambda dataset: None)
    assert_equal_trainings(ahead, recipe.train("plain", config))
