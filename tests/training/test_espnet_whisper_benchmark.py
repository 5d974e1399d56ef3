"""`benchmarks/pretrained.py espnet`: the same weights and losses in stock ESPnet's encoder."""

import argparse
import json
import runpy
import sys
from pathlib import Path

import pytest
import tiny_recipe
import tiny_whisper
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.pretrained_whisper import espnet as benchmark  # noqa: E402

SIZES = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}  # four times d_model, as in whisper
WEIGHT, BIAS = "weight", "bias"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("whisper")
    return folder, tiny_whisper.write(folder, **SIZES).model


def test_names_of_converted_weights_are_those_of_openai(checkpoint):
    """Written from the modules of OpenAI's `whisper/model.py`."""

    def attention(name):
        return {f"{name}.{part}" for part in ("query", "value", "out")}, f"{name}.key.weight"

    names = {f"encoder.conv{i}.{kind}" for i in (1, 2) for kind in (WEIGHT, BIAS)}
    names |= {f"{part}.positional_embedding" for part in ("encoder", "decoder")}
    names |= {"decoder.token_embedding.weight"}
    biased = {"encoder.ln_post", "decoder.ln"}
    for part, kinds in (("encoder", ("attn",)), ("decoder", ("attn", "cross_attn"))):
        for i in (0, 1):
            block = f"{part}.blocks.{i}"
            biased |= {f"{block}.{name}" for name in ("mlp.0", "mlp.2", "mlp_ln")}
            for kind in kinds:
                projections, key = attention(f"{block}.{kind}")
                biased |= projections | {f"{block}.{kind}_ln"}
                names.add(key)
    names |= {f"{name}.{kind}" for name in biased for kind in (WEIGHT, BIAS)}
    converted = benchmark.openai_checkpoint(checkpoint[1])
    assert set(converted["model_state_dict"]) == names
    assert converted["dims"]["n_audio_layer"] == 2 and converted["dims"]["n_text_ctx"] == 40


def test_other_layer_sizes_are_refused(tmp_path):
    pytest.importorskip("transformers")
    network = tiny_whisper.write(tmp_path).model
    with pytest.raises(SystemExit, match="4 × 16 = 64"):
        benchmark.openai_checkpoint(network)


def test_openai_network_computes_what_transformers_computes(checkpoint, tmp_path):
    whisper = pytest.importorskip("whisper")
    torch.save(benchmark.openai_checkpoint(checkpoint[1]), tmp_path / "whisper.pt")
    network = whisper.load_model(str(tmp_path / "whisper.pt"), "cpu").eval()
    feats = torch.randn(2, 80, 3000)
    with torch.no_grad():
        expected = checkpoint[1].encoder(feats).last_hidden_state
        torch.testing.assert_close(network.encoder(feats), expected, rtol=1e-4, atol=1e-5)


def test_all_weights_have_the_learning_rate_of_the_encoder(checkpoint):
    options = argparse.Namespace(
        config=ROOT / "conf/train_whisper_base.yaml", pretrained=checkpoint[0], output="surface"
    )
    setting = argparse.Namespace(window="30s")
    config = benchmark.WhisperSetting.read_config(setting, options, "30s")
    assert config["optim_conf"]["lr"] == config["scheduler_conf"]["max_lr"] == 0.001 * 0.03
    assert "finetune_conf" not in config
    assert config["frontend_conf"]["window"] == "30s"
    assert config["outputs"] == {"surface": {"branch": "ctc", "ctc_weight": 1.0}}


@pytest.mark.slow  # three processes import ESPnet's whole task
def test_losses_equal_those_of_stock_espnet(checkpoint, tmp_path, monkeypatch, capsys):
    whisper = pytest.importorskip("whisper")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the script sets it
    recipe = tiny_recipe.make(tmp_path / "recipe")
    script = str(ROOT / "benchmarks/pretrained.py")
    words = [
        *(script, "--json", tmp_path / "numbers.json", "espnet", "--pretrained", checkpoint[0]),
        *("--openai_whisper", Path(whisper.__file__).parents[1], "--rounds", 2, "--limit", 4),
        *("--data_dir", recipe.root / "dump", "--token_dir", recipe.root / "tokens"),
        *("--stats_dir", recipe.root / "stats"),
        *("--variant", "stock", "stock utterance --num_workers 0"),
        *("--variant", "padded", "stock 30s --num_workers 0"),
        *("--variant", "ours", "ours utterance --num_workers 0"),
    ]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    num_threads = torch.get_num_threads()
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        torch.set_num_threads(num_threads)
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert max(numbers["differences"].values()) < 1e-4
    assert set(numbers["variants"]) == {"stock", "padded", "ours"}
    assert numbers["variants"]["ours"]["speed"] > numbers["variants"]["padded"]["speed"] > 0
    assert "| ours |" in capsys.readouterr().out
