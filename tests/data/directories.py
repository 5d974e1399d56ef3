"""Data directories made by hand, to break one thing at a time."""

import json
from pathlib import Path

import numpy as np
import soundfile

from espnet_ext.bin import cli, validate

RATE = 16000
IDS = ("s1-u1", "s1-u2", "s2-u1", "s2-u2")


def noise(seed, seconds=1.0, rate=RATE, level=0.1):
    return np.random.default_rng(seed).uniform(-level, level, int(seconds * rate))


def write_table(folder, name, *rows):
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def sound_directory(folder, ids=IDS, lang="", **texts):
    """A directory in which nothing is wrong; `texts`: output → transcripts in the order of ids."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for seed, key in enumerate(ids):
        path = folder / f"{key}.wav"
        soundfile.write(path, noise((seed, len(folder.name)), 1 + seed / 100), RATE)
    write_table(folder, "wav.scp", *(f"{key} {folder}/{key}.wav" for key in ids))
    write_table(folder, "utt2spk", *(f"{key} {key.partition('-')[0]}" for key in ids))
    speakers: dict[str, list[str]] = {}
    for key in ids:
        speakers.setdefault(key.partition("-")[0], []).append(key)
    write_table(folder, "spk2utt", *(f"{name} {' '.join(own)}" for name, own in speakers.items()))
    for name, values in (texts or {"meaning": ["국물 주세요"] * len(ids)}).items():
        rows = zip(ids, values, strict=True)
        write_table(folder, f"text.{name}", *(f"{key} {value}" for key, value in rows if value))
    if lang:
        write_table(folder, "utt2lang", *(f"{key} {lang}" for key in ids))
    return folder


def found(folder, *options, severities=("error", "warning")):
    """Codes of the findings, through the command and its JSON file; and its exit code."""
    report = Path(folder, ".found.json")
    code = cli.run(validate.main, [str(folder), "--json", str(report), *map(str, options)])
    findings = json.loads(report.read_text(encoding="utf-8"))[0]["findings"]
    report.unlink()
    return code, [one["code"] for one in findings if one["severity"] in severities]


def findings(folder, code, *options):
    """The findings of a code, as they stand in the JSON file."""
    report = Path(folder, ".found.json")
    cli.run(validate.main, [str(folder), "--json", str(report), *map(str, options)])
    every = json.loads(report.read_text(encoding="utf-8"))[0]["findings"]
    report.unlink()
    return [one for one in every if one["code"] == code]
