"""The report on a corpus in a `database`: the same as `preparation.Report`, without its rows.

Reasons per utterance are streamed to `prepare.json`, because they do not fit into memory.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import IO, Any

from espnet_ext import files
from espnet_ext.corpora.preparation import describe_set, kind_of_reason, report_head
from espnet_ext.data.record import Utterance

_kind_of_reason = lru_cache(4096)(kind_of_reason)


class DatabaseReport:
    """Collects the statistics of the sets, then writes `prepare.json`."""

    def __init__(
        self, corpus: str, notes: Sequence[str], counts: Mapping[str, int], sets: Sequence[str]
    ):
        self.corpus, self.notes, self.counts = corpus, notes, counts
        self._statistics = {name: _SetStatistics() for name in sets}
        self._unlabelled: Counter = Counter()  # (set, output, kind of reason)

    def add(self, name: str, utterance: Utterance, seconds: float) -> None:
        """Add an utterance of the set `name`; utterances must come sorted by id."""
        self._statistics[name].add(utterance, seconds)

    def mark_unlabelled(self, name: str, reasons: Mapping[str, str]) -> None:
        """Count why an utterance of the set `name` has no transcript; `reasons` are by output."""
        self._unlabelled.update(
            (name, output, _kind_of_reason(reason)) for output, reason in reasons.items()
        )

    def write(
        self, path: str | os.PathLike, left_out: Iterable[str], unlabelled: Iterable[str]
    ) -> None:
        """Write `prepare.json` in the format of `Report.as_json`.

        Args:
            path: The file.
            left_out, unlabelled: Members of these JSON objects, made by `json_member`.
        """
        head = {
            **report_head(self.corpus, self.notes, self.counts),
            "sets": {name: statistics.as_json() for name, statistics in self._statistics.items()},
        }
        with files.atomic_write(path) as handle:
            handle.write(json.dumps(head, ensure_ascii=False, indent=1)[: -len("\n}")])
            for name, members in (("left_out", left_out), ("unlabelled", unlabelled)):
                handle.write(f',\n "{name}": {{')
                _write_members(handle, members)
                handle.write("}")
            handle.write("\n}\n")

    def lines(self, left_out: Iterable[tuple[str, int]]) -> Iterator[str]:
        """Yield the report for a terminal: one line per note, set, count and kind of reason.

        Args:
            left_out: Reasons for which utterances were left out, with their numbers.
        """
        for note in self.notes:
            yield f"{self.corpus}: {note}"
        for name, statistics in self._statistics.items():
            summary = statistics.as_json()
            line = f"{self.corpus}: {describe_set(name, summary)}"
            if summary["unlabelled"]:
                line += f"; {summary['unlabelled']} without any transcript"
            yield line
        for what, count in Counter(self.counts).most_common():
            if count:
                yield f"{self.corpus}: {count} × {what}"
        kinds: Counter = Counter()
        for reason, count in left_out:
            kinds["left out", _kind_of_reason(reason)] += count
        for (name, output, reason), count in self._unlabelled.items():
            kinds[f"{name}: unlabelled {output}", reason] += count
        for (what, reason), count in kinds.most_common():
            yield f"{self.corpus}: {what}: {count} × {reason}"


class _SetStatistics:
    """The statistics of a set in the report."""

    def __init__(self) -> None:
        self.labelled: Counter = Counter()
        self.centiseconds: Counter = Counter()  # a histogram, as the values do not fit into memory
        self.utterances = self.speakers = self.unlabelled = 0
        self.last_speaker = ""

    def add(self, utterance: Utterance, seconds: float) -> None:
        self.utterances += 1
        self.speakers += utterance.speaker != self.last_speaker  # ids sort by speaker
        self.last_speaker = utterance.speaker
        self.labelled.update(utterance.texts.keys())
        self.unlabelled += not utterance.texts
        self.centiseconds[round(100 * seconds)] += 1

    def as_json(self) -> dict[str, Any]:
        total = sum(length * count for length, count in self.centiseconds.items())
        median, up_to_median = 0, 0
        for length, count in sorted(self.centiseconds.items()):
            median, up_to_median = length, up_to_median + count
            if 2 * up_to_median >= self.utterances:
                break
        return {
            "utterances": self.utterances,
            "hours": round(total / 360000, 3),
            "median_seconds": median / 100,
            "speakers": self.speakers,
            "labelled": dict(sorted(self.labelled.items())),
            "unlabelled": self.unlabelled,  # utterances without any transcript
            "divergence_percent": None,  # these corpora have no canonical forms
        }


def json_member(name: str, value: Any) -> str:
    """Return a member of a JSON object.

    >>> json_member("s1-u1", {"surface": "empty"})
    '"s1-u1": {"surface": "empty"}'
    """
    return f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"


def _write_members(handle: IO[str], members: Iterable[str]) -> None:
    empty = True
    for member in members:
        handle.write("\n  " if empty else ",\n  ")
        handle.write(member)
        empty = False
    handle.write("" if empty else "\n ")
