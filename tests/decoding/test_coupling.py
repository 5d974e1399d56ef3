"""The learner-error model against a sum over all ways to edit, and what it chooses."""

import itertools
import math
import random

import pytest
import torch

from espnet_ext.decoding.coupling import Coupling, LearnerErrorModel
from espnet_ext.errors import UserError


def edited(table, x, y):
    """Probability of writing x and y, by trying every operation; ids from 1, 0 for nothing."""
    if not x and not y:
        return 1.0
    total = 0.0
    if x:
        total += math.exp(table[x[0]][0]) * edited(table, x[1:], y)
    if y:
        total += math.exp(table[0][y[0]]) * edited(table, x, y[1:])
    if x and y:
        total += math.exp(table[x[0]][y[0]]) * edited(table, x[1:], y[1:])
    return total


def alone(table, ids, by_row):
    sums = [
        sum(math.exp(v) for v in (row if by_row else column))
        for row, column in zip(table, zip(*table, strict=True), strict=True)
    ]
    return sum(math.log(sums[i] / sum(sums[1:])) for i in ids)


def test_consistency_is_a_sum_over_all_ways_to_edit():
    torch.manual_seed(1)
    table = torch.randn(4, 4, dtype=torch.double)
    table[0, 0] = -1e30
    table = table - table.logsumexp((0, 1))
    model = LearnerErrorModel({"a": ("p", "q", "r"), "b": ("s", "t", "u")}, table)
    random_ = random.Random(2)
    pairs = {"a": [], "b": []}
    for _ in range(12):
        pairs["a"].append([random_.choice("pqr") for _ in range(random_.randrange(5))])
        pairs["b"].append([random_.choice("stu") for _ in range(random_.randrange(5))])
    found = model.consistency(pairs)
    rows = table.tolist()
    for value, x, y in zip(found.tolist(), pairs["a"], pairs["b"], strict=True):
        x, y = ["pqr".index(i) + 1 for i in x], ["stu".index(i) + 1 for i in y]
        together = math.log(edited(rows, x, y))
        wanted = together - alone(rows, x, True) - alone(rows, y, False)
        assert value == pytest.approx(wanted, abs=1e-9)


def noisy(count, seed):
    """Meanings of letters, surfaces in capitals: f is said P half the time, e is often dropped."""
    random_ = random.Random(seed)
    pairs = {"meaning": [], "surface": []}
    for _ in range(count):
        meaning = random_.choices("abcdef", k=random_.randint(3, 8))
        surface = []
        for token in meaning:
            if token == "f" and random_.random() < 0.5:
                surface.append("P")
            elif token != "e" or random_.random() < 0.4:
                surface.append(token.upper())
        pairs["meaning"].append(meaning)
        pairs["surface"].append(surface)
    return pairs


def test_estimation_finds_the_errors_that_were_made():
    model = LearnerErrorModel.estimate(noisy(300, 1), rounds=10)
    rows, columns = (("", *model.tokens[name]) for name in ("meaning", "surface"))
    table = model.table.exp()

    def given(token, said):
        row = rows.index(token)
        return float(table[row, columns.index(said)] / table[row].sum())

    assert given("a", "A") > 0.95
    assert given("f", "P") == pytest.approx(0.5, abs=0.1)
    assert given("e", "") == pytest.approx(0.6, abs=0.1)
    assert float(table.sum()) == pytest.approx(1.0)


def test_more_rounds_make_the_pairs_likelier():
    pairs = noisy(100, 3)
    values = [
        float(LearnerErrorModel.estimate(pairs, rounds).consistency(pairs).mean())
        for rounds in (1, 2, 5)
    ]
    assert values == sorted(values)


def test_what_belongs_together_is_consistent():
    model = LearnerErrorModel.estimate(noisy(300, 1))
    fresh = noisy(20, 9)
    swapped = {"meaning": fresh["meaning"], "surface": fresh["surface"][1:] + fresh["surface"][:1]}
    assert (model.consistency(fresh) > model.consistency(swapped)).float().mean() > 0.9


def test_a_token_never_seen_changes_nothing():
    model = LearnerErrorModel.estimate(noisy(50, 1))
    plain = model.consistency({"meaning": [["a", "b"]], "surface": [["A", "B"]]})
    strange = model.consistency({"meaning": [["a", "z", "b"]], "surface": [["A", "B"]]})
    assert float(plain) == float(strange)


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_the_pair_chosen_is_the_best_of_all(weight):
    errors = LearnerErrorModel.estimate(noisy(100, 1))
    meanings = [(list("abc"), -1.0), (list("abd"), -1.2), (list("fb"), -1.9)]
    surfaces = [(list("AD"), -0.5), (list("ABD"), -0.6)]
    chosen = Coupling(errors, weight).choose([meanings, [], meanings], [surfaces, surfaces, []])

    def value(pair):
        (one, own), (other, score) = meanings[pair[0]], surfaces[pair[1]]
        return (
            own + score + weight * float(errors.consistency({"meaning": [one], "surface": [other]}))
        )

    assert chosen[0] == max(itertools.product(range(3), range(2)), key=value)
    assert chosen[1:] == [(0, 0), (0, 0)]
    assert weight or chosen[0] == (0, 0)


def test_pairs_must_be_pairs():
    with pytest.raises(UserError, match="2 transcripts of a and 1 of b"):
        LearnerErrorModel.estimate({"a": [["x"], ["y"]], "b": [["z"]]})
