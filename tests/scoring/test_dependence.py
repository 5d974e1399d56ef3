"""Tests and regressions against closed forms, scipy and plain definitions."""

import itertools
import random

import numpy as np
import pytest

from espnet_ext.scoring.dependence import EXACT, holm, regression, sign_flips


def test_holm_by_its_definition():
    source = random.Random(0)
    for _ in range(50):
        given = [source.random() for _ in range(source.randint(1, 6))]
        ordered = sorted(given)
        wanted = {
            p: min(1.0, max((len(given) - j) * ordered[j] for j in range(i + 1)))
            for i, p in enumerate(ordered)
        }
        assert holm(given) == pytest.approx([wanted[p] for p in given])
    assert holm([]) == [] and holm([None, 0.5]) == [None, 0.5]


def test_sign_flips_tries_all_ways():
    source = random.Random(1)
    for _ in range(20):
        values = [source.randint(-5, 5) for _ in range(source.randint(2, 7))]
        sums = [
            abs(sum(s * v for s, v in zip(signs, values, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(values))
        ]
        wanted = sum(s >= abs(sum(values)) for s in sums) / len(sums)
        assert sign_flips(values) == pytest.approx(wanted)
    assert sign_flips([3]) is None
    assert sign_flips([0, 0, 0]) == 1.0


def test_many_speakers_are_drawn():
    scipy = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).normal(0.4, 1, EXACT + 8)
    wanted = scipy.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=20000, rng=0
    ).pvalue
    assert sign_flips(list(values)) == pytest.approx(wanted, abs=0.02)


def rows_of(distances, tokens, noise, slope=0.5, l1s=("ko", "ja")):
    source = np.random.default_rng(3)
    return [
        {
            "distance": int(d),
            "tokens": int(t),
            "speaker": f"s{i % 8}",
            "l1": l1s[i % len(l1s)],
            "difference": slope * d + 0.1 * t - 2 + 3 * (i % len(l1s)) + noise * source.normal(),
        }
        for i, (d, t) in enumerate(zip(distances, tokens, strict=True))
    ]


def test_the_slope_is_found_beside_length_and_language():
    """Length goes with distance here: without it in the regression, the slope would be too high."""
    source = np.random.default_rng(4)
    tokens = source.integers(5, 40, 200)
    distances = source.binomial(tokens, 0.2)
    exact = regression(rows_of(distances, tokens, noise=0))
    exact = exact["slopes"]["distance"]
    assert exact["slope"] == pytest.approx(0.5) and exact["interval"] == pytest.approx((0.5, 0.5))
    rows = rows_of(distances, tokens, noise=1.0)
    assert regression(rows)["utterances"] == 200
    found = regression(rows)["slopes"]["distance"]
    low, high = found["interval"]
    assert low < 0.5 < high and found["p_value"] == 0.001
    design = np.array([[r["distance"], r["tokens"], 1, r["l1"] == "ko"] for r in rows], float)
    wanted = np.linalg.lstsq(design, [r["difference"] for r in rows], rcond=None)[0][0]
    assert found["slope"] == pytest.approx(wanted)


def test_no_dependence_is_not_found():
    source = np.random.default_rng(5)
    tokens = source.integers(5, 40, 200)
    rows = rows_of(source.binomial(tokens, 0.2), tokens, noise=3.0, slope=0.0)
    found = regression(rows)["slopes"]["distance"]
    assert found["interval"][0] < 0 < found["interval"][1] and found["p_value"] > 0.05


def test_two_regressors_are_told_apart():
    """The first does harm, the second, which goes with it, does not."""
    source = np.random.default_rng(6)
    tokens = source.integers(5, 40, 300)
    regular = source.binomial(tokens, 0.2)
    learner = (regular + source.binomial(tokens, 0.1)) // 2
    rows = rows_of(regular, tokens, noise=1.0)
    rows = [{**row, "learner": int(n)} for row, n in zip(rows, learner, strict=True)]
    found = regression(rows, ["distance", "learner"])["slopes"]
    names = ("distance", "learner", "tokens")
    design = np.array([[*(r[n] for n in names), 1, r["l1"] == "ko"] for r in rows], dtype=float)
    wanted = np.linalg.lstsq(design, [r["difference"] for r in rows], rcond=None)[0]
    assert [found["distance"]["slope"], found["learner"]["slope"]] == pytest.approx(wanted[:2])
    assert found["distance"]["p_value"] == 0.001
    low, high = found["learner"]["interval"]
    assert low < 0 < high
    alone = regression(rows, ["learner"])["slopes"]["learner"]
    assert alone["interval"][0] > 0  # by itself it is taken for what goes with it


def test_where_nothing_can_be_said():
    rows = rows_of([1, 1, 1], [5, 6, 7], noise=0)
    assert regression(rows)["lacks"] == "distance is the same in all utterances"
    rows = [{**row, "speaker": "s"} for row in rows_of([1, 2, 3], [5, 6, 7], noise=0)]
    assert regression(rows)["lacks"] == regression([])["lacks"] == "fewer than two speakers"
    rows = [{**row, "twice": 2 * row["distance"]} for row in rows_of(range(9), [5] * 9, noise=0)]
    assert "cannot be told" in regression(rows, ["distance", "twice"])["lacks"]
    rows = rows_of([5, 6, 7, 8], [5, 6, 7, 8], noise=0)
    assert "cannot be told" in regression(rows)["lacks"]  # every token differs: that is length
    unknown = [{**row, "l1": None} for row in rows_of(range(20), [9] * 20, noise=0.1)]
    # lengths that do not vary do no harm
    assert regression(unknown)["slopes"]["distance"]["slope"] > 0
