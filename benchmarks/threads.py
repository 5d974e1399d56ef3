"""Decoding by number of threads and their wait policy, idle and under load.

`python benchmarks/threads.py --help`. Each setting has a process of its own, which has loaded the
model. The processes decode the same utterances in turn, so that a change of the machine's load
affects all settings. "chosen" is what decoding does without any setting; "PyTorch's default" is one
spinning thread per core. With `--busy N`, N other processes compute all the time. Hypotheses are
compared in the same run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPINNING, SLEEPING = "spinning", "sleeping"
CHOSEN, DEFAULT = "chosen", "PyTorch's default"
# What a user, or decoding itself, may set before PyTorch is loaded
VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
)
# Runs in the process of one setting. Threads spin if PyTorch is loaded before our module.
WORKER = """
import sys, time
setting, model_dir, data, limit = sys.argv[1], *sys.argv[2:4], int(sys.argv[4])
sys.path[:0] = {paths!r}
threads, _, wait = setting.partition(" ")
if setting == "PyTorch's default" or wait == "spinning":
    import torch
import decode
from pathlib import Path
from espnet_ext.decoding.api import DualSpeech2Text, sample_rate_of
from espnet_ext.model.load import load_config
import torch
if threads.isdecimal():
    torch.set_num_threads(int(threads))
recognise = DualSpeech2Text.from_pretrained(model_dir)
if threads.isdecimal():
    recognise.num_threads = int(threads)
elif setting == "PyTorch's default":
    recognise.num_threads = None
waves = decode.read_audio(Path(data), limit, sample_rate_of(load_config(model_dir)))
recognise.batch(waves[:2])  # the first call is slower
print(recognise.num_threads or torch.get_num_threads(), flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    results = recognise.batch(waves)
    seconds = time.perf_counter() - start
    ids = [[h.token_ids for h in result.best.values()] for result in results]
    print(seconds, hash(str(ids)), flush=True)
"""


def start(setting: str, options: argparse.Namespace) -> subprocess.Popen:
    """Start the process of a setting, and wait until its model is loaded."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment["PYTHONHASHSEED"] = "0"  # equal hashes of equal hypotheses in all processes
    code = WORKER.format(paths=[str(ROOT), str(ROOT / "benchmarks")])
    arguments = [setting, str(options.model_dir), str(options.data), str(options.limit)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    print(f"{setting}: {process.stdout.readline().strip()} threads", flush=True)
    return process


def decode_once(process: subprocess.Popen) -> tuple[float, str]:
    """Return the seconds of one decoding and a digest of the hypotheses."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("decode\n")
    process.stdin.flush()
    seconds, digest = process.stdout.readline().split()
    return float(seconds), digest


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model_dir", type=Path, required=True, help="a trained system")
    parser.add_argument("--data", type=Path, required=True, help="a dumped set")
    parser.add_argument("--limit", type=int, default=16, help="number of utterances")
    parser.add_argument("--rounds", type=int, default=5, help="times that each setting is timed")
    parser.add_argument("--busy", type=int, default=0, help="other processes that compute")
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[1, os.cpu_count() or 1],
        help="numbers of threads to compare, each spinning and sleeping",
    )
    parser.add_argument(
        "--sleeping_only",
        action="store_true",
        help="leave out spinning threads, which take very long on a busy machine",
    )
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    settings = [CHOSEN]
    if not options.sleeping_only:
        settings += [DEFAULT, *(f"{n} {SPINNING}" for n in sorted(set(options.threads)))]
    settings += [f"{n} {SLEEPING}" for n in sorted(set(options.threads))]
    workers = {setting: start(setting, options) for setting in settings}
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)
    ]
    seconds: dict[str, list[float]] = {setting: [] for setting in settings}
    digests = {}
    load = os.getloadavg()[0]
    try:
        for _ in range(options.rounds):
            for setting, worker in workers.items():
                elapsed, digests[setting] = decode_once(worker)
                seconds[setting].append(elapsed)
    finally:
        for process in [*busy, *workers.values()]:
            process.kill()
    medians = {setting: statistics.median(values) for setting, values in seconds.items()}
    print("\n| setting | median s | min s | ratio to chosen | hypotheses |\n|---|---|---|---|---|")
    for setting, median in medians.items():
        same = "equal" if digests[setting] == digests[CHOSEN] else "differ"
        fastest, ratio = min(seconds[setting]), median / medians[CHOSEN]
        print(f"| {setting} | {median:.2f} | {fastest:.2f} | {ratio:.2f} | {same} |")
    print(f"{options.busy} busy processes, load before {load:.1f}, after {os.getloadavg()[0]:.1f}")
    if options.json is not None:
        numbers = {"seconds": seconds, "digests": digests, "busy": options.busy, "load": load}
        options.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
