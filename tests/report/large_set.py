"""A scored test set of thousands of utterances, made of the rows of a small one."""

import json
import random
import shutil
from pathlib import Path

TIMES = 8  # sentences of the small set per utterance of the large one, about 10 s of speech


def make_large(tree: Path, root: Path, lang: str, count: int) -> Path:
    """Write the experiment of one language with `count` utterances, and return its root."""
    for score in sorted(tree.glob(f"exp/{lang}/*_small/decode/test/score.json")):
        folder = root / score.parent.relative_to(tree)
        folder.mkdir(parents=True)
        shutil.copy(score, folder)
        value = json.loads(score.with_name("utterances.json").read_text(encoding="utf-8"))
        rows = [row for row in value["utterances"] if len(row["texts"]) == 3 and row["labels"]]
        value["utterances"] = [_joined(rows, number) for number in range(count)]
        text = json.dumps(value, ensure_ascii=False)
        (folder / "utterances.json").write_text(text, encoding="utf-8")
    return root


def _joined(rows: list[dict], number: int) -> dict:
    """Return several rows as one; the same ones for the same number."""
    parts = random.Random(number).choices(rows, k=TIMES)
    joined = {**parts[0], "id": f"utt-{number:05}", "speaker": f"speaker-{number % 200:03}"}
    joined["distance"] = sum(part["distance"] for part in parts)
    for key in ("texts", "hypotheses"):
        joined[key] = {kind: " ".join(part[key][kind] for part in parts) for kind in parts[0][key]}
    joined["labels"] = {
        name: _columns([part["labels"][name] for part in parts], joined["texts"], name)
        for name in parts[0]["labels"]
    }
    joined["cells"] = {}
    for name in parts[0]["cells"]:
        if all(name in part["cells"] for part in parts):
            columns = _columns([p["cells"][name]["columns"] for p in parts], joined["texts"], name)
            errors = len(columns) - columns.count("=")
            tokens = len(columns) - columns.count("i")
            joined["cells"][name] = {"errors": errors, "tokens": tokens, "columns": columns}
    return joined


def _columns(parts: list[str], texts: dict, name: str) -> str:
    """Return joined alignments; characters have one of the space between the parts, too."""
    kind = name.partition("-")[2]
    phones = texts[kind].isupper()
    return ("" if phones else "=").join(parts)
