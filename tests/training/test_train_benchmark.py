"""`benchmarks/train.py` trains stock ESPnet and this package with equal losses."""

import argparse
import sys
from pathlib import Path

import pytest
import tiny_recipe

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import train as benchmark  # noqa: E402

pytestmark = pytest.mark.slow  # imports ESPnet's whole task
RATES = ("dropout_rate", "positional_dropout_rate")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("benchmark"))
    config = dict(tiny_recipe.CONFIG)
    encoder = dict.fromkeys((*RATES, "attention_dropout_rate"), 0.0)
    decoder = dict.fromkeys((*RATES, "self_attention_dropout_rate"), 0.0)
    config["encoder_conf"] = {**config["encoder_conf"], **encoder}
    config["decoder_conf"] = {
        **config["decoder_conf"],
        **decoder,
        "src_attention_dropout_rate": 0.0,
    }
    return argparse.Namespace(
        config=str(recipe.write_yaml("benchmark", config)),
        data_dir=recipe.data.dump,
        token_dir=recipe.data.token_dir,
        stats_dir=recipe.data.stats,
        outputs="surface=phone meaning=char",
        limit=6,
        rounds=2,
        threads=1,
        device="cpu",
    )


def test_losses_of_both_trainers_are_equal_and_the_summary_says_so(options, tmp_path, capsys):
    workers = {}
    for name, kind, words in (
        ("stock", "stock", []),
        ("ours", "ours", ["--fast_layers", "true"]),
        ("buckets", "ours", ["--batching", "buckets", "--batch_bins", "9000"]),
    ):
        setting = benchmark.Setting(options, kind, "so_surface", words, tmp_path / name)
        results = [setting.train_round(epoch) for epoch in (1, 2)]
        workers[name] = argparse.Namespace(results=results)
    summary = benchmark.summarize(workers)
    assert summary["ours"]["difference"] < 1e-4
    losses = [summary[name]["results"][1]["losses"] for name in ("stock", "ours")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    result = summary["stock"]["results"][0]
    assert result["audio_seconds"] == pytest.approx(6 * 0.5)
    assert result["padding"]["speech"] == 0 and 0 < result["padding"]["text_surface"] < 0.5
    assert len(summary["buckets"]["results"][0]["losses"]) == 6  # one utterance per batch
    assert summary["buckets"]["padding"] == {"speech": 0, "text_surface": 0}
    assert summary["buckets"]["difference"] != summary["buckets"]["difference"]  # NaN
    assert "| ours |" in capsys.readouterr().out
