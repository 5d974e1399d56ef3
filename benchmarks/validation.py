"""Measure time and memory of validating a data directory without its audio.

Generates directories of Korean utterances with surface and meaning in several sizes. Each
measurement is a separate process:

- read: read every table and split it into ids and values, the minimum in Python
- validate: `espnet_ext.data.validate.check_directory(…, check_audio=False)`, all checks of texts
- against: the same for a tenth of the directory, compared with the whole

Seconds are CPU seconds without imports, since other programs may run; memory is the process's peak
minus its memory after the imports.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = (12_500, 50_000, 200_000)
REPEATS = 3
EACH = 250  # utterances per speaker
SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4, 37)]


def make(folder: Path, utterances: int, first: int = 0) -> None:
    """Write a directory without audio: 4 to 12 words per sentence, a deviation in each surface."""
    folder.mkdir(parents=True)
    chance = random.Random(first)
    names = ("wav.scp", "utt2spk", "text.meaning", "text.surface", "utt2lang")
    rows: dict[str, list[str]] = {name: [] for name in names}
    speakers: dict[str, list[str]] = {}
    for number in range(first, first + utterances):
        speaker = f"s{number // EACH:05}"
        key = f"{speaker}-u{number:07}"
        words = [
            "".join(chance.choices(SYLLABLES, k=chance.randint(1, 5)))
            for _ in range(chance.randint(4, 12))
        ]
        text = " ".join(words)
        speakers.setdefault(speaker, []).append(key)
        values = (f"audio/{key}.wav", speaker, text, text[:-1] + chance.choice(SYLLABLES), "ko")
        for lines, value in zip(rows.values(), values, strict=True):
            lines.append(f"{key} {value}\n")
    rows["spk2utt"] = [f"{name} {' '.join(keys)}\n" for name, keys in speakers.items()]
    for name, lines in rows.items():
        (folder / name).write_text("".join(lines), encoding="utf-8")


def read(folder: Path) -> int:
    count = 0
    for path in sorted(folder.iterdir()):
        with open(path, encoding="utf-8") as handle:
            for line in handle:
                key, value = line.rstrip("\n").split(" ", 1)
                count += bool(key and value)
    return count


def measure(what: str, folder: Path) -> None:
    """Measure in this process; print the result as JSON."""
    import numpy  # noqa: F401  imported before the measurement
    import rapidfuzz.distance  # noqa: F401

    from espnet_ext.data.checks.context import CheckOptions
    from espnet_ext.data.validate import check_directory

    before = peak_kilobytes()
    wall, started = time.monotonic(), time.process_time()
    if what == "read":
        read(folder)
    else:
        against = [folder] if what == "against" else []
        path = folder.with_name(folder.name + "-tenth") if against else folder
        check = check_directory(path, CheckOptions(check_audio=False, against=against))
        if check.errors:
            sys.exit(f"{path}: {check.summary()}")
    seconds = time.process_time() - started
    wall = time.monotonic() - wall
    used = (peak_kilobytes() - before) / 1024
    print(json.dumps({"seconds": seconds, "wall": wall, "megabytes": used}))


def peak_kilobytes() -> int:
    """Return the peak memory of this process; `ru_maxrss` would include its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def print_memory(script: str, folders: Iterable[tuple[int, Path]]) -> None:
    """Print a table of what `script --measure FOLDER` measures for directories of several sizes.

    Args:
        script: prints JSON with `seconds` of the CPU, and `bytes` of memory.
        folders: number of utterances and directory, in ascending order.
    """
    last = (0, 0)
    print("| utterances | CPU s | MB | bytes per utterance more than the row before |")
    print("|---|---|---|---|")
    for size, folder in folders:
        done = subprocess.run(
            [sys.executable, script, "--measure", str(folder)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(done.stderr)
        row = json.loads(done.stdout)
        slope = (row["bytes"] - last[1]) / (size - last[0])
        print(f"| {size} | {row['seconds']:.1f} | {row['bytes'] / 1e6:.1f} | {slope:.0f} |")
        last = (size, row["bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="utterances")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="processes per row")
    parser.add_argument("--json", help="file for the measured numbers")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]))
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    rows = []
    print("| utterances | what | utt/s (CPU) | utt/s (wall clock) | time / read | MB |")
    print("|---|---|---|---|---|---|")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "whole")
            make(folder, size)
            make(folder.with_name("whole-tenth"), size // 10, first=size)
            reference = 0.0
            for what in ("read", "validate", "against"):
                command = [sys.executable, __file__, "--measure", what, str(folder)]
                runs = []
                for _ in range(options.repeats):
                    done = subprocess.run(command, env=environment, capture_output=True, text=True)
                    if done.returncode:
                        sys.exit(done.stderr)
                    runs.append(json.loads(done.stdout))
                seconds = statistics.median(run["seconds"] for run in runs)
                wall = statistics.median(run["wall"] for run in runs)
                reference = reference or seconds
                row = {
                    "utterances": size,
                    "what": what,
                    "per_second": round(size / seconds),
                    "per_second_wall": round(size / wall),
                    "runs": runs,
                    "times_read": round(seconds / reference, 2),
                    "megabytes": round(max(run["megabytes"] for run in runs), 1),
                }
                rows.append(row)
                print(
                    f"| {size} | {what} | {row['per_second']} | {row['per_second_wall']} | "
                    f"{row['times_read']} | {row['megabytes']} |",
                    flush=True,
                )
    load = round(os.getloadavg()[0], 2)
    facts = {
        "rows": rows,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "load": load,
    }
    print(f"{facts['cpus']} CPUs, Python {facts['python']}, load {load}")
    if options.json:
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
