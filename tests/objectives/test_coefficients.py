"""The arithmetic of the gradient methods, against torchjd and hand computations."""

import math
import sys

import numpy as np
import pytest
import torch
from toy_model import ToyModel

from espnet_ext.errors import UserError
from espnet_ext.objectives.cagrad import CAGrad
from espnet_ext.objectives.dwa import weights_of
from espnet_ext.objectives.gradient_remedy import GradientRemedy
from espnet_ext.objectives.gradnorm import next_weights
from espnet_ext.objectives.pcgrad import task_orders

TWO, THREE = ("surface", "meaning"), ("surface", "meaning", "canonical")


def random_vectors(count, size=3, seed=0):
    """Vectors (count, size) in few dimensions, so that many pairs conflict."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.double)


def method(name, outputs=TWO, **conf):
    model = ToyModel({"objective": name, "objective_conf": conf}, outputs)
    model.objective.begin_update()
    return model.objective


def coefficients(objective, vectors):
    return objective.coefficients(vectors @ vectors.T, list(range(len(vectors))), 0)


@pytest.mark.parametrize("seed", range(20))
def test_pcgrad_of_two_tasks_equals_torchjd(seed):
    torchjd = pytest.importorskip("torchjd.aggregation")
    vectors = random_vectors(2, seed=seed)
    expected = torchjd.PCGrad()(vectors)
    torch.testing.assert_close(coefficients(method("pcgrad"), vectors) @ vectors, expected)


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad_of_three_tasks_equals_projections_of_vectors(seed):
    vectors = random_vectors(3, seed=seed)
    objective = method("pcgrad", THREE)
    changed = vectors.clone()
    for i, order in enumerate(task_orders(3, int(objective.updates))):
        for j in order:
            product = changed[i] @ vectors[j]
            if product < 0:
                changed[i] = changed[i] - product / vectors[j].square().sum() * vectors[j]
    torch.testing.assert_close(coefficients(objective, vectors) @ vectors, changed.sum(0))


@pytest.mark.parametrize("outputs", [TWO, THREE])
@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_cagrad_equals_torchjd(outputs, c):
    torchjd = pytest.importorskip("torchjd.aggregation")
    pytest.importorskip("cvxpy")
    for seed in range(5):
        vectors = random_vectors(len(outputs), size=4, seed=seed)
        expected = torchjd.CAGrad(c=c, norm_eps=1e-10)(vectors) * len(outputs)
        result = coefficients(CAGrad(outputs, c=c), vectors) @ vectors
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-3)


def test_cagrad_has_the_best_worst_case_on_the_circle():
    vectors = torch.tensor([[1.0, 0.2], [-0.6, 0.5]], dtype=torch.double)
    mean = vectors.mean(0)
    angles = torch.linspace(0, 2 * math.pi, 100001, dtype=torch.double)
    circle = mean + 0.5 * mean.norm() * torch.stack([angles.cos(), angles.sin()], 1)
    best = circle[(circle @ vectors.T).min(1).values.argmax()]
    result = coefficients(CAGrad(TWO, c=0.5), vectors) @ vectors / 2
    torch.testing.assert_close(result, best, rtol=1e-3, atol=1e-4)


def test_cagrad_with_radius_0_is_the_sum():
    assert coefficients(CAGrad(TWO, c=0.0), random_vectors(2)).tolist() == [1.0, 1.0]


def test_cagrad_of_opposite_gradients_follows_the_longer_one():
    vectors = torch.tensor([[1.0, 0.0], [-3.0, 0.0]], dtype=torch.double)
    result = coefficients(CAGrad(TWO, c=0.5), vectors) @ vectors
    torch.testing.assert_close(result, 0.5 * vectors.sum(0), atol=1e-5, rtol=0)


def test_cagrad_stays_near_the_mean_if_no_direction_improves_all_losses():
    """d = 0 would be outside of the ball around the mean gradient, whose radius is c < 1."""
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], dtype=torch.double)
    result = coefficients(CAGrad(THREE, c=0.5), vectors) @ vectors / 3
    assert (result - vectors.mean(0)).norm() <= 0.5 * vectors.mean(0).norm() + 1e-6
    assert (vectors @ result).min() > -1e-6


@pytest.mark.parametrize("beta", [0.01, 0.5])
def test_gradvac_equals_torchjd_over_several_updates(beta):
    torchjd = pytest.importorskip("torchjd.aggregation")
    objective, oracle = method("gradvac", beta=beta, granularity="whole"), torchjd.GradVac(beta)
    objective.double()
    for seed in range(10):
        vectors = random_vectors(2, seed=seed)
        objective.begin_update()
        result = coefficients(objective, vectors) @ vectors
        torch.testing.assert_close(result, oracle(vectors), rtol=1e-5, atol=1e-6)


def test_gradvac_reaches_the_target_cosine():
    objective = method("gradvac", granularity="whole").double()
    objective.targets[:] = 0.6
    objective.begin_update()
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.double)
    # g_1 = (1, 0) + a (0, 2) with cosine 0.6 to (0, 2): 2a / √(1 + 4a²) = 0.6, so a = 0.375
    # g_2 = (0, 2) + b (1, 0) with cosine 0.6 to (1, 0): b / √(b² + 4) = 0.6, so b = 1.5
    assert coefficients(objective, vectors).tolist() == pytest.approx([2.5, 1.375])


def remedy(main="meaning", **conf):
    return GradientRemedy(TWO, main=main, **conf)


def test_gradient_remedy_turns_the_other_gradient_towards_the_main_one():
    main, other = np.array([2.0, 0.0]), np.array([-1.0, 1.0])
    # Without its part along `main` it is (0, 1). tan θ = √2 / 2, so (√2, 1) is added up.
    expected = np.array([math.sqrt(2), 1.0]) + main
    vectors = torch.tensor(np.stack([other, main]))
    result = coefficients(remedy(), vectors) @ vectors
    np.testing.assert_allclose(result.numpy(), expected)


def test_gradient_remedy_rescales_a_dominant_gradient():
    main, other = np.array([1.0, 0.0]), np.array([3.0, 4.0])
    # The cosine is 0.6, the ratio of the lengths 5.
    vectors = torch.tensor(np.stack([other, main]))
    result = coefficients(remedy(threshold=4.0), vectors) @ vectors
    np.testing.assert_allclose(result.numpy(), 0.6 * other + main / 0.6)
    result = coefficients(remedy(threshold=6.0), vectors) @ vectors
    np.testing.assert_allclose(result.numpy(), other + main)


def test_gradient_remedy_turns_then_rescales():
    main, other = np.array([0.5, 0.0]), np.array([-3.0, 4.0])
    turned = np.array([4.0 / (5.0 / 0.5), 4.0])
    cosine = turned[0] / np.linalg.norm(turned)
    vectors = torch.tensor(np.stack([main, other]))
    result = coefficients(remedy(main="surface", threshold=2.0), vectors) @ vectors
    np.testing.assert_allclose(result.numpy(), cosine * turned + main / cosine)


def test_gradnorm_step_equals_hand_computation():
    weights, norms = torch.tensor([1.0, 1.0]), torch.tensor([3.0, 1.0])
    ratios = torch.tensor([0.5, 1.5])
    # G = (3, 1), mean 2; r = (0.5, 1.5); targets with α = 1: (1, 3); gradient (3, −1) / 2.
    changed = np.array([1 - 0.1 * 1.5, 1 + 0.1 * 0.5])
    result = next_weights(weights, norms, ratios, 1.0, 0.1)
    np.testing.assert_allclose(result.numpy(), 2 * changed / changed.sum(), rtol=1e-6)


def test_gradnorm_weights_make_norms_equal():
    weights, norms, equal = torch.ones(2), torch.tensor([4.0, 1.0]), torch.ones(2)
    for _ in range(400):
        weights = next_weights(weights, norms, equal, 0.0, 0.002)
    assert (weights * norms)[0] == pytest.approx(float((weights * norms)[1]), rel=0.05)


def test_dwa_weights_equal_hand_computation():
    losses = torch.tensor([[1.0, 4.0], [2.0, 4.0]], dtype=torch.double)  # ratios 0.5 and 1
    first, second = math.exp(0.25), math.exp(0.5)
    expected = [2 * first / (first + second), 2 * second / (first + second)]
    assert weights_of(losses, 2.0).tolist() == pytest.approx(expected)
    losses[1, 1] = math.nan
    assert weights_of(losses, 2.0).tolist() == pytest.approx(expected)  # ratio 1


@pytest.mark.parametrize("name", ["MGDA", "AlignedMTL", "PCGrad", "IMTLG"])
def test_aggregator_of_torchjd_has_its_direction_and_the_length_of_a_sum(name):
    torchjd = pytest.importorskip("torchjd.aggregation")
    objective = method("torchjd", aggregator=name)
    for seed in range(5):
        vectors = random_vectors(2, size=4, seed=seed)
        expected = getattr(torchjd, name)()(vectors)
        result = coefficients(objective, vectors) @ vectors
        factor = 1 if name == "PCGrad" else 2  # the others return a mean
        torch.testing.assert_close(result, factor * expected)
    assert coefficients(objective, 3 * torch.eye(2).double()).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({}, "aggregator: not given"),
        ({"aggregator": "mgda"}, "'mgda': no aggregator by Gram matrices"),
        ({"aggregator": "GradDrop"}, "'GradDrop': no aggregator by Gram matrices"),
        ({"aggregator": True}, "True: no aggregator"),
        ({"aggregator": "GradVac"}, "has a state over updates"),
        ({"aggregator": "Krum", "aggregator_conf": {"n_byzantine": 1}}, "at least 4 rows"),
        ({"aggregator": "MGDA", "aggregator_conf": {"steps": 3}}, "not valid for MGDA"),
        ({"aggregator": "MGDA", "aggregator_conf": {"epsilon": -1}}, "not valid for MGDA"),
        ({"aggregator": "MGDA", "aggregator_conf": [1]}, "is not a mapping"),
    ],
)
def test_wrong_aggregator_of_torchjd_is_a_user_error(conf, message):
    pytest.importorskip("torchjd.aggregation")
    with pytest.raises(UserError, match=message):
        method("torchjd", **conf)


def test_missing_torchjd_is_a_user_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(UserError, match="torchjd is not installed"):
        method("torchjd", aggregator="MGDA")
