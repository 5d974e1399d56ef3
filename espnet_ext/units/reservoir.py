"""A uniform random sample of the rows of a stream, in bounded memory.

Symbols: N rows of one block, M rows of the sample at most, D row size.
"""

import numpy as np


class Reservoir:
    """Keeps a uniform sample of M rows at most (algorithm R: Vitter, 1985, section 2).

    The sample depends on the seed and on the order of the rows, not on how they are divided into
    blocks.

    Args:
        capacity: M.
        seed: seed of the random numbers.

    >>> reservoir = Reservoir(2, seed=0)
    >>> for block in np.arange(10.0, dtype="float32").reshape(5, 2, 1):
    ...     reservoir.add(block)
    >>> reservoir.seen, len(reservoir.rows)
    (10, 2)
    """

    def __init__(self, capacity: int, seed: int):
        self.capacity = capacity
        self.seen = 0  # rows that were added
        self._random = np.random.default_rng(seed)
        self._rows: np.ndarray | None = None

    @property
    def rows(self) -> np.ndarray:
        """The sample, (min(M, seen), D) in float32."""
        if self._rows is None:
            return np.empty((0, 0), "float32")
        return self._rows[: self.seen]

    def add(self, block: np.ndarray) -> None:
        """Add rows (N, D) of the stream."""
        if self._rows is None:
            # memory is used only for rows that are written
            self._rows = np.empty((self.capacity, block.shape[1]), "float32")
        free = max(0, min(len(block), self.capacity - self.seen))
        self._rows[self.seen : self.seen + free] = block[:free]
        self.seen += free
        remaining = block[free:]
        if len(remaining):
            counts = self.seen + 1 + np.arange(len(remaining))
            slots = (self._random.random(len(remaining)) * counts).astype("int64")
            self.seen += len(remaining)
            enter = slots < self.capacity
            # of several rows for one place, the last one stays
            self._rows[slots[enter]] = remaining[enter]
