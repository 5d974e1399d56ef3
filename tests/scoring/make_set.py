"""Writes small data directories and hypotheses as plain files."""

from pathlib import Path


def table(path: Path, rows: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{key} {value}".rstrip() + "\n" for key, value in sorted(rows.items())]
    path.write_text("".join(lines), encoding="utf-8")


def data_directory(path: Path, speakers: dict[str, str], texts: dict[str, dict[str, str]]) -> Path:
    table(path / "wav.scp", {utt: f"audio/{utt}.wav" for utt in speakers})
    table(path / "utt2spk", speakers)
    by_speaker: dict[str, list[str]] = {}
    for utt, speaker in sorted(speakers.items()):
        by_speaker.setdefault(speaker, []).append(utt)
    table(path / "spk2utt", {s: " ".join(utts) for s, utts in by_speaker.items()})
    for kind, rows in texts.items():
        table(path / f"text.{kind}", rows)
    return path


def hypothesis_folder(path: Path, texts: dict[str, dict[str, str]]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for kind, rows in texts.items():
        table(path / f"text.{kind}", rows)
    return path
