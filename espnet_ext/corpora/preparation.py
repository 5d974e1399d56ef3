"""What all corpora share: the account of a preparation, words and phones as written, audio."""

import itertools
import os
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import track
from espnet_ext.text import phones

if TYPE_CHECKING:
    from espnet_ext.data.audio import AudioInfo

Sets = dict[str, list[Utterance]]  # set name ("train", "valid", "test") → its utterances
UNIDENTIFIED = "ERR"  # a phone was heard, but the annotators could not tell which
SILENCES = frozenset(("", "SIL", "SP", "SPN"))
# Symbols beyond the 39 phones of the CMU dictionary that annotators use, and their nearest phone.
NEAREST = {"AX": "AH"}
_PHONE = re.compile(r"[\W\d_]*([A-Za-z]*)[\W\d_]*")


@dataclass
class Report:
    """The account of a preparation: nothing is dropped or left unlabelled without a line here."""

    corpus: str
    notes: list[str] = field(default_factory=list)  # decisions a reader must know, e.g. the split
    unlabelled: dict[str, dict[str, str]] = field(default_factory=dict)  # id → output → reason
    left_out: dict[str, str] = field(default_factory=dict)  # id → reason
    seconds: dict[str, float] = field(default_factory=dict)  # id → duration of its audio
    counts: Counter = field(default_factory=Counter)  # curiosities, e.g. marks that were stripped

    def miss(self, utt_id: str, output: str, reason: str) -> None:
        """Note why an utterance has no transcript for an output."""
        self.unlabelled.setdefault(utt_id, {})[output] = reason

    def take(self, other: "Report") -> None:
        """Add what another one says, of other utterances of the same corpus."""
        self.notes += other.notes
        self.unlabelled.update(other.unlabelled)
        self.left_out.update(other.left_out)
        self.seconds.update(other.seconds)
        self.counts.update(other.counts)

    def as_json(self, sets: Sets) -> dict[str, Any]:
        return {
            "corpus": self.corpus,
            "notes": self.notes,
            "counts": {what: count for what, count in sorted(self.counts.items()) if count},
            "sets": {name: self.describe(utterances) for name, utterances in sets.items()},
            "left_out": dict(sorted(self.left_out.items())),
            "unlabelled": dict(sorted(self.unlabelled.items())),
        }

    def describe(self, utterances: Sequence[Utterance]) -> dict[str, Any]:
        """Counts of a set, and how far its surfaces are from the canonical forms."""
        labelled = Counter(output for one in utterances for output in one.texts)
        seconds = [self.seconds[one.utt_id] for one in utterances if one.utt_id in self.seconds]
        return {
            "utterances": len(utterances),
            "hours": round(sum(seconds) / 3600, 3),
            "median_seconds": round(statistics.median(seconds), 2) if seconds else None,
            "speakers": len({one.speaker for one in utterances}),
            "labelled": dict(sorted(labelled.items())),
            "divergence_percent": _divergence(utterances),
        }

    def lines(self, sets: Sets) -> list[str]:
        """The account for a reader: a line a set, a line a note, a line a reason."""
        lines = [f"{self.corpus}: {note}" for note in self.notes]
        for name, utterances in sets.items():
            facts = self.describe(utterances)
            labels = ", ".join(f"{output} {n}" for output, n in facts["labelled"].items())
            line = (
                f"{self.corpus}: {name}: {facts['utterances']} utterances, {facts['hours']:.2f} h, "
                f"{facts['speakers']} speakers; labelled: {labels or 'none'}"
            )
            if facts["divergence_percent"] is not None:
                line += f"; surface is {facts['divergence_percent']:.1f} % off canonical"
            lines.append(line)
        for reason, count in Counter(self.left_out.values()).most_common():
            lines.append(f"{self.corpus}: left out: {count} × {reason}")
        reasons = Counter(
            (output, re.sub(r"'[^']*'|\d+", "…", reason))  # one line a kind, not one a label
            for missing in self.unlabelled.values()
            for output, reason in missing.items()
        )
        for (output, reason), count in reasons.most_common():
            lines.append(f"{self.corpus}: unlabelled {output}: {count} × {reason}")
        return lines


def _divergence(utterances: Iterable[Utterance]) -> float | None:
    """Edits from canonical to surface per hundred canonical tokens, over those that have both."""
    from rapidfuzz.distance import Levenshtein

    edits = length = 0
    for one in utterances:
        if "surface" in one.texts and "canonical" in one.texts:
            canonical = one.texts["canonical"].split()
            edits += Levenshtein.distance(canonical, one.texts["surface"].split())
            length += len(canonical)
    return round(100 * edits / length, 2) if length else None


def read_phone(label: str) -> tuple[str | None, bool]:
    """A phone label as annotators write it → (phone, whether it carries a deviation mark).

    Case, stress digits, and whitespace and punctuation around the letters do not count. "" is
    silence; "ERR" a phone that could not be identified; None a label that is not understood.

    >>> read_phone(" ah0"), read_phone("R*"), read_phone("sp"), read_phone("err"), read_phone("Q")
    (('AH', False), ('R', True), ('', False), ('ERR', False), (None, False))
    """
    marked = "*" in label
    match = _PHONE.fullmatch(label)
    if not match:
        return None, marked
    letters = match[1].upper()
    if letters in SILENCES:
        # Nothing but a mark or digits is no label at all, while nothing but space is silence.
        return ("" if letters or not label.strip() else None), marked
    if letters == UNIDENTIFIED:
        return UNIDENTIFIED, marked
    letters = NEAREST.get(letters, letters)
    return (letters if phones.is_phone(letters) else None), marked


def english_words(text: str) -> str:
    """A sentence as lower-case words: punctuation goes, apostrophes within and before words stay.

    >>> english_words("God bless 'em -- I'M \\u201chere\\u201d, well-known.")
    "god bless 'em i'm here well known"
    """
    text = text.replace("\u2019", "'").replace("\u2018", "'").lower()
    words = re.sub(r"[^\w']|_", " ", text).split()
    # Marks on both sides quote the word; on one side they are apostrophes ('em, dogs').
    words = [word.strip("'") if word[0] == word[-1] == "'" else word for word in words]
    return " ".join(word for word in words if word)


def check_audio(
    utterances: Sequence[Utterance],
    report: Report,
    *,
    skip_unreadable: bool = False,
    nj: int = 1,
) -> list[Utterance]:
    """Read every header: durations go to the report; unreadable files are refused, all at once.

    With `skip_unreadable` they are left out, and the report says so. `nj` files at a time: of MP3s
    the whole file is read, as their headers do not tell their length.
    """
    kept, faults = [], []
    looked = _headers(utterances, nj)
    for one, info in track(looked, f"{report.corpus}: reading audio headers", len(utterances)):
        if isinstance(info, UserError):
            faults.append(info.message)
            report.left_out[one.utt_id] = "unreadable audio"
            report.unlabelled.pop(one.utt_id, None)
            continue
        report.seconds[one.utt_id] = info.frames / info.rate
        kept.append(one)
    if faults and not skip_unreadable:
        raise UserError(
            f"{report.corpus}: {len(faults)} audio files cannot be read:{shown(faults)}",
            "take them from a fresh copy of the corpus, or leave them out: --skip_unreadable true",
        )
    return kept


def _headers(
    utterances: Sequence[Utterance], nj: int
) -> Iterator[tuple[Utterance, "AudioInfo | UserError"]]:
    """Utterances with what their headers say, or with what is wrong with them; in order."""
    from espnet_ext.data.audio import audio_info

    def look(one: Utterance) -> "AudioInfo | UserError":
        try:
            return audio_info(one.audio)
        except UserError as error:
            return error

    with ThreadPoolExecutor(nj) as pool:  # libsndfile works without Python's lock
        for batch in itertools.batched(utterances, 1000):
            infos = map(look, batch) if nj == 1 else pool.map(look, batch)
            yield from zip(batch, infos, strict=True)


def shown(faults: Sequence[str], most: int = 20) -> str:
    """Faults for a message, a line each, not more than a reader wants."""
    more = [f"and {len(faults) - most} more"] if len(faults) > most else []
    return "".join(f"\n  {line}" for line in [*faults[:most], *more])


def require_folder(path: str | os.PathLike, corpus: str, remedy: str) -> str:
    """The corpus folder as an absolute path, or a `UserError` that says how to name or get it."""
    if not str(path):
        raise UserError(f"{corpus}: no corpus path given", f"name its folder; {remedy}")
    if not os.path.isdir(path):
        raise UserError(f"{path}: no such folder", f"correct the path; {remedy}")
    return os.path.abspath(path)


def known_sentences(sets: Mapping[str, Sequence[Utterance]]) -> str:
    """How many of the test sentences a model has read in training; a caveat on meaning scores."""
    train = {one.texts["meaning"] for one in sets.get("train", ()) if "meaning" in one.texts}
    test = [one.texts["meaning"] for one in sets.get("test", ()) if "meaning" in one.texts]
    known = sum(sentence in train for sentence in test)
    return f"{known} of {len(test)} test utterances have a sentence that training has too"


def small_part(sets: Sets, report: Report, most: Mapping[str, int] | None = None) -> Sets:
    """Some utterances of each set, evenly spread over it, for trying things out.

    What is left out is so by wish: the report has one note, not a line each.
    """
    most = most or {"train": 48, "valid": 12, "test": 12}
    parts = {}
    for name, utterances in sets.items():
        step = max(1, -(-len(utterances) // most.get(name, 12)))
        parts[name] = utterances[::step]
    report.notes.append("quick: only a small part of each set is kept")
    kept = {one.utt_id for utterances in parts.values() for one in utterances}
    report.unlabelled = {name: why for name, why in report.unlabelled.items() if name in kept}
    return parts


def by_turns(items: Sequence[str], parts: Mapping[str, int]) -> dict[str, str]:
    """Deal items out: within every ten, `parts` says how many go to valid and test; the rest train.

    Spread evenly and without chance, so that a corpus always splits the same way. With fewer than
    ten items each named part still gets one, if there are enough.

    >>> by_turns(["a", "b", "c"], {"valid": 1, "test": 1})
    {'a': 'train', 'b': 'valid', 'c': 'test'}
    """
    cycle = min(10, len(items))
    names = [name for name, count in parts.items() for _ in range(count)]
    return {
        item: "train" if (turn := index % cycle) < cycle - len(names) else names[turn - cycle]
        for index, item in enumerate(items)
    }
