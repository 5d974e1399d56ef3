"""Proof of comparability 1: a single-output system is stock ESPnetASRModel, loss and gradients."""

import argparse

import pytest
import torch

from espnet_ext.model.export import stock_config, stock_state
from espnet_ext.model.outputs import parse_outputs


@pytest.fixture(scope="module")
def asr_task():
    return pytest.importorskip("espnet2.tasks.asr").ASRTask


def build_stock(asr_task, model, config, name):
    output = parse_outputs(config)[name]
    stock = stock_config(config, name, output)
    twin = asr_task.build_model(argparse.Namespace(**stock))
    missing, unexpected = twin.load_state_dict(
        stock_state(model.state_dict(), name, output), strict=False
    )
    assert not unexpected
    assert all(key.startswith("ctc.") for key in missing)  # stock builds a CTC that it then drops
    return twin


@pytest.mark.parametrize("system", ["single", "normalised", "ctc", "attention"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_loss_and_gradients_equal_stock(
    asr_task, make_system, batch, system, training, record_property
):
    model, config, _ = make_system(system)
    name = next(iter(config["outputs"]))
    twin = build_stock(asr_task, model, config, name)
    model.double().train(training)
    twin.double().train(training)
    speech, speech_lengths, text, text_lengths = batch
    speech = speech.double()

    torch.manual_seed(7)  # same dropout and SpecAugment draws
    loss, stats, weight = model(
        speech, speech_lengths, **{f"text_{name}": text, f"text_{name}_lengths": text_lengths}
    )
    torch.manual_seed(7)
    stock_loss, stock_stats, stock_weight = twin(speech, speech_lengths, text.clone(), text_lengths)
    loss.backward()
    stock_loss.backward()

    gradients = {k: p.grad for k, p in model.named_parameters()}
    renamed = stock_state(gradients, name, parse_outputs(config)[name])
    stock_gradients = {k: p.grad for k, p in twin.named_parameters() if p.grad is not None}
    assert set(renamed) == set(stock_gradients)
    worst = max(float((renamed[k] - g).abs().max()) for k, g in stock_gradients.items())
    difference = float((loss - stock_loss).detach().abs())
    print(f"{system}: loss differs by {difference:.1e}, gradients by at most {worst:.1e}")
    record_property("loss_difference", difference)
    record_property("gradient_difference", worst)
    assert difference < 1e-6 * max(1.0, float(stock_loss))
    assert worst < 1e-6
    assert int(weight) == int(stock_weight)
    if "acc" in stock_stats and stock_stats["acc"] is not None:
        assert float(stats["acc"]) == pytest.approx(float(stock_stats["acc"]), abs=1e-6)


def test_unlabelled_rows_change_nothing(make_system, batch):
    """The loss of a batch with one unlabelled row is the labelled rows' sum over the batch size."""
    model, config, _ = make_system("dual")
    model.double().eval()
    speech, speech_lengths, text, text_lengths = batch
    # Equal lengths, because ESPnet's STFT reflects at the end of a tensor: padding changes it.
    speech_lengths = torch.full_like(speech_lengths, speech.size(1))
    labels = {
        "text_surface": text,
        "text_surface_lengths": text_lengths,
        "text_meaning": text.clone(),
        "text_meaning_lengths": text_lengths.clone(),
    }
    labels["text_meaning"][1] = -1
    labels["text_meaning"][1, 0] = -2
    labels["text_meaning_lengths"][1] = 1
    loss, stats, _ = model(speech.double(), speech_lengths, **labels)
    assert int(stats["labelled_meaning"]) == 2

    alone = []
    for row in range(3):
        n = int(speech_lengths[row])
        one = {k: v[row : row + 1] for k, v in labels.items()}
        for name in ("surface", "meaning"):
            one[f"text_{name}"] = one[f"text_{name}"][:, : int(one[f"text_{name}_lengths"])]
        part, _, _ = model(speech[row : row + 1, :n].double(), speech_lengths[row : row + 1], **one)
        alone.append(part)
    assert float(loss) == pytest.approx(float(sum(alone)) / 3, rel=1e-6)


def test_all_unlabelled_gives_zero_gradients_everywhere(make_system, batch):
    model, _, _ = make_system("dual")
    speech, speech_lengths, _, _ = batch
    nothing, one = torch.full((3, 1), -2), torch.ones(3, dtype=torch.long)
    loss, stats, _ = model(
        speech,
        speech_lengths,
        text_surface=nothing,
        text_surface_lengths=one,
        text_meaning=nothing,
        text_meaning_lengths=one,
    )
    loss.backward()
    assert float(loss) == 0
    assert all(p.grad is not None and float(p.grad.abs().max()) == 0 for p in model.parameters())
    assert torch.isnan(stats["acc_surface"])
