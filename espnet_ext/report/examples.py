"""Utterances worth looking at, and their texts with every deviation marked.

A marked text is a list of `Token`: what was said, and what it stands against. Alignments come ready
from `utterances.json`; nothing is aligned here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espnet_ext.report.collect import Run

SPACE = "<space>"


@dataclass(frozen=True)
class Token:
    """One column of an alignment: `kind` is `=`, `s`, `d` or `i`; `text` is the said side."""

    kind: str
    text: str
    against: str


@dataclass(frozen=True)
class Line:
    """One row of an example: who says what, against what."""

    label: str
    tokens: list[Token]
    spaced: bool  # tokens stand apart (phones, words) or together (characters)


@dataclass(frozen=True)
class Example:
    utt_id: str
    speaker: str
    l1: str | None
    audio: str
    distance: int | None
    references: list[Line]
    hypotheses: list[Line]


def marked(reference: str, hypothesis: str, columns: str, phones: bool) -> list[Token]:
    """Walk an alignment; a text and columns that do not fit give the hypothesis unmarked.

    >>> [t.kind + t.text for t in marked("국물", "궁물", "s=", phones=False)]
    ['s궁', '=물']
    """
    before, after = _split(reference, phones), _split(hypothesis, phones)
    fits = len(before) == sum(c in "=sd" for c in columns)
    if not fits or len(after) != sum(c in "=si" for c in columns):
        return [Token("=", text, text) for text in after]
    tokens, i, j = [], 0, 0
    for kind in columns:
        against = before[i] if kind in "=sd" else ""
        text = after[j] if kind in "=si" else ""
        tokens.append(Token(kind, text, against))
        i += kind in "=sd"
        j += kind in "=si"
    return tokens


def _split(text: str, phones: bool) -> list[str]:
    return text.split() if phones else list(" ".join(text.split()))


def choose(runs: Mapping[str, Run], count: int = 4, longest: int = 90) -> list[str]:
    """Ids of short utterances with both labels: spread over divergence, those first that systems
    hear differently, different speakers; always the same for the same results.
    """
    rows: dict[str, list[dict]] = {}
    for run in runs.values():
        for row in run.utterances["utterances"] if run.utterances else ():
            rows.setdefault(row["id"], []).append(row)
    usable = {
        utt_id: found
        for utt_id, found in rows.items()
        if found[0]["distance"] is not None and all(len(t) <= longest for t in _texts(found[0]))
    }
    bins = ("0", "1-3", "4-10", ">=11")
    ranked: dict[str, list[str]] = {name: [] for name in bins}
    for utt_id in sorted(usable, key=lambda utt: (-_spread(usable[utt]), utt)):
        ranked[_bin(usable[utt_id][0]["distance"])].append(utt_id)
    # Learners' deviations are the point: the middle bins first; no speaker or sentence twice as
    # long as there are others.
    chosen: list[str] = []
    seen: set[str] = set()
    for fresh in (True, False):
        for name in ("4-10", "1-3", ">=11", "1-3", "4-10", "0") * count:
            candidates = [
                utt
                for utt in ranked[name]
                if utt not in chosen and not (fresh and seen & _identity(usable[utt][0]))
            ]
            if candidates and len(chosen) < count:
                chosen.append(candidates[0])
                seen |= _identity(usable[candidates[0]][0])
    return sorted(chosen, key=lambda utt: (usable[utt][0]["distance"], utt))


def _texts(row: Mapping) -> list[str]:
    return list(row["texts"].values())


def _identity(row: Mapping) -> set[str]:
    return {f"speaker {row['speaker']}", f"meaning {row['texts'].get('meaning')}"}


def _bin(distance: int) -> str:
    return "0" if not distance else "1-3" if distance <= 3 else "4-10" if distance <= 10 else ">=11"


def _spread(rows: Sequence[Mapping]) -> int:
    """How differently systems do in their own cells: the sum over outputs of the errors' range."""
    errors: dict[str, list[int]] = {}
    for row in rows:
        for name, cell in row["cells"].items():
            if len(set(name.split("-"))) == 1:
                errors.setdefault(name, []).append(cell["errors"])
    return sum(max(values) - min(values) for values in errors.values())


def example(runs: Mapping[str, Run], utt_id: str) -> Example:
    """An utterance's references and all systems' own-cell hypotheses, deviations marked."""
    rows = {}
    for system, run in runs.items():
        for row in run.utterances["utterances"] if run.utterances else ():
            if row["id"] == utt_id:
                rows[system] = (row, run.score["token_types"])
    row, types = next(iter(rows.values()))
    return Example(
        utt_id,
        row["speaker"],
        row.get("l1"),
        row["audio"],
        row["distance"],
        _reference_lines(row, types),
        _hypothesis_lines(rows),
    )


def _reference_lines(row: Mapping, types: Mapping[str, str]) -> list[Line]:
    texts, lines = row["texts"], []
    if "meaning" in texts:
        plain = _split(texts["meaning"], types.get("meaning") == "phone")
        lines.append(Line("meant", [Token("=", t, t) for t in plain], False))
    if "canonical" in texts and texts["canonical"] != texts.get("meaning"):
        phones = types.get("surface") == "phone"
        plain = _split(texts["canonical"], phones)
        lines.append(Line("canonical", [Token("=", t, t) for t in plain], phones))
    for kind, label in (("canonical", "said"), ("meaning", "said")):
        columns = row["labels"].get(f"{kind}-surface")
        if columns is not None:
            phones = types.get("surface") == "phone"
            tokens = marked(texts[kind], texts["surface"], columns, phones)
            lines.append(Line(label, tokens, phones))
            break  # against how it should have been said; if that is not known, against the meaning
    return lines


def _hypothesis_lines(rows: Mapping[str, tuple[Mapping, Mapping]]) -> list[Line]:
    kinds = dict.fromkeys(kind for row, _ in rows.values() for kind in row["hypotheses"])
    lines = []
    for kind in sorted(kinds, key=lambda k: (k != "surface", k)):
        for system, (row, types) in rows.items():
            cell = row["cells"].get(f"{kind}-{kind}")
            if cell is None:
                continue
            phones = types.get(kind) in ("phone", "word")
            tokens = marked(row["texts"][kind], row["hypotheses"][kind], cell["columns"], phones)
            verb = {"surface": "heard by", "meaning": "understood by"}.get(kind, f"{kind} by")
            lines.append(Line(f"{verb} {system}", tokens, phones))
    return lines
