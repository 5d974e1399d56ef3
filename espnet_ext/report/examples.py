"""Example utterances: which ones are shown, and their texts with every deviation marked.

Alignments are those of `utterances.json`; nothing is aligned here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from espnet_ext.report.utterances import SEPARATED, Utterance, UtteranceSet, split

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


def marked(reference: str, hypothesis: str, columns: str, separated: bool) -> list[Token]:
    """Return the hypothesis' tokens with their edits; unmarked if the alignment does not fit.

    >>> [t.kind + t.text for t in marked("국물", "궁물", "s=", separated=False)]
    ['s궁', '=물']
    """
    before, after = split(reference, separated), split(hypothesis, separated)
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


def choose(utterances: Mapping[str, Utterance], count: int = 4, longest: int = 90) -> list[str]:
    """Return ids of short utterances with both labels, always the same for the same results.

    They are spread over divergence, with those first whose systems differ most; speakers and
    sentences repeat only if there are no others.
    """
    usable = {
        utt_id: utterance
        for utt_id, utterance in utterances.items()
        if utterance.distance is not None
        and all(len(text) <= longest for text in utterance.texts.values())
    }
    ranked: dict[str, list[str]] = {name: [] for name in BINS}
    for utt_id in sorted(usable, key=lambda utt: (-_spread(usable[utt]), utt)):
        ranked[_bin(usable[utt_id].distance)].append(utt_id)
    chosen: list[str] = []
    seen: set[str] = set()
    for unseen_only in (True, False):
        for name in BINS * count:
            candidates = (
                utt
                for utt in ranked[name]
                if utt not in chosen and not (unseen_only and seen & _identity(usable[utt]))
            )
            if len(chosen) < count and (candidate := next(candidates, None)):
                chosen.append(candidate)
                seen |= _identity(usable[candidate])
    return sorted(chosen, key=lambda utt: (usable[utt].distance, utt))


def _identity(utterance: Utterance) -> set[str]:
    return {f"speaker {utterance.speaker}", f"meaning {utterance.texts.get('meaning')}"}


def _bin(distance: int | None) -> str:
    return "0" if not distance else "1-3" if distance <= 3 else "4-10" if distance <= 10 else ">=11"


def _spread(utterance: Utterance) -> int:
    """Return how much systems differ: the range of errors, summed over their own outputs."""
    errors: dict[str, list[int]] = {}
    for outputs in utterance.recognised.values():
        for output, recognised in outputs.items():
            if recognised.columns:
                errors.setdefault(output, []).append(recognised.errors)
    return sum(max(values) - min(values) for values in errors.values())


def example(utterances: UtteranceSet, utt_id: str) -> Example:
    """Return an utterance's references and all systems' hypotheses, deviations marked."""
    utterance = utterances.utterances[utt_id]
    types = utterances.token_types
    meaning = utterance.texts.get("meaning")
    return Example(
        utt_id,
        utterance.speaker,
        utterance.l1,
        utterance.audio,
        utterance.distance,
        _unmarked("meaning", meaning, types.get("meaning") == "phone") if meaning else None,
        [
            *_references(utterance, types.get("surface") == "phone"),
            *_hypotheses(utterance, utterances.metrics),
        ],
    )


def _unmarked(label: str, text: str, separated: bool) -> Line:
    return Line(label, [Token("=", token, token) for token in split(text, separated)], separated)


def _references(utterance: Utterance, phones: bool) -> list[Line]:
    texts, lines = utterance.texts, []
    if "canonical" in texts and texts["canonical"] != texts.get("meaning"):
        lines.append(_unmarked("canonical", texts["canonical"], phones))
    for kind in ("canonical", "meaning"):  # against the meaning where canonical is not known
        columns = utterance.label_columns.get(f"{kind}-surface")
        if columns is not None:
            tokens = marked(texts[kind], texts["surface"], columns, phones)
            lines.append(Line("surface", tokens, phones))
            break
    return lines


def _hypotheses(utterance: Utterance, metrics: Mapping[str, str]) -> list[Line]:
    kinds = dict.fromkeys(
        kind for outputs in utterance.recognised.values() for kind in outputs if kind in metrics
    )
    lines = []
    for kind in sorted(kinds, key=lambda k: (k != "surface", k)):
        separated = metrics[kind] in SEPARATED
        for system, outputs in utterance.recognised.items():
            if kind in outputs and kind in utterance.texts:
                recognised = outputs[kind]
                tokens = marked(
                    utterance.texts[kind], recognised.text, recognised.columns, separated
                )
                lines.append(Line(f"{kind} by {system}", tokens, separated))
    return lines
