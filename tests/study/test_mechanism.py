"""Correlations of measures of models with differences."""

import itertools

import numpy as np
import pytest
from grids import made_up, study_of
from scipy.stats import spearmanr

from espnet_ext.study.design import Comparison, Setting
from espnet_ext.study.mechanism import (
    PREDICTORS,
    WITHIN,
    Point,
    correlation,
    correlations,
    points,
    relative_cka,
)
from espnet_ext.study.results import Results


def point(setting, x, y):
    comparison = Comparison("c", "so_surface", "do", "surface", "?", meaning_ctc=0)
    return Point(Setting("normal", "ko", setting), comparison, y, {"cka": x})


def test_correlation_is_pearsons_and_spearmans():
    x, y = [0.1, 0.4, 0.2, 0.9, 0.5, 0.7, 0.3], [3.0, 1.0, 2.5, -4.0, 0.0, -1.0, 0.5]
    of_points = correlation("surface", "cka", [point(n, *xy) for n, xy in enumerate(zip(x, y))])  # noqa: B905
    assert of_points.pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert of_points.spearman == pytest.approx(-0.964, abs=0.001)
    low, high = of_points.interval
    assert -1 <= low <= of_points.pearson <= high < 0


def test_correlations_within_comparisons_and_languages():
    """Groups with other means: r of all points is near 1, although it is −0.5 within each."""
    rng = np.random.default_rng(6)
    of_output, x, y = [], [], []
    for number, (name, language) in enumerate(itertools.product("ab", ("ko", "en"))):
        comparison = Comparison(name, "so_surface", "do", "surface", "?", meaning_ctc=0)
        noise = rng.standard_normal((2, 8))
        of_group = noise[0] + 20 * number, -0.5 * noise[0] + noise[1] * 0.75**0.5 + 20 * number
        for share, (predictor, difference) in enumerate(zip(*of_group, strict=True)):
            setting = Setting("normal", language, share)
            of_output.append(Point(setting, comparison, difference, {"cka": predictor}))
        x.append(of_group[0] - np.mean(of_group[0]))
        y.append(of_group[1] - np.mean(of_group[1]))
    measured = dict(correlations("surface", "cka", of_output))
    assert list(measured) == ["all", "a", "b", WITHIN]
    assert measured["all"].pearson > 0.95 and measured["a"].points == measured["b"].points == 16
    expected = np.corrcoef(np.concatenate(x), np.concatenate(y))[0, 1]
    assert measured[WITHIN].pearson == pytest.approx(expected) and expected < 0
    assert measured[WITHIN].spearman == pytest.approx(
        spearmanr(np.concatenate(x), np.concatenate(y)).statistic
    )
    low, high = measured[WITHIN].interval
    assert low < expected < high < 0.5 and (measured[WITHIN].points, measured[WITHIN].settings) == (
        32,
        16,
    )


def test_one_comparison_is_not_reported_twice():
    of_output = [point(number, *xy) for number, xy in enumerate([(1, 2), (2, 1), (3, 5), (4, 3)])]
    assert [name for name, _ in correlations("surface", "cka", of_output)] == ["all"]


def test_few_points_have_no_correlation_or_no_interval():
    assert correlation("surface", "cka", [point(n, n, n) for n in range(3)]) is None
    same_setting = [point(n % 2, n, n) for n in range(8)]
    assert correlation("surface", "cka", same_setting).interval is None


def test_ceiling_needs_two_seeds_of_both_systems():
    pair = {"a": "x", "b": "y", "ceiling": False, "cka": 0.5}
    twins = {"a": "x", "b": "x", "ceiling": True, "cka": 0.8}
    assert relative_cka([pair, twins], "x", "y") is None
    assert relative_cka([pair, twins, {**twins, "a": "y", "b": "y"}], "y", "x") == 0.625


def test_encoders_of_one_output_count_for_this_output():
    """Of a system with an encoder output per output, that of the compared output."""
    pair = {"a": "x", "b": "y", "ceiling": False, "cka": 0.5}
    pairs = [{**pair, "output_b": "surface"}, {**pair, "output_b": "meaning", "cka": 0.1}]
    within = {"a": "y", "b": "y", "ceiling": False, "cka": 0.7}
    pairs.append({**within, "output_a": "surface", "output_b": "meaning"})
    twins = [{"a": "x", "b": "x", "ceiling": True, "cka": 0.8}]
    for output, value in (("surface", 0.9), ("meaning", 0.6)):
        of_output = {"output_a": output, "output_b": output, "ceiling": True, "cka": value}
        twins.append({"a": "y", "b": "y", **of_output})
    rows = pairs + twins
    assert relative_cka(rows, "x", "y", "surface") == pytest.approx(0.5 / 0.85)
    assert relative_cka(rows, "x", "y", "meaning") == pytest.approx(0.1 / 0.7)
    assert relative_cka(rows, "x", "y") is None


def test_points_have_the_predictors_that_were_measured(tmp_path):
    study = study_of(tmp_path, shares=[1.0])
    content = made_up(
        study, lambda cell, output: 10, cosine=lambda cell: 0.1 * (cell.language == "ko")
    )
    base = {"condition": "normal", "language": "ko", "share": 1.0, "seed": 0, "layer": "1"}
    for a, b, ceiling, value in (
        ("so_surface", "do", False, 0.4),
        ("so_surface", "so_meaning", False, 0.2),
        ("so_surface", "so_surface", True, 0.8),
        ("so_meaning", "so_meaning", True, 0.8),
        ("do", "do", True, 0.8),
    ):
        content["similarity"].append({**base, "a": a, "b": b, "ceiling": ceiling, "cka": value})
    of_surface = points(study, Results(content, "valid"), "surface")
    by_setting = {str(one.setting): one.predictors for one in of_surface}
    assert by_setting["normal, ko, 100 %"] == pytest.approx(
        {"cka": 0.5, "cka_single": 0.25, "cosine": 0.1}
    )
    assert by_setting["fewer, en, 100 %"] == {"cosine": 0.0}


def test_swaps_and_probes_are_averaged_over_the_seeds_that_have_both(tmp_path):
    """By hand: on the encoder of do, the decoder of so_surface loses 4 and 2 points."""
    study = study_of(tmp_path, shares=[1.0])
    content = made_up(study, lambda cell, output: 10)
    place = {"condition": "normal", "language": "ko", "share": 1.0}
    swap = {**place, "output": "surface", "decoder": "so_surface", "encoder_output": None}
    content["swaps"] = [
        {**swap, "seed": seed, "encoder": encoder, "connection": connection, "rate": rate}
        for seed, encoder, connection, rate in (
            *((0, "so_surface", "unswapped", 10.0), (0, "do", "stitched", 14.0)),
            *((1, "so_surface", "unswapped", 11.0), (1, "do", "stitched", 13.0)),
            *((2, "so_surface", "unswapped", 99.0), (0, "do", "direct", 99.0)),
            (1, "so_meaning", "stitched", 99.0),
        )
    ]
    content["swaps"].append({**content["swaps"][1], "encoder_output": "meaning", "rate": 99.0})
    probe = {**place, "seed": 0, "task": "surface", "layer": "1"}
    content["probes"] = [
        {**probe, "system": system, "output": output, "accuracy": accuracy}
        for system, output, accuracy in (
            *(("so_surface", None, 60.0), ("do", "surface", 65.5)),
            ("do", "meaning", 1.0),
        )
    ]
    [point] = points(study, Results(content, "valid"), "surface")
    assert point.predictors == pytest.approx({"swap": 3.0, "probe": 5.5})
    assert {"swap", "probe"} < set(PREDICTORS)
