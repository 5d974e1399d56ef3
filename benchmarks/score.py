"""Measure the memory of `espnet-ext score` for sets of several sizes.

Generates Korean transcripts of surface and meaning, and hypotheses in which a tenth of the
characters is different. Each measurement is a separate process. Memory is the process's peak minus
its memory after the imports; bytes per utterance are the difference between two sizes.
"""

import argparse
import contextlib
import io
import json
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from validation import EACH, SYLLABLES, peak_kilobytes, print_memory

SIZES = (20_000, 60_000)
OUTPUTS = ("surface", "meaning")


def make(folder: Path, utterances: int) -> None:
    """Write a data directory without audio, and a folder with hypotheses in it."""
    chance = random.Random(0)
    hypotheses = folder / "hypotheses"
    hypotheses.mkdir(parents=True)
    rows: dict[Path, list[str]] = {folder / "utt2spk": [], folder / "wav.scp": []}
    for number in range(utterances):
        speaker = f"spk{number // EACH:05}"
        key = f"{speaker}-utt{number:07}"
        rows[folder / "utt2spk"].append(f"{key} {speaker}\n")
        rows[folder / "wav.scp"].append(f"{key} {key}.wav\n")  # is not read
        for name in OUTPUTS:
            words = [
                "".join(chance.choices(SYLLABLES, k=chance.randint(1, 5)))
                for _ in range(chance.randint(4, 12))
            ]
            text = " ".join(words)
            changed = "".join(
                chance.choice(SYLLABLES) if c != " " and chance.random() < 0.1 else c for c in text
            )
            for place, value in ((folder, text), (hypotheses, changed)):
                rows.setdefault(place / f"text.{name}", []).append(f"{key} {value}\n")
    for path, lines in rows.items():
        path.write_text("".join(lines), encoding="utf-8")


def measure(folder: Path) -> None:
    """Measure in this process; print the result as JSON."""
    import rapidfuzz.distance  # noqa: F401  imported before the measurement

    from espnet_ext.bin import score
    from espnet_ext.scoring import score as _  # noqa: F401

    before = peak_kilobytes()
    started = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        score.main(["--data", str(folder), "--hypotheses", str(folder / "hypotheses")])
    seconds = time.process_time() - started
    print(json.dumps({"seconds": seconds, "bytes": 1024 * (peak_kilobytes() - before)}))


def sources(place: Path, sizes: Iterable[int]) -> Iterator[tuple[int, Path]]:
    """Write directories of several sizes, each when it is asked for."""
    for size in sizes:
        folder = place / f"source{size}"
        make(folder, size)
        yield size, folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="utterances")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(Path(options.measure))
        return
    with tempfile.TemporaryDirectory() as temporary:
        print_memory(__file__, sources(Path(temporary), options.sizes))


if __name__ == "__main__":
    main()
