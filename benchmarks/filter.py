"""Measure the memory of stage 4 (`espnet-ext filter`) for directories of several sizes.

Generates Korean utterances with surface and meaning, the tables that stage 3 writes, and FLAC in
one ark. Each measurement is a separate process with the options of `run.sh` for a training set.
Memory is the process's peak minus its memory after the imports; bytes per utterance are the
difference between two sizes.
"""

import argparse
import io
import json
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from validation import EACH, SYLLABLES, peak_kilobytes, print_memory

SIZES = (20_000, 60_000)
NAMES = ("wav.scp", "utt2spk", "text.surface", "text.meaning", "utt2lang", "utt2l1")
NAMES_OF_AUDIO = ("utt2num_samples", "utt2dur")


def make(folder: Path, utterances: int) -> None:
    """Write a data directory as stage 3 does. Sounds are short, and no two are equal."""
    import numpy as np
    import soundfile

    from espnet_ext.data.arks import encode_entry

    folder.mkdir(parents=True)
    chance = random.Random(0)
    rows: dict[str, list[str]] = {name: [] for name in (*NAMES, *NAMES_OF_AUDIO)}
    speakers: dict[str, list[str]] = {}
    ark, position = folder / "data" / "audio.ark", 0
    ark.parent.mkdir()
    with open(ark, "wb") as handle:
        for number in range(utterances):
            speaker = f"spk{number // EACH:05}"
            key = f"{speaker}-utt{number:07}"
            samples = 2000 + number % 5000
            sound = io.BytesIO()
            level = 1 + number // 5000 % 30_000  # sounds of one length differ
            soundfile.write(sound, np.full(samples, level, np.int16), 16000, format="FLAC")
            entry, offset = encode_entry(key, sound.getvalue())
            handle.write(entry)
            words = [
                "".join(chance.choices(SYLLABLES, k=chance.randint(1, 5)))
                for _ in range(chance.randint(4, 12))
            ]
            text = " ".join(words)[: samples // 1200 + 1].strip()
            speakers.setdefault(speaker, []).append(key)
            values = (
                *(f"{ark}:{position + offset}", speaker, text, text, "ko", "ja"),
                *(str(samples), f"{samples / 16000:.4f}"),
            )
            position += len(entry)
            for lines, value in zip(rows.values(), values, strict=True):
                lines.append(f"{key} {value}\n")
    rows["spk2utt"] = [f"{name} {' '.join(keys)}\n" for name, keys in speakers.items()]
    for name, lines in rows.items():
        (folder / name).write_text("".join(lines), encoding="utf-8")


def measure(folder: Path) -> None:
    """Measure in this process; print the result as JSON."""
    import numpy  # noqa: F401  imported before the measurement
    import rapidfuzz.distance  # noqa: F401
    import soundfile  # noqa: F401

    from espnet_ext.data.filtering import FilterOptions, filter_directory

    before = peak_kilobytes()
    started = time.process_time()
    filter_directory(
        folder,
        folder.with_name(f"{folder.name}.filtered"),
        FilterOptions(outputs=("surface", "meaning")),
    )
    seconds = time.process_time() - started
    print(json.dumps({"seconds": seconds, "bytes": 1024 * (peak_kilobytes() - before)}))


def sources(place: Path, sizes: Iterable[int]) -> Iterator[tuple[int, Path]]:
    """Write directories of several sizes, each when it is asked for and not there yet."""
    for size in sizes:
        folder = place / f"source{size}"
        if not folder.exists():
            make(folder, size)
        yield size, folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="utterances")
    parser.add_argument("--folder", help="keep directories and results here")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(Path(options.measure))
        return
    with tempfile.TemporaryDirectory() as temporary:
        print_memory(__file__, sources(Path(options.folder or temporary), options.sizes))


if __name__ == "__main__":
    main()
