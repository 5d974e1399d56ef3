"""Training with LoRA and DoRA: checkpoints, resuming, decoding, packing."""

import contextlib
import io
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from torch.testing import assert_close

from espnet_ext.errors import UserError
from espnet_ext.model.load import build_with_base, load_config, load_model
from espnet_ext.model.pretrained import adapters
from espnet_ext.model.pretrained.base_weights import BASE, initial_config

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402
import tiny_whisper  # noqa: E402

pytest.importorskip("transformers")
pytest.importorskip("peft")
OUTPUTS = {
    "surface": {"branch": "ctc", "ctc_weight": 0.5},
    "meaning": {
        "branch": "attention",
        "attention_weight": 0.5,
        "decoder": "pretrained",
        "decoder_conf": {"language": "en"},
    },
}
CRITERION = [["valid", "loss", "min"]]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    tiny_whisper.write(folder)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny_recipe.make(tmp_path_factory.mktemp("recipe"))


def train(recipe, folder, exp, adapter, epochs=2, options=(), **finetune):
    config = {
        "frontend": "pretrained",
        "frontend_conf": {"model": str(folder)},
        "normalize": None,
        "encoder": "pretrained",
        "encoder_conf": {"model": str(folder)},
        "decoder_conf": {"model": str(folder)},
        "best_model_criterion": CRITERION,
        "optim_conf": {"lr": 0.02},
        "finetune_conf": {"adapter": adapter, **finetune},
    }
    options = ["--max_epoch", str(epochs), *options]
    return recipe.train(exp, config, OUTPUTS, options)


@pytest.fixture(scope="module")
def trained(recipe, whisper):
    """A training of two epochs whose checkpoints have the trained weights only; its messages."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        folder = train(recipe, whisper, "trained", {"type": "lora", "save": "trained"})
    return folder, printed.getvalue()


def outputs_of(folder, weights="model.pth"):
    """Return the CTC logits and decoder logits of a model directory, merged as for decoding."""
    model, _ = load_model(folder, weights)
    return logits(model)


def logits(model):
    model.eval()
    samples = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
    text = torch.tensor([[2, 3]])
    with torch.no_grad():
        states, lengths = model.encode(samples, torch.tensor([8000])).shared()
        decoded, _ = model.heads["meaning"].teacher_forced(states, lengths, text, torch.tensor([2]))
        return model.surface_ctc.ctc_lo(states), decoded


def assert_same(first, second, atol=1e-5):
    for one, other in zip(first, second, strict=True):
        assert_close(one, other, rtol=0, atol=atol)


def state_of(path):
    return torch.load(path, weights_only=True)


def test_trained_share_is_printed(trained):
    folder, printed = trained
    state = state_of(folder / "2epoch.pth")
    adapter = sum(v.numel() for n, v in state.items() if adapters.is_adapter(n))
    embeddings = state["meaning_decoder.embed.0.weight"].numel()
    ctc = sum(v.numel() for n, v in state.items() if n.startswith("surface_ctc."))
    shares = f"adapters {adapter:,}, surface_ctc {ctc}, meaning_decoder {embeddings}"
    assert shares in printed and f"trains {adapter + ctc + embeddings:,} of" in printed
    assert "lora of rank 8 in 4 modules of encoder, 8 modules of meaning_decoder: trains" in printed


def test_checkpoints_have_the_trained_weights_only(trained, whisper):
    folder, _ = trained
    for name in ("1epoch.pth", "2epoch.pth", "valid.loss.ave.pth", "model.pth"):
        state = state_of(folder / name)
        others = {n for n in state if not adapters.is_adapter(n)} - {BASE}
        assert others == {
            "surface_ctc.ctc_lo.weight",
            "surface_ctc.ctc_lo.bias",
            "meaning_decoder.embed.0.weight",  # the tokens are new
            "meaning_decoder.output_layer.weight",
        }
    assert state_of(folder / "checkpoint.pth")["model"].keys() == state.keys()
    base = (whisper / "model.safetensors").stat().st_size
    assert (folder / "2epoch.pth").stat().st_size < base


def test_average_is_the_mean_of_the_epochs(trained):
    folder, _ = trained
    first, second, mean = (
        state_of(folder / name) for name in ("1epoch.pth", "2epoch.pth", "valid.loss.ave_2best.pth")
    )
    for name, value in mean.items():
        expected = value if name == BASE else (first[name] + second[name]) / 2
        assert_close(value, expected)
    assert torch.equal(mean[BASE], first[BASE])


def test_decoding_equals_training_and_differs_from_the_base(trained):
    """The loaded model is merged; in training, adapters are beside the weights."""
    folder, _ = trained
    unmerged = build_with_base(load_config(folder), folder)
    base = logits(unmerged)
    unmerged.load_state_dict(state_of(folder / "2epoch.pth"))
    decoded = outputs_of(folder, "2epoch.pth")
    assert_same(decoded, logits(unmerged))
    for actual, start in zip(decoded, base, strict=True):
        assert (actual - start).abs().max() > 1e-2


def test_recogniser_uses_the_adapter(trained, recipe):
    """Hypotheses of the search, which reads weights of decoder layers, equal those of a pack."""
    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.model.pack import pack_model

    folder, _ = trained
    archive = recipe.root / "packed.zip"
    pack_model(folder, archive)
    wave = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(2))
    first = DualSpeech2Text.from_pretrained(folder, beam_size=3)(wave)
    second = DualSpeech2Text.from_pretrained(archive, beam_size=3)(wave)
    for name in OUTPUTS:
        assert first.best[name].token_ids == second.best[name].token_ids
        assert first.best[name].score == pytest.approx(second.best[name].score, abs=1e-4)


def test_pack_needs_neither_base_nor_peft(trained, recipe, tmp_path, monkeypatch):
    from espnet_ext.model.pack import pack_model

    folder, _ = trained
    expected = outputs_of(folder)
    pack_model(folder, tmp_path / "packed.zip")
    with zipfile.ZipFile(tmp_path / "packed.zip") as packed:
        packed.extractall(tmp_path)
    config = (tmp_path / "packed/config.yaml").read_text()
    assert "adapter" not in yaml.safe_load(config)["finetune_conf"]
    for conf in ("frontend_conf", "encoder_conf"):
        assert "architecture" in yaml.safe_load(config)[conf]
    (tmp_path / "packed/config.yaml").write_text(
        config.replace(yaml.safe_load(config)["encoder_conf"]["model"], "/removed")
    )
    monkeypatch.setitem(sys.modules, "peft", None)
    assert_same(outputs_of(tmp_path / "packed"), expected)
    with safe_open(tmp_path / "packed/model.safetensors", framework="pt") as weights:
        assert not any(map(adapters.is_adapter, weights.keys()))


def test_missing_or_other_base_is_refused(trained, whisper, tmp_path):
    folder, _ = trained
    copy = shutil.copytree(folder, tmp_path / "exp", symlinks=True)
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace(str(whisper), str(tmp_path / "base")))
    with pytest.raises(UserError, match="the base of its adapter is not readable") as caught:
        load_model(copy)
    assert str(copy / "model.pth") in caught.value.message
    tiny_whisper.write(tmp_path / "base", seed=3)
    with pytest.raises(UserError, match="its adapter was trained on another base") as caught:
        load_model(copy)
    assert str(tmp_path / "base") in caught.value.message and caught.value.remedy


def test_complete_checkpoints_need_no_base(recipe, trained, whisper, tmp_path):
    """`save: all` gives the weights of `save: trained`, and loads without the base."""
    copy = shutil.copytree(whisper, tmp_path / "whisper")
    folder = train(recipe, copy, "complete", {"type": "lora"})
    shutil.rmtree(copy)
    assert_same(outputs_of(folder), outputs_of(trained[0]), atol=0)


@pytest.mark.parametrize("kind", adapters.TYPES)
def test_resumed_training_equals_uninterrupted_training(recipe, whisper, kind):
    adapter = {"type": kind, "save": "trained", "dropout": 0.1}
    schedule = {"freeze_epochs": 1, "unfreeze_layers_per_epoch": 2, "layer_decay": 0.8}
    schedule |= {"decoder_lr": 0.5}
    keep = ["--keep_nbest_models", "3"]
    whole = train(recipe, whisper, f"whole-{kind}", adapter, 3, keep, **schedule)
    for epochs in (1, 3):
        resumed = train(recipe, whisper, f"resumed-{kind}", adapter, epochs, keep, **schedule)
    for epoch in (1, 2, 3):
        first, second = (state_of(f / f"{epoch}epoch.pth") for f in (whole, resumed))
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert torch.equal(second[name], value), name
    first, last = (state_of(whole / f"{epoch}epoch.pth") for epoch in (1, 3))
    trained_in_epoch_1 = [
        n for n, v in first.items() if n.endswith("lora_B.default.weight") and v.any()
    ]
    assert trained_in_epoch_1 and all(n.startswith("meaning_decoder.") for n in trained_in_epoch_1)
    assert all(v.any() for n, v in last.items() if n.endswith("lora_B.default.weight"))


def test_relative_paths_of_the_base_are_found_from_the_model(
    trained, whisper, tmp_path, monkeypatch
):
    folder, _ = trained
    expected = outputs_of(folder)
    copy = shutil.copytree(folder, tmp_path / "recipe/exp/en/do", symlinks=True)
    shutil.copytree(whisper, tmp_path / "recipe/downloads/whisper")
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace(str(whisper), "downloads/whisper"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert_same(outputs_of(copy), expected, atol=0)


def test_relative_init_param_is_found_from_the_model(tmp_path, monkeypatch):
    folder = tmp_path / "recipe/exp/en/do"
    folder.mkdir(parents=True)
    first = tmp_path / "recipe/exp/en/first/valid.acc.ave.pth"
    config = {"outputs": {}, "init_param": ["exp/en/first/valid.acc.ave.pth:encoder:encoder"]}
    monkeypatch.chdir(tmp_path)
    (folder / first.name).touch()  # of the model itself
    with pytest.raises(UserError, match="valid.acc.ave.pth: no such file in ") as caught:
        initial_config(config, folder)
    assert str(tmp_path / "recipe") in caught.value.message and caught.value.remedy
    first.parent.mkdir()
    first.touch()
    assert initial_config(config, folder)["init_param"] == [f"{first}:encoder:encoder"]


def test_espnet_encoder_is_adapted_after_init_param(recipe, tmp_path, monkeypatch, capsys):
    """A Conformer needs trained weights, is fixed with its statistics, and exports to ESPnet."""
    from espnet_ext.model.export import export_head

    base = recipe.train("conformer", options=["--max_epoch", "1"])
    config = {"finetune_conf": {"adapter": {"type": "dora", "save": "trained"}}}
    with pytest.raises(UserError, match="freezes encoder, whose weights are random"):
        recipe.train("adapted", config)
    initial = ["--init_param", str(base / "model.pth"), "--max_epoch", "1"]
    folder = recipe.train("adapted", config, options=initial)
    assert "adapters" in capsys.readouterr().err
    model, _ = load_model(folder)
    start = state_of(base / "model.pth")
    saved = state_of(folder / "1epoch.pth")
    assert not any(name.endswith("running_mean") for name in saved)
    for name, value in model.state_dict().items():
        is_target = name.rpartition(".")[0].endswith(("linear_q", "linear_v"))
        is_same = torch.equal(value, start[name])
        if name.startswith("encoder."):
            assert is_same != (is_target and name.endswith("weight")), name
    export_head(folder, "surface", tmp_path / "stock")
    exported = state_of(tmp_path / "stock/model.pth")
    weights = model.state_dict()["encoder.encoders.0.self_attn.linear_q.weight"]
    assert torch.equal(exported["encoder.encoders.0.self_attn.linear_q.weight"], weights)
    text = (folder / "config.yaml").read_text()
    relative = (base / "model.pth").relative_to(recipe.root)
    (folder / "config.yaml").write_text(text.replace(str(base / "model.pth"), str(relative)))
    monkeypatch.chdir(tmp_path)
    assert f"- {relative}" in (folder / "config.yaml").read_text()
    again, _ = load_model(folder)
    assert torch.equal(again.state_dict()["encoder.encoders.0.self_attn.linear_q.weight"], weights)


def test_adapters_in_init_param_need_an_adapter(recipe, whisper, trained):
    options = ["--init_param", str(trained[0] / "2epoch.pth")]
    with pytest.raises(UserError, match="has LoRA or DoRA adapters, but the configuration has no"):
        train(recipe, whisper, "without", None, options=options)
    folder = train(
        recipe, whisper, "continued", {"type": "lora"}, 1, [*options, "--optim_conf", "lr=1.0e-9"]
    )
    assert_same(outputs_of(folder, "1epoch.pth"), outputs_of(trained[0], "2epoch.pth"), atol=1e-4)


@pytest.mark.parametrize(
    ("adapter", "options", "message"),
    [
        ({"type": "lora"}, ["--freeze_param", "encoder"], "freezes the adapter encoder"),
        ({"type": "lora"}, ["--use_adapter", "true"], "ESPnet's adapters are not supported"),
        ({"save": "trained"}, ["--train_dtype", "float64"], "does not work with train_dtype"),
    ],
)
def test_contradictory_options_are_refused(recipe, whisper, adapter, options, message):
    with pytest.raises(UserError, match=message) as caught:
        train(recipe, whisper, "refused", adapter, options=options)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        (":encoder:encoder", "freezes meaning_decoder, whose weights are random"),
        (":::meaning_decoder", "meaning_decoder.* is frozen, but is neither in the"),
    ],
)
def test_frozen_weights_that_cannot_be_read_again_are_refused(recipe, whisper, loaded, message):
    """The decoder is adapted but in no file: it would be random when the model is loaded."""
    base = recipe.train("conformer", options=["--max_epoch", "1"])
    adapter = {"parts": ["encoder", "meaning_decoder"], "save": "trained"}
    config = {"finetune_conf": {"adapter": adapter}}
    initial = ["--init_param", f"{base / 'model.pth'}{loaded}", "--max_epoch", "1"]
    with pytest.raises(UserError, match=message):
        recipe.train("partial", config, options=initial)


def test_untrained_adapters_are_reported(capsys):
    from espnet_ext.training.adaptation import warn_untrained

    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model.encoder = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model.frontend = model.adapters = None
    adapters.add_adapters(model, adapters.AdapterOptions(target_modules=("0",), parts=("encoder",)))
    warn_untrained(model, 1)
    assert "epoch 1: the adapters of encoder.0 have learned nothing" in capsys.readouterr().err
    model.encoder[0].lora_B["default"].weight.data.fill_(1)
    warn_untrained(model, 1)
    assert not capsys.readouterr().err
