"""Whether what a recogniser finds deviant is what people mark down: correlation with their scores.

Of every utterance: the share of its canonical units that it deviates in (edits from canonical to
what was recognised, or annotated, by their number), against a human score. A useful recogniser has
a negative correlation near the annotation's own, which is what can be had at most. Speakers are
resampled, as everywhere, because one speaker's utterances are alike.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from espnet_ext.scoring.bootstrap import RESAMPLES, SEED, draws, percentiles
from espnet_ext.scoring.counts import align, total_of

FEWEST = 10  # utterances; of fewer nothing is said


def read_scores(table: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Rows of utt2score by the name of the score; what is no number is passed over.

    >>> read_scores({"u1": "accuracy=8 fluency=x", "u2": "accuracy=9"})
    {'accuracy': {'u1': 8.0, 'u2': 9.0}}
    """
    found: dict[str, dict[str, float]] = {}
    for key, row in table.items():
        for pair in row.split():
            name, _, value = pair.partition("=")
            try:
                number = float(value)
            except ValueError:
                continue
            if np.isfinite(number):
                found.setdefault(name, {})[key] = number
    return found


def deviations(canonical: Mapping[str, str], said: Mapping[str, str]) -> dict[str, float]:
    """Edits from canonical to what was said, per canonical unit, of utterances that have both."""
    shared = [key for key in canonical if key in said and canonical[key].split()]
    if not shared:
        return {}
    columns = align([canonical[i].split() for i in shared], [said[i].split() for i in shared])
    return {
        key: total_of([own]).errors / len(canonical[key].split())
        for key, own in zip(shared, columns, strict=True)
    }


def rate(
    scores: Mapping[str, Mapping[str, float]],
    recognised: Mapping[str, float],
    annotated: Mapping[str, float],
    speakers: Mapping[str, str] | None = None,
) -> list[dict]:
    """A row for each score and measure: Pearson's r and Spearman's ρ with 95 % intervals.

    Recognised deviations over all utterances with a score, and, where some of them have no
    annotated surface, over those that have; then the annotation's own.

    Args:
        scores: name → utterance → score; recognised, annotated: utterance → `deviations`;
        speakers: utterance → speaker, for intervals.
    """
    both = {key: recognised[key] for key in recognised if key in annotated}
    measures = {
        "recognised": recognised,
        "recognised, where annotated": both,
        "annotated": {key: annotated[key] for key in both},
    }
    rows = []
    for score, given in scores.items():
        counts = [len(given.keys() & own.keys()) for own in (recognised, both)]
        for measure, values in measures.items():
            shared = sorted(given.keys() & values.keys())
            if len(shared) < FEWEST or (counts[0] == counts[1] and values is both):
                continue
            marks = np.array([given[key] for key in shared])
            found = np.array([values[key] for key in shared])
            owners = [speakers[key] for key in shared] if speakers else []
            rows.append(
                {
                    "score": score,
                    "measure": measure,
                    "utterances": len(shared),
                    "speakers": len(set(owners)),
                    **_both(found, marks, owners),
                }
            )
    return rows


def _both(x: np.ndarray, y: np.ndarray, owners: Sequence[str]) -> dict:
    """Both coefficients of (N,) with (N,); None where one of them does not vary."""
    ones = np.ones(len(x))
    found = {"pearson": pearson(x, y, ones), "spearman": spearman(x, y, ones)}
    intervals: dict = {"pearson": None, "spearman": None}
    names, places = np.unique(owners, return_inverse=True) if owners else ((), None)
    if len(names) > 1:
        weights = draws(len(names), RESAMPLES, SEED)[:, places]  # (R, N)
        for name, measure in (("pearson", pearson), ("spearman", spearman)):
            values = [measure(x, y, own) for own in weights]
            known = np.array([value for value in values if value is not None])
            intervals[name] = percentiles(known) if len(known) > RESAMPLES / 2 else None
    return {**found, "intervals": intervals}


def pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float | None:
    """Correlation of (N,) and (N,), each utterance counted `weights` (N,) times.

    >>> round(pearson(np.array([1, 2, 3]), np.array([2, 4, 7]), np.ones(3)), 4)
    0.9934
    """
    total = weights.sum()
    x = x - (weights * x).sum() / total
    y = y - (weights * y).sum() / total
    spread = (weights * x * x).sum() * (weights * y * y).sum()
    return float((weights * x * y).sum() / np.sqrt(spread)) if spread > 1e-18 else None


def spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float | None:
    """The correlation of ranks, equal values sharing the mean of theirs.

    >>> spearman(np.array([1, 2, 3]), np.array([1, 10, 100]), np.ones(3))
    1.0
    """
    value = pearson(_ranks(x, weights), _ranks(y, weights), weights)
    return None if value is None else round(value, 12)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    _, places = np.unique(values, return_inverse=True)
    counts = np.bincount(places, weights=weights)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
