"""Correlation of recognised deviations with human ratings.

The deviation of an utterance is the number of edits from its canonical units to the recognised (or
annotated) units, per canonical unit. A useful recogniser has a negative correlation with ratings
that is close to the correlation of the annotation, which is an upper bound in practice. Intervals
come from a bootstrap over speakers.

Symbols: N utterances, R resamples.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from espnet_ext.scoring.bootstrap import RESAMPLES, SEED, percentile_interval, speaker_weights
from espnet_ext.scoring.counts import edit_distances

MIN_UTTERANCES = 10  # correlations over fewer utterances are not reported


def read_scores(table: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return the ratings in the rows of an utt2score file: name → utterance → score.

    Values that are not finite numbers are ignored.

    >>> read_scores({"u1": "accuracy=8 fluency=x", "u2": "accuracy=9"})
    {'accuracy': {'u1': 8.0, 'u2': 9.0}}
    """
    scores: dict[str, dict[str, float]] = {}
    for utt_id, row in table.items():
        for pair in row.split():
            name, _, value = pair.partition("=")
            try:
                score = float(value)
            except ValueError:
                continue
            if np.isfinite(score):
                scores.setdefault(name, {})[utt_id] = score
    return scores


def deviations(canonical: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, float]:
    """Return the edits per canonical unit of every utterance that has both texts.

    >>> deviations({"u1": "S IY"}, {"u1": "S IH"})
    {'u1': 0.5}
    """
    shared = [utt_id for utt_id in canonical if utt_id in texts and canonical[utt_id].split()]
    references = [canonical[utt_id].split() for utt_id in shared]
    edits = edit_distances(references, [texts[utt_id].split() for utt_id in shared])
    return {
        utt_id: distance / len(reference)
        for utt_id, distance, reference in zip(shared, edits, references, strict=True)
    }


def correlate_ratings(
    scores: Mapping[str, Mapping[str, float]],
    recognised: Mapping[str, float],
    annotated: Mapping[str, float],
    speakers: Mapping[str, str] | None = None,
) -> list[dict]:
    """Return the correlations of deviations with every rating.

    There are up to three rows per rating: recognised deviations of all rated utterances; if some of
    these have no annotation, recognised deviations of those that have one; and annotated
    deviations.

    Args:
        scores: name → utterance → score.
        recognised, annotated: utterance → deviation (`deviations`).
        speakers: utterance → speaker, for intervals.

    Returns:
        Rows with `score`, `measure`, `utterances`, `speakers`, `pearson`, `spearman` and their 95 %
        `intervals`.
    """
    with_annotation = {key: recognised[key] for key in recognised if key in annotated}
    measures = {
        "recognised": recognised,
        "recognised, where annotated": with_annotation,
        "annotated": {key: annotated[key] for key in with_annotation},
    }
    rows = []
    for name, ratings in scores.items():
        all_annotated = len(ratings.keys() & recognised) == len(ratings.keys() & with_annotation)
        for measure, values in measures.items():
            shared = sorted(ratings.keys() & values.keys())
            is_repeated = all_annotated and values is with_annotation
            if len(shared) < MIN_UTTERANCES or is_repeated:
                continue
            speaker_names = [speakers[utt_id] for utt_id in shared] if speakers else []
            rows.append(
                {
                    "score": name,
                    "measure": measure,
                    "utterances": len(shared),
                    "speakers": len(set(speaker_names)),
                    **correlations(
                        [values[utt_id] for utt_id in shared],
                        [ratings[utt_id] for utt_id in shared],
                        speaker_names,
                    ),
                }
            )
    return rows


def correlations(
    values: Sequence[float], ratings: Sequence[float], speakers: Sequence[str]
) -> dict:
    """Return the correlations of N values and N ratings.

    Args:
        speakers: speakers of the values, N; or empty.

    Returns:
        `pearson`, `spearman`, and their 95 % `intervals` if there are several speakers.
    """
    x, y = np.asarray(values, float), np.asarray(ratings, float)
    coefficients = {"pearson": pearson, "spearman": spearman}
    names, speaker_of = np.unique(speakers, return_inverse=True)
    intervals: dict[str, tuple[float, float] | None] = dict.fromkeys(coefficients)
    if len(names) > 1:
        weights = speaker_weights(len(names), RESAMPLES, SEED)[:, speaker_of]  # (R, N)
        for name, coefficient in coefficients.items():
            resampled = [coefficient(x, y, row) for row in weights]
            defined = np.array([value for value in resampled if value is not None])
            if len(defined) > RESAMPLES / 2:
                intervals[name] = percentile_interval(defined)
    ones = np.ones(len(x))
    return {
        **{name: coefficient(x, y, ones) for name, coefficient in coefficients.items()},
        "intervals": intervals,
    }


def pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float | None:
    """Return Pearson's r of (N,) and (N,), or None if one of them is constant.

    Args:
        weights: how often each utterance counts, (N,). `scipy.stats` has no weights, and importing
            it takes about 1 s.

    >>> round(pearson(np.array([1, 2, 3]), np.array([2, 4, 7]), np.ones(3)), 4)
    0.9934
    """
    total = weights.sum()
    x = x - (weights * x).sum() / total
    y = y - (weights * y).sum() / total
    variances = (weights * x * x).sum() * (weights * y * y).sum()
    return float((weights * x * y).sum() / np.sqrt(variances)) if variances > 1e-18 else None


def spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float | None:
    """Return Spearman's ρ of (N,) and (N,), or None if one of them is constant.

    Args:
        weights: how often each utterance counts, (N,).

    >>> spearman(np.array([1, 2, 3]), np.array([1, 10, 100]), np.ones(3))
    1.0
    """
    value = pearson(_ranks(x, weights), _ranks(y, weights), weights)
    return None if value is None else round(value, 12)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ranks, (N,). Equal values share the mean of their ranks."""
    _, group_of = np.unique(values, return_inverse=True)
    sizes = np.bincount(group_of, weights=weights)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[group_of]
