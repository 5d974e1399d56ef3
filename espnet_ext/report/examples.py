"""Example utterances: which ones are shown, and their texts with every deviation marked.

Alignments are those of `utterances.json`; nothing is aligned here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espnet_ext.report.collect import Run

VISIBLE_SPACE = "␣"
BINS = ("4-10", "1-3", ">=11", "1-3", "4-10", "0")  # the order in which examples are taken


@dataclass(frozen=True)
class Token:
    """One column of an alignment.

    Args:
        kind: `=` equal, `s` substituted, `d` deleted, `i` inserted.
        text: the token of the marked text; `against`: the one that it is aligned to.
    """

    kind: str
    text: str
    against: str

    @property
    def visible_text(self) -> str:
        return VISIBLE_SPACE if self.text == " " else self.text

    @property
    def visible_against(self) -> str:
        return VISIBLE_SPACE if self.against == " " else self.against


@dataclass(frozen=True)
class Line:
    """One text of an example.

    Args:
        spaced: tokens are separated (phones, words) rather than joined (characters).
    """

    label: str
    tokens: list[Token]
    spaced: bool

    @property
    def is_right(self) -> bool:
        return all(token.kind == "=" for token in self.tokens)


@dataclass(frozen=True)
class Example:
    """An utterance with its references and all systems' hypotheses."""

    utt_id: str
    speaker: str
    l1: str | None
    audio: str
    distance: int | None
    meaning: Line | None
    lines: list[Line]


def marked(reference: str, hypothesis: str, columns: str, phones: bool) -> list[Token]:
    """Return the hypothesis' tokens with their edits; unmarked if the alignment does not fit.

    >>> [t.kind + t.text for t in marked("국물", "궁물", "s=", phones=False)]
    ['s궁', '=물']
    """
    before, after = _split(reference, phones), _split(hypothesis, phones)
    fits = len(before) == sum(column in "=sd" for column in columns)
    if not fits or len(after) != sum(column in "=si" for column in columns):
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
    """Return ids of short utterances with both labels, always the same for the same results.

    They are spread over divergence, with those first whose systems differ most; speakers and
    sentences repeat only if there are no others.
    """
    rows: dict[str, list[dict]] = {}
    for run in runs.values():
        for row in run.utterances["utterances"] if run.utterances else ():
            rows.setdefault(row["id"], []).append(row)
    usable = {
        utt_id: by_system
        for utt_id, by_system in rows.items()
        if by_system[0]["distance"] is not None
        and all(len(text) <= longest for text in by_system[0]["texts"].values())
    }
    ranked: dict[str, list[str]] = {name: [] for name in BINS}
    for utt_id in sorted(usable, key=lambda utt: (-_spread(usable[utt]), utt)):
        ranked[_bin(usable[utt_id][0]["distance"])].append(utt_id)
    chosen: list[str] = []
    seen: set[str] = set()
    for unseen_only in (True, False):
        for name in BINS * count:
            candidates = [
                utt
                for utt in ranked[name]
                if utt not in chosen and not (unseen_only and seen & _identity(usable[utt][0]))
            ]
            if candidates and len(chosen) < count:
                chosen.append(candidates[0])
                seen |= _identity(usable[candidates[0]][0])
    return sorted(chosen, key=lambda utt: (usable[utt][0]["distance"], utt))


def _identity(row: Mapping) -> set[str]:
    return {f"speaker {row['speaker']}", f"meaning {row['texts'].get('meaning')}"}


def _bin(distance: int) -> str:
    return "0" if not distance else "1-3" if distance <= 3 else "4-10" if distance <= 10 else ">=11"


def _spread(rows: Sequence[Mapping]) -> int:
    """Return how much systems differ: the range of errors, summed over their own outputs."""
    errors: dict[str, list[int]] = {}
    for row in rows:
        for name, cell in row["cells"].items():
            if len(set(name.split("-"))) == 1:
                errors.setdefault(name, []).append(cell["errors"])
    return sum(max(values) - min(values) for values in errors.values())


def example(runs: Mapping[str, Run], utt_id: str) -> Example:
    """Return an utterance's references and all systems' hypotheses, deviations marked."""
    rows = {}
    for system, run in runs.items():
        for row in run.utterances["utterances"] if run.utterances else ():
            if row["id"] == utt_id:
                rows[system] = (row, run.score["token_types"])
    row, types = next(iter(rows.values()))
    meaning = row["texts"].get("meaning")
    return Example(
        utt_id,
        row["speaker"],
        row.get("l1"),
        row["audio"],
        row["distance"],
        _unmarked("meaning", meaning, types.get("meaning") == "phone") if meaning else None,
        [*_references(row, types), *_hypotheses(rows)],
    )


def _unmarked(label: str, text: str, phones: bool) -> Line:
    return Line(label, [Token("=", token, token) for token in _split(text, phones)], phones)


def _references(row: Mapping, types: Mapping[str, str]) -> list[Line]:
    texts, lines = row["texts"], []
    phones = types.get("surface") == "phone"
    if "canonical" in texts and texts["canonical"] != texts.get("meaning"):
        lines.append(_unmarked("canonical", texts["canonical"], phones))
    for kind in ("canonical", "meaning"):  # against the meaning where canonical is not known
        columns = row["labels"].get(f"{kind}-surface")
        if columns is not None:
            tokens = marked(texts[kind], texts["surface"], columns, phones)
            lines.append(Line("surface", tokens, phones))
            break
    return lines


def _hypotheses(rows: Mapping[str, tuple[Mapping, Mapping]]) -> list[Line]:
    kinds = dict.fromkeys(kind for row, _ in rows.values() for kind in row["hypotheses"])
    lines = []
    for kind in sorted(kinds, key=lambda k: (k != "surface", k)):
        for system, (row, types) in rows.items():
            cell = row["cells"].get(f"{kind}-{kind}")
            if cell is not None:
                spaced = types.get(kind) in ("phone", "word")
                tokens = marked(
                    row["texts"][kind], row["hypotheses"][kind], cell["columns"], spaced
                )
                lines.append(Line(f"{kind} by {system}", tokens, spaced))
    return lines
