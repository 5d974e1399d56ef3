"""Simulated studies: coverage of intervals, and which differences can be detected.

A training of system x with seed r makes a Poisson number of errors on speaker s, with the rate::

    rate_s + [x = b]·δ + u_{x,s} + v_{x,r} + w_{x,r,s}

rate_s is Gamma distributed over speakers; u (system × speaker), v (seed) and w (seed × speaker) are
normal with mean zero. All are in percentage points.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from espnet_ext.study import effects

SEED = 20261
POWER = 0.8


@dataclass(frozen=True)
class Components:
    """Standard deviations in percentage points, and the mean error rate of system a."""

    rate: float = 10.0
    between_speakers: float = 4.0
    system_by_speaker: float = 1.0
    seed_a: float = 0.5
    seed_b: float = 0.5
    seed_by_speaker: float = 0.5  # beside the Poisson noise of the counts


def simulate(
    components: Components,
    tokens: np.ndarray,
    seeds: int,
    studies: int,
    *,
    difference: float = 0.0,
    seed: int = SEED,
) -> tuple[np.ndarray, np.ndarray]:
    """Return simulated errors of systems a and b, each (studies, R, S).

    Args:
        tokens: reference tokens per speaker, (S,).
        seeds: trainings per system.
        difference: the true difference b − a in percentage points.
    """
    rng = np.random.default_rng(seed)
    speakers = len(tokens)
    shape = (components.rate / max(components.between_speakers, 1e-9)) ** 2
    base = rng.gamma(shape, components.rate / shape, size=(studies, 1, speakers))
    results = []
    for shift, deviation in ((0.0, components.seed_a), (difference, components.seed_b)):
        u = components.system_by_speaker / np.sqrt(2) * rng.normal(size=(studies, 1, speakers))
        v = deviation * rng.normal(size=(studies, seeds, 1))
        w = components.seed_by_speaker * rng.normal(size=(studies, seeds, speakers))
        rates = np.clip(base + shift + u + v + w, 0.0, None)
        results.append(rng.poisson(rates / 100.0 * tokens).astype(np.float64))
    return results[0], results[1]


def coverage(
    components: Components,
    tokens: np.ndarray,
    seeds: int,
    studies: int,
    *,
    resamples: int = 0,
    difference: float = 1.0,
    seed: int = SEED,
) -> dict[str, float | None]:
    """Return how often nominal 95 % intervals contain the true difference, in percent.

    Returns: `t` of the interval of `effects.compare`; `speakers_only` of one that ignores seeds;
        and `bootstrap` of the two-level bootstrap (None without `resamples`).
    """
    a, b = simulate(components, tokens, seeds, studies, difference=difference, seed=seed)
    variance = effects.variance_of_difference(a, b, tokens)
    misses = np.abs(variance.difference - difference)
    within = misses <= effects.critical_values(variance.df) * variance.standard_error
    only_speakers = np.asarray(float(len(tokens) - 1))
    narrow = misses <= effects.critical_values(only_speakers) * np.sqrt(variance.speakers)
    resampled = None
    if resamples:
        bounds = [
            effects.bootstrap_interval(x, y, tokens, resamples, seed + n)
            for n, (x, y) in enumerate(zip(a, b, strict=True))
        ]
        resampled = 100.0 * float(np.mean([low <= difference <= high for low, high in bounds]))
    return {
        "t": 100.0 * float(within.mean()),
        "speakers_only": 100.0 * float(narrow.mean()),
        "bootstrap": resampled,
    }


SCENARIOS: Mapping[str, tuple[Components, int, int]] = {  # components, seeds, speakers
    "seeds equal": (Components(seed_a=0.0, seed_b=0.0, seed_by_speaker=0.0), 3, 16),
    "small variance of seeds": (Components(seed_a=0.2, seed_b=0.2), 3, 16),
    "medium variance of seeds": (Components(), 3, 16),
    "large variance of seeds": (Components(seed_a=1.5, seed_b=1.5), 3, 16),
    "variance of seeds of one system": (Components(seed_a=0.1, seed_b=1.5), 3, 16),
    "seeds only": (Components(system_by_speaker=0.0, seed_a=2.0, seed_b=2.0), 3, 16),
    "speakers differ strongly": (Components(between_speakers=8.0, system_by_speaker=3.0), 3, 16),
    "low error rate": (Components(rate=3.0, between_speakers=2.0, system_by_speaker=0.5), 3, 16),
    "two seeds": (Components(), 2, 16),
    "five seeds": (Components(), 5, 16),
    "six speakers": (Components(), 3, 6),
}


def coverage_table(
    studies: int = 2000, resamples: int = 400, tokens_per_speaker: int = 250
) -> Iterator[dict[str, Any]]:
    """Yield one row per scenario: components, seeds, speakers and coverages."""
    for name, (components, seeds, speakers) in SCENARIOS.items():
        tokens = np.full(speakers, tokens_per_speaker)
        row = coverage(components, tokens, seeds, studies, resamples=resamples)
        yield {
            "scenario": name,
            "seeds": seeds,
            "speakers": speakers,
            **asdict(components),
            **row,
        }


def estimate_components(a: np.ndarray, b: np.ndarray, tokens: np.ndarray) -> Components:
    """Return the variance components of two systems, by the method of moments.

    Negative estimates become zero. The Poisson noise of the counts is taken from the variance of
    seeds × speakers, so that it can be added again for a test set of another size.

    Args:
        a, b: errors, (R_a, S) and (R_b, S), R ≥ 2.
        tokens: reference tokens per speaker, (S,), all above zero.
    """
    speakers = len(tokens)
    interactions, seed_deviations = [], []
    for errors in (a, b):
        rates = 100.0 * errors / tokens  # (R, S)
        count = len(rates)
        overall = 100.0 * errors.sum(-1) / tokens.sum()  # (R,)
        residuals = rates - rates.mean(0) - rates.mean(1)[:, None] + rates.mean()
        interaction = np.square(residuals).sum() / ((count - 1) * (speakers - 1))
        interactions.append(interaction)
        seed_deviations.append(max(0.0, overall.var(ddof=1) - interaction / speakers) ** 0.5)
    noise = float(np.mean([100.0 * (100.0 * x / tokens).mean() / tokens.mean() for x in (a, b)]))
    differences = 100.0 * (b.mean(0) - a.mean(0)) / tokens
    of_seeds = sum(x / len(errors) for x, errors in zip(interactions, (a, b), strict=True))
    by_speaker = max(0.0, differences.var(ddof=1) - of_seeds)
    base = 100.0 * np.concatenate([a, b]).mean(0) / tokens
    return Components(
        rate=float(100.0 * a.sum() / tokens.sum() / len(a)),
        between_speakers=float(base.std(ddof=1)),
        system_by_speaker=float(by_speaker**0.5),
        seed_a=float(seed_deviations[0]),
        seed_b=float(seed_deviations[1]),
        seed_by_speaker=float(max(0.0, float(np.mean(interactions)) - noise) ** 0.5),
    )


def detectable_difference(
    components: Components,
    tokens: Sequence[float] | np.ndarray,
    seeds: int,
    alpha: float,
    *,
    studies: int = 4000,
    power: float = POWER,
    seed: int = SEED,
) -> float:
    """Return the difference in points that a t test at level `alpha` finds with a certain power.

    The difference is added to simulated studies without one, which leaves their estimated variance
    unchanged.
    """
    components = replace(components, rate=max(components.rate, 1e-3))
    a, b = simulate(components, np.asarray(tokens), seeds, studies, seed=seed)
    variance = effects.variance_of_difference(a, b, np.asarray(tokens))
    margins = effects.critical_values(variance.df, alpha) * variance.standard_error  # (studies,)
    low, high = 0.0, 1.0
    while np.mean(np.abs(variance.difference + high) > margins) < power and high < 1e3:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        if np.mean(np.abs(variance.difference + middle) > margins) < power:
            low = middle
        else:
            high = middle
    return high
