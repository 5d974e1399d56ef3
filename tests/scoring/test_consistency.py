"""Consistency of two outputs against plain loops and scipy; what it must and must not say."""

import itertools
import random

import numpy as np
import pytest

from espnet_ext.scoring import bootstrap, consistency
from espnet_ext.scoring.consistency import MEASURES, describe, differences, outputs_of
from espnet_ext.scoring.lexicon import pronouncer

WRITTEN = {"surface": "char", "meaning": "char"}
PHONES = {"surface": "phone", "meaning": "char"}


def never(sentence):
    raise AssertionError("nothing has to be pronounced here")


def file_of(rows, types=WRITTEN):
    """utterances.json of (id, speaker, references, hypotheses)."""

    def cells(texts, heard):
        return {
            f"{k}-{k}": {"errors": int(texts[k] != heard[k]), "tokens": len(texts[k])}
            for k in heard
            if k in texts
        }

    return {
        "token_types": types,
        "utterances": [
            {
                "id": utt_id,
                "speaker": speaker,
                "texts": texts,
                "hypotheses": heard,
                "cells": cells(texts, heard),
            }
            for utt_id, speaker, texts, heard in rows
        ],
    }


def noisy(text, source, rate):
    return "".join(source.choice("가나다") if source.random() < rate else c for c in text)


def made(seed, rate=0.2, speakers=5, each=12):
    texts, heard = random.Random(0), random.Random(seed)
    rows = []
    for s, i in itertools.product(range(speakers), range(each)):
        meaning = "".join(texts.choices("가나다", k=texts.randint(3, 9)))
        labels = {"meaning": meaning, "surface": noisy(meaning, texts, 0.3)}
        rows.append(
            (f"s{s}-{i}", f"s{s}", labels, {k: noisy(v, heard, rate) for k, v in labels.items()})
        )
    return rows


def hamming(one, other):
    """Texts of one length over three letters, changed in place: an upper bound of Levenshtein's."""
    return sum(a != b for a, b in zip(one, other, strict=True))


def by_loops(rows):
    """Every measure, from its definition."""
    from rapidfuzz.distance import Levenshtein

    x = [Levenshtein.distance(t["meaning"], t["surface"]) for _, _, t, _ in rows]
    y = [Levenshtein.distance(h["meaning"], h["surface"]) for _, _, _, h in rows]
    assert all(
        d <= hamming(t["meaning"], t["surface"]) for d, (_, _, t, _) in zip(x, rows, strict=True)
    )
    right = [(h["surface"] == t["surface"], h["meaning"] == t["meaning"]) for _, _, t, h in rows]
    apart = [abs(a - b) for a, b in zip(x, y, strict=True)]
    tokens = sum(len(t["meaning"]) for _, _, t, _ in rows)

    def percent(chosen, of):
        of = list(of)
        return 100 * sum(map(chosen, of)) / len(of) if of else None

    return {
        "distance_references": np.mean(x),
        "distance_hypotheses": np.mean(y),
        "difference": np.mean(y) - np.mean(x),
        "absolute_difference": np.mean(apart),
        "per_100_tokens": 100 * sum(apart) / tokens,
        "correlation": np.corrcoef(x, y)[0, 1],
        "equal_references": percent(lambda d: d == 0, x),
        "equal_hypotheses": percent(lambda d: d == 0, y),
        "both_right": percent(lambda r: r == (True, True), right),
        "only_surface_right": percent(lambda r: r == (True, False), right),
        "only_meaning_right": percent(lambda r: r == (False, True), right),
        "both_wrong": percent(lambda r: r == (False, False), right),
        "meaning_if_surface": percent(lambda r: r[1], (r for r in right if r[0])),
        "meaning_if_not_surface": percent(lambda r: r[1], (r for r in right if not r[0])),
        "surface_if_meaning": percent(lambda r: r[0], (r for r in right if r[1])),
        "surface_if_not_meaning": percent(lambda r: r[0], (r for r in right if not r[1])),
    }


def measured(rows, name="do", types=WRITTEN, unit="char", pronounce=never):
    file = file_of(rows, types)
    return outputs_of(name, file, file, unit, pronounce)


def test_every_measure_by_its_definition():
    rows = made(1)
    found = describe(measured(rows))
    assert found["utterances"] == 60 and found["lacks"] is None
    wanted = by_loops(rows)
    assert set(found["measures"]) == set(wanted) == set(MEASURES)
    for name, value in wanted.items():
        assert found["measures"][name]["value"] == pytest.approx(value), name
        low, high = found["measures"][name]["interval"]
        assert low - 1e-9 <= value <= high + 1e-9


def test_intervals_are_of_speakers_drawn_one_by_one(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    rows = made(2)
    found = describe(measured(rows))["measures"]
    drawn = []
    for weights in bootstrap.draws(5, 200, bootstrap.SEED):
        again = [
            row
            for s, n in enumerate(weights)
            for row in rows
            if row[1] == f"s{s}"
            for _ in range(n)
        ]
        drawn.append(by_loops(again))
    for name in ("correlation", "absolute_difference", "meaning_if_surface", "per_100_tokens"):
        wanted = np.percentile([one[name] for one in drawn], [2.5, 97.5])
        assert found[name]["interval"] == pytest.approx(tuple(wanted)), name


def test_differences_and_all_exchanges():
    one, other = made(3, rate=0.1), made(4, rate=0.3)
    found = differences(measured(one, "a"), measured(other, "b"))
    first, second = by_loops(one), by_loops(other)
    for name in ("correlation", "absolute_difference", "both_right"):
        row = found["measures"][name]
        gap = second[name] - first[name]
        assert row["difference"] == pytest.approx(gap)
        far = []
        for swap in itertools.product((False, True), repeat=5):
            both = list(zip(one, other, strict=True))
            a = [y if swap[int(x[1][1:])] else x for x, y in both]
            b = [x if swap[int(x[1][1:])] else y for x, y in both]
            far.append(abs(by_loops(b)[name] - by_loops(a)[name]) >= abs(gap) - 1e-9)
        assert row["p_permutation"] == pytest.approx(np.mean(far))
        assert row["p_holm"] >= row["p_value"]


def test_a_system_does_not_differ_from_itself():
    rows = made(5)
    for row in differences(measured(rows, "a"), measured(rows, "b"))["measures"].values():
        assert row["difference"] == 0 and row["p_value"] == row["p_permutation"] == 1.0


def test_two_single_systems_are_a_pair():
    rows = made(6)
    surface = file_of([(u, s, t, {"surface": h["surface"]}) for u, s, t, h in rows])
    meaning = file_of([(u, s, t, {"meaning": h["meaning"]}) for u, s, t, h in rows])
    pair = outputs_of("so + so", surface, meaning, "char", never)
    assert describe(pair)["measures"] == describe(measured(rows))["measures"]


def test_outputs_that_copy_each_other_are_told():
    rows = [(u, s, t, {"surface": t["meaning"], "meaning": t["meaning"]}) for u, s, t, _ in made(7)]
    found = describe(measured(rows))["measures"]
    assert found["equal_hypotheses"]["value"] == 100 > found["equal_references"]["value"]
    assert found["difference"]["interval"][1] < 0  # nearer together than the references
    assert found["correlation"]["value"] is None  # a constant has none
    assert found["meaning_if_not_surface"]["value"] == 100


def test_phones_against_what_was_understood():
    lexicon = pronouncer({"see": "S IY", "eat": "IY T"})
    labels = {"surface": "S IH", "meaning": "see", "canonical": "S IY"}
    rows = [
        ("a-1", "a", labels, {"surface": "S IH", "meaning": "eat"}),
        ("a-2", "a", labels, {"surface": "S IY", "meaning": "zzyx"}),
        ("b-1", "b", labels, {"surface": "S IH", "meaning": ""}),
        ("b-2", "b", {"surface": "S IH", "meaning": "see"}, {"surface": "S", "meaning": "see"}),
        ("b-3", "b", {"meaning": "see"}, {"surface": "S", "meaning": "see"}),
    ]
    found = describe(measured(rows, types=PHONES, unit="phone", pronounce=lexicon))
    assert found["against"] == "canonical"
    # judged: all with both references; measured: not zzyx, not the one without canonical
    assert (found["utterances"], found["not_comparable"], found["unlabelled"]) == (4, 2, 1)
    values = {name: one["value"] for name, one in found["measures"].items()}
    assert values["distance_references"] == 1.0
    # S IH from IY T, and S IH from nothing
    assert values["distance_hypotheses"] == 2.0
    assert values["both_wrong"] == 25.0 and values["only_surface_right"] == 50.0


def test_what_one_has_no_distance_for_is_left_out_of_both():
    lexicon = pronouncer({"see": "S IY"})
    labels = {"surface": "S IH", "meaning": "see", "canonical": "S IY"}
    one = [
        (f"{s}-{i}", s, labels, {"surface": "S IH", "meaning": "see"})
        for s in "ab"
        for i in range(2)
    ]
    other = [
        (u, s, t, {"surface": "S IY", "meaning": "zzyx" if u == "a-0" else "see"})
        for u, s, t, _ in one
    ]
    a, b = (measured(rows, types=PHONES, unit="phone", pronounce=lexicon) for rows in (one, other))
    found = differences(a, b)
    assert (found["utterances"], found["not_comparable"]) == (4, 1)
    assert found["measures"]["absolute_difference"]["difference"] == pytest.approx(1.0)
    assert found["measures"]["both_right"]["difference"] == pytest.approx(-100.0)


def test_where_nothing_can_be_said():
    alone = made(8, speakers=1)
    found = describe(measured(alone))
    assert found["lacks"] == "one speaker: no intervals"
    assert {one["interval"] for one in found["measures"].values()} == {None}
    assert differences(measured(alone), measured(alone))["lacks"].startswith("one speaker")
    nothing = [("a-1", "a", {"surface": "가"}, {"surface": "가", "meaning": "가"})]
    found = describe(measured(nothing))
    assert found["lacks"] == "no utterance has both references" and found["unlabelled"] == 1
    found = differences(measured(nothing), measured(made(1)))
    assert found["lacks"] == "no utterance that both have"


def test_correlation_is_scipys():
    scipy = pytest.importorskip("scipy.stats")
    source = np.random.default_rng(0)
    x, y = source.integers(0, 20, 50), source.integers(0, 20, 50)
    totals = np.zeros(len(consistency.SUMS))
    totals[:6] = 50, x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()
    assert float(MEASURES["correlation"](totals)) == pytest.approx(scipy.pearsonr(x, y).statistic)
