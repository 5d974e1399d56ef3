"""The size of the data: counted from the formatted directories' label files, if they are there."""

from pathlib import Path

ORDER = ("train", "valid", "dev", "test")
NA = "<na>"


def corpus_rows(folder: Path) -> list[dict]:
    """A row per set below a language's folder: set, utterances, speakers, hours, labelled texts.

    Speed-perturbed copies (`…_sp`) are left out; a folder that is not there gives no rows.
    """
    sets = [path for path in folder.glob("*") if (path / "wav.scp").is_file()]
    sets = [path for path in sets if not path.name.endswith("_sp")]

    def place(path: Path) -> tuple[int, str]:
        return (ORDER.index(path.name) if path.name in ORDER else len(ORDER), path.name)

    outputs = sorted({file.name for path in sets for file in path.glob("text.*")})
    rows = []
    for path in sorted(sets, key=place):
        speakers = set(_values(path / "utt2spk").values())
        seconds = [float(value) for value in _values(path / "utt2dur").values()]
        row = {"set": path.name, "utterances": len(_values(path / "wav.scp"))}
        row |= {"speakers": len(speakers)}
        row |= {"hours": f"{sum(seconds) / 3600:.2f}" if seconds else "–"}
        for name in outputs:
            labelled = [v for v in _values(path / name).values() if v != NA]
            row[f"with {name.removeprefix('text.')}"] = len(labelled)
        rows.append(row)
    return rows


def _values(path: Path) -> dict[str, str]:
    """A table's values; nothing for a table that is not there."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    pairs = (line.split(maxsplit=1) for line in lines)
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
