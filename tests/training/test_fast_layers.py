"""Layers of `fast_layers` compute what ESPnet's compute, and dropout is that of its rate."""

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import small_models  # noqa: E402

from espnet_ext.training import fast_layers  # noqa: E402

ABSOLUTE = {"pos_enc_layer_type": "abs_pos", "selfattention_layer_type": "selfattn"}


def batch(names):
    """Three utterances of different lengths."""
    generator = torch.Generator().manual_seed(3)
    data = {
        "speech": torch.randn(3, 8000, generator=generator),
        "speech_lengths": torch.tensor([8000, 6400, 4800]),
    }
    for name in names:
        text = torch.randint(2, 6, (3, 4), generator=generator)
        text[1, 3:], text[2, 2:] = -1, -1
        data[f"text_{name}"] = text
        data[f"text_{name}_lengths"] = torch.tensor([4, 3, 2])
    return data


def loss_and_gradients(model, data):
    model.zero_grad()
    loss = model(**data)[0]
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("encoder", [ABSOLUTE, {}], ids=["absolute", "relative"])
def test_losses_gradients_and_statistics_equal_those_of_espnet(encoder, training):
    models = [small_models.make(**encoder).double().train(training) for _ in range(2)]
    counts = fast_layers.use_fast_layers(models[1])
    assert counts["FastConvolution"] == 2 and counts["FastAttention"] >= 4
    assert counts.get("FastRelativeAttention", 0) == (0 if encoder else 2)
    data = batch(models[0].heads)
    data["speech"] = data["speech"].double()
    (loss, gradients), (fast_loss, fast_gradients) = (loss_and_gradients(m, data) for m in models)
    assert float(fast_loss) == pytest.approx(float(loss), rel=1e-12)
    assert fast_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(fast_gradients[name], gradient, atol=1e-10), name
    states = [model.state_dict() for model in models]
    assert states[0].keys() == states[1].keys()
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-12) for k in states[0])


def test_bfloat16_differs_by_its_rounding():
    models = [small_models.make() for _ in range(2)]
    fast_layers.use_fast_layers(models[1])
    for model in models:
        model.autocast_dtype = torch.bfloat16
    data = batch(models[0].heads)
    losses = [float(loss_and_gradients(model, data)[0]) for model in models]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_rounded_shapes_change_no_loss_and_no_gradient(monkeypatch):
    model = small_models.make()
    fast_layers.use_fast_layers(model)
    model.autocast_dtype = torch.bfloat16
    data = batch(model.heads)
    calls = []
    monkeypatch.setattr(
        fast_layers, "rounded", lambda size: calls.append(size) or -(-size // 64) * 64
    )
    loss, gradients = loss_and_gradients(model, data)
    assert len(calls) > 20  # linear layers and subsampling
    monkeypatch.setattr(fast_layers, "_compiles_kernels", lambda x: False)
    exact_loss, exact_gradients = loss_and_gradients(model, data)
    assert float(loss) == pytest.approx(float(exact_loss), rel=1e-5)
    for name, gradient in exact_gradients.items():
        scale = float(gradient.abs().max())
        assert torch.allclose(gradients[name], gradient, atol=0.02 * scale + 1e-6), name


def test_few_shapes_remain_after_rounding():
    sizes = [fast_layers.rounded(size) for size in range(256, 512)]
    assert len(set(sizes)) == 17
    assert all(
        0 <= new - size <= size / 16 for new, size in zip(sizes, range(256, 512), strict=True)
    )


def test_attention_is_kept_if_its_weights_are_plotted():
    counts = fast_layers.use_fast_layers(small_models.make(), keep_attention_weights=True)
    kept = {"FastConvolution", "FastDropout", "FastLinear", "FastSubsampling"}
    assert set(counts) == kept


def test_a_convolution_with_another_part_is_kept():
    model = small_models.make()
    model.encoder.encoders[0].conv_module.norm = torch.nn.Identity()
    assert fast_layers.use_fast_layers(model)["FastConvolution"] == 1


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
def test_dropout_has_its_rate_and_independent_elements(rate):
    torch.manual_seed(0)
    layer = fast_layers.FastDropout(rate)
    rows, columns = 2000, 500
    masks = layer(torch.ones(rows, columns))
    kept = masks.ne(0)
    assert torch.allclose(masks[kept], torch.tensor(1 / (1 - rate)), rtol=2e-5 / (1 - rate))
    deviation = math.sqrt(rate * (1 - rate))
    error = deviation / math.sqrt(rows * columns)
    assert abs(float(kept.double().mean()) - (1 - rate)) < 4 * error
    # Covariances of neighbours, of distant elements and of two calls vanish.
    again = layer(torch.ones(rows, columns)).ne(0)
    centred, other = kept.double() - (1 - rate), again.double() - (1 - rate)
    pairs = [(centred.flatten()[lag:], centred.flatten()[:-lag]) for lag in (1, 2, 3, 4, 500)]
    for first, second in [*pairs, (centred, other)]:
        assert abs(float((first * second).mean())) < 4.5 * deviation * error
    # The number of kept elements of a row has the variance of the binomial distribution.
    variance = float(kept.sum(1).double().var())
    assert variance == pytest.approx(columns * rate * (1 - rate), rel=4.5 * math.sqrt(2 / rows))


def test_dropout_has_the_gradient_of_its_mask_and_repeats_with_the_seed():
    layer = fast_layers.FastDropout(0.3)
    x = torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(1)
    y = layer(x)
    y.sum().backward()
    torch.manual_seed(1)
    mask = fast_layers.dropout_mask(x, round(0.3 * 2**16))
    assert torch.equal(y, x * mask) and torch.equal(x.grad, mask)
    assert layer.eval()(x) is x


def test_dropout_of_everything_and_of_nothing():
    x = torch.ones(3, 3)
    assert fast_layers.FastDropout(0.0)(x) is x
    assert not fast_layers.FastDropout(1.0)(x).any()
