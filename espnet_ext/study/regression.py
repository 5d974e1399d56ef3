"""What drives the sign of a difference: a mixed-effects regression over all settings.

One row is a comparison of two systems with equal heads, in one setting, for one speaker and one
pair of trainings (seed r of a with seed r of b)::

    difference = β0 + β1·log2(share) + β2·divergence + β3·meaning_ctc + β4·language
                 + setting + comparison in the setting + training of a + training of b + speaker
                 + residual

The last two lines have random effects, crossed with each other. Without that of the setting, which
its comparisons have in common, a predictor that only varies between settings would look more
certain than it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from espnet_ext.errors import UserError
from espnet_ext.study.design import Study
from espnet_ext.study.results import Results

RANDOM = ("setting", "comparison", "training_a", "training_b", "speaker")
MIN_SETTINGS = 6  # of comparisons, beyond the coefficients; with fewer, nothing is estimated


@dataclass(frozen=True)
class Coefficient:
    """A fixed effect in percentage points per unit of its predictor."""

    name: str
    estimate: float
    standard_error: float
    df: int
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class Fit:
    """A fitted regression."""

    output: str
    coefficients: Sequence[Coefficient]
    deviations: Mapping[str, float]  # random effect or "residual" → standard deviation
    rows: int
    settings: int
    converged: bool


def regression_rows(study: Study, results: Results, output: str) -> list[dict[str, Any]]:
    """Return the rows of an output: difference in points, predictors and groups."""
    rows = []
    for comparison in study.comparisons:
        if comparison.output != output or comparison.meaning_ctc is None:
            continue
        for setting in study.settings():
            a = results.errors(setting, comparison.a, output)
            b = results.errors(setting, comparison.b, output)
            if a is None or b is None:
                continue
            data, tokens = results.data(setting), results.tokens(setting, output)
            for number in range(min(len(a), len(b))):
                for s, speaker in enumerate(data["speakers"]):
                    if not tokens[s] or data["learner"][s] is None:
                        continue
                    rows.append(
                        {
                            "difference": 100.0 * (b[number, s] - a[number, s]) / tokens[s],
                            "log2_share": float(np.log2(setting.share)),
                            "divergence": data["learner"][s],
                            "divergence_pair": data["learner_pair"],
                            "meaning_ctc": comparison.meaning_ctc,
                            "language": setting.language,
                            "setting": str(setting),
                            "comparison": f"{setting} {comparison.name}",
                            "training_a": f"{setting} {comparison.a} {number}",
                            "training_b": f"{setting} {comparison.b} {number}",
                            "speaker": f"{setting.language} {speaker}",
                        }
                    )
    return rows


def divergence_pairs(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return pair of transcripts → settings whose divergence is the distance between these.

    The pair is `surface-canonical` where the data has a canonical form, else `surface-meaning`.
    """
    pairs: dict[str, list[str]] = {}
    for row in rows:
        settings = pairs.setdefault(row["divergence_pair"], [])
        if row["setting"] not in settings:
            settings.append(row["setting"])
    return pairs


def design_matrix(rows: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, list[str]]:
    """Return the predictors, (N, P), and their names. Predictors without variation are left out.

    Divergence is left out, too, if settings measure it between different pairs of transcripts
    (`divergence_pairs`): one slope cannot describe two measures. It is centred at
    its mean, so that the intercept is the difference at full size, at mean divergence, without CTC
    of the meaning, in the first language.
    """
    columns = {"intercept": np.ones(len(rows))}
    columns["log2 share"] = np.array([row["log2_share"] for row in rows])
    if len(divergence_pairs(rows)) < 2:
        divergence = np.array([row["divergence"] for row in rows], dtype=np.float64)
        columns["divergence, edits per 100 tokens"] = divergence - divergence.mean()
    columns["CTC of the meaning"] = np.array([float(row["meaning_ctc"]) for row in rows])
    languages = list(dict.fromkeys(row["language"] for row in rows))
    for language in languages[1:]:
        name = f"{language} instead of {languages[0]}"
        columns[name] = np.array([float(row["language"] == language) for row in rows])
    names = [
        name for name, values in columns.items() if name == "intercept" or np.ptp(values) > 1e-9
    ]
    return np.stack([columns[name] for name in names], axis=1), names


def fit(rows: Sequence[Mapping[str, Any]], output: str = "", random: Sequence[str] = RANDOM) -> Fit:
    """Fit the regression by restricted maximum likelihood.

    The degrees of freedom are those of the settings that remain after the coefficients. This is
    conservative for divergence, which also varies between the speakers of a setting.

    Args:
        rows: as `regression_rows` returns.
        random: groups that have a random effect; the first one determines the degrees of freedom.

    Raises:
        UserError: there are too few settings, or their predictors cannot be separated.
    """
    if not rows:
        raise UserError(f"{output}: no rows for the regression", "collect more cells")
    matrix, names = design_matrix(rows)
    settings = len({row[random[0]] for row in rows})
    of_comparisons = len({row.get("comparison", row[random[0]]) for row in rows})
    for count, least in ((of_comparisons, len(names) + MIN_SETTINGS), (settings, len(names) + 1)):
        if count < least:
            raise UserError(
                f"{output}: {count} {'setting is' if count == 1 else 'settings are'} too few for "
                f"{len(names)} coefficients",
                "run more cells of the grid",
            )
    target = np.array([row["difference"] for row in rows])
    if np.linalg.matrix_rank(matrix) < len(names):
        raise UserError(
            f"{output}: the effects of {', '.join(names[1:])} cannot be separated",
            "run more cells of the grid",
        )
    fitted = _fit_mixed_model(target, matrix, [_indicators(rows, name) for name in random])
    df = settings - len(names)
    from scipy.stats import t

    margin = float(t.ppf(0.975, df))
    coefficients = [
        Coefficient(
            *(name, float(value), float(error), df),
            (float(value - margin * error), float(value + margin * error)),
            float(2 * t.sf(abs(value / error), df)),
        )
        for name, value, error in zip(
            names, fitted.coefficients, fitted.standard_errors, strict=True
        )
    ]
    deviations = {
        name: float(variance) ** 0.5
        for name, variance in zip(random, fitted.variances, strict=True)
    }
    deviations["residual"] = fitted.residual**0.5
    return Fit(output, coefficients, deviations, len(rows), settings, fitted.converged)


def _indicators(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Return which row belongs to which level of a group, (N, levels), zeros and ones."""
    levels = sorted({row[name] for row in rows})
    index = {level: number for number, level in enumerate(levels)}
    indicators = np.zeros((len(rows), len(levels)))
    indicators[np.arange(len(rows)), [index[row[name]] for row in rows]] = 1.0
    return indicators


@dataclass(frozen=True)
class _MixedModel:
    """Estimates of a linear mixed model."""

    coefficients: np.ndarray  # (P,)
    standard_errors: np.ndarray  # (P,)
    variances: np.ndarray  # variances of the random effects, (K,)
    residual: float  # variance
    converged: bool


def _fit_mixed_model(
    target: np.ndarray, matrix: np.ndarray, indicators: Sequence[np.ndarray]
) -> _MixedModel:
    """Fit a linear mixed model with crossed random effects, by restricted maximum likelihood.

    As in Bates et al., J. Stat. Software 2015, sections 3.4 and 4, the optimiser only sees θ, the
    standard deviations of the random effects relative to that of the residual. θ = 0 is allowed.
    For each θ the coefficients and the residual variance have a closed form.

    Args:
        target: (N,). matrix: (N, P). indicators: one (N, levels) per random effect.
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize

    groups = np.concatenate(indicators, axis=1)  # (N, Q)
    sizes = [columns.shape[1] for columns in indicators]
    both = np.column_stack([matrix, target])  # (N, P + 1)
    inner_groups, inner_both = groups.T @ groups, both.T @ both
    between = groups.T @ both  # (Q, P + 1)
    freedom = matrix.shape[0] - matrix.shape[1]

    def solve(theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
        """Return −2 log-likelihood, coefficients, their unscaled covariance, residual variance."""
        scale = np.repeat(theta, sizes)  # (Q,)
        # The inverse of I + ZΘΘZ' by Woodbury's identity
        factor = cho_factor(np.eye(len(scale)) + scale[:, None] * inner_groups * scale, lower=True)
        scaled = scale[:, None] * between
        moments = inner_both - scaled.T @ cho_solve(factor, scaled)  # (P + 1, P + 1)
        information = moments[:-1, :-1]
        coefficients = np.linalg.solve(information, moments[:-1, -1])
        residual = max(float(moments[-1, -1] - moments[:-1, -1] @ coefficients) / freedom, 1e-12)
        determinants = 2 * np.log(np.diag(factor[0])).sum() + np.linalg.slogdet(information)[1]
        return (
            freedom * np.log(residual) + determinants,
            *(coefficients, np.linalg.inv(information), residual),
        )

    starts = [np.full(len(sizes), value) for value in (0.3, 1.0, 3.0)]
    bounds = [(0.0, 1e3)] * len(sizes)
    fits = [minimize(lambda theta: solve(theta)[0], start, bounds=bounds) for start in starts]
    best = min(fits, key=lambda result: result.fun)
    # The gradient is zero where a standard deviation is zero, and the maximum is flat, so the fits
    # above can stop too early. A search without gradients continues.
    polished = minimize(
        lambda theta: solve(theta)[0],
        best.x,
        method="Nelder-Mead",
        bounds=bounds,
        options={"xatol": 1e-7, "fatol": 1e-9, "maxfev": 5000},
    )
    if polished.fun <= best.fun:
        best = polished
    _, coefficients, covariance, residual = solve(best.x)
    return _MixedModel(
        coefficients,
        np.sqrt(residual * np.diag(covariance)),
        residual * best.x**2,
        residual,
        bool(best.success),
    )
