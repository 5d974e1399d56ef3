"""Start-up time of the commands: `python benchmarks/startup.py`.

Each command runs in three new processes; the median is reported. What is timed:

- `… --help`: the whole process.
- validate, score: the whole process on eight utterances of half a second, with its work.
- train, decode: from the start of the process until the model is built (decode: loaded) and the
  first batch is ready. Then the process is stopped.

One more process per command runs first and is not counted. It compiles the modules and warms the
disk cache. PYTHONDONTWRITEBYTECODE is removed from the environment, as every process would compile
all modules again (6 s for torch alone). The load of the machine is printed with the times.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 3
TARGETS = {"no model": 1.5, "model": 8.0}  # seconds that commands without and with a model may take
# Programs of the child processes: print the time when the first batch is ready, then exit.
TRAIN = """
import os, sys, time
from espnet_ext.training.trainer import DualOutputTrainer
def first_batch(model, optimizers, schedulers, iterator, **_):
    next(iter(iterator)); print("ready", time.monotonic(), flush=True); os._exit(0)
DualOutputTrainer.train_one_epoch = first_batch
from espnet_ext.bin.train import main
sys.exit(main(sys.argv[1:]))
"""
DECODE = """
import os, sys, time
from espnet_ext.decoding.api import DualSpeech2Text
def first_batch(self, audios, sample_rate=None):
    print("ready", time.monotonic(), flush=True); os._exit(0)
DualSpeech2Text.batch = first_batch
from espnet_ext.bin.decode import main
sys.exit(main(sys.argv[1:]))
"""


def prepare(folder: Path) -> None:
    """Write a small recipe: data, token lists, statistics, an untrained model and hypotheses."""
    import numpy as np
    import torch
    import yaml

    from espnet_ext.bin import tokens, train
    from espnet_ext.data.audio import write_audio
    from espnet_ext.data.directory import write_directory
    from espnet_ext.data.record import Utterance
    from espnet_ext.model.build import build_model
    from espnet_ext.training import run

    random = np.random.default_rng(0)
    meanings = ["a cat", "a dog", "the hen", "tea", "an ox", "two", "the sea", "no"]
    for name in ("train", "valid"):
        utterances = []
        for i, meaning in enumerate(meanings):
            path = folder / f"{name}{i}.wav"
            write_audio(path, 0.1 * random.standard_normal(8000), 16000)
            surface = " ".join(meaning.upper().replace(" ", ""))
            texts = {"surface": surface, "meaning": meaning}
            utterances.append(Utterance(f"s{i}-{i}", f"s{i}", str(path), texts))
        write_directory(folder / "dump" / name, utterances)
    for name, token_type in (("surface", "word"), ("meaning", "char")):
        tokens.main(
            [
                *("--input", str(folder / "dump/train"), "--output_name", name),
                *("--token_type", token_type),
                *("--token_dir", str(folder / f"tokens/{name}_{token_type}")),
            ]
        )
    config = ROOT / "conf/train_small.yaml"
    train.main(["--collect_stats", "true", "--config", str(config), *data_options(folder)])
    data = run.Data(
        folder / "dump",
        "train",
        "valid",
        folder / "tokens",
        {"surface": "word", "meaning": "char"},
        folder / "stats",
    )
    merged = run.merged_config(config, [ROOT / "conf/systems/do.yaml"])
    merged = run.with_tokens(merged, data, folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(merged, sort_keys=False))
    torch.save(build_model(merged, folder).state_dict(), folder / "model.pth")
    (folder / "hypotheses").mkdir(exist_ok=True)
    for name in ("surface", "meaning"):
        text = (folder / f"dump/valid/text.{name}").read_text()
        (folder / f"hypotheses/text.{name}").write_text(text)


def data_options(folder: Path) -> list[str]:
    """Return the options of the train command that name the data."""
    return [
        *("--data_dir", f"{folder}/dump"),
        *("--token_dir", f"{folder}/tokens"),
        *("--outputs", "surface=word meaning=char"),
        *("--stats_dir", f"{folder}/stats"),
    ]


def commands(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Return each command's key of TARGETS and its arguments for the interpreter, by name."""
    help_commands = {
        f"{verb} --help": ("no model", ["-m", f"espnet_ext.bin.{verb}", "--help"])
        for verb in ("validate", "score", "report", "train", "decode")
    }
    return help_commands | {
        "validate, 8 utterances": (
            "no model",
            ["-m", "espnet_ext.bin.validate", f"{folder}/dump/valid"],
        ),
        "score, 8 utterances": (
            "no model",
            [
                *("-m", "espnet_ext.bin.score"),
                *("--data", f"{folder}/dump/valid"),
                *("--hypotheses", f"{folder}/hypotheses"),
                *("--token_types", "surface=word meaning=char"),
            ],
        ),
        "train, to the first batch": (
            "model",
            [
                *("-c", TRAIN),
                *("--config", str(ROOT / "conf/train_small.yaml")),
                *("--system", str(ROOT / "conf/systems/do.yaml")),
                *data_options(folder),
                *("--exp_dir", f"{folder}/exp"),
            ],
        ),
        "decode, to the first batch": (
            "model",
            [
                *("-c", DECODE),
                *("--model_dir", str(folder)),
                *("--data", f"{folder}/dump/valid"),
                *("--output_dir", f"{folder}/out"),
                *("--config", str(ROOT / "conf/decode.yaml")),
            ],
        ),
    }


def seconds_of(arguments: list[str]) -> float:
    """Return the seconds from the start of a process to its "ready" line, or else to its end."""
    start = time.monotonic()
    completed = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT
    )
    end = time.monotonic()
    if completed.returncode:
        sys.exit(f"{arguments} failed:\n{completed.stderr}")
    lines = completed.stdout.splitlines()
    ready = [float(line.split()[1]) for line in lines if line.startswith("ready ")]
    # The monotonic clock is the same for all processes.
    return (ready[0] if ready else end) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--json", help="file to write the numbers to")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="processes per command")
    options = parser.parse_args()
    python_path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(python_path)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.path.insert(0, str(ROOT))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        print(f"| {'command':<28} | median s | {'all s':<18} | target |\n|---|---|---|---|")
        for name, (kind, arguments) in commands(Path(folder)).items():
            seconds_of(arguments)  # not counted
            seconds = [round(seconds_of(arguments), 2) for _ in range(options.repeats)]
            median = statistics.median(seconds)
            rows.append(
                {"command": name, "median": median, "seconds": seconds, "target": TARGETS[kind]}
            )
            all_seconds = " ".join(f"{value:.2f}" for value in seconds)
            print(
                f"| {name:<28} | {median:8.2f} | {all_seconds:<18} | {TARGETS[kind]:6.1f} |",
                flush=True,
            )
    facts = {
        "rows": rows,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
    print(f"{facts['cpus']} CPUs, Python {facts['python']}, load {facts['load']}")
    if options.json:
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
