"""Pre-trained encoders of every family, compared with tiny random networks of transformers."""

import json
import re
import sys
from pathlib import Path

import numpy
import pytest
import torch
from torch.testing import assert_close

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.build import build_model
from espnet_ext.model.layers import encoder_layers
from espnet_ext.model.pretrained.registry import FAMILIES

transformers = pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_encoders  # noqa: E402

TOKENS = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "mask_time_length": 5,
    "mask_feature_length": 4,
    "mask_feature_min_masks": 1,
    "vocab_size": 30,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
MASKS = {"time_length": 5, "feature_length": 4, "feature_min_masks": 1}  # those of WHISPER
NETWORKS = ("whisper", *tiny_encoders.CLASSES)


def network_of(family, **changes):
    if family != "whisper":
        return tiny_encoders.build(family, **changes)
    torch.manual_seed(0)
    config = transformers.WhisperConfig(**WHISPER | changes)
    return transformers.WhisperModel(config).eval()


def save(network, family, folder):
    if family != "whisper":
        return tiny_encoders.save(network, folder)
    network.save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretrained")
    return {family: save(network_of(family), family, root / family) for family in FAMILIES}


def configuration(folder, frontend=(), encoder=()):
    return {
        "frontend": "pretrained",
        "frontend_conf": {"model": str(folder), **dict(frontend)},
        "encoder": "pretrained",
        "encoder_conf": {"model": str(folder), **dict(encoder)},
        "outputs": {
            "surface": {
                "branch": "ctc",
                "ctc_weight": 1.0,
                "token_type": "char",
                "token_list": TOKENS,
            }
        },
    }


def speech():
    """Return three utterances of noise (3, 16000) and their lengths in samples."""
    samples = 0.1 * torch.randn(3, 16000, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([16000, 9123, 4321])
    for row, length in enumerate(lengths):
        samples[row, length:] = 0
    return samples, lengths


def waves():
    samples, lengths = speech()
    return [row[:length].numpy() for row, length in zip(samples, lengths, strict=True)]


def transformers_features(folder, wave):
    """Return Whisper's features (M, 3000) of one utterance."""
    reader = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    return reader(wave, sampling_rate=16000, return_tensors="pt").input_features[0]


def test_every_family_is_tested():
    assert set(NETWORKS) == set(FAMILIES)


def test_whisper_features_equal_those_of_transformers(folders):
    frontend = espnet.resolve("frontend", "pretrained")(model=str(folders["whisper"]))
    feats, frames = frontend(*speech())
    for row, wave in enumerate(waves()):
        count = int(frames[row])
        assert count == -(-len(wave) // 160)
        expected = transformers_features(folders["whisper"], wave)[:, :count].T
        assert_close(feats[row, :count], expected, rtol=0, atol=1e-5)
        assert not feats[row, count:].any()


def test_whisper_with_30_second_window_equals_transformers(folders):
    model = build_model(configuration(folders["whisper"], {"window": "30s"})).eval()
    with torch.no_grad():
        states, frames = model.encode(*speech()).shared()
        for row, wave in enumerate(waves()):
            feats = transformers_features(folders["whisper"], wave)[None]
            expected = network_of("whisper").encoder(feats).last_hidden_state[0]
            assert int(frames[row]) == len(expected) == 1500
            assert_close(states[row], expected, rtol=0, atol=1e-5)


def test_whisper_on_utterance_equals_network_with_as_many_positions(folders):
    model = build_model(configuration(folders["whisper"])).eval()
    with torch.no_grad():
        states, frames = model.encode(*speech()).shared()
        for row, wave in enumerate(waves()):
            count = int(frames[row])
            feats = transformers_features(folders["whisper"], wave)[None, :, : 2 * count]
            feats[:, :, -(-len(wave) // 160) :] = 0
            cut = network_of("whisper").encoder
            cut.config.max_source_positions = cut.max_source_positions = count
            cut.embed_positions.num_embeddings = count
            cut.embed_positions.weight = torch.nn.Parameter(cut.embed_positions.weight[:count])
            expected = cut(feats).last_hidden_state[0]
            assert_close(states[row, :count], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", [family for family in NETWORKS if family != "whisper"])
@pytest.mark.parametrize("stable", [False, True])
def test_convolutional_families_equal_transformers(tmp_path, family, stable):
    network = network_of(family, do_stable_layer_norm=stable)
    folder = save(network, family, tmp_path)
    model = build_model(configuration(folder)).eval()
    reader = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    with torch.no_grad():
        states, frames = model.encode(*speech()).shared()
        for row, wave in enumerate(waves()):
            inputs = reader([wave], sampling_rate=16000, return_tensors="pt")
            expected = network(inputs.input_values).last_hidden_state[0]
            assert int(frames[row]) == len(expected)
            assert_close(states[row, : len(expected)], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", NETWORKS)
def test_states_do_not_depend_on_the_batch(folders, family):
    model = build_model(configuration(folders[family])).eval()
    samples, lengths = speech()
    with torch.no_grad():
        states, frames = model.encode(samples, lengths).shared()
        for row, length in enumerate(lengths):
            alone, count = model.encode(samples[row : row + 1, :length], length[None]).shared()
            assert int(count) == int(frames[row])
            assert_close(states[row, : int(count)], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", NETWORKS)
def test_layer_weights_sum_the_hidden_states(folders, family):
    conf = configuration(folders[family], encoder={"layer_weights": True})
    model = build_model(conf).eval()
    last = build_model(configuration(folders[family])).eval()
    with torch.no_grad():
        model.encoder.layer_sum.logits.copy_(torch.tensor([-1e9, -1e9, 0.0]))
        states, _ = model.encode(*speech()).shared()
        assert_close(states, last.encode(*speech()).shared()[0], rtol=1e-4, atol=1e-5)
        model.encoder.layer_sum.logits.zero_()
        assert not torch.allclose(states, model.encode(*speech()).shared()[0], atol=1e-3)


@pytest.mark.parametrize("family", NETWORKS)
def test_gradient_checkpointing_gives_the_same_gradients(folders, family):
    gradients = []
    for setting in (False, True):
        conf = configuration(folders[family], encoder={"gradient_checkpointing": setting})
        torch.manual_seed(0)
        model = build_model(conf).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        numpy.random.seed(0)  # masks
        torch.manual_seed(1)
        states, _ = model.encode(*speech()).shared()
        states.square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and gradients[0]
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", NETWORKS)
def test_layers_have_names(folders, family):
    model = build_model(configuration(folders[family]))
    assert list(encoder_layers(model.encoder)) == ["embed", "0", "1"]


@pytest.mark.parametrize("family", NETWORKS)
def test_architecture_alone_builds_the_same_network(folders, family):
    model = build_model(configuration(folders[family]))
    conf = configuration("not-read")
    for part in ("frontend", "encoder"):
        architecture = getattr(model, part).architecture
        assert json.loads(json.dumps(architecture)) == architecture
        conf[f"{part}_conf"] |= {"architecture": architecture}
    rebuilt = build_model(conf)
    rebuilt.load_state_dict(model.state_dict())
    model.eval()
    rebuilt.eval()
    with torch.no_grad():
        expected = model.encode(*speech()).shared()[0]
        assert torch.equal(rebuilt.encode(*speech()).shared()[0], expected)


def test_whisper_uses_the_first_layers(folders):
    model = build_model(configuration(folders["whisper"], encoder={"num_layers": 1}))
    assert len(model.encoder.encoders) == 1


def test_utterance_over_30_seconds_is_refused(folders):
    model = build_model(configuration(folders["whisper"])).eval()
    with pytest.raises(UserError, match="has 480001 samples, but Whisper reads at most 480000"):
        model.encode(torch.zeros(1, 480001), torch.tensor([480001]))


def masked(folder, seed, batch, **probabilities):
    """Return the input of Whisper's layers in training: with masking, and without."""
    model = build_model(configuration(folder, encoder=probabilities)).train()
    seen = {}
    model.encoder.embed.register_forward_hook(lambda _m, _i, output: seen.update(states=output))
    numpy.random.seed(seed)
    model.encode(*batch)
    with_masks = seen["states"]
    model.eval().encode(*batch)
    return with_masks.detach(), seen["states"].detach(), model


@pytest.mark.parametrize(("time", "feature"), [(0.3, 0.0), (0.0, 0.6), (0.3, 0.6)])
def test_whisper_states_are_masked_as_transformers_masks_states(folders, time, feature):
    """Masks for the same random numbers equal those of wav2vec 2.0 in transformers."""
    reference = network_of(
        "wav2vec2",
        mask_time_prob=time,
        mask_feature_prob=feature,
        **{f"mask_{name}": value for name, value in MASKS.items()},
    ).train()
    reference.masked_spec_embed = torch.nn.Parameter(torch.zeros(16))
    probabilities = {"mask_time_prob": time, "mask_feature_prob": feature}
    states, plain, model = masked(folders["whisper"], 3, speech(), **probabilities)
    frames = model.encode(*speech()).shared()[1]
    positions = model.encoder.embed_positions.weight[: states.size(1)]
    numpy.random.seed(3)
    inside = torch.arange(states.size(1)) < frames[:, None]
    expected = reference._mask_hidden_states(
        (plain - positions).detach().clone(), attention_mask=inside.long()
    )
    assert_close(states, expected + positions, rtol=0, atol=1e-6)
    assert not torch.allclose(states, plain, atol=1e-3)


def test_whisper_masks_nothing_unless_asked(folders):
    states, plain, _ = masked(folders["whisper"], 3, speech())
    assert torch.equal(states, plain)


def test_short_utterances_are_not_masked(folders, tmp_path):
    """transformers raises an error for an input shorter than a span."""
    short = torch.randn(2, 1200), torch.tensor([1200, 800])
    states, plain, _ = masked(folders["whisper"], 3, short, mask_time_prob=0.5)
    assert torch.equal(states, plain)
    for family in ("wav2vec2", "hubert", "wavlm"):
        conf = configuration(folders[family], encoder={"mask_time_prob": 0.5})
        build_model(conf).train().encode(*short)


def test_masking_can_be_added_to_a_checkpoint_without(tmp_path):
    silent = {"mask_time_prob": 0.0, "apply_spec_augment": False}
    folder = save(network_of("wav2vec2", **silent), "wav2vec2", tmp_path)
    model = build_model(configuration(folder, encoder={"mask_time_prob": 0.5})).train()
    inputs = {}
    model.encoder.embed.register_forward_hook(lambda _m, _i, output: inputs.update(states=output))
    model.encode(*speech())
    vector = model.encoder.network.masked_spec_embed
    assert (inputs["states"] - vector).abs().sum(-1).lt(1e-6).any()


@pytest.mark.parametrize("family", ["whisper", "hubert"])
@pytest.mark.parametrize("value", [1.5, "0.1"])
def test_probability_of_masking_is_checked(folders, family, value):
    with pytest.raises(UserError, match=r"encoder_conf\.mask_time_prob: "):
        build_model(configuration(folders[family], encoder={"mask_time_prob": value}))


def damaged(folders, tmp_path, kind):
    """Write a checkpoint with one fault, and return its folder."""
    network = network_of("whisper")
    folder = save(network, "whisper", tmp_path / kind)
    if kind == "pickled":
        torch.save(network.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    elif kind == "no_weights":
        (folder / "model.safetensors").unlink()
    elif kind == "other_size":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"encoder_ffn_dim": 32}))
    elif kind == "more_layers":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"encoder_layers": 3}))
    elif kind == "truncated":
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    elif kind == "no_extractor":
        (folder / "preprocessor_config.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pickled", "no .safetensors file, only pytorch_model.bin"),
        ("no_weights", "no .safetensors file"),
        ("other_size", "weights are missing or of another size"),
        ("more_layers", "weights are missing"),
        ("truncated", "encoder_conf.model: .*header"),
        ("no_extractor", "frontend_conf.model: .*preprocessor_config.json"),
    ],
)
def test_damaged_checkpoint_is_a_named_error(folders, tmp_path, kind, message):
    folder = damaged(folders, tmp_path, kind)
    with pytest.raises(UserError) as caught:
        build_model(configuration(folder))
    assert re.search(message, caught.value.message), caught.value.message
    assert str(folder) in caught.value.message and caught.value.remedy


def test_hub_out_of_reach_names_the_model(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError) as caught:
        build_model(configuration("openai/no-such-model"))
    assert "openai/no-such-model" in caught.value.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frontend": {"fs": 8000}}, "frontend_conf.fs: 8000"),
        ({"frontend": {"window": "10s"}}, "frontend_conf.window: '10s'"),
        ({"encoder": {"windw": "30s"}}, "unknown key 'windw'"),
    ],
)
def test_invalid_options_are_refused(folders, change, message):
    with pytest.raises(UserError) as caught:
        build_model(configuration(folders["whisper"], **change))
    assert message in caught.value.message
