"""Calibration: isotonic and logistic regression, calibration error, operating points, the file."""

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from espnet_ext.errors import UserError
from espnet_ext.feedback import calibration as c


def sample(count=400, seed=0):
    """Return features, outcomes with P(real) = logistic(first feature), and speakers."""
    random = np.random.default_rng(seed)
    scores = random.normal(0.0, 2.0, count).round(1)  # with ties
    is_real = random.random(count) < 1 / (1 + np.exp(-scores))
    rows = [(score, 0.0, 0.0, 0.0) for score in scores]
    return rows, is_real.tolist(), [f"s{i % 4}" for i in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_regression_equals_scikit_learn(seed):
    rows, is_real, _ = sample(60, seed)
    scores = [row[0] for row in rows]
    _, values = c.isotonic(scores, is_real)
    fitted = IsotonicRegression().fit(scores, np.array(is_real, float)).predict(scores)
    assert sorted(set(values.round(9))) == pytest.approx(sorted(set(fitted.round(9))))


def test_logistic_regression_equals_scikit_learn():
    rows, is_real, _ = sample(2000)
    random = np.random.default_rng(1)
    features = np.array(rows) + random.normal(size=(2000, 4)) * [0, 1, 1, 1]
    weights = c.logistic(features, is_real)
    fitted = LogisticRegression(C=1e6).fit(features, is_real)
    assert weights[:-1] == pytest.approx(fitted.coef_[0], abs=0.05)
    assert weights[-1] == pytest.approx(fitted.intercept_[0], abs=0.05)


def test_more_evidence_is_never_less_probable():
    rows = [(score, 0.0, 0.0, 0.0) for score in (0.0, 1.0, 2.0, 3.0)]
    assert c.logistic(rows, [True, True, False, False])[0] == 0.0


@pytest.mark.parametrize("method", c.METHODS)
def test_fit_is_calibrated_on_other_data(method):
    probability = c.fit(*sample(), method=method)
    rows, is_real, _ = sample(seed=1)
    values = probability(rows)
    assert c.expected_error(values, is_real) < 0.08
    assert (np.diff(probability(sorted(rows))) >= 0).all()
    assert values.min() > 0 and values.max() < 1


def test_default_operating_point_has_few_false_alarms():
    probability = c.fit(*sample(2000))
    rows, is_real, _ = sample(2000, seed=1)
    reported = probability(rows) >= probability.threshold
    assert np.array(is_real)[reported].mean() > 0.77
    assert probability.facts["operating_point"]["reached"]


def test_operating_point_that_is_not_reached_is_the_most_precise_one():
    probability = c.fit(*sample(), precision=1.0)
    point = probability.facts["operating_point"]
    assert not point["reached"] and probability.threshold == point["threshold"]
    assert point["threshold"] >= 0.5 and point["reported"] >= 0.1 * 400


def test_operating_point_is_read_off_the_curve():
    probability = c.fit(*sample(2000))
    assert probability.threshold_for(0.6) < probability.threshold_for(0.9)
    with pytest.raises(UserError, match="no threshold reached it"):
        probability.threshold_for(1.0)


def test_one_class_cannot_be_calibrated():
    with pytest.raises(UserError, match="2 deviations, of which 2 are real"):
        c.fit([(0.0,) * 4, (1.0,) * 4], [True, True], ["a", "b"])


def test_calibration_error_is_the_weighted_gap():
    # bin 0.0–0.5: mean 0.2, share 0.5, 2 rows; bin 0.5–1.0: mean 0.9, share 1, 1 row
    error = c.expected_error([0.2, 0.2, 0.9], [True, False, True], bins=2)
    assert error == pytest.approx((2 * 0.3 + 0.1) / 3, abs=1e-4)


def test_file_keeps_the_calibration(tmp_path):
    probability = c.fit(*sample())
    c.Calibration({"prompt": probability}, 0.5).save(tmp_path / "c.json")
    loaded = c.Calibration.load(tmp_path / "c.json")
    rows = sample()[0]
    assert loaded.probability("prompt")(rows) == pytest.approx(probability(rows))
    assert loaded.probability("meaning").threshold == probability.threshold
    assert loaded.mismatch == 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"version": 99},
        {"mismatch": -1},
        {"sources": {}},
        {"sources": {"prompt": {"weights": {}}}},
        {"probabilities": [0.1]},
        {"probabilities": [2.0] * 129},
        {"threshold": float("nan")},
        {"scores": ["a"] * 129},
        {"scores": [float(-i) for i in range(129)]},
    ],
)
def test_damaged_file_is_a_user_error(tmp_path, change):
    path = tmp_path / "c.json"
    c.Calibration({"prompt": c.fit(*sample(), method=c.LOGISTIC)}).save(path)
    content = json.loads(path.read_text())
    is_top = set(change) <= set(content)
    changed = content if is_top else content["sources"]["prompt"]
    changed.update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="c.json: not a calibration"):
        c.Calibration.load(path)
