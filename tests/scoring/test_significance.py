"""Permutation tests and Holm's correction compared with their definitions and scipy."""

import itertools
import random

import numpy as np
import pytest

from espnet_ext.scoring.significance import MAX_EXACT_SPEAKERS, holm, sign_flip_test


def test_holm_matches_its_definition():
    source = random.Random(0)
    for _ in range(50):
        p_values = [source.random() for _ in range(source.randint(1, 6))]
        ordered = sorted(p_values)
        expected = {
            p: min(1.0, max((len(p_values) - j) * ordered[j] for j in range(i + 1)))
            for i, p in enumerate(ordered)
        }
        assert holm(p_values) == pytest.approx([expected[p] for p in p_values])
    assert holm([]) == [] and holm([None, 0.5]) == [None, 0.5]


def test_sign_flip_test_tries_all_patterns():
    source = random.Random(1)
    for _ in range(20):
        values = [source.randint(-5, 5) for _ in range(source.randint(2, 7))]
        sums = [
            abs(sum(s * v for s, v in zip(signs, values, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(values))
        ]
        expected = sum(s >= abs(sum(values)) for s in sums) / len(sums)
        assert sign_flip_test(values) == pytest.approx(expected)
    assert sign_flip_test([3]) is None
    assert sign_flip_test([0, 0, 0]) == 1.0


def test_sign_flip_test_matches_scipy_for_many_speakers():
    scipy = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).normal(0.4, 1, MAX_EXACT_SPEAKERS + 8)
    expected = scipy.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=20000, rng=0
    ).pvalue
    assert sign_flip_test(list(values)) == pytest.approx(expected, abs=0.02)
