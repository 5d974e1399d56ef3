"""The benchmark scripts run: `--help` of all, and those without a test of their own."""

import json
import logging
import runpy
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402
import tiny_whisper  # noqa: E402

from espnet_ext.model import checksums  # noqa: E402
from espnet_ext.training import task  # noqa: E402

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def run_benchmark(monkeypatch):
    """Run a script in this process, as `python benchmarks/<name>` would."""
    num_threads = torch.get_num_threads()

    def run(name, *arguments):
        monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / name), *map(str, arguments)])
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")

    yield run
    torch.set_num_threads(num_threads)
    logging.disable(logging.NOTSET)


def test_experts_compute_what_the_dense_encoder_computes(run_benchmark, tmp_path, capsys):
    options = ["--utterances", 2, "--seconds", 0.5, "--steps", 1]
    run_benchmark("experts.py", *options, "--json", tmp_path / "out.json")
    lines = capsys.readouterr().out.splitlines()
    differences = [float(line.rpartition(" ")[2]) for line in lines]
    assert len(differences) == 4 and max(differences) < 1e-4
    results = json.loads((tmp_path / "out.json").read_text())
    assert all(numbers["forward, ratio"] > 0 for numbers in results.values())


@pytest.mark.parametrize("name", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_help_of_every_script(run_benchmark, name, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_benchmark(name, "--help")
    assert stopped.value.code in (0, None)
    assert f"usage: {name}" in capsys.readouterr().out


def test_decode_finds_the_hypotheses_of_stock_espnet(run_benchmark, trained, tmp_path):
    """Both outputs together, each alone, and by stock ESPnet."""
    run_benchmark(
        "decode.py",
        *("--model_dir", trained.root / "exp", "--data", trained.root / "dump/valid"),
        *("--limit", 2, "--rounds", 1, "--threads", 1, "--beam_size", 2, "--maxlenratio", -3),
        *("--json", tmp_path / "numbers.json"),
    )
    decoders = json.loads((tmp_path / "numbers.json").read_text())["decoders"]
    assert {name: numbers["transcripts"] for name, numbers in decoders.items()} == {
        "ours": 4,
        "ours, surface only": 2,
        "ours, meaning only": 2,
        "stock, batches of 16, exact": 4,
        "stock, single utterances, exact": 4,
        "stock, batches of 16, default window": 4,
    }
    for name, numbers in decoders.items():
        assert len(numbers["seconds"]) == 1
        if "default window" not in name:
            assert numbers["differ"] == 0
            assert numbers["largest score difference of equal ones"] < 1e-3


def test_profile_counts_the_time_of_every_output(run_benchmark, trained, tmp_path):
    run_benchmark(
        *("search.py", "profile", "--beam_size", 2, "--limit", 2),
        *("--model_dir", trained.root / "exp", "--data", trained.root / "dump/valid"),
        *("--json", tmp_path / "numbers.json"),
    )
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    for name in ("surface", "meaning"):
        assert numbers["seconds"][f"{name}: decoder, steps"] > 0
    assert sum(numbers["seconds"].values()) == pytest.approx(numbers["total"])


def test_transducer_finds_the_hypotheses_of_espnet(run_benchmark, tmp_path):
    recipe = tiny_recipe.make(tmp_path)
    surface = {"branch": "transducer", "transducer_weight": 1.0}
    recipe.train(
        config={"best_model_criterion": [["valid", "loss", "min"]]},
        outputs={"surface": surface},
        options=["--max_epoch", "1"],
    )
    run_benchmark(
        *("transducer.py", "--beam_size", 2, "--nbest", 2, "--limit", 2, "--rounds", 1),
        *("--model_dir", tmp_path / "exp", "--data", tmp_path / "dump/valid"),
        *("--json", tmp_path / "numbers.json"),
    )
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    for name in ("beam: espnet tsd", "greedy: espnet greedy"):
        assert numbers[name]["n best differ"] == 0
    assert numbers["beam: espnet tsd"]["largest score difference"] < 1e-3


def test_pretrained_times_training_and_the_bare_encoder(run_benchmark, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the script sets it
    tiny_whisper.write(tmp_path / "whisper")
    recipe = tiny_recipe.make(tmp_path / "recipe")
    run_benchmark(
        *("pretrained.py", "--json", tmp_path / "numbers.json", "train", "--epochs", 2),
        *("--pretrained", tmp_path / "whisper", "--data_dir", recipe.root / "dump"),
        *("--token_dir", recipe.root / "tokens", "--limit", 4, "--valid_limit", 2),
    )
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert [sorted(epoch) for epoch in numbers["epochs"]] == [
        ["bare", "save", "train", "validate"]
    ] * 2
    assert all(part["cpu"] > 0 for epoch in numbers["epochs"] for part in epoch.values())
    assert 0 < numbers["audio_seconds"] < 3


def test_pretrained_finds_the_token_ids_of_transformers(run_benchmark, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tiny_whisper.write(tmp_path / "whisper")
    recipe = tiny_recipe.make(tmp_path / "recipe")
    run_benchmark(
        *("pretrained.py", "--json", tmp_path / "numbers.json", "equality", "--limit", 3),
        *("--pretrained", tmp_path / "whisper", "--data", recipe.root / "dump/valid"),
        *("--max_tokens", 10, "--batch_size", 2, "--beam_size", 2),
    )
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert (numbers["utterances"], numbers["different"]) == (3, 0)


def test_training_overhead_is_what_loading_and_checkpoints_take(
    run_benchmark, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe = tiny_recipe.make(tmp_path)
    collate, record = task.collate, checksums.record

    def slow_collate(batch):
        time.sleep(0.2)  # longer than a step, which it is done beside
        return collate(batch)

    def slow_record(*arguments):
        time.sleep(0.1)
        record(*arguments)

    monkeypatch.setattr(task, "collate", slow_collate)
    monkeypatch.setattr(checksums, "record", slow_record)
    run_benchmark(
        *("training_overhead.py", "--config", recipe.write_yaml("tiny", tiny_recipe.CONFIG)),
        *("--data_dir", recipe.data.dump, "--token_dir", recipe.data.token_dir),
        *("--stats_dir", recipe.data.stats, "--limit", 6, "--epochs", 2),
        *("--json", tmp_path / "numbers.json", "--training"),
        "batch_type=unsorted batch_size=2 save_interval_steps=2 save_interval_minutes=0",
    )
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert len(numbers["epochs"]) == 2
    for epoch in numbers["epochs"]:
        parts = {name: seconds for name, seconds in epoch.items() if " " in name}
        assert epoch["number"] == 1  # after the second of three batches
        assert parts["data of training"] >= 0.2  # of the first batch at least
        assert parts["data of validation"] >= 0.2
        assert parts["checkpoints inside epochs"] >= 0.1
        assert parts["checkpoints at the end of epochs"] >= 2 * 0.1  # and the weights of the epoch
        assert len(parts) == 4 and sum(parts.values()) < epoch["seconds"]
        assert 0 < epoch["work"] < epoch["cpu"]
    assert 0 < numbers["waiting"] < 1 and 0 < numbers["checkpoints"] < 1
