"""The learner-error model against a sum over all edit sequences, and the pairs it chooses."""

import itertools
import math
import random

import pytest
import torch

from espnet_ext.decoding.coupling import Coupling, LearnerErrorModel
from espnet_ext.errors import UserError


def joint_probability(table, x, y):
    """Return P(x, y) of token ids by trying every sequence of edit operations."""
    if not x and not y:
        return 1.0
    total = 0.0
    if x:
        total += math.exp(table[x[0]][0]) * joint_probability(table, x[1:], y)
    if y:
        total += math.exp(table[0][y[0]]) * joint_probability(table, x, y[1:])
    if x and y:
        total += math.exp(table[x[0]][y[0]]) * joint_probability(table, x[1:], y[1:])
    return total


def marginal_log_probability(table, ids, of_rows):
    sums = [
        sum(math.exp(value) for value in (row if of_rows else column))
        for row, column in zip(table, zip(*table, strict=True), strict=True)
    ]
    return sum(math.log(sums[i] / sum(sums[1:])) for i in ids)


def test_consistency_sums_over_all_edit_sequences():
    torch.manual_seed(1)
    table = torch.randn(4, 4, dtype=torch.double)
    table[0, 0] = -1e30
    table = table - table.logsumexp((0, 1))
    model = LearnerErrorModel({"a": ("p", "q", "r"), "b": ("s", "t", "u")}, table)
    rng = random.Random(2)
    pairs = {"a": [], "b": []}
    for _ in range(12):
        pairs["a"].append([rng.choice("pqr") for _ in range(rng.randrange(5))])
        pairs["b"].append([rng.choice("stu") for _ in range(rng.randrange(5))])
    consistencies = model.consistency(pairs)
    rows = table.tolist()
    for value, x, y in zip(consistencies.tolist(), pairs["a"], pairs["b"], strict=True):
        x, y = ["pqr".index(i) + 1 for i in x], ["stu".index(i) + 1 for i in y]
        expected = math.log(joint_probability(rows, x, y))
        expected -= marginal_log_probability(rows, x, of_rows=True)
        expected -= marginal_log_probability(rows, y, of_rows=False)
        assert value == pytest.approx(expected, abs=1e-9)


def noisy_pairs(count, seed):
    """Meanings in lower case, surfaces in capitals: half of f become P, 60 % of e are dropped."""
    rng = random.Random(seed)
    pairs = {"meaning": [], "surface": []}
    for _ in range(count):
        meaning = rng.choices("abcdef", k=rng.randint(3, 8))
        surface = []
        for token in meaning:
            if token == "f" and rng.random() < 0.5:
                surface.append("P")
            elif token != "e" or rng.random() < 0.4:
                surface.append(token.upper())
        pairs["meaning"].append(meaning)
        pairs["surface"].append(surface)
    return pairs


def test_estimation_recovers_error_rates():
    model = LearnerErrorModel.estimate(noisy_pairs(300, 1), rounds=10)
    meanings, surfaces = (("", *model.tokens[name]) for name in ("meaning", "surface"))
    table = model.table.exp()

    def conditional(meaning, surface):
        row = meanings.index(meaning)
        return float(table[row, surfaces.index(surface)] / table[row].sum())

    assert conditional("a", "A") > 0.95
    assert conditional("f", "P") == pytest.approx(0.5, abs=0.1)
    assert conditional("e", "") == pytest.approx(0.6, abs=0.1)
    assert float(table.sum()) == pytest.approx(1.0)


def test_more_rounds_raise_the_consistency_of_training_pairs():
    pairs = noisy_pairs(100, 3)
    means = [
        float(LearnerErrorModel.estimate(pairs, rounds).consistency(pairs).mean())
        for rounds in (1, 2, 5)
    ]
    assert means == sorted(means)


def test_true_pairs_are_more_consistent_than_wrong_pairs():
    model = LearnerErrorModel.estimate(noisy_pairs(300, 1))
    pairs = noisy_pairs(20, 9)
    wrong = {"meaning": pairs["meaning"], "surface": pairs["surface"][1:] + pairs["surface"][:1]}
    assert (model.consistency(pairs) > model.consistency(wrong)).float().mean() > 0.9


def test_unknown_tokens_are_ignored():
    model = LearnerErrorModel.estimate(noisy_pairs(50, 1))
    known = model.consistency({"meaning": [["a", "b"]], "surface": [["A", "B"]]})
    unknown = model.consistency({"meaning": [["a", "z", "b"]], "surface": [["A", "B"]]})
    assert float(known) == float(unknown)


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_chosen_pair_is_the_best_of_all(weight):
    errors = LearnerErrorModel.estimate(noisy_pairs(100, 1))
    meanings = [(list("abc"), -1.0), (list("abd"), -1.2), (list("fb"), -1.9)]
    surfaces = [(list("AD"), -0.5), (list("ABD"), -0.6)]
    chosen = Coupling(errors, weight).choose([meanings, [], meanings], [surfaces, surfaces, []])

    def total(pair):
        (meaning, meaning_score), (surface, surface_score) = meanings[pair[0]], surfaces[pair[1]]
        consistency = float(errors.consistency({"meaning": [meaning], "surface": [surface]}))
        return meaning_score + surface_score + weight * consistency

    assert chosen[0] == max(itertools.product(range(3), range(2)), key=total)
    assert chosen[1:] == [(0, 0), (0, 0)]
    assert weight or chosen[0] == (0, 0)


def test_no_utterances_give_no_pairs():
    errors = LearnerErrorModel.estimate(noisy_pairs(20, 1))
    assert Coupling(errors).choose([], []) == []


def test_different_numbers_of_transcripts_raise_user_error():
    with pytest.raises(UserError, match="2 transcripts of a and 1 of b"):
        LearnerErrorModel.estimate({"a": [["x"], ["y"]], "b": [["z"]]})


def random_pairs(count):
    generator = random.Random(0)
    draw = lambda letters: generator.choices(letters, k=generator.randint(0, 6))  # noqa: E731
    return {"a": [draw("xyz") for _ in range(count)], "b": [draw("12") for _ in range(count)]}


def test_estimate_is_kept_for_the_same_pairs(tmp_path, monkeypatch):
    pairs = random_pairs(40)
    model = LearnerErrorModel.estimate_or_load(pairs, tmp_path)
    monkeypatch.setattr(LearnerErrorModel, "estimate", lambda *_: pytest.fail("estimated again"))
    loaded = LearnerErrorModel.estimate_or_load(pairs, tmp_path)
    assert loaded.tokens == model.tokens and torch.equal(loaded.table, model.table)
    with pytest.raises(pytest.fail.Exception):  # other pairs
        LearnerErrorModel.estimate_or_load({**pairs, "b": pairs["b"][::-1]}, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_damaged_estimate_is_estimated_again(tmp_path, content, capsys):
    pairs = random_pairs(10)
    model = LearnerErrorModel.estimate_or_load(pairs, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    again = LearnerErrorModel.estimate_or_load(pairs, tmp_path)
    assert torch.equal(again.table, model.table)
    assert "not readable, estimated again" in capsys.readouterr().err


def test_estimate_without_a_place_for_it(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    model = LearnerErrorModel.estimate_or_load(random_pairs(10), tmp_path / "file")
    assert torch.equal(model.table, LearnerErrorModel.estimate(random_pairs(10)).table)
    assert "is not kept" in capsys.readouterr().err


def test_estimate_shows_progress(monkeypatch, capsys):
    monkeypatch.setattr("espnet_ext.progress._SILENT_SECONDS", -1)
    monkeypatch.setattr("espnet_ext.progress._SECONDS_BETWEEN_LINES", -1)
    LearnerErrorModel.estimate(random_pairs(10))
    assert "estimating the coupling: 1/8 batch" in capsys.readouterr().err


def test_estimate_does_not_depend_on_the_batches(monkeypatch):
    pairs = random_pairs(40)
    whole = LearnerErrorModel.estimate(pairs)
    monkeypatch.setattr("espnet_ext.decoding.coupling.PAIRS_PER_CHUNK", 7)
    assert torch.allclose(LearnerErrorModel.estimate(pairs).table, whole.table)
