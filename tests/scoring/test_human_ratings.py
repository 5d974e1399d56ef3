"""Correlations with human ratings compared with SciPy and with a loop over resamples."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from espnet_ext.bin import mdd
from espnet_ext.scoring.bootstrap import RESAMPLES, SEED, percentile_interval, speaker_weights
from espnet_ext.scoring.human_ratings import (
    MIN_UTTERANCES,
    correlate_ratings,
    deviations,
    pearson,
    read_scores,
    spearman,
)

SMALL = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 4)), min_size=3, max_size=30
)


@settings(max_examples=150, deadline=None)
@given(SMALL)
def test_weighted_correlations_match_scipy_on_repeated_values(rows):
    x, y, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    repeated = [np.repeat(values, weights.astype(int)) for values in (x, y)]
    if min(map(np.ptp, repeated)) == 0:
        assert pearson(x, y, weights) is None and spearman(x, y, weights) is None
        return
    assert pearson(x, y, weights) == pytest.approx(stats.pearsonr(*repeated)[0], abs=1e-9)
    assert spearman(x, y, weights) == pytest.approx(stats.spearmanr(*repeated)[0], abs=1e-9)


def test_deviations_are_edits_per_canonical_phone():
    canonical = {"a": "AA B K D", "b": "AA", "c": "AA", "e": ""}
    texts = {"a": "AA P K", "b": "AA B", "d": "AA", "e": "B"}
    assert deviations(canonical, texts) == {"a": 0.5, "b": 1.0}


def random_corpus(speakers=8, each=6):
    """Return annotated deviations, noisy recognised deviations, scores, and speakers."""
    generator = np.random.default_rng(0)
    annotated, recognised, scores, speaker_of = {}, {}, {}, {}
    for speaker in range(speakers):
        for number in range(each):
            key = f"s{speaker}-{number}"
            annotated[key] = float(generator.uniform(0, 0.5))
            recognised[key] = annotated[key] + float(generator.normal(0, 0.1))
            scores[key] = 10 - 10 * annotated[key] + float(generator.normal(0, 0.5))
            speaker_of[key] = f"s{speaker}"
    return annotated, recognised, scores, speaker_of


def test_rows_for_all_and_for_annotated_utterances():
    annotated, recognised, scores, speaker_of = random_corpus()
    part = dict(list(annotated.items())[:30])
    rows = correlate_ratings(
        {"accuracy": scores, "few": dict(list(scores.items())[: MIN_UTTERANCES - 1])},
        recognised,
        part,
        speaker_of,
    )
    assert [(row["score"], row["measure"], row["utterances"], row["speakers"]) for row in rows] == [
        ("accuracy", "recognised", 48, 8),
        ("accuracy", "recognised, where annotated", 30, 5),
        ("accuracy", "annotated", 30, 5),
    ]
    keys = sorted(scores)
    expected = stats.pearsonr([recognised[k] for k in keys], [scores[k] for k in keys])[0]
    assert rows[0]["pearson"] == pytest.approx(expected)
    assert rows[2]["pearson"] < rows[1]["pearson"] < -0.5
    assert [row["measure"] for row in correlate_ratings({"a": scores}, recognised, annotated)] == [
        "recognised",
        "annotated",
    ]
    assert (
        correlate_ratings({"a": scores}, recognised, annotated)[0]["intervals"]["pearson"] is None
    )


def test_intervals_resample_speakers():
    annotated, recognised, scores, speaker_of = random_corpus()
    row = correlate_ratings({"accuracy": scores}, recognised, annotated, speaker_of)[0]
    keys = sorted(scores)
    names = sorted(set(speaker_of.values()))
    values = []
    for weights in speaker_weights(len(names), RESAMPLES, SEED):
        resample = [
            k
            for name, times in zip(names, weights, strict=True)
            for _ in range(times)
            for k in keys
            if speaker_of[k] == name
        ]
        values.append(
            stats.pearsonr([recognised[k] for k in resample], [scores[k] for k in resample])[0]
        )
    assert row["intervals"]["pearson"] == pytest.approx(percentile_interval(np.array(values)))
    assert row["intervals"]["pearson"][0] < row["pearson"] < row["intervals"]["pearson"][1]


def test_values_that_are_not_numbers_are_ignored():
    table = {"a": "accuracy=8 total=nan fluency=", "b": "accuracy=inf x"}
    assert read_scores(table) == {"accuracy": {"a": 8.0}}


def test_command_writes_ratings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    phones = ["AA", "B", "K", "D"]
    rows = {name: [] for name in ("canonical", "surface", "hypothesis", "utt2score", "utt2spk")}
    for number in range(12):
        recognised = ["AH" if place < number % 4 else phone for place, phone in enumerate(phones)]
        key = f"s{number % 3}-{number:02}"
        rows["canonical"].append(f"{key} {' '.join(phones)}")
        rows["hypothesis"].append(f"{key} {' '.join(recognised)}")
        rows["utt2spk"].append(f"{key} s{number % 3}")
        rows["utt2score"].append(f"{key} accuracy={10 - 2 * (number % 4)}")
        if number != 5:
            rows["surface"].append(f"{key} {' '.join(recognised)}")
    for name, lines in rows.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in sorted(lines)))
    argv = [
        "--canonical",
        "canonical",
        "--perceived",
        "surface",
        "--hypothesis",
        "hypothesis",
        "--utt2spk",
        "utt2spk",
        "--utt2score",
        "utt2score",
        "--json",
        "mdd.json",
    ]
    assert mdd.main(argv) == 0
    ratings = json.loads((tmp_path / "mdd.json").read_text())["ratings"]
    assert [row["measure"] for row in ratings] == [
        "recognised",
        "recognised, where annotated",
        "annotated",
    ]
    assert ratings[0]["pearson"] == pytest.approx(-1) and ratings[0]["spearman"] == pytest.approx(
        -1
    )
    assert "| accuracy | annotated | -1.00 [-1.00 to -1.00] |" in capsys.readouterr().out
