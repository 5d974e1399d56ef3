"""Calibration: isotonic and logistic regression, calibration error, operating points, the file."""

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from espnet_ext.errors import UserError
from espnet_ext.feedback import calibration as c

NO_OTHER = (0.0,) * (len(c.FEATURES) - 1)  # features but the first


def sample(count=400, seed=0):
    """Return features, outcomes with P(real) = logistic(first feature), and speakers."""
    random = np.random.default_rng(seed)
    scores = random.normal(0.0, 2.0, count).round(1)  # with ties
    is_real = random.random(count) < 1 / (1 + np.exp(-scores))
    rows = [(score, *NO_OTHER) for score in scores]
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
    features = np.array(rows) + random.normal(size=(2000, 8)) * [0, *[1] * 7]
    weights = c.logistic(features, is_real)
    scale = features.std(0)
    fitted = LogisticRegression(C=1 / c._RIDGE).fit(features / scale, is_real)
    assert weights[:-1] * scale == pytest.approx(fitted.coef_[0], abs=0.01)
    assert weights[-1] == pytest.approx(fitted.intercept_[0], abs=0.01)


def test_more_evidence_is_never_less_probable():
    rows = [(score, *NO_OTHER) for score in (0.0, 1.0, 2.0, 3.0)]
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


def test_temperature_makes_probabilities_of_unseen_speakers_less_sure():
    """Each speaker has a share of real deviations of its own, which no feature shows."""
    random = np.random.default_rng(4)

    def speakers(numbers):
        rows, is_real, names = [], [], []
        for number in numbers:
            shift = random.normal(0.0, 1.5)
            scores = random.normal(0.0, 1.5, 60)
            # the speaker's shift is also in the features, so that few speakers are overfitted
            noise = random.normal(0.0, 0.1, 60)
            rows += [(a, b, *NO_OTHER[1:]) for a, b in zip(scores, number + noise, strict=True)]
            is_real += (random.random(60) < 1 / (1 + np.exp(-scores - shift))).tolist()
            names += [f"s{number}"] * 60
        return rows, is_real, names

    training = speakers(range(4))
    tempered, logistic = (c.fit(*training, method=m) for m in (c.TEMPERATURE, c.LOGISTIC))
    rows, is_real, _ = speakers(range(4, 40))
    losses = [c.log_loss(function(rows), is_real) for function in (tempered, logistic)]
    assert losses[0] < losses[1]
    factors = np.array(tempered.weights[:2]) / np.array(logistic.weights[:2])
    assert factors[0] == pytest.approx(factors[1]) and 0 < factors[0] < 1


def test_one_speaker_has_no_temperature():
    rows, is_real, _ = sample()
    alone = c.fit(rows, is_real, ["s"] * len(rows), method=c.TEMPERATURE)
    assert alone.weights == c.fit(*sample(), method=c.LOGISTIC).weights
    assert alone.facts["ece_interval"] is None


def test_many_utterances_are_held_out_in_few_folds():
    rows, is_real, _ = sample(60)
    names = [f"u{i}" for i in range(60)]
    assert len(np.unique(c._folds(names))) == 10
    assert c.fit(rows, is_real, names).facts["groups"] == 60


def test_version_1_is_still_read(tmp_path):
    """Its functions have four features; the others have no weight."""
    path = tmp_path / "c.json"
    probability = c.fit(*sample())
    c.Calibration({"prompt": probability}).save(path)
    content = json.loads(path.read_text())
    assert content["version"] == 2
    content["version"] = 1
    weights = {"log_odds": 0.5, "prior": 0.2, "deletion": 0.1, "insertion": -0.7, "constant": 0.3}
    content["sources"]["prompt"]["weights"] = weights
    path.write_text(json.dumps(content))
    loaded = c.Calibration.load(path).probability("prompt")
    rows = [(2.0, 1.0, 0.0, 1.0, 1.0, -2.0, 3.0, 0.9)]
    score = 0.5 * 2.0 + 0.2 * 1.0 - 0.7 + 0.3
    assert loaded(rows) == pytest.approx(
        np.interp([score], probability.scores, probability.probabilities)
    )
    content["version"] = 2  # a file of version 2 must have all weights
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="not a calibration"):
        c.Calibration.load(path)


def test_calibration_error_of_exact_probabilities_is_not_zero_for_few_deviations():
    few, many = (c.chance_error(np.linspace(0.05, 0.95, n))["mean"] for n in (50, 5000))
    # 10 bins: the mean |share − p| of n/10 draws is about 0.8 · √(p(1 − p) / (n/10)), averaged
    middles = np.arange(0.05, 1.0, 0.1)
    for n, value in ((50, few), (5000, many)):
        deviation = np.sqrt(middles * (1 - middles) / (n / 10)).mean()
        assert value == pytest.approx(np.sqrt(2 / np.pi) * deviation, rel=0.1)


def test_interval_of_the_calibration_error_resamples_speakers():
    # both speakers together are calibrated, each alone is not
    interval = c.expected_error_interval([0.5] * 4, [1, 1, 0, 0], ["a", "a", "b", "b"])
    assert interval == (0.0, 0.5)
    assert c.expected_error_interval([0.5] * 2, [1, 0], ["a", "a"]) is None


def test_one_class_cannot_be_calibrated():
    with pytest.raises(UserError, match="2 deviations, of which 2 are real"):
        c.fit([(0.0,) * 8, (1.0,) * 8], [True, True], ["a", "b"])


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
