"""Objectives that combine gradients: what they do to a model's gradients."""

import importlib.util

import pytest
import torch
from toy_model import (
    OUTPUTS,
    ToyModel,
    batch,
    encoder_vector,
    gradients,
    plain_gradients,
    task_vectors,
)

from espnet_ext.errors import UserError
from espnet_ext.model.losses import weighted_sum
from espnet_ext.objectives.registry import DEFAULT, OBJECTIVES
from espnet_ext.training.health import check_weights

METHODS = {
    "pcgrad": {},
    "cagrad": {},
    "gradvac": {},
    "gradient_remedy": {"main": "meaning"},
    "gradnorm": {},
}
if importlib.util.find_spec("torchjd"):
    METHODS["torchjd"] = {"aggregator": "AlignedMTL"}
ALL_OBJECTIVES = {**METHODS, "uncertainty": {}, "dwa": {}}
# With these values the objective is the weighted sum.
NEUTRAL = {
    "cagrad": {"c": 0.0},
    "gradnorm": {"weight_lr": 0.0},
    "uncertainty": {},
    "dwa": {},
}


def model_with(name, outputs=OUTPUTS, accum_grad=1, **conf):
    return ToyModel({"objective": name, "objective_conf": conf, "accum_grad": accum_grad}, outputs)


def run(model, inputs, targets):
    loss, statistics, _ = model(inputs, targets)
    loss.backward()
    return loss.detach(), statistics


def assert_equal(result, expected):
    assert {k for k in result if not k.startswith("objective")} == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(result[name], gradient, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_objective_has_the_gradients_of_the_weighted_sum(name):
    model = model_with(name, **NEUTRAL[name])
    model.objective.begin_epoch()
    value, _ = run(model, *batch())
    assert_equal(gradients(model), plain_gradients(*batch()))
    plain = ToyModel()(*batch())[0]
    assert float(value) == pytest.approx(float(plain.detach()))


@pytest.mark.parametrize("name", ["pcgrad", "gradvac", "gradient_remedy"])
@pytest.mark.parametrize("granularity", ["whole", "layer"])
def test_without_conflict_the_gradients_are_added(name, granularity):
    inputs, targets = batch(conflict=False)
    model = model_with(name, granularity=granularity, **METHODS[name])
    vectors = task_vectors(model, inputs, targets)
    assert vectors[0] @ vectors[1] > 0
    _, statistics = run(model, inputs, targets)
    assert_equal(gradients(model), plain_gradients(inputs, targets))
    assert 0 < float(statistics["cosine_surface_meaning"]) <= 1


def test_pcgrad_projects_the_gradients_of_the_encoder_only():
    inputs, targets = batch()
    model = model_with("pcgrad")
    first, second = task_vectors(model, inputs, targets)
    assert first @ second < 0
    run(model, inputs, targets)
    expected = first - first @ second / second.square().sum() * second
    expected = expected + second - first @ second / first.square().sum() * first
    torch.testing.assert_close(encoder_vector(model), expected)
    plain, result = plain_gradients(inputs, targets), gradients(model)
    for name in plain:
        if not name.startswith("encoder"):
            torch.testing.assert_close(result[name], plain[name])


def test_layers_that_are_not_chosen_have_the_sum():
    inputs, targets = batch()
    model = model_with("pcgrad", layers=[1])
    run(model, inputs, targets)
    plain, result = plain_gradients(inputs, targets), gradients(model)
    torch.testing.assert_close(
        result["encoder.encoders.0.weight"], plain["encoder.encoders.0.weight"]
    )
    assert not torch.allclose(
        result["encoder.encoders.1.weight"], plain["encoder.encoders.1.weight"]
    )


def test_granularity_layer_projects_each_layer_by_itself():
    inputs, targets = batch()
    model = model_with("pcgrad", granularity="layer")
    size = sum(p.numel() for p in model.encoder.encoders[0].parameters())
    vectors = task_vectors(model, inputs, targets)
    run(model, inputs, targets)
    parts = []
    for first, second in (vectors[:, :size], vectors[:, size:]):
        product = (first @ second).clamp(max=0)
        parts.append(
            first
            + second
            - product / second.square().sum() * second
            - product / first.square().sum() * first
        )
    torch.testing.assert_close(encoder_vector(model), torch.cat(parts))


def test_a_number_of_layers_chooses_the_most_conflicting_ones():
    inputs, targets = batch()
    model = model_with("pcgrad", layers=1)
    run(model, inputs, targets)
    cosines = model.objective.cosines[:-1]
    assert torch.isfinite(cosines).all()
    chosen = int(cosines.argmin())
    model.zero_grad()
    run(model, inputs, targets)
    listed = model_with("pcgrad", layers=[chosen])
    run(listed, inputs, targets)
    torch.testing.assert_close(encoder_vector(model), encoder_vector(listed))


def test_parameters_of_one_task_do_not_enter_the_inner_products():
    inputs, targets = batch()
    model = model_with("pcgrad")
    run(model, inputs, targets)
    assert model.private.weight.grad.any()
    torch.testing.assert_close(
        model.private.weight.grad, plain_gradients(inputs, targets)["private.weight"]
    )


@pytest.mark.parametrize("name", METHODS)
def test_batch_without_labels_of_an_output_has_the_gradients_of_the_other(name):
    inputs, targets = batch()
    targets[:, 0] = torch.nan
    model = model_with(name, **METHODS[name])
    run(model, inputs, targets)
    assert_equal(gradients(model), plain_gradients(inputs, targets))


@pytest.mark.parametrize("name", METHODS)
def test_accumulated_batches_equal_one_batch(name):
    inputs, targets = batch(8)
    targets[:4, 0] = torch.nan  # the first half has no labels for one output
    whole = model_with(name, **METHODS[name])
    parts = model_with(name, accum_grad=2, **METHODS[name])
    for step in range(3):  # the state of the method is carried over
        for model in (whole, parts):
            model.zero_grad()
        run(whole, inputs, targets)
        for half in (slice(0, 4), slice(4, 8)):
            (parts(inputs[half], targets[half])[0] / 2).backward()
        assert_equal(gradients(parts), gradients(whole))
        for (key, a), b in zip(
            whole.objective.state_dict().items(), parts.objective.state_dict().values(), strict=True
        ):
            if key != "cosines":
                torch.testing.assert_close(a, b, msg=f"{name}: {key}, update {step}")


@pytest.mark.parametrize("name", METHODS)
def test_scaled_losses_have_the_same_gradients(name):
    model, scaled = model_with(name, **METHODS[name]), model_with(name, **METHODS[name])
    scaled.objective.loss_scale = lambda: 1024.0
    run(model, *batch())
    run(scaled, *batch())
    assert_equal(gradients(scaled), gradients(model))


def test_small_gradients_survive_half_precision_with_a_loss_scale():
    inputs, targets = (tensor.float() for tensor in batch())
    model = model_with("pcgrad").float()
    for scale, survives in ((1.0, False), (2.0**16, True)):
        model.zero_grad()
        model.objective.loss_scale = lambda scale=scale: scale
        losses = model.losses(inputs, targets)
        heads = {name: head.scaled(torch.tensor(1e-9)) for name, head in losses.heads.items()}
        for name, head in heads.items():
            halved = {
                key: (loss.half() * 1).float() for key, loss in losses.heads[name].terms.items()
            }
            terms = {key: loss * 1e-9 for key, loss in halved.items()}
            object.__setattr__(head, "terms", terms)
        object.__setattr__(losses, "heads", heads)
        model.objective(losses).backward()
        assert bool(encoder_vector(model).any()) == survives


@pytest.mark.parametrize("name", METHODS)
def test_autocast_does_not_change_the_method(name):
    inputs, targets = (tensor.float() for tensor in batch(conflict=True))
    model = model_with(name, **METHODS[name]).float()
    exact = model_with(name, **METHODS[name])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _, _ = model(inputs, targets)
    loss.backward()
    run(exact, *batch(conflict=True))
    result, expected = encoder_vector(model), encoder_vector(exact)
    assert result.dtype == torch.float32
    torch.testing.assert_close(
        result, expected.float(), rtol=0.1, atol=0.05 * float(expected.norm())
    )


def test_auxiliary_losses_are_added_and_are_no_tasks():
    inputs, targets = batch()
    plain = model_with("pcgrad")
    run(plain, inputs, targets)
    model = model_with("pcgrad", auxiliary_weights={"size": 0.5})
    model.auxiliary = {"size": lambda states: states.square().mean()}
    value, _ = run(model, inputs, targets)
    size = model.auxiliary["size"](model.encoder(inputs))
    parts = torch.autograd.grad(0.5 * size, list(model.encoder.parameters()))
    expected = encoder_vector(plain) + torch.cat([part.flatten() for part in parts])
    torch.testing.assert_close(encoder_vector(model), expected)
    total = float(plain(inputs, targets)[0].detach()) + 0.5 * float(size.detach())
    assert float(value) == pytest.approx(total)


@pytest.mark.parametrize("name", ALL_OBJECTIVES)
def test_validation_has_the_same_statistics_and_no_gradients(name):
    model = model_with(name, **ALL_OBJECTIVES[name])
    _, statistics = run(model, *batch())
    before = {k: v.clone() for k, v in model.objective.state_dict().items()}
    with torch.no_grad():
        loss, in_validation, _ = model(*batch())
    assert set(statistics) == set(in_validation)
    assert torch.isfinite(loss)
    for key, value in model.objective.state_dict().items():
        torch.testing.assert_close(value, before[key], equal_nan=True)


def test_the_validation_loss_of_every_objective_is_tested():
    penalties = {"adversarial", "decorrelation"}  # in test_penalties.py
    assert {*ALL_OBJECTIVES, *penalties, "torchjd"} == set(OBJECTIVES) - {DEFAULT}


@pytest.mark.parametrize("name", ALL_OBJECTIVES)
def test_validation_loss_does_not_depend_on_learned_weights(name):
    """It is compared between epochs (`patience`, selection by loss) and between systems."""
    model = model_with(name, **ALL_OBJECTIVES[name])
    run(model, *batch())
    with torch.no_grad():
        for state in model.objective.state_dict().values():
            if state.is_floating_point():
                state.uniform_(0.1, 2.0)
        loss = model(*batch())[0]
        expected = weighted_sum(model.losses(*batch()))
    torch.testing.assert_close(loss, expected)


def test_gradient_that_is_not_finite_does_not_change_the_state():
    inputs, targets = batch()
    model = model_with("gradvac")
    run(model, inputs, targets)
    before = model.objective.targets.clone()
    run(model, inputs * torch.inf, targets)
    assert torch.equal(model.objective.targets, before)
    assert not torch.isfinite(encoder_vector(model)).all()  # the Trainer skips this update


def test_gradients_are_released_after_a_batch():
    model = model_with("pcgrad")
    run(model, *batch())
    assert model.objective._sums is None and model.objective._applied == []


def test_frozen_encoder_is_trained_as_with_the_weighted_sum():
    model, plain = model_with("pcgrad"), ToyModel()
    for each in (model, plain):
        each.encoder.requires_grad_(False)
        each.private.requires_grad_(False)
        run(each, *batch())
    assert_equal(gradients(model), gradients(plain))


def test_uncertainty_moves_towards_its_optimum():
    model = model_with("uncertainty")
    inputs, targets = batch()
    loss = model.losses(inputs, targets).heads["surface"].weighted()[0].detach()
    with torch.no_grad():
        model.objective.log_variances[0] = torch.log(2 * loss)
    run(model, inputs, targets)
    assert float(model.objective.log_variances.grad[0]) == pytest.approx(0, abs=1e-9)


def test_uncertainty_of_an_output_without_labels_stays():
    inputs, targets = batch()
    targets[:, 0] = torch.nan
    model = model_with("uncertainty")
    run(model, inputs, targets)
    assert float(model.objective.log_variances.grad[0]) == 0
    assert float(model.objective.log_variances.grad[1]) != 0


def test_dwa_weights_follow_the_losses_of_the_last_epochs():
    inputs, targets = batch()
    model = model_with("dwa", temperature=1.0)
    for factor in (1.0, 2.0):  # the surface loss rises
        model.objective.begin_epoch()
        assert model.objective.task_weights.tolist() == [1, 1]
        scaled = targets.clone()
        scaled[:, 0] = targets[:, 0] * factor
        run(model, inputs, scaled)
    model.objective.begin_epoch()
    first, second = model.objective.task_weights.tolist()
    assert first > 1 > second and first + second == pytest.approx(2)


@pytest.mark.parametrize(
    ("name", "conf", "message"),
    [
        ("pcgrad", {"layers": ["7"]}, "no layer '7'"),
        ("pcgrad", {"layers": 5}, "5: the encoder has 2 layers"),
        ("pcgrad", {"layers": "top"}, "layers: 'top'"),
        ("pcgrad", {"granularity": "matrix"}, "granularity: unknown 'matrix'"),
        ("cagrad", {"c": -1}, "objective_conf.c: -1"),
        ("gradvac", {"beta": 2}, "objective_conf.beta: 2"),
        ("gradnorm", {"alpha": "high"}, "objective_conf.alpha: 'high'"),
        ("gradnorm", {"granularity": "layer"}, "gradnorm has none"),
        ("gradnorm", {"layers": 3}, "3: the encoder has 2 layers"),
        ("gradvac", {"layer": 3}, "unknown key 'layer'"),
        ("gradient_remedy", {}, "objective_conf.main: not given"),
        ("gradient_remedy", {"main": "meanin"}, "no output 'meanin'"),
        ("gradient_remedy", {"main": "meaning", "threshold": 0.5}, "threshold: 0.5"),
        ("dwa", {"temperature": 0}, "temperature: 0"),
    ],
)
def test_wrong_value_is_a_user_error(name, conf, message):
    with pytest.raises(UserError, match=message):
        model_with(name, **conf)


@pytest.mark.parametrize("name", ALL_OBJECTIVES)
def test_single_output_system_is_refused(name):
    with pytest.raises(UserError, match=f"{name} .*at least two outputs"):
        model_with(name, outputs=("meaning",), **ALL_OBJECTIVES[name])


@pytest.mark.parametrize("name", ALL_OBJECTIVES)
@pytest.mark.parametrize("unlabelled", [0, 1])
def test_state_is_finite_without_labels_of_an_output(name, unlabelled):
    """A checkpoint whose values are not finite ends the training, and is not loaded."""
    inputs, targets = batch()
    targets[:, unlabelled] = torch.nan
    model = model_with(name, **ALL_OBJECTIVES[name])
    check_weights(model, "before training")
    for _ in range(3):
        model.objective.begin_epoch()
        run(model, inputs, targets)
        check_weights(model, "epoch 1")
    assert name != "dwa" or model.objective.task_weights.tolist() == [1, 1]
    run(model, *batch())
    check_weights(model, "epoch 2")


def test_dwa_ignores_a_batch_whose_loss_is_not_finite():
    model = model_with("dwa")
    inputs, targets = batch()
    run(model, inputs, targets)
    sums = model.objective.sums.clone()
    run(model, inputs * torch.inf, targets)
    assert torch.equal(model.objective.sums, sums)


@pytest.mark.parametrize("name", ["weighted_sum", "pcgrad"])
def test_weight_of_an_unknown_auxiliary_loss_is_a_user_error(name):
    model = model_with(name, auxiliary_weights={"sise": 0.5})
    with pytest.raises(UserError, match="no auxiliary loss 'sise'"):
        run(model, *batch())
    model.auxiliary = {"size": lambda states: states.square().mean()}
    with pytest.raises(UserError, match="no auxiliary loss 'sise'"):
        run(model, *batch())
