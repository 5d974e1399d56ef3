"""Prepare the next batch in a thread, while the model is trained on the one before.

If the preprocessing draws random numbers (augmentation), only audio is read and decoded there, and
the rest stays in the main thread. A training thus gives the same losses, bit by bit.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from espnet_ext.training.reading import WrappedLoader

_END: Any = object()


def one_ahead[Item](items: Iterable[Item]) -> Iterator[Item]:
    """Yield items; a thread computes the next one while the caller uses an item."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read_ahead") as thread:
        future = thread.submit(next, iterator, _END)
        while (item := future.result()) is not _END:
            future = thread.submit(next, iterator, _END)
            yield item
            del item


class ReadAhead(WrappedLoader):
    """A loader that can read utterances in a thread before they are asked for.

    Args:
        loader: utterance id → audio.
    """

    def __init__(self, loader: Any):
        super().__init__(loader)
        self._futures: dict[str, Future] = {}
        self._thread: ThreadPoolExecutor | None = None

    def start(self, utterances: Sequence[str]) -> None:
        """Begin to read utterances; those that were read before and not used are dropped."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="read_ahead")
        for future in self._futures.values():
            future.cancel()
        self._futures = {u: self._thread.submit(self._loader.__getitem__, u) for u in utterances}

    def stop(self) -> None:
        """End the thread, after the utterance that it is reading."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._thread, self._futures = None, {}

    def __getitem__(self, utterance: str) -> Any:
        future = self._futures.pop(utterance, None)
        return self._loader[utterance] if future is None else future.result()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_futures": {}, "_thread": None}


def read_ahead(dataset: Any) -> None:
    """Let `batches_ahead` prepare batches of an ESPnetDataset with audio (`speech`) in a thread."""
    loader = getattr(dataset, "loader_dict", {}).get("speech")
    if loader is not None:
        dataset.loader_dict["speech"] = ReadAhead(loader)


def batches_ahead(loader: Any) -> Iterator[Any]:
    """Yield the batches of a DataLoader; the next one, or its audio, is prepared meanwhile.

    Other iterables, and DataLoaders with processes of their own, are read as usual.
    """
    dataset = getattr(loader, "dataset", None)
    reader = getattr(dataset, "loader_dict", {}).get("speech")
    is_loader = isinstance(loader, torch.utils.data.DataLoader) and not loader.num_workers
    if not is_loader or not isinstance(reader, ReadAhead):
        return iter(loader)
    if not getattr(getattr(dataset, "preprocess", None), "is_random", True):
        batches = iter(loader)  # it draws a seed, so it is not called in the thread
        return one_ahead(batches)
    return _ahead(iter(loader), reader, loader.batch_sampler)


def _ahead(batches: Iterator[Any], reader: ReadAhead, utterances: Any) -> Iterator[Any]:
    following = iter(utterances)
    next(following, None)
    try:
        for batch in batches:
            reader.start(next(following, ()))
            yield batch
    finally:
        reader.stop()  # a process that is forked while threads run can hang
