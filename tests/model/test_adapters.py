"""LoRA and DoRA adapters on tiny random networks of every family, and on ESPnet's encoders."""

import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from espnet_ext.errors import UserError
from espnet_ext.model.build import build_model
from espnet_ext.model.pretrained import adapters
from espnet_ext.model.pretrained.base_weights import (
    BASE,
    digest,
    frozen_weights,
    saved_without_base,
)
from espnet_ext.text.tokenizers import HuggingFaceTokenizer

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_encoders  # noqa: E402
import tiny_whisper  # noqa: E402

FAMILIES = ("whisper", *tiny_encoders.CLASSES, "conformer")
PHONES = ["<blank>", "<unk>", "AA", "K", "<sos/eos>"]
CONFORMER = {
    "frontend": "default",
    "frontend_conf": {"fs": 16000, "n_mels": 16},
    "encoder": "conformer",
    "encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 16,
        "num_blocks": 2,
        "rel_pos_type": "latest",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
    },
}
CTC = {"branch": "ctc", "ctc_weight": 0.5, "token_type": "phone", "token_list": PHONES}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretrained")
    tiny_whisper.write(root / "whisper")
    for family in tiny_encoders.CLASSES:
        tiny_encoders.save(tiny_encoders.build(family), root / family)
    return root


def configuration(folders, family, adapter=None, encoder=()):
    """Return a system with CTC; for Whisper, also with Whisper's decoder and tokens."""
    if family == "conformer":
        config = {**CONFORMER, "outputs": {"surface": CTC}}
    else:
        model = {"model": str(folders / family)}
        config = {
            "frontend": "pretrained",
            "frontend_conf": model,
            "encoder": "pretrained",
            "encoder_conf": {**model, **dict(encoder)},
            "outputs": {"surface": CTC},
        }
    if family == "whisper":
        tokens = HuggingFaceTokenizer(folders / "whisper/tokenizer.json")
        meaning = {
            "branch": "attention",
            "attention_weight": 0.5,
            "token_type": "hugging_face",
            "token_list": tokens.token_list(tiny_whisper.TEXTS),
            "decoder": "pretrained",
            "decoder_conf": {**model, "language": "en"},
        }
        config["outputs"] = {**config["outputs"], "meaning": meaning}
    return config | {"finetune_conf": {"adapter": adapter} if adapter else {}}


def build(folders, family, adapter=None, encoder=()):
    torch.manual_seed(1)
    return build_model(configuration(folders, family, adapter, encoder))


def batch(model):
    samples = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(1))
    samples[1, 9000:] = 0
    texts = {}
    for name in model.heads:
        texts[f"text_{name}"] = torch.tensor([[2, 3], [3, -1]])
        texts[f"text_{name}_lengths"] = torch.tensor([2, 1])
    return {"speech": samples, "speech_lengths": torch.tensor([16000, 9000]), **texts}


def logits(model):
    """Return the logits of every output for a batch of two utterances."""
    model.eval()
    data = batch(model)
    results = []
    with torch.no_grad():
        states, lengths = model.encode(data["speech"], data["speech_lengths"]).shared()
        results.append(model.surface_ctc.ctc_lo(states)[1, : lengths[1]])
        if "meaning" in model.heads:
            text, sizes = data["text_meaning"], data["text_meaning_lengths"]
            results.append(
                model.heads["meaning"].teacher_forced(states, lengths, text, sizes)[0][0]
            )
    return results


def train_steps(model, count=2):
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(count):
        loss, _, _ = model(**batch(model))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return trained


@pytest.mark.parametrize("kind", adapters.TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_untrained_adapter_changes_nothing(folders, family, kind):
    base, adapted = build(folders, family), build(folders, family, {"type": kind})
    for expected, actual in zip(logits(base), logits(adapted), strict=True):
        assert_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", adapters.TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_training_changes_adapters_and_heads_only(folders, family, kind):
    model = build(folders, family, {"type": kind})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    untrained = logits(model)
    train_steps(model)
    fixed = {*model.adapters.frozen, "frontend.logmel.melmat"}  # the mel filters are a constant
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (name in fixed), name
    for name, parameter in model.named_parameters():
        is_head = name.startswith("surface_ctc.")
        assert parameter.requires_grad == (adapters.is_adapter(name) or is_head), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
    for old, new in zip(untrained, logits(model), strict=True):
        assert (old - new).abs().max() > 1e-3


@pytest.mark.parametrize("kind", adapters.TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_merged_model_equals_trained_one(folders, family, kind):
    model = build(folders, family, {"type": kind, "dropout": 0.1})
    train_steps(model)
    base = build(folders, family).state_dict()
    expected = logits(model)
    adapters.merge_adapters(model)
    assert model.state_dict().keys() == base.keys()  # a plain model
    assert not any("lora" in type(module).__module__ for module in model.modules())
    for trained, merged in zip(expected, logits(model), strict=True):
        assert_close(merged, trained, rtol=0, atol=1e-5)


def test_frozen_weights_keep_their_names(folders):
    base, adapted = build(folders, "whisper"), build(folders, "whisper", {"type": "lora"})
    expected = base.state_dict()
    state = {n: v for n, v in adapted.state_dict().items() if not adapters.is_adapter(n)}
    assert state.keys() == expected.keys()
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name
    adapted.load_state_dict(adapted.state_dict(), strict=True)


def test_summary_has_the_number_of_trained_parameters(folders):
    model = build(folders, "whisper", {"rank": 2})
    # 2 encoder layers with 2 projections, 2 decoder layers with 4, each 2 × rank × 16
    adapter = (2 * 2 + 2 * 4) * 2 * 2 * 16
    ctc = 16 * len(PHONES) + len(PHONES)
    total = sum(p.numel() for p in model.parameters())
    share = 100 * (adapter + ctc) / total
    assert adapters.summary(model) == (
        "lora of rank 2 in 4 modules of encoder, 8 modules of meaning_decoder: trains "
        f"{adapter + ctc:,} of {total:,} parameters ({share:.2f} %): adapters {adapter}, "
        f"surface_ctc {ctc}"
    )
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == adapter + ctc


def test_embeddings_of_new_tokens_are_trained(folders):
    config = configuration(folders, "whisper", {"type": "lora"})
    config["outputs"]["meaning"] |= {"token_type": "phone", "token_list": PHONES}
    model = build_model(config)
    weight = model.meaning_decoder.embed[0].weight
    assert weight.requires_grad and model.meaning_decoder.output_layer.weight is weight
    assert not model.meaning_decoder.embed[0].prompt.requires_grad
    unchanged = build(folders, "whisper", {"type": "lora"})
    assert not unchanged.meaning_decoder.embed[0].weight.requires_grad


def test_layer_weights_and_saved_modules_are_trained(folders):
    adapter = {"type": "lora", "modules_to_save": ["layer_norm"], "target_modules": ["fc[12]"]}
    model = build(folders, "wavlm", {"target_modules": ["*_dense"]}, {"layer_weights": True})
    assert model.encoder.layer_sum.logits.requires_grad
    model = build(folders, "whisper", adapter | {"parts": ["encoder"]})
    trained = {n for n, p in model.encoder.named_parameters() if p.requires_grad}
    assert "layer_norm.weight" in trained
    assert "encoders.0.fc2.lora_B.default.weight" in trained
    assert "encoders.0.fc2.base_layer.weight" not in trained
    decoder = {p.requires_grad for p in model.meaning_decoder.parameters()}
    assert decoder == {True}  # not among the parts


@pytest.mark.parametrize("kind", adapters.TYPES)
def test_gradient_checkpointing_gives_the_same_gradients(folders, kind):
    gradients = []
    for setting in (False, True):
        model = build(folders, "whisper", {"type": kind}, {"gradient_checkpointing": setting})
        torch.manual_seed(0)
        model.train()(**batch(model))[0].backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_bfloat16_trains_the_adapter(folders):
    model = build(folders, "whisper", {"type": "dora"})
    model.autocast_dtype = torch.bfloat16
    for parameter in train_steps(model):
        assert parameter.dtype == torch.float32 and parameter.grad is not None


def test_loaded_base_weights_reset_magnitudes(folders):
    model = build(folders, "conformer", {"type": "dora"})
    torch.manual_seed(7)
    other = build_model(configuration(folders, "conformer"))
    model.load_state_dict({**model.state_dict(), **other.state_dict()})
    adapters.reset_magnitudes(model)
    for expected, actual in zip(logits(other), logits(model), strict=True):
        assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_state_without_base_has_trained_weights_only(folders):
    model = build(folders, "whisper", {"type": "lora"})
    complete = model.state_dict()
    with saved_without_base(model):
        small = model.state_dict()
    assert small.keys() - {BASE} == complete.keys() - model.adapters.frozen.keys()
    assert torch.equal(small[BASE], digest(frozen_weights(model)))
    train_steps(model)
    model.load_state_dict(small, strict=True)  # takes the frozen weights from the model
    for name, value in model.state_dict().items():
        assert torch.equal(value, complete[name]), name


def test_weights_for_another_base_are_refused(folders, tmp_path):
    model = build(folders, "whisper", {"type": "lora"})
    with saved_without_base(model):
        small = model.state_dict()
    config = configuration(folders, "whisper", {"type": "lora"})
    tiny_whisper.write(tmp_path, seed=1)
    for part in (config["frontend_conf"], config["encoder_conf"]):
        part["model"] = str(tmp_path)
    other = build_model(config)
    with pytest.raises(UserError, match=r"trained on another base: SHA-256 \w+…") as caught:
        other.load_state_dict(small)
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"typ": "lora"}, "unknown key 'typ'"),
        ({"type": "ia3"}, "adapter.type: 'ia3'"),
        ({"save": "some"}, "adapter.save: 'some'"),
        ({"rank": 0}, "adapter.rank: 0"),
        ({"rank": 2.5}, "adapter.rank: 2.5"),
        ({"rank": True}, "adapter.rank: True"),
        ({"alpha": 0}, "adapter.alpha: 0"),
        ({"alpha": "16"}, "adapter.alpha: '16'"),
        ({"dropout": 1}, "adapter.dropout: 1"),
        ({"target_modules": [1]}, r"adapter.target_modules: \[1\]"),
        ("lora", "'lora' is not a mapping"),
        ({"parts": ["decoder"]}, "has no part 'decoder'"),
        ({"target_modules": ["q_proj", "query"]}, "no module matches 'query'"),
        ({"target_modules": ["q_proj"]}, "no module of meaning_decoder matches q_proj"),
        ({"modules_to_save": ["norm9"]}, "modules_to_save: no module matches 'norm9'"),
        ({"target_modules": ["q_proj", "output_layer"]}, "it shares its weight"),
    ],
)
def test_invalid_adapters_are_refused(folders, adapter, message):
    with pytest.raises(UserError, match=message) as caught:
        build(folders, "whisper", adapter)
    assert caught.value.remedy


def test_error_lists_the_modules_that_exist(folders):
    with pytest.raises(UserError) as caught:
        build(folders, "whisper", {"target_modules": ["query"]})
    assert "encoder.encoders.*.self_attn.q_proj (2)" in caught.value.remedy
    assert "meaning_decoder.decoders.*.src_attn.linear_v (2)" in caught.value.remedy


def test_modules_that_are_not_called_are_refused(folders, monkeypatch):
    from espnet_ext.model.frames import EncoderFrames
    from espnet_ext.model.pretrained.wav2vec2 import Wav2Vec2Encoder

    # transformers' own attention of WavLM reads the weights of its projections
    monkeypatch.setattr(Wav2Vec2Encoder, "prepare_for_adapters", lambda self: None)
    model = build(folders, "wavlm", {"type": "lora"})
    with (
        pytest.raises(UserError, match="never calls encoder.network.encoder.layers.0.*q_proj"),
        adapters.check_called(model),
    ):
        EncoderFrames.measure(model)


def test_frontend_that_is_trained_and_frozen_is_refused(folders):
    config = configuration(folders, "wavlm", {"type": "lora"})
    config["frontend_conf"] = {**config["frontend_conf"], "freeze": False}
    with pytest.raises(UserError, match=r"frontend_conf\.freeze: false, but"):
        build_model(config)


def test_missing_peft_is_a_named_error(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="adapters need the package peft"):
        build(folders, "whisper", {"type": "lora"})
