"""Which reference tokens are recognised as which tokens, counted over aligned texts."""

from collections import Counter
from collections.abc import Iterable, Sequence

MOST = 100  # rows that result files keep

Confusion = tuple[str, str, int]  # reference token, recognised token, number


def count_confusions(
    pairs: Iterable[tuple[Sequence[str], Sequence[str], str]], most: int = MOST
) -> list[Confusion]:
    """Return the most frequent substitutions, deletions and insertions.

    Args:
        pairs: reference tokens, hypothesis tokens, and their alignment (see `counts`).

    Returns:
        (reference token, recognised token, number), the most frequent first. The recognised token
        of a deletion and the reference token of an insertion are empty.

    >>> count_confusions([(["a", "b"], ["a", "x", "y"], "=si")])
    [('', 'y', 1), ('b', 'x', 1)]
    """
    counts: Counter[tuple[str, str]] = Counter()
    for reference, hypothesis, alignment in pairs:
        i = j = 0
        for kind in alignment:
            if kind != "=":
                recognised = hypothesis[j] if kind in "si" else ""
                counts[reference[i] if kind in "sd" else "", recognised] += 1
            i += kind != "i"
            j += kind != "d"
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(*tokens, count) for tokens, count in ranked[:most]]
