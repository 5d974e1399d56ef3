"""The vectorised bootstrap compared with a loop, and properties of intervals."""

import numpy as np
import pytest

from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.bootstrap import interval, paired_interval, relative_change


def test_interval_matches_a_loop_over_drawn_speakers():
    generator = np.random.default_rng(5)
    tokens = generator.integers(50, 200, size=12)
    errors = generator.binomial(tokens, generator.uniform(0.05, 0.3, size=12))
    rates = []
    for _ in range(20000):
        drawn = generator.integers(0, 12, size=12)
        rates.append(100 * errors[drawn].sum() / tokens[drawn].sum())
    low, high = np.percentile(rates, [2.5, 97.5])
    assert interval(errors, tokens, resamples=20000) == pytest.approx((low, high), abs=0.25)


def test_interval_is_reproducible_and_contains_the_rate():
    errors, tokens = [1, 9, 3, 4], [50, 60, 40, 55]
    assert interval(errors, tokens) == interval(errors, tokens)
    low, high = interval(errors, tokens)
    assert low < 100 * sum(errors) / sum(tokens) < high


def test_one_speaker_has_no_interval():
    assert interval([3], [10]) is None
    assert paired_interval([1], [2], [10]) is None


def test_relative_change_matches_a_loop_over_drawn_speakers():
    generator = np.random.default_rng(5)
    a = generator.integers(10, 60, size=12)
    b = generator.binomial(a, 0.9)
    changes = []
    for _ in range(20000):
        drawn = generator.integers(0, 12, size=12)
        changes.append(100 * (b[drawn].sum() / a[drawn].sum() - 1))
    result = relative_change(a, b, resamples=20000)
    assert result["relative"] == pytest.approx(100 * (b.sum() / a.sum() - 1))
    low, high = np.percentile(changes, [2.5, 97.5])
    assert result["relative_interval"] == pytest.approx((low, high), abs=0.25)


def test_relative_change_is_undefined_without_errors_of_the_first_system():
    assert relative_change([0, 0], [1, 2]) == {"relative": None, "relative_interval": None}
    assert relative_change([4], [3]) == {"relative": -25.0, "relative_interval": None}


def test_paired_interval_removes_differences_between_speakers():
    tokens = [100] * 10
    a = [5, 40, 12, 33, 8, 50, 3, 21, 17, 29]
    b = [x + 1 for x in a]  # one more error for every speaker, so the difference is certain
    paired = paired_interval(a, b, tokens)
    assert paired["difference"] == pytest.approx(1.0)
    assert paired["interval"] == pytest.approx((1.0, 1.0))
    assert paired["p_value"] == pytest.approx(0.001)
    low, high = interval(a, tokens)
    assert high - low > 10  # but the rate of one system is very uncertain


def test_equal_systems_have_p_value_one():
    paired = paired_interval([1, 2, 3], [1, 2, 3], [10, 10, 10])
    assert paired["difference"] == 0 and paired["p_value"] == 1.0


def test_interval_does_not_depend_on_the_size_of_parts(monkeypatch):
    errors, tokens = [5, 40, 12, 33, 8], [100, 90, 50, 70, 20]
    whole = interval(errors, tokens)
    for size in (1, 23, 4999):
        monkeypatch.setattr(bootstrap, "_PART", size)
        assert interval(errors, tokens) == whole
