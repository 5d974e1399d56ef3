"""Utterances of a test set with the hypotheses of all systems, from `utterances.json`.

An `utterances.json` of a large set takes much memory as a dictionary. `UtteranceSet.add` keeps
what a report shows, once per utterance for references, and the rest of the file can be dropped.
"""

import itertools
import re
import unicodedata
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError

SEPARATED = ("per", "wer")  # metrics whose tokens are separated by spaces
Tokens = list[str]
TimedToken = tuple[str, int]  # a token of a model, and its start in hundredths of a second


@dataclass(slots=True)
class Recognised:
    """The hypothesis of one system for one output.

    Args:
        columns: its alignment with the output's reference; empty without a reference.
        starts: start of each token in hundredths of a second; None if not known.
    """

    text: str
    columns: str = ""
    errors: int = 0
    starts: array | None = None


@dataclass(slots=True)
class Utterance:
    """One utterance of a test set.

    Args:
        distance: divergence of its references; None without both of them.
        texts: reference by kind.
        label_columns: alignment of two references by name, such as `canonical-surface`.
        recognised: system → output → hypothesis.
    """

    utt_id: str
    speaker: str
    l1: str | None
    audio: str
    distance: int | None
    texts: dict[str, str]
    label_columns: dict[str, str]
    recognised: dict[str, dict[str, Recognised]] = field(default_factory=dict)


@dataclass
class UtteranceSet:
    """All utterances of one test set, by id.

    Args:
        metrics: output → metric that its hypotheses are aligned by.
        token_types: kind of text → token type.
    """

    metrics: dict[str, str] = field(default_factory=dict)
    token_types: dict[str, str] = field(default_factory=dict)
    utterances: dict[str, Utterance] = field(default_factory=dict)

    def add(
        self,
        system: str,
        score: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        path: Path,
    ) -> None:
        """Add the hypotheses of a system, and its utterances that no other system has.

        Args:
            score: content of its `score.json`.
            rows: `utterances` of its `utterances.json`.
            path: that file, for messages. Token times are read from `ctm.<output>` beside it.

        Raises:
            UserError: if a key of a row is missing.
        """
        self.token_types |= score.get("token_types", {})
        self.metrics |= {c["hypothesis"]: c["metric"] for c in score.get("cells", ()) if c["own"]}
        for row in rows:
            try:
                utterance = self.utterances.get(row["id"]) or self._new(row)
                utterance.recognised[system] = _recognised(row)
            except (AttributeError, KeyError, TypeError) as error:
                name = row.get("id", "?") if isinstance(row, Mapping) else "?"
                message = f"{path}: {name}: not the scores of an utterance: {error!r}"
                raise UserError(message, "remove it and run its stage again") from error
        for output in self.metrics:
            self._add_times(system, output, path.parent / f"ctm.{output}")

    def _new(self, row: Mapping[str, Any]) -> Utterance:
        utterance = Utterance(
            row["id"],
            row["speaker"],
            row.get("l1"),
            row["audio"],
            row["distance"],
            dict(row["texts"]),
            dict(row["labels"]),
        )
        self.utterances[utterance.utt_id] = utterance
        return utterance

    def _add_times(self, system: str, output: str, path: Path) -> None:
        if not path.is_file():
            return
        separated = self.metrics[output] in SEPARATED
        for utt_id, timed in _read_ctm(path):
            utterance = self.utterances.get(utt_id)
            hypothesis = utterance and utterance.recognised.get(system, {}).get(output)
            if hypothesis:
                hypothesis.starts = token_starts(split(hypothesis.text, separated), timed)


def split(text: str, separated: bool) -> Tokens:
    """Return the tokens of a text: words or phones if `separated`, else characters.

    As in `scoring`, `<unk>` is one character.

    >>> split("DH AH", separated=True), split("a b", separated=False)
    (['DH', 'AH'], ['a', ' ', 'b'])
    """
    return text.split() if separated else re.findall("<unk>|.", " ".join(text.split()))


def _recognised(row: Mapping[str, Any]) -> dict[str, Recognised]:
    texts = {}
    for output, text in row["hypotheses"].items():
        cell = row["cells"].get(f"{output}-{output}") or {}
        texts[output] = Recognised(text, cell.get("columns", ""), cell.get("errors", 0))
    return texts


def _read_ctm(path: Path) -> Iterator[tuple[str, list[TimedToken]]]:
    """Yield the timed tokens of each utterance of a CTM file, whose rows are in order."""

    def fields(line: str) -> tuple[str, TimedToken]:
        try:
            utt_id, _, start, _, token = line.split(" ")[:5]
            return utt_id, (token, round(100 * float(start)))
        except ValueError as error:
            message = f"{path}: not a row of a CTM file: {line.strip()}"
            raise UserError(message, "remove the file and decode again") from error

    with path.open(encoding="utf-8") as lines:
        for utt_id, rows in itertools.groupby(map(fields, lines), lambda row: row[0]):
            yield utt_id, [timed for _, timed in rows]


def token_starts(tokens: Sequence[str], timed: Sequence[TimedToken]) -> array | None:
    """Return when each token starts; None if the model's tokens spell another text.

    The tokens of a model can be smaller (letters of a syllable) or larger (subwords) than those
    that are shown. A space starts where the token before it does.

    Args:
        tokens: tokens that are shown.
        timed: tokens of the model, with their starts.

    >>> list(token_starts(["가", " ", "나"], [("ᄀ", 5), ("ᅡ", 9), ("<space>", 12), ("나", 20)]))
    [5, 5, 20]
    """
    letters = [
        (letter, start) for token, start in timed for letter in _letters(_written_token(token))
    ]
    starts, place = array("L"), 0
    for token in tokens:
        spelled = _letters(token)
        if [letter for letter, _ in letters[place : place + len(spelled)]] != spelled:
            return None
        starts.append(letters[place][1] if spelled else starts[-1] if starts else 0)
        place += len(spelled)
    return starts if place == len(letters) else None


def _letters(text: str) -> list[str]:
    return list(unicodedata.normalize("NFD", "".join(text.split())))


def _written_token(token: str) -> str:
    """Return a token without the marks of spaces of the character and SentencePiece tokenizers."""
    return "" if token == "<space>" else token.replace("▁", "")
