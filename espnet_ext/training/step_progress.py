"""Progress within an epoch of training: steps, loss, time left."""

import math
import time
from collections.abc import Iterator
from typing import Any

from espnet_ext.progress import say

SECONDS_BETWEEN_LINES = 30.0


class StepProgress:
    """Batches of an epoch; a line of progress is printed while the model is trained on them.

    Args:
        iterator: the batches; its length is their number, if it has one.
        reporter: ESPnet's SubReporter of the epoch, with the loss of each batch.
        max_epoch: number of epochs of the training.
        first: batches of the epoch that an interrupted training has done.
    """

    def __init__(self, iterator: Any, reporter: Any, max_epoch: int, first: int = 0):
        self._first = first
        self._iterator = iterator
        self._reporter = reporter
        self._max_epoch = max_epoch

    def __len__(self) -> int:
        return len(self._iterator)

    def __iter__(self) -> Iterator[Any]:
        try:
            total = len(self._iterator)
        except TypeError:  # a generator
            total = None
        start = last = time.monotonic()
        for number, batch in enumerate(self._iterator, 1):
            yield batch
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_LINES and number != total:
                say(self._line(number, total, now - start))
                last = now

    def _line(self, number: int, total: int | None, seconds: float) -> str:
        """Return the line after a number of batches.

        >>> from types import SimpleNamespace
        >>> reporter = SimpleNamespace(get_epoch=lambda: 2, stats={"loss": []})
        >>> StepProgress([], reporter, 5)._line(120, 480, 95.0)
        'epoch 2/5: 120/480 steps, 95 s, about 285 s left'
        """
        losses = [float(value.value) for value in self._reporter.stats.get("loss", ())[-number:]]
        losses = [loss for loss in losses if math.isfinite(loss)]
        done = self._first + number
        parts = [f"{done}/{self._first + total} steps" if total else f"{done} steps"]
        parts += [f"mean loss {sum(losses) / len(losses):.4g}"] if losses else []
        parts.append(f"{seconds:.0f} s")
        if total:
            parts.append(f"about {seconds / number * (total - number):.0f} s left")
        return f"epoch {self._reporter.get_epoch()}/{self._max_epoch}: {', '.join(parts)}"
