"""How long a command takes before it does its work: `python benchmarks/startup.py`.

Each row is a process of its own, started three times; the median counts. What is timed:

- `… --help`: the whole process, from start to exit.
- validate, score: the whole process on eight utterances of half a second, work included.
- train, decode: from the start of the process until the model is built (decode: loaded) and the
  first batch is ready for it, which is where work begins; then the process is ended.

Each row's first process, which is not counted, compiles what it imports and warms the disk cache:
with PYTHONDONTWRITEBYTECODE set, every process would compile anew (torch alone 6 s), so it is taken
out of the environment. Look at the load that is written beside the times.
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
LIMITS = {"no model": 1.5, "model": 8.0}  # seconds: what these commands are meant to take
# Run in the child: reports the moment when the first batch is there, and ends.
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
    """A small recipe below `folder`: dumped sets, tokens, shapes, untrained model, hypotheses."""
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
    words = ["a cat", "a dog", "the hen", "tea", "an ox", "two", "the sea", "no"]
    for name in ("train", "valid"):
        utterances = []
        for i, text in enumerate(words):
            path = folder / f"{name}{i}.wav"
            write_audio(path, 0.1 * random.standard_normal(8000), 16000)
            texts = {"surface": " ".join(text.upper().replace(" ", "")), "meaning": text}
            utterances.append(Utterance(f"s{i}-{i}", f"s{i}", str(path), texts))
        write_directory(folder / "dump" / name, utterances)
    for name, kind in (("surface", "word"), ("meaning", "char")):
        tokens.main(
            [
                "--input",
                str(folder / "dump/train"),
                "--output_name",
                name,
                "--token_type",
                kind,
                "--token_dir",
                str(folder / f"tokens/{name}_{kind}"),
            ]
        )
    config = ROOT / "conf/train_small.yaml"
    train.main(["--collect_stats", "true", "--config", str(config), *train_data(folder)])
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
    for name in ("surface", "meaning"):
        text = (folder / f"dump/valid/text.{name}").read_text()
        (folder / "hypotheses").mkdir(exist_ok=True)
        (folder / f"hypotheses/text.{name}").write_text(text)


def train_data(folder: Path) -> list[str]:
    return [
        "--data_dir",
        f"{folder}/dump",
        "--token_dir",
        f"{folder}/tokens",
        "--outputs",
        "surface=word meaning=char",
        "--stats_dir",
        f"{folder}/stats",
    ]


def commands(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Row name → (kind of limit, arguments of the interpreter)."""
    module = ["-m", "espnet_ext.bin.{}"]

    def command(verb: str, *arguments: str) -> list[str]:
        return [module[0], module[1].format(verb), *arguments]

    plain = {
        f"{verb} --help": ("no model", command(verb, "--help"))
        for verb in ("validate", "score", "report", "train", "decode")
    }
    return plain | {
        "validate, 8 utterances": ("no model", command("validate", f"{folder}/dump/valid")),
        "score, 8 utterances": (
            "no model",
            command(
                "score",
                "--data",
                f"{folder}/dump/valid",
                "--hypotheses",
                f"{folder}/hypotheses",
                "--token_types",
                "surface=word meaning=char",
            ),
        ),
        "train, to the first batch": (
            "model",
            [
                "-c",
                TRAIN,
                "--config",
                str(ROOT / "conf/train_small.yaml"),
                "--system",
                str(ROOT / "conf/systems/do.yaml"),
                *train_data(folder),
                "--exp_dir",
                f"{folder}/exp",
            ],
        ),
        "decode, to the first batch": (
            "model",
            [
                "-c",
                DECODE,
                "--model_dir",
                str(folder),
                "--data",
                f"{folder}/dump/valid",
                "--output_dir",
                f"{folder}/out",
                "--config",
                str(ROOT / "conf/decode.yaml"),
            ],
        ),
    }


def seconds_of(arguments: list[str]) -> float:
    """Seconds from the start of the process to its "ready" line, or to its end without one."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)
    end = time.monotonic()
    if done.returncode:
        sys.exit(f"{arguments} failed:\n{done.stderr}")
    ready = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ready ")]
    return (float(ready[0]) if ready else end) - start  # one clock for all processes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--json", help="file to write the figures to")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="processes a row")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.path.insert(0, str(ROOT))
    rows = []
    with tempfile.TemporaryDirectory() as place:
        prepare(Path(place))
        print(f"| {'command':<28} | median s | {'all s':<18} | meant |\n|---|---|---|---|")
        for name, (kind, arguments) in commands(Path(place)).items():
            seconds_of(arguments)
            times = [round(seconds_of(arguments), 2) for _ in range(options.repeats)]
            median = statistics.median(times)
            rows.append(
                {"command": name, "median": median, "seconds": times, "limit": LIMITS[kind]}
            )
            print(
                f"| {name:<28} | {median:8.2f} | {' '.join(f'{t:.2f}' for t in times):<18} "
                f"| {LIMITS[kind]:5.1f} |",
                flush=True,
            )
    load = round(os.getloadavg()[0], 2)
    facts = {
        "rows": rows,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": load,
    }
    print(f"{facts['cpus']} CPUs, Python {facts['python']}, load {load}")
    if options.json:
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
