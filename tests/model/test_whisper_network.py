"""Whisper's layers without transformers: the same parameters and results, for loading."""

import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.model import load
from espnet_ext.model.build import build_model
from espnet_ext.model.pretrained import checkpoint, whisper, whisper_network

transformers = pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_whisper  # noqa: E402

TOKENS = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model directory whose encoder and decoder are a tiny Whisper, and its model."""
    root = tmp_path_factory.mktemp("whisper")
    tiny_whisper.write(root / "source")
    source = {"model": str(root / "source")}
    head = {"token_type": "char", "token_list": TOKENS, "decoder_conf": {"language": "en"}}
    config = {
        **{"frontend": "pretrained", "frontend_conf": source},
        **{"encoder": "pretrained", "encoder_conf": source},
        **{"decoder": "pretrained", "decoder_conf": source},
        "outputs": {
            "surface": {
                "branch": "ctc_attention",
                "ctc_weight": 0.3,
                "attention_weight": 0.7,
                **head,
            }
        },
    }
    return config, build_model(config, root).eval()


def inputs():
    samples = 0.1 * torch.randn(2, 9000, generator=torch.Generator().manual_seed(1))
    return samples, torch.tensor([9000, 6000])


def test_loaded_model_equals_the_one_of_transformers(trained, tmp_path, monkeypatch):
    config, model = trained
    folder = tmp_path / "exp"
    folder.mkdir()
    (folder / "config.yaml").write_text("{}")
    torch.save(model.state_dict(), folder / "model.pth")
    loadable = with_architecture(config, model)
    monkeypatch.setattr(load, "load_config", lambda folder: loadable)

    def fail(where):
        raise AssertionError("transformers is imported")

    monkeypatch.setattr(checkpoint, "import_transformers", fail)
    loaded, _ = load.load_model(folder)
    kinds = {type(layer).__module__ for layer in loaded.encoder.encoders}
    assert kinds == {whisper_network.__name__}
    shapes = [{n: p.shape for n, p in m.named_parameters()} for m in (loaded, model)]
    assert shapes[0] == shapes[1]
    samples, lengths = inputs()
    with torch.no_grad():
        for function in (encoded, decoded):
            torch.testing.assert_close(
                function(loaded, samples, lengths), function(model, samples, lengths)
            )


def with_architecture(config, model):
    """Return the configuration as training stores it: with the architecture of the checkpoint."""
    parts = {"frontend": model.frontend, "encoder": model.encoder}
    parts["decoder"] = model.heads["surface"].decoder
    stored = dict(config)
    for name, part in parts.items():
        stored[f"{name}_conf"] = {**config[f"{name}_conf"], "architecture": part.architecture}
    return stored


def encoded(model, samples, lengths):
    features, frames = model.frontend(samples, lengths)
    return model.encoder(features, frames)[0]


def decoded(model, samples, lengths):
    hidden = encoded(model, samples, lengths)
    frames = torch.full((2,), hidden.size(1))
    tokens = torch.tensor([[5, 2, 3], [5, 4, 4]])
    decoder = model.heads["surface"].decoder
    return decoder(hidden, frames, tokens, torch.tensor([3, 3]))[0]


def test_unknown_architecture_is_left_to_transformers(trained):
    _, model = trained
    architecture = dict(model.encoder.architecture)
    assert whisper_network.can_build(architecture)
    assert not whisper_network.can_build({**architecture, "activation_function": "relu"})
    assert not whisper_network.can_build({**architecture, "d_model": None})
    assert not whisper_network.can_build({**architecture, "model_type": "wav2vec2"})


@pytest.mark.parametrize(("n_fft", "channels", "rate"), [(400, 80, 16000), (512, 128, 24000)])
def test_mel_filters_equal_those_of_transformers(n_fft, channels, rate):
    from transformers.audio_utils import mel_filter_bank

    bins = 1 + n_fft // 2
    scale = {"norm": "slaney", "mel_scale": "slaney"}
    expected = mel_filter_bank(bins, channels, 0.0, 8000.0, rate, **scale)
    filters = whisper.mel_filters(n_fft, channels, rate)
    assert filters == pytest.approx(expected, abs=1e-12)
