"""Trainings, their options for GPUs, and decoding on a GPU, compared with the CPU."""

import json
import sys
from pathlib import Path

import pytest
import tiny_recipe
import torch

sys.path.insert(0, str(Path(__file__).parent))

import small_models  # noqa: E402
from test_fast_layers import ABSOLUTE, batch, loss_and_gradients  # noqa: E402
from test_resume import losses, signal_after  # noqa: E402

from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.errors import Interrupted  # noqa: E402
from espnet_ext.training import auto_batch_bins, compiled_layers, fast_layers  # noqa: E402

pytestmark = pytest.mark.gpu

NO_DROPOUT = {
    "encoder_conf": {
        **tiny_recipe.CONFIG["encoder_conf"],
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
    },
    "decoder_conf": {
        **tiny_recipe.CONFIG["decoder_conf"],
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "self_attention_dropout_rate": 0.0,
        "src_attention_dropout_rate": 0.0,
    },
}
ON_GPU = ["--ngpu", "1"]


@pytest.fixture
def recipe(tmp_path):
    return tiny_recipe.make(tmp_path)


def train_losses(folder):
    values = [value for (_, _, key), value in sorted(losses(folder).items()) if key == "loss"]
    assert values
    return values


def test_a_training_has_the_losses_of_the_cpu(recipe):
    on_cpu = recipe.train("cpu", NO_DROPOUT)
    on_gpu = recipe.train("gpu", NO_DROPOUT, options=ON_GPU)
    assert train_losses(on_gpu) == pytest.approx(train_losses(on_cpu), rel=2e-4)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_interrupted_training_continues(recipe, monkeypatch, workers):
    options = [*ON_GPU, "--num_workers", workers]
    config = {"batch_type": "unsorted", "batch_size": 1, "accum_grad": 3}  # 8 batches per epoch
    whole = recipe.train("whole", config, options=options)
    for batches_done in (2, 3):
        signal_after(monkeypatch, batches_done)
        with pytest.raises(Interrupted):
            recipe.train("parts", config, options=options)
    monkeypatch.undo()
    parts = recipe.train("parts", config, options=options)
    # Dropout is drawn on the GPU, so its random numbers continue; sums on a GPU have no fixed order
    assert train_losses(parts) == pytest.approx(train_losses(whole), rel=2e-4)


@pytest.mark.parametrize("changes", [{"use_amp": True}, {"compile": "encoder"}, {"accum_grad": 2}])
def test_options_change_losses_by_rounding_only(recipe, changes):
    plain = {key: value for key, value in changes.items() if key == "accum_grad"}
    reference = recipe.train("plain", NO_DROPOUT | plain)
    changed = recipe.train("changed", NO_DROPOUT | changes, options=ON_GPU)
    rel = 0.02 if "use_amp" in changes else 1e-3
    assert train_losses(changed) == pytest.approx(train_losses(reference), rel=rel)


def test_the_largest_batches_are_tried_and_their_memory_is_reported(recipe, capfd):
    config = NO_DROPOUT | {"scan_largest_batch": "auto"}
    scanned = recipe.train("scanned", config, options=ON_GPU)
    assert "GiB" in capfd.readouterr().err
    plain = recipe.train("plain", config, options=[*ON_GPU, "--scan_largest_batch", "false"])
    assert train_losses(scanned) == pytest.approx(train_losses(plain), rel=2e-4)


def test_the_number_of_bins_is_found_within_the_free_memory(recipe, monkeypatch):
    free = auto_batch_bins.GpuMeter.available
    monkeypatch.setattr(auto_batch_bins.GpuMeter, "available", lambda self: min(2**28, free(self)))
    folder = recipe.train(
        "auto",
        {"batching": "buckets", "batch_type": "length", "batch_bins": "auto", "max_epoch": 1},
        options=ON_GPU,
    )
    assert json.loads((folder / "batch_bins.json").read_text())["batch_bins"] > 8000


@pytest.mark.parametrize("encoder", [ABSOLUTE, {}], ids=["absolute", "relative"])
@pytest.mark.parametrize("layers", ["fast", "compiled"])
def test_layers_have_the_losses_and_gradients_of_the_cpu(encoder, layers):
    models = [small_models.make(**encoder).double().train() for _ in range(2)]
    models[1].cuda()
    if layers == "fast":
        fast_layers.use_fast_layers(models[1])
    else:
        torch._dynamo.reset()
        compiled_layers.use_compiled_layers(models[1])
    data = batch(models[0].heads)
    data["speech"] = data["speech"].double()
    loss, gradients = loss_and_gradients(models[0], data)
    on_gpu = {name: value.cuda() for name, value in data.items()}
    other, others = loss_and_gradients(models[1], on_gpu)
    assert float(other) == pytest.approx(float(loss), rel=1e-6)  # features are in float32
    assert others.keys() == gradients.keys()
    scale = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert torch.allclose(others[name].cpu(), gradient, rtol=1e-4, atol=1e-6 * scale), name


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_has_its_rate(rate):
    masks = fast_layers.FastDropout(rate)(torch.ones(2000, 500, device="cuda"))
    kept = masks.ne(0).double()
    error = (rate * (1 - rate) / kept.numel()) ** 0.5
    assert abs(float(kept.mean()) - (1 - rate)) < 5 * error
    assert abs(float(masks.mean()) - 1) < 5 * error / (1 - rate)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_decoding_finds_the_hypotheses_of_the_cpu(recipe, precision):
    folder = recipe.train("exp", {"max_epoch": 1})
    generator = torch.Generator().manual_seed(0)
    waves = [0.1 * torch.randn(size, generator=generator).numpy() for size in (16000, 9000, 12000)]
    results = [
        DualSpeech2Text.from_pretrained(
            folder, device=device, beam_size=3, nbest=2, precision=kind
        ).batch(waves)
        for device, kind in (("cpu", "float32"), ("cuda", precision))
    ]
    for on_cpu, on_gpu in zip(*results, strict=True):
        for name, nbest in on_cpu.nbest.items():
            assert on_gpu.nbest[name][0].score == pytest.approx(
                nbest[0].score, rel=1e-4 if precision == "float32" else 0.05
            )
            if precision == "float32":
                assert [h.tokens for h in on_gpu.nbest[name]] == [h.tokens for h in nbest]
