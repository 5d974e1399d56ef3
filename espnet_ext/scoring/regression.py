"""Regression of the difference of two systems on divergence.

It tests whether system b makes more errors than system a on utterances whose references diverge
more (see `divergence`). Divergence and errors both grow with length, so the regression includes
length and first language.

Symbols: N utterances, S speakers, P regressors, R resamples.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from espnet_ext.scoring import bootstrap

# Largest share of resamples in which a slope may be undetermined. Above it there is no interval.
MAX_UNDETERMINED = 0.05


def regress_difference(
    rows: Sequence[Mapping], names: Sequence[str] = ("distance",), *, seed: int = bootstrap.SEED
) -> dict:
    """Estimate the additional errors of b over a per unit of each regressor.

    The model is ordinary least squares over utterances, with length and first language as further
    regressors. Intervals come from a bootstrap over speakers.

    Args:
        rows: per utterance: `difference` (errors of b − errors of a), a value for each of `names`,
            `tokens` (of the reference), `l1` (or None) and `speaker`.
        names: the regressors of interest.

    Returns: `utterances`, and either `slopes` or `lacks`, the reason why there are none. `slopes`
        has per name: `slope` in errors, `interval` and `p_value`. Interval and p-value are None if
        the slope is undetermined in more than 5 % of the resamples.
    """
    if reason := _why_undetermined(rows, names):
        return {"utterances": len(rows), "lacks": reason}
    design = _design_matrix(rows, names)  # (N, P)
    target = np.array([row["difference"] for row in rows], dtype=np.float64)  # (N,)
    speakers, speaker_of = np.unique([row["speaker"] for row in rows], return_inverse=True)
    masks = [speaker_of == s for s in range(len(speakers))]
    gram = np.stack([design[mask].T @ design[mask] for mask in masks])  # (S, P, P)
    moments = np.stack([design[mask].T @ target[mask] for mask in masks])  # (S, P)
    weights = bootstrap.speaker_weights(len(speakers), bootstrap.RESAMPLES, seed)  # (R, S)
    resampled = _least_squares(np.tensordot(weights, gram, 1), weights @ moments)  # (R, P)
    estimate = _least_squares(gram.sum(0)[None], moments.sum(0)[None])[0]  # (P,)
    slopes = {}
    for i, name in enumerate(names):
        determined = resampled[np.isfinite(resampled[:, i]), i]
        enough = len(determined) >= (1 - MAX_UNDETERMINED) * len(resampled)
        slopes[name] = {
            "slope": float(estimate[i]),
            "interval": bootstrap.percentile_interval(determined) if enough else None,
            "p_value": bootstrap.two_sided_p_value(determined) if enough else None,
        }
    return {"utterances": len(rows), "slopes": slopes}


def _why_undetermined(rows: Sequence[Mapping], names: Sequence[str]) -> str:
    """Return the reason why the slopes cannot be estimated, or "" if they can."""
    if len({row["speaker"] for row in rows}) < 2:
        return "fewer than two speakers"
    for name in names:
        if len({row[name] for row in rows}) < 2:
            return f"{name} is the same in all utterances"
    design = _design_matrix(rows, names)
    scaled = design / np.abs(design).max(0).clip(min=1.0)
    rank = np.linalg.matrix_rank(scaled)
    for i, name in enumerate(names):
        if np.linalg.matrix_rank(np.delete(scaled, i, axis=1)) == rank:
            return f"{name} cannot be separated from length, first language or another regressor"
    return ""


def _design_matrix(rows: Sequence[Mapping], names: Sequence[str]) -> np.ndarray:
    """Return (N, P): the named regressors, length, a constant, and indicators of first languages.

    The baseline has no indicator. It is the unknown language, if there is one, else the first.
    """
    languages = sorted({row["l1"] or "" for row in rows})[1:]
    return np.array(
        [
            [
                *(row[name] for name in names),
                row["tokens"],
                1.0,
                *((row["l1"] or "") == language for language in languages),
            ]
            for row in rows
        ],
        dtype=np.float64,
    )


def _least_squares(gram: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Solve the normal equations of each resample: (R, P, P), (R, P) → (R, P).

    A coefficient that a resample does not determine is NaN, for example if all its speakers have
    the same first language. The other coefficients are not affected.
    """
    scale = np.sqrt(np.einsum("rpp->rp", gram).clip(min=1e-300))
    scaled = gram / (scale[:, :, None] * scale[:, None])
    inverse = np.linalg.pinv(scaled, rcond=1e-10, hermitian=True)
    determined = np.abs(np.einsum("rpq,rqp->rp", inverse, scaled) - 1.0) < 1e-6
    coefficients = np.einsum("rpq,rq->rp", inverse, moments / scale) / scale
    return np.where(determined, coefficients, np.nan)
