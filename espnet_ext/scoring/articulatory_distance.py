"""Edit distance in articulatory features: how different sounds are, not only whether they differ.

This is PanPhon's feature edit distance (Mortensen et al., COLING 2016). With F features per
segment:

- Substitution costs the sum of |difference| / 2 over the features, divided by F.
- Insertion and deletion cost 1 per specified and 1/2 per unspecified feature, divided by F.
- A symbol without features costs 1 in every edit.

All pairs are aligned together. Symbols: B pairs, N and M segments, S distinct segments, F features.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from espnet_ext.text import articulatory_features as features
from espnet_ext.text import hangul

_BATCH = 512  # pairs aligned together


def segmenter(texts: Iterable[str], token_type: str) -> Callable[[str], list[str]] | None:
    """Return the function that converts such texts to IPA segments.

    Returns:
        The function for phones if the token type is "phone", the function for Hangul if a text
        contains Hangul, otherwise None.

    >>> segmenter(["시"], "char")("시"), segmenter([], "phone")("S IY"), segmenter(["see"], "char")
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
    """Return the feature edit distance of every pair of segment sequences.

    The unit is one segment: replacing a segment by one with all features reversed costs 1.

    >>> [round(d, 3) for d in feature_distances([["p", "i"]], [["b", "i"]])]
    [0.042]
    """
    segment_ids: dict[str, int] = {}

    def ids(segments: Sequence[str]) -> list[int]:
        return [segment_ids.setdefault(segment, len(segment_ids)) for segment in segments]

    pairs = [(ids(r), ids(h)) for r, h in zip(references, hypotheses, strict=True)]
    substitution, insertion = _costs(segment_ids)
    distances = [0.0] * len(pairs)
    indices = [i for i, (reference, hypothesis) in enumerate(pairs) if reference != hypothesis]
    indices.sort(key=lambda i: (len(pairs[i][0]), len(pairs[i][1])))
    for start in range(0, len(indices), _BATCH):
        batch = indices[start : start + _BATCH]
        values = _align_batch([pairs[i] for i in batch], substitution, insertion)
        for index, value in zip(batch, values, strict=True):
            distances[index] = float(value)
    return distances


def _costs(segments: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cost of substitutions, (S, S), and of insertions and deletions, (S,)."""
    n_features = len(features.table()[0])
    vectors = [features.vector_of(segment) for segment in segments]
    known = np.array([vector is not None for vector in vectors], dtype=bool)
    values = np.array([vector or (1,) * n_features for vector in vectors]).reshape(-1, n_features)
    insertion = np.where(values == 0, 0.5, 1.0).sum(-1) / n_features  # 1 for unknown segments
    substitution = np.abs(values[:, None] - values[None]).sum(-1) / (2 * n_features)
    substitution = np.where(known[:, None] & known[None], substitution, 1.0)
    np.fill_diagonal(substitution, 0.0)
    return substitution, insertion


def _align_batch(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    substitution: np.ndarray,
    insertion: np.ndarray,
) -> np.ndarray:
    """Return the distance of each pair, (B,), by dynamic programming over reference segments."""
    lengths = np.array([[len(side) for side in pair] for pair in pairs])  # (B, 2)
    references = _pad([reference for reference, _ in pairs])  # (B, N)
    hypotheses = _pad([hypothesis for _, hypothesis in pairs])  # (B, M)
    inserted = np.zeros((len(pairs), hypotheses.shape[1] + 1))  # cost of inserting m segments
    np.cumsum(insertion[hypotheses], axis=1, out=inserted[:, 1:])
    costs = inserted.copy()  # (B, M + 1), for the first n reference segments
    distances = np.empty(len(pairs))
    for n in range(references.shape[1] + 1):
        complete = lengths[:, 0] == n
        distances[complete] = costs[complete, lengths[complete, 1]]
        if n == references.shape[1]:
            break
        segments = references[:, n]
        best = costs + insertion[segments, None]  # delete the reference segment
        substituted = costs[:, :-1] + substitution[segments[:, None], hypotheses]
        best[:, 1:] = np.minimum(best[:, 1:], substituted)
        # the cheapest insertion is a running minimum over all positions to the left
        costs = np.minimum.accumulate(best - inserted, axis=1) + inserted
    return distances


def _pad(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Return an array of sequences, (B, longest). The padding, 0, does not affect the distances."""
    padded = np.zeros((len(sequences), max(map(len, sequences))), dtype=np.int64)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded
