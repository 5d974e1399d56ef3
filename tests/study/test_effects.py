"""Differences over speakers and seeds: hand computations, coverage by simulation, power."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from espnet_ext.study import effects, simulation
from espnet_ext.study.simulation import SCENARIOS, Components


def test_difference_and_interval_are_those_of_a_hand_computation():
    """Three speakers of 100 tokens, two trainings per system; all numbers by hand.

    Rates: a 10 and 12 %, b 15 and 15 %. The difference is 4 points. Seeds: variance of a is 2, and
    of its mean 1; of b, 0. Differences of the speakers, averaged over seeds: 2, 4 and 6 errors, so
    the deviations from 4 are -2, 0 and 2, and V_speakers = 1e4 · 3/2 · 8 / 300² = 4/3.
    """
    a = np.array([[10, 10, 10], [12, 12, 12]])
    b = np.array([[13, 15, 17], [13, 15, 17]])
    effect = effects.compare(a, b, np.array([100, 100, 100]))
    variance, df = 4 / 3 + 1, (4 / 3 + 1) ** 2 / ((4 / 3) ** 2 / 2 + 1**2 / 1)
    margin = stats.t.ppf(0.975, df) * variance**0.5
    assert (effect.rate_a, effect.rate_b, effect.difference) == (11, 15, 4)
    assert effect.df == pytest.approx(df) and effect.standard_error == pytest.approx(variance**0.5)
    assert effect.interval == pytest.approx((4 - margin, 4 + margin))
    assert effect.p_value == pytest.approx(2 * stats.t.sf(4 / variance**0.5, df))
    assert effect.p_permutation == 0.25  # 2 of 8 exchanges


def test_equal_seeds_give_a_paired_t_test():
    """Without variance of seeds and with equal tokens, it is the paired t test over speakers."""
    rng = np.random.default_rng(1)
    a, b = rng.poisson(20, 8), rng.poisson(25, 8)
    effect = effects.compare(np.stack([a] * 3), np.stack([b] * 3), np.full(8, 200))
    expected = stats.ttest_rel(b, a)
    assert effect.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert effect.interval == pytest.approx((interval.low / 2, interval.high / 2))


def test_equal_speakers_give_welchs_test():
    """If all speakers have the same difference, it is Welch's t test over seeds."""
    a, b = np.array([10, 12, 17]), np.array([20, 21, 25])
    wide_a, wide_b = (np.repeat(x[:, None], 4, axis=1) for x in (a, b))
    effect = effects.compare(wide_a, wide_b, np.full(4, 100))
    assert effect.p_value == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue)


def test_one_training_has_no_p_value_and_says_nothing_of_seeds():
    effect = effects.compare(np.array([[1, 2, 3]]), np.array([[2, 4, 5]]), np.array([10, 10, 10]))
    assert effect.p_value is None and effect.seeds == (1, 1) and effect.interval
    assert effects.compare(np.array([[1]]), np.array([[2]]), np.array([10])).interval is None


def test_copies_of_a_system_have_p_1_and_not_the_verdict_of_a_single_training():
    errors, tokens = np.array([[3, 4, 5]] * 2), np.array([10, 10, 10])
    same = effects.compare(errors, errors, tokens)
    assert (same.difference, same.interval, same.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert effects.compare(errors, errors + 1, tokens).p_value == 0.0  # t is infinite
    nearly = effects.compare(errors, errors + [[1, 1, 1], [1, 1, 2]], 1000 * tokens)
    assert 0 < nearly.p_value < 1


def test_speakers_without_tokens_are_left_out():
    a, b, tokens = np.array([[1, 2, 0], [2, 2, 0]]), np.array([[3, 2, 0], [2, 2, 0]]), [10, 20, 0]
    without = effects.compare(a[:, :2], b[:, :2], np.array(tokens[:2]))
    assert effects.compare(a, b, np.array(tokens)) == without and without.speakers == 2


@pytest.mark.parametrize("name", SCENARIOS)
def test_intervals_cover_the_true_difference(name):
    """At least 92 % of nominal 95 % intervals; 1,500 studies have a standard error of 0.6."""
    components, seeds, speakers = SCENARIOS[name]
    covered = simulation.coverage(components, np.full(speakers, 250), seeds, 1500)
    assert covered["t"] >= 92


def test_intervals_without_seeds_and_bootstrap_intervals_cover_less():
    components, seeds, speakers = SCENARIOS["seeds only"]
    covered = simulation.coverage(components, np.full(speakers, 250), seeds, 300, resamples=200)
    assert covered["speakers_only"] < 60 and covered["bootstrap"] < 91 < covered["t"]


def test_unequal_tokens_keep_the_coverage():
    tokens = np.random.default_rng(3).integers(60, 500, size=16)
    assert simulation.coverage(Components(), tokens, 3, 1500)["t"] >= 92


def test_tests_reject_a_true_null_hypothesis_rarely():
    a, b = simulation.simulate(Components(seed_a=1.5, seed_b=1.5), np.full(16, 250), 3, 1500)
    effect = effects.variance_of_difference(a, b, np.full(16, 250))
    p = 2 * stats.t.sf(np.abs(effect.difference) / effect.standard_error, effect.df)
    assert np.mean(p < 0.05) < 0.07


def test_detectable_difference_is_that_of_normal_theory():
    """With 40 seeds and 60 speakers the degrees of freedom do not matter: (1.96 + 0.84)·SE."""
    components = Components(system_by_speaker=2.0, seed_a=1.0, seed_b=1.0, seed_by_speaker=0.0)
    speakers, seeds, tokens = 60, 40, 100_000
    error = (2.0**2 / speakers + 2 * 1.0**2 / seeds) ** 0.5
    detectable = simulation.detectable_difference(
        components, np.full(speakers, tokens), seeds, 0.05, studies=1500
    )
    assert detectable == pytest.approx(2.80 * error, rel=0.08)


def test_fewer_tests_and_more_seeds_detect_smaller_differences():
    tokens, components = np.full(16, 250), Components()
    of = [
        simulation.detectable_difference(components, tokens, seeds, alpha, studies=800)
        for seeds, alpha in ((3, 0.05), (3, 0.005), (6, 0.005))
    ]
    assert of[0] < of[1] > of[2]


def test_variance_components_are_recovered():
    true = Components(
        rate=12.0, between_speakers=4.0, system_by_speaker=1.5, seed_a=0.8, seed_b=1.6
    )
    tokens = np.full(40, 2000)
    a, b = simulation.simulate(true, tokens, 12, 25)
    estimates = [simulation.estimate_components(x, y, tokens) for x, y in zip(a, b, strict=True)]
    for name in ("rate", "between_speakers", "system_by_speaker", "seed_a", "seed_b"):
        mean = np.mean([getattr(one, name) for one in estimates])
        assert mean == pytest.approx(getattr(true, name), rel=0.15), name
    mean = np.mean([one.seed_by_speaker for one in estimates])
    assert mean == pytest.approx(true.seed_by_speaker, rel=0.2)
    quiet = replace(true, seed_a=0.0)
    a, b = simulation.simulate(quiet, tokens, 12, 1)
    assert simulation.estimate_components(a[0], b[0], tokens).seed_a < 0.3
