"""The regression on divergence compared with numpy's least squares."""

import numpy as np
import pytest

from espnet_ext.scoring.regression import regress_difference


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


def test_slope_is_estimated_with_length_and_language():
    """Length and distance are correlated here, so without length the slope would be too high."""
    source = np.random.default_rng(4)
    tokens = source.integers(5, 40, 200)
    distances = source.binomial(tokens, 0.2)
    exact = regress_difference(rows_of(distances, tokens, noise=0))["slopes"]["distance"]
    assert exact["slope"] == pytest.approx(0.5) and exact["interval"] == pytest.approx((0.5, 0.5))
    rows = rows_of(distances, tokens, noise=1.0)
    assert regress_difference(rows)["utterances"] == 200
    result = regress_difference(rows)["slopes"]["distance"]
    low, high = result["interval"]
    assert low < 0.5 < high and result["p_value"] == 0.001
    design = np.array([[r["distance"], r["tokens"], 1, r["l1"] == "ko"] for r in rows], float)
    expected = np.linalg.lstsq(design, [r["difference"] for r in rows], rcond=None)[0][0]
    assert result["slope"] == pytest.approx(expected)


def test_zero_slope_is_not_significant():
    source = np.random.default_rng(5)
    tokens = source.integers(5, 40, 200)
    rows = rows_of(source.binomial(tokens, 0.2), tokens, noise=3.0, slope=0.0)
    result = regress_difference(rows)["slopes"]["distance"]
    assert result["interval"][0] < 0 < result["interval"][1] and result["p_value"] > 0.05


def test_correlated_regressors_are_separated():
    """Only the first has an effect. The second is correlated with it."""
    source = np.random.default_rng(6)
    tokens = source.integers(5, 40, 300)
    regular = source.binomial(tokens, 0.2)
    learner = (regular + source.binomial(tokens, 0.1)) // 2
    rows = rows_of(regular, tokens, noise=1.0)
    rows = [{**row, "learner": int(n)} for row, n in zip(rows, learner, strict=True)]
    result = regress_difference(rows, ["distance", "learner"])["slopes"]
    names = ("distance", "learner", "tokens")
    design = np.array([[*(r[n] for n in names), 1, r["l1"] == "ko"] for r in rows], dtype=float)
    expected = np.linalg.lstsq(design, [r["difference"] for r in rows], rcond=None)[0]
    assert [result["distance"]["slope"], result["learner"]["slope"]] == pytest.approx(expected[:2])
    assert result["distance"]["p_value"] == 0.001
    low, high = result["learner"]["interval"]
    assert low < 0 < high
    single = regress_difference(rows, ["learner"])["slopes"]["learner"]
    assert single["interval"][0] > 0  # alone it takes over the effect of the first


def test_reasons_for_missing_slopes():
    rows = rows_of([1, 1, 1], [5, 6, 7], noise=0)
    assert regress_difference(rows)["lacks"] == "distance is the same in all utterances"
    rows = [{**row, "speaker": "s"} for row in rows_of([1, 2, 3], [5, 6, 7], noise=0)]
    assert (
        regress_difference(rows)["lacks"]
        == regress_difference([])["lacks"]
        == "fewer than two speakers"
    )
    rows = [{**row, "twice": 2 * row["distance"]} for row in rows_of(range(9), [5] * 9, noise=0)]
    assert "cannot be separated" in regress_difference(rows, ["distance", "twice"])["lacks"]
    rows = rows_of([5, 6, 7, 8], [5, 6, 7, 8], noise=0)
    assert (
        "cannot be separated" in regress_difference(rows)["lacks"]
    )  # the distance equals the length
    unknown = [{**row, "l1": None} for row in rows_of(range(20), [9] * 20, noise=0.1)]
    # a constant length is allowed
    assert regress_difference(unknown)["slopes"]["distance"]["slope"] > 0


def test_unknown_first_language_is_not_the_first_known_one():
    """Utterances without a first language are a group of their own."""
    source = np.random.default_rng(8)
    tokens = source.integers(5, 40, 200)
    rows = rows_of(source.binomial(tokens, 0.2), tokens, noise=0, l1s=("ko", None))
    result = regress_difference(rows)["slopes"]["distance"]
    assert result["slope"] == pytest.approx(0.5) and result["interval"] == pytest.approx((0.5, 0.5))
