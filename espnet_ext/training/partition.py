"""Divide utterances into batches with little padding of all their streams: audio and transcripts.

Sorting by one length leaves the other streams in any order. Here, a set is split in two along the
stream whose split saves most padding, and so are its parts, down to single batches, as in a k-d
tree (Bentley, 1975, doi:10.1145/361002.361007). Then utterances that make a batch longer move to
batches that they fit into better.
"""

from dataclasses import dataclass

import numpy as np

_SPARE = 1.1  # ratio of the number of batches and the smallest number, so that batches are not full
_BLOCK = 256  # batches between which utterances move; the time grows with its square
_PASSES = 3  # over all batches, to move utterances


@dataclass(frozen=True)
class Limits:
    """What a batch may contain, padding included."""

    bins: float  # bins of the first stream
    quadratic_bins: float = 0.0  # length at which a batch has half as many bins; 0: unlimited
    max_utterances: int = 0  # 0: unlimited
    min_utterances: int = 1  # has priority over the other limits

    def bins_of(self, longest: np.ndarray) -> np.ndarray:
        """Return the bins that an utterance uses in batches with these longest utterances (B,)."""
        quadratic = self.quadratic_bins
        return longest * (1 + longest / quadratic) if quadratic else longest

    def allow(self, counts: np.ndarray, longest: np.ndarray) -> np.ndarray:
        """Return whether batches (B,) with these numbers of utterances are small enough."""
        fits = counts * self.bins_of(longest) <= self.bins
        if self.max_utterances:
            fits &= counts <= self.max_utterances
        return fits | (counts <= self.min_utterances)

    def shares(self, durations: np.ndarray) -> np.ndarray:
        """Return the share (N,) of a batch that each utterance fills."""
        shares = self.bins_of(durations) / self.bins
        return np.maximum(shares, 1 / self.max_utterances) if self.max_utterances else shares


def partition(lengths: np.ndarray, limits: Limits) -> list[np.ndarray]:
    """Return batches as arrays of rows, which are sorted.

    Args:
        lengths: (N, S) lengths of N utterances in S streams. The streams count equally: the sum of
            their shares of padding is to be small.
        limits: at most what a batch may contain. If there are fewer utterances than
            `min_utterances`, they are one batch.
    """
    lengths = np.asarray(lengths, dtype=np.float64)
    weights = 1 / lengths.mean(0).clip(min=1e-9)  # (S,)
    shares = limits.shares(lengths[:, 0])
    batches: list[np.ndarray] = []
    blocks = [np.arange(len(lengths))]
    while blocks:
        rows = blocks.pop()
        count = int(np.ceil(_SPARE * shares[rows].sum()))
        count = max(1, min(count, len(rows) // limits.min_utterances))
        if count > _BLOCK:
            first, second = _split(lengths, shares, weights, rows, count, limits.min_utterances)[:2]
            blocks += [second, first]
            continue
        block = _Block(lengths, weights, limits)
        block.add(_split_into(lengths, shares, weights, rows, count, limits.min_utterances))
        left = block.remove_surplus()
        if len(left) >= limits.min_utterances:
            blocks.append(np.array(sorted(left), dtype=np.int64))
        else:
            for row in left:
                block.insert(row, must=True)
        block.improve()
        batches += [np.array(sorted(batch)) for batch in block.batches]
    return batches


def _split_into(
    lengths: np.ndarray,
    shares: np.ndarray,
    weights: np.ndarray,
    rows: np.ndarray,
    count: int,
    minimum: int,
) -> list[np.ndarray]:
    """Return rows as `count` batches of about equal shares."""
    parts, stack = [], [(rows, count)]
    while stack:
        rows, count = stack.pop()
        if count == 1:
            parts.append(rows)
            continue
        first, second, first_count = _split(lengths, shares, weights, rows, count, minimum)
        stack += [(second, count - first_count), (first, first_count)]
    return parts


def _split(
    lengths: np.ndarray,
    shares: np.ndarray,
    weights: np.ndarray,
    rows: np.ndarray,
    count: int,
    minimum: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Split rows in two along the stream in which this leaves the least padding.

    Args:
        lengths: (N, S); shares: (N,), of a batch; weights: (S,), of padding.
        rows: the rows to split.
        count: number of batches that they are to become.
        minimum: number of utterances of a batch.
    Returns:
        Both parts, and the number of batches of the first one.
    """
    best_cost, best = np.inf, (rows, rows[:0], 0)
    for stream in range(lengths.shape[1]):
        ordered = rows[np.argsort(lengths[rows, stream], kind="stable")]
        values = lengths[ordered]
        filled = np.cumsum(shares[ordered])
        for first_count in sorted({count // 2, (count + 1) // 2}):
            cut = int(np.searchsorted(filled, filled[-1] * first_count / count))
            lowest, highest = first_count * minimum, len(rows) - (count - first_count) * minimum
            cut = min(max(cut, lowest), highest)
            padded = cut * values[:cut].max(0) + (len(rows) - cut) * values[cut:].max(0)  # (S,)
            if (cost := padded @ weights) < best_cost - 1e-9:
                best_cost, best = cost, (ordered[:cut], ordered[cut:], first_count)
    return best


class _Block:
    """Batches between which utterances move.

    The cost of a batch is its size with padding: its number of utterances times the weighted sum of
    its longest lengths.

    Args:
        lengths: (N, S).
        weights: (S,), of the streams.
        limits: what a batch may contain.
    """

    def __init__(self, lengths: np.ndarray, weights: np.ndarray, limits: Limits):
        self.lengths, self.weights, self.limits = lengths, weights, limits
        self.batches: list[list[int]] = []
        self.counts = np.zeros(0)  # (B,) utterances
        self.longest = np.zeros((0, len(weights)))  # (B, S)

    def add(self, batches: list[np.ndarray]) -> None:
        self.batches = [batch.tolist() for batch in batches]
        self.counts = np.array([len(batch) for batch in batches], dtype=np.float64)
        self.longest = np.array([self.lengths[batch].max(0) for batch in batches])

    def remove_surplus(self) -> list[int]:
        """Make batches small enough; return the rows that fit into none."""
        removed = []
        for number, batch in enumerate(self.batches):
            while not self.limits.allow(self.counts[number], self.longest[number, 0]):
                removed.append(batch[int(np.argmax(self._savings(number)))])
                self._remove(number, removed[-1])
        removed.sort(key=lambda row: (-self.lengths[row, 0], row))  # the long ones fit in few
        return [row for row in removed if not self.insert(row)]

    def improve(self) -> None:
        """Move utterances to other batches as long as this saves padding."""
        for _ in range(_PASSES):
            has_changed = False
            for number, batch in enumerate(self.batches):
                while len(batch) > self.limits.min_utterances:
                    savings = self._savings(number)
                    position = int(np.argmax(savings))
                    row = batch[position]
                    if not self.insert(row, below=savings[position] - 1e-6, other_than=number):
                        break
                    self._remove(number, row)
                    has_changed = True
            if not has_changed:
                break

    def insert(
        self, row: int, *, below: float = np.inf, other_than: int | None = None, must: bool = False
    ) -> bool:
        """Put a row into the batch whose cost grows least; return False if none is suitable.

        Args:
            below: the cost must grow less than this.
            other_than: a batch that is not suitable.
            must: ignore the limits of batches.
        """
        longest = np.maximum(self.longest, self.lengths[row])  # (B, S)
        growth = (self.counts + 1) * (longest @ self.weights)
        growth -= self.counts * (self.longest @ self.weights)
        if not must:
            growth[~self.limits.allow(self.counts + 1, longest[:, 0])] = np.inf
        if other_than is not None:
            growth[other_than] = np.inf
        number = int(np.argmin(growth))
        if not growth[number] < below:
            return False
        self.batches[number].append(row)
        self.counts[number] += 1
        self.longest[number] = longest[number]
        return True

    def _remove(self, number: int, row: int) -> None:
        self.batches[number].remove(row)
        self.counts[number] -= 1
        self.longest[number] = self.lengths[self.batches[number]].max(0)

    def _savings(self, number: int) -> np.ndarray:
        """Return how much the cost of a batch falls without each of its utterances."""
        values = self.lengths[self.batches[number]]  # (n, S)
        second, first = np.sort(values, axis=0)[-2:]  # (S,) the longest two
        without = np.where(values == first, second, first)  # (n, S)
        count = len(values)
        return count * (first @ self.weights) - (count - 1) * (without @ self.weights)
