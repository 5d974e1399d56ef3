"""The mixed-effects regression: known coefficients, a hand computation, and clear errors."""

import itertools

import numpy as np
import pytest
from grids import made_up, study_of

from espnet_ext.errors import UserError
from espnet_ext.study.page import sections
from espnet_ext.study.regression import (
    RANDOM,
    _fit_mixed_model,
    design_matrix,
    divergence_pairs,
    fit,
    regression_rows,
)
from espnet_ext.study.results import Results


def simulated_rows(rng, coefficients, deviations, speakers=10):
    """Return rows of a full grid: 2 languages × 3 shares × 2 levels × CTC × 3 seeds × speakers."""
    intercept, share_slope, divergence_slope, ctc, language_shift = coefficients
    rows = []
    for language, share, level, meaning_ctc in itertools.product(
        ("ko", "en"), (1.0, 0.5, 0.25), (5.0, 12.0), (0, 1)
    ):
        setting = f"{language} {share} {level} {meaning_ctc}"
        of_setting = deviations["setting"] * rng.normal()
        for seed in range(3):
            of_a, of_b = (deviations["training"] * rng.normal() for _ in "ab")
            for speaker in range(speakers):
                divergence = level + speaker / 2
                mean = intercept + share_slope * np.log2(share)
                mean += divergence_slope * (divergence - 8.5 - (speakers - 1) / 4)
                mean += ctc * meaning_ctc + language_shift * (language == "en")
                noise = deviations["residual"] * rng.normal()
                rows.append(
                    {
                        "difference": mean + of_setting + of_a + of_b + noise,
                        "log2_share": np.log2(share),
                        "divergence": divergence,
                        "divergence_pair": "surface-canonical",
                        "meaning_ctc": meaning_ctc,
                        "language": language,
                        "setting": setting,
                        "comparison": setting,
                        "training_a": f"{setting} a {seed}",
                        "training_b": f"{setting} b {seed}",
                        "speaker": f"{language} {speaker}",
                    }
                )
    of_speaker = {row["speaker"]: deviations["speaker"] * rng.normal() for row in rows}
    for row in rows:
        row["difference"] += of_speaker[row["speaker"]]
    return rows


def test_known_coefficients_are_recovered():
    true = (-2.0, 1.5, 0.3, 4.0, -3.0)
    deviations = {"setting": 0.5, "training": 0.5, "speaker": 0.7, "residual": 1.5}
    rows = simulated_rows(np.random.default_rng(5), true, deviations)
    # Of a and b together: with one pair of trainings per row their effects cannot be separated
    fitted = fit(rows, "surface", ("setting", "training_a", "speaker"))
    names = [row.name for row in fitted.coefficients]
    assert names[1:4] == [
        "log2 share",
        "divergence, edits per 100 tokens",
        "CTC of the meaning",
    ]
    assert names[4] == "en instead of ko" and fitted.converged and fitted.settings == 24
    for row, value in zip(fitted.coefficients, true, strict=True):
        low, high = row.interval
        assert low < value < high and abs(row.estimate - value) < 1.0, row
    assert fitted.deviations["residual"] == pytest.approx(1.5, rel=0.1)
    assert fitted.deviations["training_a"] == pytest.approx(0.5 * 2**0.5, rel=0.5)
    assert fitted.deviations["speaker"] == pytest.approx(0.7, rel=0.5)


def test_predictor_between_settings_is_as_uncertain_as_the_settings():
    """Half of 24 settings have CTC, and their standard deviation is 10 points: 2 · 10 / √24."""
    deviations = {"setting": 10.0, "training": 1.0, "speaker": 0.5, "residual": 3.0}
    rows = simulated_rows(np.random.default_rng(7), (-30, 0, 0, 50, 0), deviations, speakers=6)
    (ctc,) = [row for row in fit(rows).coefficients if row.name == "CTC of the meaning"]
    assert 3.0 < ctc.standard_error < 5.5 and ctc.df == 19


def test_comparisons_of_a_setting_do_not_make_it_more_certain():
    """What two comparisons of a setting share is one observation: as a regression of 12 means."""
    rng = np.random.default_rng(3)
    rows = []
    for language, share, level in itertools.product(("ko", "en"), (1.0, 0.5, 0.25), (5.0, 12.0)):
        setting = f"{language} {share} {level}"
        of_setting = 10.0 * rng.normal()
        for meaning_ctc, seed, speaker in itertools.product((0, 1), range(2), range(4)):
            rows.append(
                {
                    "difference": of_setting + 0.5 * rng.normal(),
                    "log2_share": np.log2(share),
                    "divergence": level,
                    "divergence_pair": "surface-canonical",
                    "meaning_ctc": meaning_ctc,
                    "language": language,
                    "setting": setting,
                    "comparison": f"{setting} {meaning_ctc}",
                    "training_a": f"{setting} a {seed}",
                    "training_b": f"{setting} b{meaning_ctc} {seed}",
                    "speaker": f"{language} {speaker}",
                }
            )
    fitted = fit(rows)
    matrix, names = design_matrix(rows)
    kept = [number for number, name in enumerate(names) if name != "CTC of the meaning"]
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    of = [[i for i, row in enumerate(rows) if row["setting"] == one] for one in settings]
    means = np.array([np.mean([rows[i]["difference"] for i in members]) for members in of])
    design = np.array([matrix[members][:, kept].mean(0) for members in of])
    estimate, squares, *_ = np.linalg.lstsq(design, means)
    errors = np.sqrt(squares[0] / (12 - 4) * np.diag(np.linalg.inv(design.T @ design)))
    for number, name in enumerate(names[i] for i in kept):
        (row,) = [row for row in fitted.coefficients if row.name == name]
        if name != "intercept":  # that of the mean is without CTC
            assert row.estimate == pytest.approx(estimate[number], abs=0.05)
        assert row.standard_error == pytest.approx(errors[number], rel=0.02), name
        assert row.df == 12 - 5
    assert fitted.settings == 12


def test_balanced_groups_give_the_analysis_of_variance():
    """For balanced groups, REML has a closed form: variance components from mean squares."""
    groups, size = 12, 5
    rng = np.random.default_rng(2)
    values = 3.0 + 2.0 * rng.normal(size=(groups, 1)) + rng.normal(size=(groups, size))
    base = {"log2_share": 0.0, "divergence": 1.0, "meaning_ctc": 0, "language": "ko"}
    base["divergence_pair"] = "surface-canonical"
    rows = [
        {**base, "difference": values[group, n], "setting": f"g{group:02d}"}
        for group in range(groups)
        for n in range(size)
    ]
    fitted = fit(rows, random=("setting",))
    between = size * values.mean(1).var(ddof=1)
    within = values.var(1, ddof=1).mean()
    (intercept,) = fitted.coefficients
    assert intercept.estimate == pytest.approx(values.mean())
    assert intercept.standard_error == pytest.approx((between / values.size) ** 0.5, rel=1e-3)
    assert fitted.deviations["setting"] == pytest.approx(
        ((between - within) / size) ** 0.5, rel=0.01
    )
    assert fitted.deviations["residual"] == pytest.approx(within**0.5, rel=0.01)


def test_balanced_crossed_effects_give_the_analysis_of_variance():
    """Two crossed groups: variance components from three mean squares."""
    rng = np.random.default_rng(4)
    values = 2.0 * rng.normal(size=(14, 1)) + 1.0 * rng.normal(size=9) + rng.normal(size=(14, 9))
    base = {"log2_share": 0.0, "divergence": 1.0, "meaning_ctc": 0, "language": "ko"}
    base["divergence_pair"] = "surface-canonical"
    rows = [
        {**base, "difference": values[a, b], "setting": f"a{a:02d}", "speaker": f"b{b}"}
        for a in range(14)
        for b in range(9)
    ]
    fitted = fit(rows, random=("setting", "speaker"))
    by_row, by_column, mean = values.mean(1), values.mean(0), values.mean()
    residual = values - by_row[:, None] - by_column + mean
    within = np.square(residual).sum() / (13 * 8)
    rows_square, columns_square = 9 * by_row.var(ddof=1), 14 * by_column.var(ddof=1)
    expected = {"setting": (rows_square - within) / 9, "speaker": (columns_square - within) / 14}
    for name, variance in expected.items():
        assert fitted.deviations[name] == pytest.approx(variance**0.5, rel=1e-3)
    assert fitted.deviations["residual"] == pytest.approx(within**0.5, rel=1e-3)
    error = ((rows_square + columns_square - within) / values.size) ** 0.5
    assert fitted.coefficients[0].standard_error == pytest.approx(error, rel=1e-3)


def test_effects_without_variance_are_estimated_as_zero():
    deviations = {"setting": 0.0, "training": 0.0, "speaker": 0.0, "residual": 2.0}
    rows = simulated_rows(np.random.default_rng(11), (1, 0, 0, 0, 0), deviations, speakers=4)
    fitted = fit(rows)
    assert fitted.converged and all(fitted.deviations[name] < 0.4 for name in RANDOM)


def test_predictors_that_cannot_be_separated_raise_user_error():
    deviations = dict.fromkeys(("setting", "training", "speaker", "residual"), 1.0)
    rows = simulated_rows(np.random.default_rng(1), (0, 0, 0, 0, 0), deviations, speakers=2)
    for row in rows:
        row["meaning_ctc"] = int(row["language"] == "en")
    with pytest.raises(UserError, match="cannot be separated"):
        fit(rows, "surface")


def test_rows_pair_trainings_and_know_their_setting(tmp_path):
    study = study_of(tmp_path)
    results = Results(made_up(study, lambda cell, output: 10.0), "valid")
    rows = regression_rows(study, results, "meaning")
    assert len(rows) == 2 * 2 * 2 * 2 * 2 * 16  # comparisons, settings, seeds, speakers
    assert {row["meaning_ctc"] for row in rows} == {0, 1} and set(RANDOM) <= rows[0].keys()
    assert {row["log2_share"] for row in rows} == {0.0, -1.0}
    matrix, names = design_matrix(regression_rows(study, results, "surface"))
    assert "CTC of the meaning" not in names  # it does not vary
    assert matrix.shape[1] == len(names) and abs(matrix[:, 2].mean()) < 1e-9


def test_different_measures_of_divergence_are_not_pooled(tmp_path):
    study = study_of(tmp_path)
    content = made_up(study, lambda cell, output: 10.0)
    for name, data in content["data"].items():
        data["learner_pair"] = "surface-meaning" if name.endswith(" ko") else "surface-canonical"
    rows = regression_rows(study, Results(content, "valid"), "meaning")
    pairs = divergence_pairs(rows)
    assert {pair: {name.split(", ")[1] for name in names} for pair, names in pairs.items()} == {
        "surface-meaning": {"ko"},
        "surface-canonical": {"en"},
    }
    assert not [name for name in design_matrix(rows)[1] if name.startswith("divergence")]
    page = sections(study, Results(content, "valid"))
    (section,) = [section for section in page if section.title == "What drives the difference"]
    (note,) = [note for note in section.notes if note.startswith("meaning: divergence")]
    assert "different transcripts: surface-meaning in normal, ko" in note, note


def test_too_few_settings_raise_user_error(tmp_path):
    study = study_of(tmp_path, conditions={"normal": ""}, shares=[1.0])
    results = Results(made_up(study, lambda cell, output: 10.0), "valid")
    with pytest.raises(UserError, match="settings are too few"):
        fit(regression_rows(study, results, "surface"), "surface")
    with pytest.raises(UserError, match="no rows"):
        fit([], "surface")


@pytest.mark.parametrize("seed", range(6))
def test_no_other_deviations_are_more_likely(seed):
    """Small deviations: an optimiser that reaches zero must not stay there."""
    rng = np.random.default_rng(seed)
    groups = [np.eye(12)[rng.integers(0, 12, 240)], np.eye(9)[rng.integers(0, 9, 240)]]
    matrix = np.column_stack([np.ones(240), rng.normal(size=240)])
    target = sum(0.3 * z @ rng.normal(size=z.shape[1]) for z in groups) + 2 * rng.normal(size=240)

    def deviance(theta):  # restricted, dense (Bates et al. 2015, equation 42)
        covariance = np.eye(240) + sum(t**2 * z @ z.T for t, z in zip(theta, groups, strict=True))
        inverse = np.linalg.inv(covariance)
        information = matrix.T @ inverse @ matrix
        residuals = target - matrix @ np.linalg.solve(information, matrix.T @ inverse @ target)
        variance = residuals @ inverse @ residuals / 238
        determinants = sum(np.linalg.slogdet(one)[1] for one in (covariance, information))
        return 238 * np.log(variance) + determinants

    fitted = _fit_mixed_model(target, matrix, groups)
    best = deviance(np.sqrt(np.array(fitted.variances) / fitted.residual))
    levels = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
    assert best <= min(map(deviance, itertools.product(levels, levels))) + 1e-8
