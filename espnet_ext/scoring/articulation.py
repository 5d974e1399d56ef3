"""Edit distance in articulatory features: how far sounds lie apart, not whether they differ.

To change a segment costs half the sum of its features' differences, to leave one out or put one in
as much as its features are specified (1 a feature, ½ for an unspecified one), over the number of
features: PanPhon's feature edit distance (Mortensen et al., COLING 2016). A symbol without features
costs 1 against everything. All pairs are aligned at once.
Symbols: B pairs, N and M segments, S different ones, F features.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from espnet_ext.text import articulatory_features as features
from espnet_ext.text import hangul

CHUNK = 512  # pairs compared together


def sounds_of(texts: Iterable[str], token_type: str) -> Callable[[str], list[str]] | None:
    """How such texts become IPA segments: as phones or as Hangul; None for other writing.

    >>> sounds_of(["시"], "char")("시"), sounds_of([], "phone")("S IY"), sounds_of(["see"], "char")
    (['s', 'i'], ['s', 'i'], None)
    """
    if token_type == "phone":
        return features.phones_to_segments
    if any(hangul.is_hangul(char) for text in texts for char in text):
        return features.hangul_to_segments
    return None


def feature_distances(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[float]:
    """The distance of every pair of segment sequences, in segments' worth of features.

    >>> [round(d, 3) for d in feature_distances([["p", "i"]], [["b", "i"]])]
    [0.042]
    """
    pairs = list(zip(references, hypotheses, strict=True))
    found = [0.0] * len(pairs)
    number: dict[str, int] = {}
    spelt = [tuple([number.setdefault(s, len(number)) for s in side] for side in p) for p in pairs]
    exchange, alone = _costs(number)
    different = [i for i, (one, other) in enumerate(spelt) if one != other]
    different.sort(key=lambda i: (len(spelt[i][0]), len(spelt[i][1])))
    for start in range(0, len(different), CHUNK):
        chosen = different[start : start + CHUNK]
        for index, value in zip(
            chosen, _distances([spelt[i] for i in chosen], exchange, alone), strict=True
        ):
            found[index] = float(value)
    return found


def _costs(number: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """What exchanging two symbols costs, (S, S), and what one costs by itself, (S,)."""
    length = len(features.table()[0])
    vectors = [features.vector_of(symbol) for symbol in number]
    known = np.array([vector is not None for vector in vectors], dtype=bool)
    values = np.array([vector or (1,) * length for vector in vectors]).reshape(-1, length)
    alone = np.where(values == 0, 0.5, 1.0).sum(-1) / length  # 1 for what has no features
    exchange = np.abs(values[:, None] - values[None]).sum(-1) / (2 * length)
    exchange = np.where(known[:, None] & known[None], exchange, 1.0)
    np.fill_diagonal(exchange, 0.0)
    return exchange, alone


def _distances(pairs: Sequence, exchange: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """(B,) by dynamic programming, a row of all pairs at a time."""
    sizes = np.array([[len(side) for side in pair] for pair in pairs])  # (B, 2)
    ours = _padded([one for one, _ in pairs], sizes[:, 0].max())  # (B, N)
    theirs = _padded([other for _, other in pairs], sizes[:, 1].max())  # (B, M)
    added = np.zeros((len(pairs), theirs.shape[1] + 1))  # cost of the first m of theirs
    np.cumsum(alone[theirs], axis=1, out=added[:, 1:])
    row = added.copy()
    found = np.empty(len(pairs))
    rows = np.arange(len(pairs))
    for n in range(ours.shape[1] + 1):
        ends = sizes[:, 0] == n
        found[ends] = row[rows[ends], sizes[ends, 1]]
        if n == ours.shape[1]:
            return found
        own = ours[:, n]
        best = row + alone[own, None]  # ours left out
        best[:, 1:] = np.minimum(best[:, 1:], row[:, :-1] + exchange[own[:, None], theirs])
        # what putting theirs in gives is the best of all to the left, at their cost
        row = np.minimum.accumulate(best - added, axis=1) + added
    return found


def _padded(sequences: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """(B, length); what follows a sequence is never looked at."""
    found = np.zeros((len(sequences), length), dtype=np.int64)
    for row, sequence in zip(found, sequences, strict=True):
        row[: len(sequence)] = sequence
    return found
