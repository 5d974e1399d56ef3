"""Small corpora in their published layouts, written from scratch; the audio is noise."""

import json
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000


def write_sound(path: Path, seconds: float = 0.5, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, int(seconds * rate))
    soundfile.write(path, noise, rate, format="FLAC" if path.suffix == ".flac" else "WAV")


def long_textgrid(**tiers: list[str]) -> str:
    """Praat's long text format; the intervals of a tier divide three seconds evenly."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", "xmax = 3"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, labels) in enumerate(tiers.items(), 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"']
        lines += [f'        name = "{name}"', "        xmin = 0", "        xmax = 3"]
        lines += [f"        intervals: size = {len(labels)}"]
        for index, label in enumerate(labels):
            quoted = label.replace('"', '""')
            lines += [f"        intervals [{index + 1}]:"]
            lines += [f"            xmin = {3 * index / len(labels)}"]
            lines += [f"            xmax = {3 * (index + 1) / len(labels)}"]
            lines += [f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def short_textgrid(**tiers: list[str]) -> str:
    """Praat's short text format of the same."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "3", "<exists>"]
    lines += [str(len(tiers))]
    for name, labels in tiers.items():
        lines += ['"IntervalTier"', f'"{name}"', "0", "3", str(len(labels))]
        for index, label in enumerate(labels):
            quoted = label.replace('"', '""')
            bounds = [3 * index / len(labels), 3 * (index + 1) / len(labels)]
            lines += [str(bounds[0]), str(bounds[1]), f'"{quoted}"']
    return "\n".join(lines) + "\n"


def write_l2arctic(root: Path, utterances: dict[str, dict[str, tuple]]) -> Path:
    """`utterances`: speaker → stem → (transcript, labels of the phones tier or None)."""
    for speaker, stems in utterances.items():
        for folder in ("wav", "transcript", "annotation"):
            (root / speaker / folder).mkdir(parents=True, exist_ok=True)
        for stem, (words, labels) in stems.items():
            write_sound(root / speaker / "wav" / f"{stem}.wav", rate=44100)
            (root / speaker / "transcript" / f"{stem}.txt").write_text(words, encoding="utf-8")
            if labels is not None:
                grid = long_textgrid(words=["", *words.split(), ""], phones=labels)
                (root / speaker / "annotation" / f"{stem}.TextGrid").write_text(grid)
    return root


def word(text: str, phones: str, *wrong: tuple[int, str, str | None]) -> dict:
    """A word of scores.json; `wrong`: index, canonical phone, pronounced phone."""
    entry = {"text": text, "phones": phones.split(), "phones-accuracy": [2.0] * len(phones.split())}
    if wrong:
        keys = ("index", "canonical-phone", "pronounced-phone")
        entry["mispronunciations"] = [dict(zip(keys, one, strict=True)) for one in wrong]
    return entry


def write_speechocean762(root: Path, parts: dict[str, dict[str, list[tuple]]]) -> Path:
    """`parts`: "train"/"test" → speaker → (utterance, words of scores.json); odd speakers are 8."""
    scores = {}
    for part, speakers in parts.items():
        rows = {name: [] for name in ("wav.scp", "utt2spk", "text", "spk2age")}
        for speaker, utterances in speakers.items():
            rows["spk2age"].append(f"{speaker}\t{8 if int(speaker) % 2 else 30}")
            for name, words in utterances:
                sound = f"WAVE/SPEAKER{speaker}/{name}.WAV"
                write_sound(root / sound)
                sentence = " ".join(one["text"] for one in words)
                rows["wav.scp"].append(f"{name}\t{sound}")
                rows["utt2spk"].append(f"{name}\t{speaker}")
                rows["text"].append(f"{name}\t{sentence}")
                scores[name] = {"text": sentence, "words": words}
        (root / part).mkdir(parents=True, exist_ok=True)
        for name, lines in rows.items():
            (root / part / name).write_text("".join(f"{line}\n" for line in sorted(lines)))
    (root / "resource").mkdir(exist_ok=True)
    (root / "resource/scores.json").write_text(json.dumps(scores))
    return root
