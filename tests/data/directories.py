"""Write valid data directories, in which tests then break one thing, and run `validate`."""

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


def make_directory(folder, ids=IDS, lang="", **texts):
    """Write a valid directory with audio.

    Args:
        texts: output → transcripts in the order of `ids`; None: unlabelled.
    """
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
    write_table(
        folder, "spk2utt", *(f"{name} {' '.join(utt_ids)}" for name, utt_ids in speakers.items())
    )
    for name, values in (texts or {"meaning": ["국물 주세요"] * len(ids)}).items():
        rows = zip(ids, values, strict=True)
        write_table(folder, f"text.{name}", *(f"{key} {value}" for key, value in rows if value))
    if lang:
        write_table(folder, "utt2lang", *(f"{key} {lang}" for key in ids))
    return folder


def run_validate(folder, *options, severities=("error", "warning")):
    """Run `validate`; return its exit code and the codes of the findings in its JSON file."""
    report = Path(folder, ".findings.json")
    code = cli.run(validate.main, [str(folder), "--json", str(report), *map(str, options)])
    findings = json.loads(report.read_text(encoding="utf-8"))[0]["findings"]
    report.unlink()
    return code, [item["code"] for item in findings if item["severity"] in severities]


def findings_of(folder, code, *options):
    """Run `validate`; return the findings with one code in its JSON file."""
    report = Path(folder, ".findings.json")
    cli.run(validate.main, [str(folder), "--json", str(report), *map(str, options)])
    all_findings = json.loads(report.read_text(encoding="utf-8"))[0]["findings"]
    report.unlink()
    return [item for item in all_findings if item["code"] == code]
