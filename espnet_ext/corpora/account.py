"""The account of a large corpus: what `preparation.Report` says, without holding its rows."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import IO, Any

from espnet_ext import files
from espnet_ext.data.record import Utterance


class Account:
    """Gathers facts utterance by utterance, sorted by id; then written and told."""

    def __init__(
        self, corpus: str, notes: Sequence[str], counts: Mapping[str, int], sets: Sequence[str]
    ):
        self.corpus, self.notes, self.counts = corpus, notes, counts
        self._facts = {name: _Facts() for name in sets}
        self._unlabelled: Counter = Counter()  # (set, output, kind of reason)

    def add(self, name: str, one: Utterance, seconds: float) -> None:
        """An utterance of the set `name`."""
        self._facts[name].add(one, seconds)

    def miss(self, name: str, missing: Mapping[str, str]) -> None:
        """Why an utterance of the set `name` has no transcript for some outputs."""
        kinds = ((name, output, _kind(reason)) for output, reason in missing.items())
        self._unlabelled.update(kinds)

    def write(
        self, path: str | os.PathLike, left_out: Iterable[str], unlabelled: Iterable[str]
    ) -> None:
        """`prepare.json`, with the form of `Report.as_json`; both are rows of `account_row`."""
        head = {
            "corpus": self.corpus,
            "notes": self.notes,
            "counts": {what: count for what, count in sorted(self.counts.items()) if count},
            "sets": {name: facts.as_json() for name, facts in self._facts.items()},
        }
        with files.atomic_write(path) as handle:
            handle.write(json.dumps(head, ensure_ascii=False, indent=1)[: -len("\n}")])
            for name, rows in (("left_out", left_out), ("unlabelled", unlabelled)):
                handle.write(f',\n "{name}": {{')
                _write_rows(handle, rows)
                handle.write("}")
            handle.write("\n}\n")

    def lines(self, left_out: Iterable[tuple[str, int]]) -> Iterator[str]:
        """For a reader: a line a note, a set, a curiosity, a kind of reason."""
        for note in self.notes:
            yield f"{self.corpus}: {note}"
        for name, gathered in self._facts.items():
            facts = gathered.as_json()
            labels = ", ".join(f"{output} {n}" for output, n in facts["labelled"].items())
            yield (
                f"{self.corpus}: {name}: {facts['utterances']} utterances, {facts['hours']:.2f} h, "
                f"{facts['speakers']} speakers; labelled: {labels or 'none'}"
                + (f"; {facts['unlabelled']} without any text" if facts["unlabelled"] else "")
            )
        for what, count in Counter(self.counts).most_common():
            if count:
                yield f"{self.corpus}: {count} × {what}"
        kinds: Counter = Counter()
        for reason, count in left_out:
            kinds["left out", _kind(reason)] += count
        for (name, output, reason), count in self._unlabelled.items():
            kinds[f"{name}: unlabelled {output}", reason] += count
        for (what, reason), count in kinds.most_common():
            yield f"{self.corpus}: {what}: {count} × {reason}"


class _Facts:
    """What the account says of a set."""

    def __init__(self) -> None:
        self.labelled: Counter = Counter()
        self.centiseconds: Counter = Counter()  # a histogram, as all values would be too many
        self.utterances = self.speakers = self.unlabelled = 0
        self.speaker = ""

    def add(self, one: Utterance, seconds: float) -> None:
        self.utterances += 1
        self.speakers += one.speaker != self.speaker  # those sorted by id are sorted by speaker
        self.speaker = one.speaker
        self.labelled.update(one.texts.keys())
        self.unlabelled += not one.texts
        self.centiseconds[round(100 * seconds)] += 1

    def as_json(self) -> dict[str, Any]:
        total = sum(length * count for length, count in self.centiseconds.items())
        median, below = 0, 0
        for length, count in sorted(self.centiseconds.items()):
            median, below = length, below + count
            if 2 * below >= self.utterances:
                break
        return {
            "utterances": self.utterances,
            "hours": round(total / 360000, 3),
            "median_seconds": median / 100,
            "speakers": self.speakers,
            "labelled": dict(sorted(self.labelled.items())),
            "unlabelled": self.unlabelled,  # without any transcript
            "divergence_percent": None,  # these corpora have no canonical form
        }


def account_row(name: str, value: Any) -> str:
    """A member of a JSON object.

    >>> account_row("s1-u1", {"surface": "empty"})
    '"s1-u1": {"surface": "empty"}'
    """
    return f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"


@lru_cache(4096)
def _kind(reason: str) -> str:
    """One line a kind, not one a label."""
    return re.sub(r"'[^']*'|\d+", "…", reason)


def _write_rows(handle: IO[str], rows: Iterable[str]) -> None:
    empty = True
    for row in rows:
        handle.write("\n  " if empty else ",\n  ")
        handle.write(row)
        empty = False
    handle.write("" if empty else "\n ")
