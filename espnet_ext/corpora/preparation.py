"""What the preparation of every corpus shares: common options, the report, splits, audio checks.

Each corpus is prepared by `prepare(options, report)` of its module; see `corpora/__init__.py`.
"""

import itertools
import os
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from espnet_ext.corpora.audio_headers import hint_for_unreadable
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import track
from espnet_ext.text.phones import is_phone

if TYPE_CHECKING:
    from espnet_ext.data.audio import AudioInfo

Sets = dict[str, list[Utterance]]  # set name ("train", "valid", "test") → its utterances
REPORT_FILE = "prepare.json"  # beside the sets of each language
QUICK_SIZES = {"train": 48, "valid": 12, "test": 12}  # utterances per set with --quick true
UNREADABLE = "unreadable audio"  # reason for which `check_audio` leaves an utterance out
ALL = "all"  # in `CorpusOptions.sets`: every set of the corpus


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Options of every corpus; each corpus's `Options` adds its own to them."""

    data_dir: str | os.PathLike = "data"  # <data_dir>/<lang>/<set> is written
    sets: tuple[str, ...] = (ALL,)  # names of the sets to prepare, or "all"
    quick: bool = False  # keep a small part of each set
    skip_unreadable: bool = False  # leave out unreadable audio instead of stopping
    nj: int = 1  # number of processes, or of files read in parallel
    overwrite: bool = False  # replace data directories that something else wrote, or changed

    def selected(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of the sets of a corpus that are to be prepared, in the corpus's order.

        >>> CorpusOptions(sets=("test",)).selected(("train", "valid", "test"))
        ('test',)
        """
        return tuple(name for name in names if name in self.sets or ALL in self.sets)


@dataclass
class Report:
    """The report on a preparation: names every utterance that is left out or lacks a transcript."""

    corpus: str
    source: str = ""  # path of the table, if the corpus is one
    is_example: bool = False  # the corpus is that of `new_corpus`
    notes: list[str] = field(default_factory=list)  # decisions, such as how the sets were split
    unlabelled: dict[str, dict[str, str]] = field(default_factory=dict)  # id → output → reason
    left_out: dict[str, str] = field(default_factory=dict)  # id → reason
    seconds: dict[str, float] = field(default_factory=dict)  # id → duration of its audio
    counts: Counter = field(default_factory=Counter)  # irregularities, such as stripped marks

    def mark_unlabelled(self, utt_id: str, output: str, reason: str) -> None:
        """Record why an utterance has no transcript for an output."""
        self.unlabelled.setdefault(utt_id, {})[output] = reason

    def leave_out(self, utt_id: str, reason: str) -> None:
        """Record why an utterance is in no set."""
        self.left_out[utt_id] = reason
        self.unlabelled.pop(utt_id, None)

    def merge(self, other: "Report") -> None:
        """Add a report on other utterances of the same corpus."""
        self.notes += other.notes
        self.unlabelled.update(other.unlabelled)
        self.left_out.update(other.left_out)
        self.seconds.update(other.seconds)
        self.counts.update(other.counts)

    def as_json(self, sets: Sets) -> dict[str, Any]:
        """Return the content of `prepare.json`."""
        return {
            **report_head(self.corpus, self.notes, self.counts),
            **({"source": self.source} if self.source else {}),
            "sets": {name: self.summarize(utterances) for name, utterances in sets.items()},
            "left_out": dict(sorted(self.left_out.items())),
            "unlabelled": dict(sorted(self.unlabelled.items())),
        }

    def summarize(self, utterances: Sequence[Utterance]) -> dict[str, Any]:
        """Return the statistics of a set."""
        labelled = Counter(output for utterance in utterances for output in utterance.texts)
        ids = [utterance.utt_id for utterance in utterances]
        seconds = [self.seconds[utt_id] for utt_id in ids if utt_id in self.seconds]
        return {
            "utterances": len(utterances),
            "hours": round(sum(seconds) / 3600, 3),
            "median_seconds": round(statistics.median(seconds), 2) if seconds else None,
            "speakers": len({utterance.speaker for utterance in utterances}),
            "labelled": dict(sorted(labelled.items())),
            "divergence_percent": _divergence(utterances),
        }

    def lines(self, sets: Sets) -> list[str]:
        """Return the report for a terminal: one line per note, set and kind of reason."""
        source = [f"read from {self.source}"] if self.source else []
        lines = [f"{self.corpus}: {note}" for note in [*source, *self.notes]]
        for name, utterances in sets.items():
            summary = self.summarize(utterances)
            line = f"{self.corpus}: {describe_set(name, summary)}"
            if summary["divergence_percent"] is not None:
                line += f"; surface differs from canonical: {summary['divergence_percent']:.1f}"
                line += " edits per 100 tokens"
            lines.append(line)
        for what, count in self.counts.most_common():
            if count:
                lines.append(f"{self.corpus}: {count} × {what}")
        ids_of: dict[str, list[str]] = {}  # by what a reason says before its details
        for utt_id, reason in sorted(self.left_out.items()):
            ids_of.setdefault(reason.partition(": ")[0], []).append(utt_id)
        for reason, ids in sorted(ids_of.items(), key=lambda item: -len(item[1])):
            names = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
            lines.append(f"{self.corpus}: left out: {len(ids)} × {reason} ({names})")
        reasons = Counter(
            (output, kind_of_reason(reason))
            for reasons_of_utterance in self.unlabelled.values()
            for output, reason in reasons_of_utterance.items()
        )
        for (output, reason), count in reasons.most_common():
            lines.append(f"{self.corpus}: unlabelled {output}: {count} × {reason}")
        return lines


def report_head(corpus: str, notes: Sequence[str], counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the first members of `prepare.json`; counts of zero are left out."""
    nonzero = {what: count for what, count in sorted(counts.items()) if count}
    return {"corpus": corpus, "notes": list(notes), "counts": nonzero}


def describe_set(name: str, summary: Mapping[str, Any]) -> str:
    """Return the statistics of a set as one line."""
    labels = ", ".join(f"{output} {n}" for output, n in summary["labelled"].items())
    speakers = summary["speakers"]
    return (
        f"{name}: {summary['utterances']} utterances, {summary['hours']:.2f} h, "
        f"{speakers} speaker{'s' * (speakers != 1)}; labelled: {labels or 'none'}"
    )


def kind_of_reason(reason: str) -> str:
    """Return a reason without the quoted labels and numbers that differ between utterances.

    >>> kind_of_reason("label 'QX' is not a phone")
    'label … is not a phone'
    """
    return re.sub(r"'[^']*'|\d+", "…", reason)


def _divergence(utterances: Iterable[Utterance]) -> float | None:
    """Return the edits from canonical to surface per 100 canonical tokens.

    Only utterances with both transcripts count. Without any, the result is None.
    """
    from rapidfuzz.distance import Levenshtein

    edits = length = 0
    for utterance in utterances:
        if "surface" in utterance.texts and "canonical" in utterance.texts:
            canonical = utterance.texts["canonical"].split()
            edits += Levenshtein.distance(canonical, utterance.texts["surface"].split())
            length += len(canonical)
    return round(100 * edits / length, 2) if length else None


def check_audio(
    utterances: Sequence[Utterance],
    report: Report,
    *,
    skip_unreadable: bool = False,
    nj: int = 1,
) -> list[Utterance]:
    """Read the header of each sound file, `nj` at a time, and record the durations in the report.

    MP3 files are read whole, because their headers do not give the duration.

    Returns:
        The utterances with readable audio. The others are reported as left out.
    Raises:
        UserError: Files cannot be read and `skip_unreadable` is False; names them all.
    """
    readable, faults = [], []
    hint = ""  # what may be the cause that files do not exist
    headers = _read_headers(utterances, nj)
    label = f"{report.corpus}: reading audio headers"
    for utterance, info in track(headers, label, len(utterances)):
        if isinstance(info, UserError):
            faults.append(f"{utterance.utt_id}: {info.message}")
            hint = hint or hint_for_unreadable(utterance.audio)
            report.leave_out(utterance.utt_id, f"{UNREADABLE}: {info.message}")
            continue
        report.seconds[utterance.utt_id] = info.frames / info.rate
        readable.append(utterance)
    if faults and not skip_unreadable:
        raise UserError(
            f"{report.corpus}: {len(faults)} audio files cannot be read:{list_faults(faults)}",
            f"{hint}take them from a fresh copy of the corpus, or leave them out: "
            "--skip_unreadable true",
        )
    return readable


def _read_headers(
    utterances: Sequence[Utterance], nj: int
) -> Iterator[tuple[Utterance, "AudioInfo | UserError"]]:
    """Yield each utterance with its audio header, or with the error of reading it; in order."""
    from espnet_ext.data.audio import audio_info

    @lru_cache(maxsize=1000)  # utterances may be parts of one recording
    def info_of(audio: str) -> "AudioInfo | UserError":
        try:
            return audio_info(audio)
        except UserError as error:
            return error

    def read_header(utterance: Utterance) -> "AudioInfo | UserError":
        return info_of(utterance.audio)

    with ThreadPoolExecutor(nj) as pool:  # threads suffice: libsndfile releases the GIL
        for batch in itertools.batched(utterances, 1000):
            infos = map(read_header, batch) if nj == 1 else pool.map(read_header, batch)
            yield from zip(batch, infos, strict=True)


def list_faults(faults: Sequence[str], most: int = 9) -> str:
    """Return faults for a message, one per line; after `most` of them only their number.

    `run.sh` shows the last 15 lines of a log, which must have the beginning of the message.
    """
    more = [f"and {len(faults) - most} more"] if len(faults) > most else []
    return "".join(f"\n  {line}" for line in [*faults[:most], *more])


def require_folder(path: str | os.PathLike, corpus: str, remedy: str) -> str:
    """Return the corpus folder as an absolute path.

    Raises:
        UserError: There is no such folder; `remedy` says how to get the corpus.
    """
    if not str(path):
        raise UserError(f"{corpus}: no corpus path given", f"name its folder; {remedy}")
    if not os.path.isdir(path):
        raise UserError(f"{path}: no such folder", f"correct the path; {remedy}")
    return os.path.abspath(path)


def sentence_overlap(sets: Mapping[str, Sequence[Utterance]]) -> str:
    """Return a note on how many test sentences also occur in training.

    Scores of the meaning are better on sentences that the model was trained on.
    """

    def sentences(name: str) -> list[str]:
        texts = (utterance.texts for utterance in sets.get(name, ()))
        return [text["meaning"] for text in texts if "meaning" in text]

    train = set(sentences("train"))
    test = sentences("test")
    return overlap_note(sum(sentence in train for sentence in test), len(test))


def overlap_note(shared: int, total: int) -> str:
    """Return the note on `shared` of `total` test utterances whose sentence is in training too."""
    return f"{shared} of {total} test utterances have a sentence that is also in training"


def select_sets(sets: Sets, names: Sequence[str], report: Report) -> Sets:
    """Return the sets with these names; drop the others from the report."""
    selected = {name: utterances for name, utterances in sets.items() if name in names}
    if len(selected) == len(sets):
        return sets
    dropped = {one.utt_id for name in sets.keys() - selected.keys() for one in sets[name]}
    report.unlabelled = {
        utt_id: reasons for utt_id, reasons in report.unlabelled.items() if utt_id not in dropped
    }
    return selected


def shrink_sets(sets: Sets, report: Report) -> Sets:
    """Return a few utterances of each set, evenly spread over it, for `--quick true`.

    The report gets one note on this instead of one line per utterance.
    """
    parts = {}
    for name, utterances in sets.items():
        step = max(1, -(-len(utterances) // QUICK_SIZES.get(name, 12)))
        parts[name] = utterances[::step]
    report.notes.append("quick: only a small part of each set is kept")
    kept = {utterance.utt_id for utterances in parts.values() for utterance in utterances}
    report.unlabelled = {
        utt_id: reasons for utt_id, reasons in report.unlabelled.items() if utt_id in kept
    }
    return parts


def split_by_speaker(
    utterances: Sequence[Utterance], names: Sequence[str], report: Report
) -> dict[str, str]:
    """Return the set of each utterance: split by speaker, or by utterance with too few speakers.

    Of each ten speakers, each set but the first gets one and the first the others; the sets share
    the speakers evenly if `train` is not the first. One set gets everything.

    Args:
        utterances: All utterances.
        names: Names of the sets.
        report: Gets a note on how the utterances were split.
    Raises:
        UserError: There are fewer utterances than sets.
    """
    if len(names) == 1:
        report.notes.append(f"no sets are stated: all utterances are in {names[0]}")
        return {utterance.utt_id: names[0] for utterance in utterances}
    by_speaker = len(speakers := sorted({one.speaker for one in utterances})) >= len(names)
    items = speakers if by_speaker else sorted(one.utt_id for one in utterances)
    if len(items) < len(names):
        message = f"{len(utterances)} utterances are too few to split"
        raise UserError(message, "add utterances, or name one set: --sets test")
    if names[0] == "train":
        set_of = assign_sets(items, dict.fromkeys(names[1:], 1))
        numbers = {8: "eight", 9: "nine"}
        train = numbers.get(11 - len(names), 11 - len(names))
        rule = f"of each ten, {train} train, " + ", ".join(f"one {name}" for name in names[1:])
    else:
        set_of = {item: names[index % len(names)] for index, item in enumerate(items)}
        rule = f"evenly, into {' and '.join(names)}"
    if by_speaker:
        report.notes.append(f"split by speakers: {rule}")
        return {utterance.utt_id: set_of[utterance.speaker] for utterance in utterances}
    report.notes.append(
        f"split by utterances, as there are only {len(speakers)} speakers: the sets share speakers"
    )
    return set_of


def training_hint(utterances: Sequence[Utterance]) -> str:
    """Return the options of run.sh for utterances without a surface or a meaning; else "".

    >>> training_hint([Utterance("s-u", "s", "a.wav", {"meaning": "we see"})])
    'no utterance has a surface; to train without, give run.sh \
--token_types "meaning=char" --systems so_meaning'
    """
    outputs = {output for utterance in utterances for output in utterance.texts}
    if "meaning" in outputs and "surface" not in outputs:
        output, missing = "meaning", "surface"
    elif "surface" in outputs and "meaning" not in outputs:
        output, missing = "surface", "meaning"
    else:
        return ""
    texts = [one.texts[output] for one in utterances if output in one.texts]
    phones = all(is_phone(token) for text in texts[:1000] for token in text.split())
    unit = "phone" if phones else "char"
    return (
        f"no utterance has a {missing}; to train without, give run.sh "
        f'--token_types "{output}={unit}" --systems so_{output}'
    )


def assign_sets(items: Sequence[str], shares: Mapping[str, int]) -> dict[str, str]:
    """Assign items to sets: of each ten, `shares` is the number per set; the others go to train.

    The assignment is even and not random, so that a corpus is always split the same way. With
    fewer than ten items, each set in `shares` still gets its share if there are enough items.

    >>> assign_sets(["a", "b", "c"], {"valid": 1, "test": 1})
    {'a': 'train', 'b': 'valid', 'c': 'test'}
    """
    cycle = min(10, len(items))
    names = [name for name, count in shares.items() for _ in range(count)]
    return {
        item: "train" if (turn := index % cycle) < cycle - len(names) else names[turn - cycle]
        for index, item in enumerate(items)
    }
