"""The listed pronunciations of a sentence that are nearest to recognised or annotated phones.

The words of a sentence form a lattice: each word has one or more pronunciations. `nearest` finds
the path with the smallest edit distance to a sequence of phones, by exact dynamic programming.

Symbols: W words, M phones of the target.
"""

from collections.abc import Callable, Sequence

import numpy as np

Phones = tuple[str, ...]
Lattice = Sequence[Sequence[Phones]]  # word → pronunciations, the preferred one first


def nearest(lattice: Lattice, target: Sequence[str]) -> list[str]:
    """Return the path through the lattice that is nearest to the target, as phones.

    Of the paths with the smallest edit distance, the result has the smallest sum of indices, so
    that a word keeps its first pronunciation unless another one is nearer.

    Args:
        lattice: pronunciations of every word, at least one each.
        target: the phones to compare with.

    >>> nearest([[("R", "IY", "D"), ("R", "EH", "D")]], ["R", "EH", "T"])
    ['R', 'EH', 'D']
    """
    pairs = zip(lattice, nearest_variants(lattice, target), strict=True)
    return [phone for variants, index in pairs for phone in variants[index]]


def nearest_variants(lattice: Lattice, target: Sequence[str]) -> list[int]:
    """Return the index of the pronunciation of every word on the path of `nearest`.

    >>> nearest_variants([[("R", "IY", "D"), ("R", "EH", "D")]], ["R", "EH", "T"])
    [1]
    """
    if [phone for variants in lattice for phone in variants[0]] == list(target):
        return [0] * len(lattice)
    return [index for index, _ in _best_path(lattice, target)]


def split_by_words(lattice: Lattice, phones: Sequence[str]) -> list[Phones]:
    """Return the phones of every word, by the best alignment of a phone sequence with the words.

    >>> split_by_words([[("DH", "AH")], [("K", "AE", "T")]], ["DH", "IY", "K", "AE", "T"])
    [('DH', 'IY'), ('K', 'AE', 'T')]
    """
    if not lattice:
        return []
    ends = [end for _, end in _best_path(lattice, phones)]
    return [tuple(phones[a:b]) for a, b in zip([0, *ends], ends, strict=False)]


def _best_path(lattice: Lattice, target: Sequence[str]) -> list[tuple[int, int]]:
    """Return (index of the pronunciation, end of its phones in the target) for every word."""
    # The cost of an edit exceeds every sum of indices, which decide between equal distances.
    edit = 1 + sum(max(len(variants) - 1, 0) for variants in lattice)
    insertions = np.arange(len(target) + 1) * edit  # (M + 1,)
    matches: dict[str, np.ndarray] = {}  # phone → cost of it at each phone of the target, (M,)

    def substitution(phone: str) -> np.ndarray:
        if phone not in matches:
            matches[phone] = np.array([edit * (phone != other) for other in target], dtype=int)
        return matches[phone]

    costs = [insertions]  # cost of the best path up to each word and each phone of the target
    for variants in lattice:
        rows = [
            index + _append(costs[-1], phones, substitution, edit, insertions)
            for index, phones in enumerate(variants)
        ]
        costs.append(np.minimum.reduce(rows))
    path: list[tuple[int, int]] = []
    end = len(target)
    for position in reversed(range(len(lattice))):
        before, total = costs[position], costs[position + 1][end]

        def from_end(phone: str, end: int = end) -> np.ndarray:
            return substitution(phone)[:end][::-1]

        for index, phones in enumerate(lattice[position]):
            # the same costs from the end: of these phones and the target from each start to `end`
            at_end = insertions[: end + 1]
            backward = _append(at_end, phones[::-1], from_end, edit, at_end)[::-1]
            totals = before[: end + 1] + index + backward
            if totals.min() == total:
                path.append((index, end))
                end = int(np.flatnonzero(totals == total)[-1])
                break
    return path[::-1]


def _append(
    costs: np.ndarray,
    phones: Sequence[str],
    substitution: Callable[[str], np.ndarray],
    edit: int,
    insertions: np.ndarray,
) -> np.ndarray:
    """Return the costs after some more phones, (M + 1,), from the costs before them, (M + 1,)."""
    for phone in phones:
        best = costs + edit  # the phone is deleted
        best[1:] = np.minimum(best[1:], costs[:-1] + substitution(phone))
        # the cheapest insertion is a running minimum over all positions to the left
        costs = np.minimum.accumulate(best - insertions) + insertions
    return costs
