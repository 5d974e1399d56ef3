"""The loss in chunks of tokens equals ESPnet's, with its gradients and accuracy."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
sys.path.insert(0, str(Path(__file__).parents[1]))
import small_models  # noqa: E402

from espnet_ext.model import espnet  # noqa: E402
from espnet_ext.model.heads.chunked_loss import chunked_loss  # noqa: E402
from espnet_ext.training import speed  # noqa: E402


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk_values", [1, 130, 10000])
def test_loss_gradients_and_accuracy_are_those_of_espnet(smoothing, bias, chunk_values):
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 40, bias=bias)
    hidden = torch.randn(3, 5, 8, requires_grad=True)
    target = torch.randint(0, 40, (3, 5))
    target[1, 3:] = -1
    criterion = espnet.load("LabelSmoothingLoss")(size=40, padding_idx=-1, smoothing=smoothing)
    logits = layer(hidden)
    expected = criterion(logits, target)
    wrt = [hidden, *layer.parameters()]
    gradients = torch.autograd.grad(2 * expected, wrt)
    is_token = target != -1
    loss, correct = chunked_loss(
        hidden[is_token], layer, target[is_token], smoothing, chunk_values=chunk_values
    )
    torch.testing.assert_close(loss / 3, expected, rtol=1e-5, atol=1e-5)
    assert correct == ((logits.argmax(-1) == target) & is_token).sum()
    for gradient, other in zip(torch.autograd.grad(2 * loss / 3, wrt), gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-5)


def test_frozen_layers_and_evaluation_need_no_gradients():
    layer = torch.nn.Linear(4, 6)
    layer.weight.requires_grad_(False)
    hidden = torch.randn(2, 4)
    loss, _ = chunked_loss(hidden, layer, torch.tensor([1, 2]), 0.1)
    loss.backward()
    assert layer.weight.grad is None and layer.bias.grad is not None
    with torch.no_grad():
        again, _ = chunked_loss(hidden, layer, torch.tensor([1, 2]), 0.1)
    torch.testing.assert_close(again, loss.detach())
    empty, correct = chunked_loss(hidden[:0], layer, torch.tensor([], dtype=torch.long), 0.1)
    assert empty == 0 and correct == 0


def options(value):
    return argparse.Namespace(
        fast_layers=False, chunked_loss=value, cpu_autocast=None, ngpu=0, compile="none"
    )


def test_a_model_has_the_same_losses_statistics_and_gradients(monkeypatch):
    def result(value):
        model = small_models.make()
        speed.speed_up(model, options(value))
        batch = small_models.batch(small_models.OUTPUTS, unlabelled=["third"])
        loss, stats, _ = model(**batch)
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        return (
            stats,
            gradients,
            [h.criteria[0].__dict__.get("chunks") for h in model.heads.values()],
        )

    stats, gradients, chunks = result("false")
    assert not any(chunks) and result("auto")[2] == chunks  # a small vocabulary
    chunked_stats, chunked_gradients, chunks = result(True)  # as from YAML
    assert any(chunks)
    monkeypatch.setattr(speed, "_LARGE_VOCABULARY", 7)
    assert result("auto")[2] == chunks
    for key, value in stats.items():
        torch.testing.assert_close(chunked_stats[key], value, rtol=1e-5, atol=1e-5, equal_nan=True)
    for name, value in gradients.items():
        torch.testing.assert_close(chunked_gradients[name], value, rtol=1e-4, atol=1e-5)


def test_validation_computes_no_gradients(monkeypatch):
    layer = torch.nn.Linear(4, 9)
    hidden, target = torch.randn(6, 4), torch.arange(6)
    expected = chunked_loss(hidden, layer, target, 0.1)
    monkeypatch.setattr(torch, "zeros_like", None)  # allocates the gradients
    with torch.no_grad():
        loss, correct = chunked_loss(hidden, layer, target, 0.1)
    assert torch.equal(loss, expected[0].detach()) and torch.equal(correct, expected[1])
