"""Measure time and memory of the preparation of large corpora.

Generates a corpus in AI Hub 505's format, unpacked and as zip archives, with labels of the
published length and sounds of a tenth of a second. Each measurement is a process that uses `--nj`
processes:

- read: read every label and parse its JSON with the standard library
- labels: read, interpret and store the labels
- whole: the complete preparation, which reads every sound's header

Memory is the peak of the main process and of its largest child. The files are in the system's
cache because they were just written; `--cold true` drops them before each measurement.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/corpora")]
SPEAKERS = 200
READINGS = (
    "저는 주말에 친구와 같이 한강 공원에 가서 자전거를 탔습니다.",
    "어제 시장에서 사과를 샀어요.",
)
SURFACES = (
    "저는 주+ 주말에 어/ 친구와 가치 한강 공원에 가서 자전거를 탔습니다.",
    "어제 시장에서 사가를 샀어요.",
)


def make(folder: Path, utterances: int) -> None:
    """Write the same corpus twice: `folder/unpacked` and `folder/zipped`."""
    from published_korean import encoded, label505, wav, write_aihub, write_aihub_zips

    sound = wav(0.1)
    for start in range(0, utterances, 5000):  # a topic has several thousand utterances
        parts: dict[str, dict[str, bytes]] = {"train": {}, "valid": {}}
        for number in range(start, min(start + 5000, utterances)):
            speaker = f"EN{number % SPEAKERS:04}"
            stem = f"EN10QC{number:06}_{speaker}_20210801"
            kind = number % 4
            texts = (
                {"answer": "음/ 저는 잘 모르겠어요."}
                if kind == 3
                else {"reading": READINGS[kind % 2], "transcript": SURFACES[kind % 2]}
            )
            part = "valid" if number % 8 == 0 else "train"
            parts[part][stem] = encoded(label505(stem, speaker, **texts))
        topic = f"{start // 5000}. 한국일반"
        write_aihub(folder / "unpacked", parts, group=f"1. 영어/{topic}", sound=sound)
        write_aihub_zips(
            folder / "zipped", parts, language=f"1. 영어 {topic}", topic=topic, sound=sound
        )


def forget(folder: Path) -> None:
    """Drop these files from the system's cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as handle:
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(what: str, corpus: str, nj: int) -> None:
    """Measure in this process; print seconds and peak memory as JSON."""
    from functools import partial
    from itertools import batched

    from espnet_ext.bin import prepare
    from espnet_ext.corpora import aihub, aihub505
    from espnet_ext.corpora.corpus_files import FileReader, parallel_map, walk
    from espnet_ext.corpora.database import CorpusDatabase
    from espnet_ext.corpora.preparation import Report

    with tempfile.TemporaryDirectory() as data:
        started = time.monotonic()
        if what == "read":
            labels = (file for file in walk(corpus, print) if file.name.endswith(".json"))
            count = sum(parallel_map(partial(_load, FileReader()), batched(labels, 200), nj))
        elif what == "labels":
            public_name = partial(aihub.public_stem, key="")
            read = partial(aihub505.read_label, options=aihub505.Options(), key="")
            with CorpusDatabase(data, Report("aihub505")) as database:
                aihub.collect_files(database, corpus, read, public_name, nj)
                (count,) = database._execute("SELECT COUNT(*) FROM label").fetchone()
        else:
            argv = ["aihub505", "--corpus_dir", corpus, "--data_dir", data, "--nj", str(nj)]
            prepare.main(argv)
            count = sum(_lines(Path(data, "ko", name, "wav.scp")) for name in aihub.SETS)
        seconds = time.monotonic() - started
    used = [resource.getrusage(kind) for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    parent, child = _peak(), used[1].ru_maxrss / 1024
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    result = {"seconds": seconds, "cpu": cpu, "count": count, "parent": parent, "child": child}
    print("\n" + json.dumps(result))


def _lines(path: Path) -> int:
    with open(path, "rb") as handle:
        return sum(1 for _ in handle)


def _peak() -> float:
    """Return the peak memory of this process in MiB; `ru_maxrss` would include its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _load(reader, files) -> int:
    return sum(json.loads(reader.read(file)) is not None for file in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--utterances", default="10000 50000", help="sizes of the corpus")
    parser.add_argument("--forms", default="unpacked zipped", help="format of the corpus")
    parser.add_argument("--nj", type=int, default=2, help="processes")
    parser.add_argument("--cold", default="false", choices=("true", "false"))
    parser.add_argument("--json", help="file for the measured numbers")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure, options.nj)
        return
    rows = []
    print("| utterances | format | measured | seconds | utt/s | µs CPU/utt | MiB | MiB, child |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for size in map(int, options.utterances.split()):
            folder = Path(place) / str(size)
            make(folder, size)
            for form in options.forms.split():
                for what in ("read", "labels", "whole"):
                    if options.cold == "true":
                        forget(folder / form)
                    rows.append(_row(size, form, what, folder / form, options))
    loop = min(_loop() for _ in range(5))
    print(f"ten million empty loops take {loop:.2f} s of CPU")
    load = os.getloadavg()[0]
    facts = {"rows": rows, "loop": loop, "cold": options.cold, "nj": options.nj, "load": load}
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, load {load:.2f}")
    if options.json:
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")


def _loop() -> float:
    """Return CPU seconds for ten million empty loops: the current speed of the machine."""
    started = time.process_time()
    for _ in range(10_000_000):
        pass
    return time.process_time() - started


def _row(size: int, form: str, what: str, corpus: Path, options: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--measure", what, str(corpus), "--nj", str(options.nj)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stderr}")
    result = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    assert result["count"] == size, result
    rate = size / result["seconds"]
    cpu = 1e6 * result["cpu"] / size
    print(
        f"| {size} | {form} | {what} | {result['seconds']:.2f} | {rate:.0f} | {cpu:.0f} "
        f"| {result['parent']:.0f} | {result['child']:.0f} |",
        flush=True,
    )
    return {"utterances": size, "form": form, "measured": what, **result}


if __name__ == "__main__":
    main()
