"""Which reference tokens are recognised as which tokens, counted over aligned texts."""

import heapq
import sys
from collections import Counter
from collections.abc import Sequence

MOST = 100  # rows that result files keep

Confusion = tuple[str, str, int]  # reference token, recognised token, number


class Confusions:
    """Counts substitutions, deletions and insertions. Memory grows with the different ones.

    >>> confusions = Confusions()
    >>> confusions.add(["a", "b"], ["a", "x", "y"], "=si")
    >>> confusions.most_frequent()
    [('', 'y', 1), ('b', 'x', 1)]
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}  # reference token → recognised token → number

    def add(self, reference: Sequence[str], hypothesis: Sequence[str], alignment: str) -> None:
        """Count those of an utterance, given its tokens and their alignment (see `counts`)."""
        i = j = 0
        for kind in alignment:
            if kind != "=":
                token = reference[i] if kind in "sd" else ""
                recognised = sys.intern(hypothesis[j]) if kind in "si" else ""
                self._counts.setdefault(token, Counter())[recognised] += 1
            i += kind != "i"
            j += kind != "d"

    def most_frequent(self, most: int = MOST) -> list[Confusion]:
        """Return (reference token, recognised token, number), the most frequent first.

        The recognised token of a deletion and the reference token of an insertion are empty.
        """
        confusions = (
            (token, recognised, count)
            for token, of_token in self._counts.items()
            for recognised, count in of_token.items()
        )
        return heapq.nsmallest(most, confusions, key=lambda row: (-row[2], row[0], row[1]))
