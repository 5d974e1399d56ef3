"""Consistency measures compared with loops and scipy."""

import itertools
import random

import numpy as np
import pytest

from espnet_ext.scoring import bootstrap, consistency
from espnet_ext.scoring.consistency import (
    MEASURES,
    compare_pairs,
    describe,
    named_sums,
    pair_outputs,
)
from espnet_ext.text.lexicon import make_pronouncer

WRITTEN = {"surface": "char", "meaning": "char"}
PHONES = {"surface": "phone", "meaning": "char"}


def no_pronunciation(sentence):
    raise AssertionError("nothing has to be pronounced here")


def file_of(rows, types=WRITTEN):
    """Return the contents of utterances.json for (id, speaker, references, hypotheses)."""

    def cells(texts, hypotheses):
        return {
            f"{k}-{k}": {"errors": int(texts[k] != hypotheses[k]), "tokens": len(texts[k])}
            for k in hypotheses
            if k in texts
        }

    return {
        "token_types": types,
        "utterances": [
            {
                "id": utt_id,
                "speaker": speaker,
                "texts": texts,
                "hypotheses": hypotheses,
                "cells": cells(texts, hypotheses),
            }
            for utt_id, speaker, texts, hypotheses in rows
        ],
    }


def noisy(text, source, rate):
    return "".join(source.choice("가나다") if source.random() < rate else c for c in text)


def random_rows(seed, rate=0.2, speakers=5, each=12):
    texts, noise = random.Random(0), random.Random(seed)
    rows = []
    for s, i in itertools.product(range(speakers), range(each)):
        meaning = "".join(texts.choices("가나다", k=texts.randint(3, 9)))
        labels = {"meaning": meaning, "surface": noisy(meaning, texts, 0.3)}
        rows.append(
            (f"s{s}-{i}", f"s{s}", labels, {k: noisy(v, noise, rate) for k, v in labels.items()})
        )
    return rows


def hamming(a, b):
    """Hamming distance, an upper bound of the edit distance."""
    return sum(x != y for x, y in zip(a, b, strict=True))


def measures_by_definition(rows):
    """Compute every measure with loops."""
    from rapidfuzz.distance import Levenshtein

    x = [Levenshtein.distance(t["meaning"], t["surface"]) for _, _, t, _ in rows]
    y = [Levenshtein.distance(h["meaning"], h["surface"]) for _, _, _, h in rows]
    assert all(
        d <= hamming(t["meaning"], t["surface"]) for d, (_, _, t, _) in zip(x, rows, strict=True)
    )
    correct = [(h["surface"] == t["surface"], h["meaning"] == t["meaning"]) for _, _, t, h in rows]
    distances = [abs(a - b) for a, b in zip(x, y, strict=True)]
    tokens = sum(len(t["meaning"]) for _, _, t, _ in rows)

    def percent(condition, values):
        values = list(values)
        return 100 * sum(map(condition, values)) / len(values) if values else None

    return {
        "distance_references": np.mean(x),
        "distance_hypotheses": np.mean(y),
        "difference": np.mean(y) - np.mean(x),
        "absolute_difference": np.mean(distances),
        "per_100_tokens": 100 * sum(distances) / tokens,
        "correlation": np.corrcoef(x, y)[0, 1],
        "equal_references": percent(lambda d: d == 0, x),
        "equal_hypotheses": percent(lambda d: d == 0, y),
        "both_right": percent(lambda r: r == (True, True), correct),
        "only_surface_right": percent(lambda r: r == (True, False), correct),
        "only_meaning_right": percent(lambda r: r == (False, True), correct),
        "both_wrong": percent(lambda r: r == (False, False), correct),
        "meaning_if_surface": percent(lambda r: r[1], (r for r in correct if r[0])),
        "meaning_if_not_surface": percent(lambda r: r[1], (r for r in correct if not r[0])),
        "surface_if_meaning": percent(lambda r: r[0], (r for r in correct if r[1])),
        "surface_if_not_meaning": percent(lambda r: r[0], (r for r in correct if not r[1])),
    }


def output_pair(rows, name="do", types=WRITTEN, unit="char", pronounce=no_pronunciation):
    file = file_of(rows, types)
    return pair_outputs(name, file, file, unit, pronounce)


def test_measures_match_their_definitions():
    rows = random_rows(1)
    result = describe(output_pair(rows))
    assert result["utterances"] == 60 and result["lacks"] is None
    expected = measures_by_definition(rows)
    assert set(result["measures"]) == set(expected) == set(MEASURES)
    for name, value in expected.items():
        assert result["measures"][name]["value"] == pytest.approx(value), name
        low, high = result["measures"][name]["interval"]
        assert low - 1e-9 <= value <= high + 1e-9


def test_intervals_match_a_loop_over_drawn_speakers(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    rows = random_rows(2)
    result = describe(output_pair(rows))["measures"]
    resampled = []
    for weights in bootstrap.speaker_weights(5, 200, bootstrap.SEED):
        resample = [
            row
            for s, n in enumerate(weights)
            for row in rows
            if row[1] == f"s{s}"
            for _ in range(n)
        ]
        resampled.append(measures_by_definition(resample))
    for name in ("correlation", "absolute_difference", "meaning_if_surface", "per_100_tokens"):
        expected = np.percentile([values[name] for values in resampled], [2.5, 97.5])
        assert result[name]["interval"] == pytest.approx(tuple(expected)), name


def test_differences_match_a_loop_over_all_exchanges():
    rows_a, rows_b = random_rows(3, rate=0.1), random_rows(4, rate=0.3)
    result = compare_pairs(output_pair(rows_a, "a"), output_pair(rows_b, "b"))
    values_a, values_b = measures_by_definition(rows_a), measures_by_definition(rows_b)
    for name in ("correlation", "absolute_difference", "both_right"):
        row = result["measures"][name]
        difference = values_b[name] - values_a[name]
        assert row["difference"] == pytest.approx(difference)
        at_least_as_far = []
        for swap in itertools.product((False, True), repeat=5):
            both = list(zip(rows_a, rows_b, strict=True))
            a = [y if swap[int(x[1][1:])] else x for x, y in both]
            b = [x if swap[int(x[1][1:])] else y for x, y in both]
            exchanged = measures_by_definition(b)[name] - measures_by_definition(a)[name]
            at_least_as_far.append(abs(exchanged) >= abs(difference) - 1e-9)
        assert row["p_permutation"] == pytest.approx(np.mean(at_least_as_far))
        assert row["p_holm"] >= row["p_value"]


def test_equal_systems_have_p_value_one():
    rows = random_rows(5)
    for row in compare_pairs(output_pair(rows, "a"), output_pair(rows, "b"))["measures"].values():
        assert row["difference"] == 0 and row["p_value"] == row["p_permutation"] == 1.0


def test_two_single_output_systems_form_a_pair():
    rows = random_rows(6)
    surface = file_of([(u, s, t, {"surface": h["surface"]}) for u, s, t, h in rows])
    meaning = file_of([(u, s, t, {"meaning": h["meaning"]}) for u, s, t, h in rows])
    pair = pair_outputs("so + so", surface, meaning, "char", no_pronunciation)
    assert describe(pair)["measures"] == describe(output_pair(rows))["measures"]


def test_identical_outputs_are_detected():
    rows = [
        (u, s, t, {"surface": t["meaning"], "meaning": t["meaning"]})
        for u, s, t, _ in random_rows(7)
    ]
    result = describe(output_pair(rows))["measures"]
    assert result["equal_hypotheses"]["value"] == 100 > result["equal_references"]["value"]
    assert result["difference"]["interval"][1] < 0  # closer together than the references
    assert result["correlation"]["value"] is None  # a constant distance has no correlation
    assert result["meaning_if_not_surface"]["value"] == 100


def test_phones_are_compared_with_the_pronounced_meaning():
    lexicon = make_pronouncer({"see": "S IY", "eat": "IY T"})
    labels = {"surface": "S IH", "meaning": "see", "canonical": "S IY"}
    rows = [
        ("a-1", "a", labels, {"surface": "S IH", "meaning": "eat"}),
        ("a-2", "a", labels, {"surface": "S IY", "meaning": "zzyx"}),
        ("b-1", "b", labels, {"surface": "S IH", "meaning": ""}),
        ("b-2", "b", {"surface": "S IH", "meaning": "see"}, {"surface": "S", "meaning": "see"}),
        ("b-3", "b", {"meaning": "see"}, {"surface": "S", "meaning": "see"}),
    ]
    result = describe(output_pair(rows, types=PHONES, unit="phone", pronounce=lexicon))
    assert result["against"] == "canonical"
    # judged: utterances with both references; without distances: zzyx, and b-2 without canonical
    assert (result["utterances"], result["not_comparable"], result["unlabelled"]) == (4, 2, 1)
    values = {name: row["value"] for name, row in result["measures"].items()}
    assert values["distance_references"] == 1.0
    # S IH and IY T; S IH and nothing
    assert values["distance_hypotheses"] == 2.0
    assert values["both_wrong"] == 25.0 and values["only_surface_right"] == 50.0


def test_distances_that_one_pair_lacks_are_left_out_of_both():
    lexicon = make_pronouncer({"see": "S IY"})
    labels = {"surface": "S IH", "meaning": "see", "canonical": "S IY"}
    rows_a = [
        (f"{s}-{i}", s, labels, {"surface": "S IH", "meaning": "see"})
        for s in "ab"
        for i in range(2)
    ]
    rows_b = [
        (u, s, t, {"surface": "S IY", "meaning": "zzyx" if u == "a-0" else "see"})
        for u, s, t, _ in rows_a
    ]
    a, b = (
        output_pair(rows, types=PHONES, unit="phone", pronounce=lexicon)
        for rows in (rows_a, rows_b)
    )
    result = compare_pairs(a, b)
    assert (result["utterances"], result["not_comparable"]) == (4, 1)
    assert result["measures"]["absolute_difference"]["difference"] == pytest.approx(1.0)
    assert result["measures"]["both_right"]["difference"] == pytest.approx(-100.0)


def test_reasons_for_missing_results():
    one_speaker = random_rows(8, speakers=1)
    result = describe(output_pair(one_speaker))
    assert result["lacks"] == "intervals need at least two speakers"
    assert {row["interval"] for row in result["measures"].values()} == {None}
    compared = compare_pairs(output_pair(one_speaker), output_pair(one_speaker))
    assert compared["lacks"] == "a test needs at least two speakers"
    unlabelled = [("a-1", "a", {"surface": "가"}, {"surface": "가", "meaning": "가"})]
    result = describe(output_pair(unlabelled))
    assert result["lacks"] == "no utterance has both references" and result["unlabelled"] == 1
    result = compare_pairs(output_pair(unlabelled), output_pair(random_rows(1)))
    assert result["lacks"] == "the two have no utterance in common"


def test_correlation_matches_scipy():
    scipy = pytest.importorskip("scipy.stats")
    source = np.random.default_rng(0)
    x, y = source.integers(0, 20, 50), source.integers(0, 20, 50)
    sums = np.zeros(len(consistency.SUMS))
    sums[:6] = 50, x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()
    assert float(MEASURES["correlation"](named_sums(sums))) == pytest.approx(
        scipy.pearsonr(x, y).statistic
    )
