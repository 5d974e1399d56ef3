"""Penalties on the streams of the outputs."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from espnet_ext.errors import UserError
from espnet_ext.model.encoding import EncoderOutput
from espnet_ext.model.losses import TrainingLosses
from espnet_ext.model.similarity import minibatch_cka, unbiased_hsic
from espnet_ext.objectives.adversarial import Adversarial
from espnet_ext.objectives.decorrelation import MEASURES, Decorrelation
from espnet_ext.objectives.registry import build_objective

sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
import golden_systems  # noqa: E402

OUTPUTS = ("surface", "meaning")
LENGTHS = torch.tensor([9, 6, 5])
HEAD = {"surface": {"branch": "ctc", "ctc_weight": 1.0}}
HEADS = {**HEAD, "meaning": {"branch": "ctc", "ctc_weight": 0.5}}


def streams(seed=0, related=True):
    """Return two streams (B, T, D), with noise as padding."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(3, 9, 4, generator=generator, dtype=torch.double)
    noise = torch.randn(3, 9, 4, generator=generator, dtype=torch.double)
    second = (
        first @ torch.randn(4, 4, generator=generator, dtype=torch.double) if related else noise
    )
    return first.requires_grad_(), (second.detach() + 0.1 * noise).requires_grad_()


def losses_of(first, second, lengths=LENGTHS):
    """Return losses of a batch without heads' losses but one of zero."""
    zero = SimpleNamespace(weighted=lambda: [first.sum() * 0])
    hidden = dict(zip(OUTPUTS, (first, second), strict=True))
    return TrainingLosses(
        {"surface": zero}, {}, {}, EncoderOutput(hidden, dict.fromkeys(OUTPUTS, lengths))
    )


def per_utterance(first, second):
    return [(a[:n], b[:n]) for a, b, n in zip(first, second, LENGTHS.tolist(), strict=True)]


def test_cka_penalty_is_the_mean_cka_of_utterances():
    first, second = streams()
    expected = [minibatch_cka(a.detach(), b.detach()) for a, b in per_utterance(first, second)]
    penalty = Decorrelation(OUTPUTS, measure="cka", strength=1.0)(losses_of(first, second))
    assert float(penalty.detach()) == pytest.approx(sum(expected) / 3)


def test_hsic_penalty_is_the_mean_hsic_of_utterances():
    first, second = streams()
    expected = []
    for a, b in per_utterance(first, second):
        a, b = (a - a.mean(0)) / 2, (b - b.mean(0)) / 2  # √D
        expected.append(unbiased_hsic(a @ a.T, b @ b.T))
    penalty = Decorrelation(OUTPUTS, measure="hsic", strength=1.0)(losses_of(first, second))
    assert float(penalty.detach()) == pytest.approx(float(sum(expected).detach()) / 3)


def test_orthogonality_penalty_is_the_mean_squared_norm_of_utterances():
    first, second = streams()
    expected = []
    for a, b in per_utterance(first, second):
        a, b = a - a.mean(0), b - b.mean(0)
        a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
        expected.append((a.T @ b).square().sum() / len(a) ** 2)
    objective = Decorrelation(OUTPUTS, measure="orthogonality", strength=1.0)
    penalty = objective(losses_of(first, second))
    assert float(penalty.detach()) == pytest.approx(float(sum(expected).detach()) / 3)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_step_against_the_penalty_decorrelates(measure):
    first, second = streams()
    objective = Decorrelation(OUTPUTS, measure=measure, strength=1.0)
    before = objective(losses_of(first, second))
    before.backward()
    norm = second.grad.norm()
    after = objective(losses_of(first, second - 0.1 * second.grad / norm))
    assert float(after.detach()) < float(before.detach())
    assert not second.grad[1, 6:].any()  # padding


@pytest.mark.parametrize(
    "objective", [Decorrelation(OUTPUTS, strength=1.0), Adversarial(OUTPUTS, strength=1.0)]
)
def test_validation_loss_is_without_the_penalty(objective):
    first, second = streams()
    objective.classifier = torch.nn.Linear(4, 2).double()  # of Adversarial
    with torch.no_grad():
        assert float(objective(losses_of(first, second))) == 0
    assert float(objective(losses_of(first, second)).detach()) > 0
    assert objective.statistics()[f"penalty_{objective.name}"] > 0


def test_short_utterances_have_no_hsic():
    first, second = streams()
    objective = Decorrelation(OUTPUTS, measure="cka", strength=1.0)
    penalty = objective(losses_of(first, second, torch.tensor([3, 2, 1])))
    penalty.backward()
    assert float(penalty.detach()) == 0 and torch.isfinite(first.grad).all()


def adversarial(strength):
    torch.manual_seed(0)
    model = SimpleNamespace(
        separates_outputs=True, postencoder=None, encoder=SimpleNamespace(output_size=lambda: 4)
    )
    objective = Adversarial(OUTPUTS, strength=strength, hidden=8)
    objective.attach(model)
    return objective.double()


def test_gradient_of_the_classifier_reaches_the_streams_reversed():
    result = {}
    for strength in (-1.0, 2.0):  # −1 is the gradient that is not reversed
        first, second = streams()
        objective = adversarial(abs(strength))
        objective.strength = strength
        objective(losses_of(first, second)).backward()
        result[strength] = first.grad, objective.classifier[0].weight.grad
    torch.testing.assert_close(result[2.0][0], -2 * result[-1.0][0])
    torch.testing.assert_close(result[2.0][1], result[-1.0][1])
    assert result[2.0][0].any()


def test_classifier_learns_and_the_reversed_gradient_confuses_it():
    first, second = (stream.detach() for stream in streams(related=False))
    second = second + 2
    objective = adversarial(0.0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        objective(losses_of(first, second)).backward()
        optimizer.step()
    assert float(objective.statistics()["acc_classifier_of_outputs"]) > 0.9
    objective.strength = 1.0
    second.requires_grad_()
    before = objective(losses_of(first, second))
    before.backward()
    after = objective(losses_of(first, second - second.grad))
    assert float(after.detach()) > float(before.detach())


def config(objective, conf, **changes):
    changes = {"conditioning": "tops", "outputs": HEADS, **changes}
    return {**changes, "objective": objective, "objective_conf": conf}


@pytest.mark.parametrize(
    ("objective", "conf"),
    [("adversarial", {}), *(("decorrelation", {"measure": measure}) for measure in MEASURES)],
)
def test_zero_strength_has_the_gradients_of_the_system_without_it(objective, conf):
    batch = golden_systems.batch(OUTPUTS, 0)
    result = []
    for overlay in (
        config(objective, {**conf, "strength": 0.0}),
        config(objective, {**conf, "strength": 0.5}),
        {"conditioning": "tops", "outputs": HEADS},
    ):
        torch.manual_seed(0)
        model, _ = golden_systems.build(overlay)
        plain = {k: v for k, v in model.state_dict().items() if not k.startswith("objective")}
        if result:
            model.load_state_dict(result[0][1], strict=False)
        model(**batch)[0].backward()
        shared = {n: p.grad for n, p in model.named_parameters() if not n.startswith("objective")}
        result.append((shared, plain))
    (zero, _), (some, _), (without, _) = result
    assert zero.keys() == without.keys()
    for name in without:
        torch.testing.assert_close(zero[name], without[name])
    assert any(not torch.allclose(some[name], without[name]) for name in without)


@pytest.mark.parametrize("objective", ["adversarial", "decorrelation"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditioning": None}, "one encoder output for all outputs"),
        ({"conditioning": "vectors"}, "one encoder output for all outputs"),
        ({"conditioning": "tops", "conditioning_conf": {"layers": 0}}, "one encoder output"),
        ({"conditioning": None, "outputs": HEAD}, "one output"),
    ],
)
def test_system_in_which_outputs_share_the_stream_is_refused(objective, changes, message):
    with pytest.raises(UserError, match=f"objective: {objective} .*{message}"):
        golden_systems.build(config(objective, {}, **changes))


@pytest.mark.parametrize(
    ("objective", "conf", "message"),
    [
        ("adversarial", {"strength": -1}, "objective_conf.strength: -1"),
        ("adversarial", {"hidden": 0}, "objective_conf.hidden: 0"),
        ("decorrelation", {"measure": "cca"}, "measure: unknown 'cca'"),
        ("decorrelation", {"weight": 1}, "unknown key 'weight'"),
    ],
)
def test_wrong_value_is_a_user_error(objective, conf, message):
    with pytest.raises(UserError, match=message):
        build_objective(config(objective, conf))
