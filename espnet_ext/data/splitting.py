"""Split a data directory into sets such as train, valid and test, at random, with a seed.

By default the sets share no speaker. With `disjoint_sentences` they share no sentence either:
utterances are left out where a speaker of one set says a sentence of another.
"""

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from espnet_ext import files
from espnet_ext.data.directory import (
    PLAIN_TEXT_OUTPUT,
    output_directory,
    read_directory,
    require_directory,
    write_directory,
)
from espnet_ext.data.further_tables import FurtherTables
from espnet_ext.data.record import Utterance, id_problem
from espnet_ext.errors import UserError
from espnet_ext.overwriting import OutputFolder, require_no_input

REPORT = "split.json"  # beside the sets
BY_SPEAKER, BY_UTTERANCE = "speaker", "utterance"


@dataclass(frozen=True)
class SplitOptions:
    """How to split a data directory."""

    shares: Mapping[str, float] = field(  # set → its share of the utterances; the sum is not fixed
        default_factory=lambda: {"train": 8, "valid": 1, "test": 1}
    )
    by: str = BY_SPEAKER  # or BY_UTTERANCE: the sets share speakers
    seed: int = 0
    disjoint_sentences: bool = False  # no sentence (meaning) is in two sets


def parse_shares(words: Sequence[str]) -> dict[str, float]:
    """Parse the shares of sets.

    >>> parse_shares(["train=8", "test=1.5"])
    {'train': 8.0, 'test': 1.5}
    """
    shares: dict[str, float] = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        problem = ""
        if not name or id_problem(name):
            problem = "has no name of a set" if not name else f"the name {id_problem(name)}"
        elif name in shares:
            problem = f"there are two sets '{name}'"
        elif not 0 < share < float("inf"):
            problem = f"the share '{number}' is not a number above 0" if number else "has no share"
        if problem:
            message = f"--sets: '{word}': {problem}"
            raise UserError(message, "write, for example, --sets 'train=8 valid=1 test=1'")
        shares[name] = share
    if len(shares) < 2:
        raise UserError("--sets: fewer than two sets", "write --sets 'train=8 valid=1 test=1'")
    return shares


def split_directory(
    source: str | os.PathLike,
    target: str | os.PathLike,
    options: SplitOptions,
    *,
    overwrite: bool = False,
) -> list[str]:
    """Write `<target>/<set>` for each set, and `<target>/split.json`; return summary lines.

    Raises:
        UserError: there are too few speakers (or utterances), or a set would have no utterance.
    """
    source = require_directory(source)
    further = {name: FurtherTables([source], Path(target) / name) for name in options.shares}
    outputs = {
        name: output_directory(
            Path(target) / name,
            "split",
            [source],
            overwrite=overwrite,
            further=further[name].pattern(),
        )
        for name in options.shares
    }
    for output in outputs.values():
        require_no_input_set(output.folder, source)
        output.check()
    report = OutputFolder(target, "split", REPORT, inputs=[source], overwrite=overwrite)
    report.check()
    utterances = read_directory(source, empty_texts=True)
    set_of = assign(utterances, options)
    left_out: list[str] = []
    lines = []
    if options.disjoint_sentences:
        left_out = overlapping_sentences(utterances, set_of, options, source)
    sets: dict[str, list[Utterance]] = {name: [] for name in options.shares}
    for utterance in utterances:
        if utterance.utt_id in set_of:
            sets[set_of[utterance.utt_id]].append(utterance)
    if empty := [name for name, items in sets.items() if not items]:
        raise UserError(
            f"{source}: no utterance is left for {' and '.join(empty)}",
            "choose other --sets or another --seed, or give --disjoint_sentences false",
        )
    with report as folder:
        for name, output in outputs.items():
            with output:
                tables = further[name].rows(sets[name], notes=name == next(iter(sets)))
                write_directory(folder / name, sets[name], extra=tables, empty_texts=True)
        content = {"source": os.path.abspath(source), **asdict(options), "left_out": left_out}
        counts = {name: len(items) for name, items in sets.items()}
        files.write_json(folder / REPORT, {**content, "utterances": counts})
    lines += [_summary(Path(target) / name, items) for name, items in sets.items()]
    if left_out:
        lines.append(
            f"left out: {len(left_out)} utterances with a sentence of another set: see {REPORT}"
        )
    lines += _notes(sets)
    return lines


def require_no_input_set(folder: Path, source: Path) -> None:
    """Raise a `UserError` if a set would be written over the directory that is split."""
    try:
        require_no_input(folder, [source])
    except UserError as error:
        remedy = f"rename {source} first, for example to {source.parent / 'all'}"
        raise UserError(error.message, remedy) from None


def assign(utterances: Sequence[Utterance], options: SplitOptions) -> dict[str, str]:
    """Return the set of each utterance by id.

    The groups (speakers, or utterances) are taken in random order, the largest first. Each joins
    the set that lacks most of its share.
    """
    group_of = {
        one.utt_id: one.speaker if options.by == BY_SPEAKER else one.utt_id for one in utterances
    }
    sizes = Counter(group_of.values())
    if len(sizes) < len(options.shares):
        remedy = "give fewer --sets"
        if options.by == BY_SPEAKER:
            remedy += "; or --by utterance, so that the sets share speakers"
        message = f"{len(sizes)} {options.by}s are too few for {len(options.shares)} sets"
        raise UserError(message, remedy)
    groups = sorted(sizes)
    random.Random(options.seed).shuffle(groups)
    groups.sort(key=lambda group: -sizes[group])
    total = sum(options.shares.values())
    missing = {name: share / total * len(utterances) for name, share in options.shares.items()}
    empty = set(options.shares)
    set_of_group = {}
    for index, group in enumerate(groups):
        candidates = empty if len(groups) - index <= len(empty) else set(options.shares)
        name = max(sorted(candidates), key=lambda name: missing[name])
        set_of_group[group] = name
        missing[name] -= sizes[group]
        empty.discard(name)
    return {utt_id: set_of_group[group] for utt_id, group in group_of.items()}


def overlapping_sentences(
    utterances: Sequence[Utterance],
    set_of: dict[str, str],
    options: SplitOptions,
    source: str | os.PathLike,
) -> list[str]:
    """Remove utterances from `set_of` until no sentence is in two sets; return their ids.

    Each sentence that several sets have is assigned to the one that lacks most of its share.
    """
    sentence_of = {
        one.utt_id: one.texts[PLAIN_TEXT_OUTPUT]
        for one in utterances
        if one.texts.get(PLAIN_TEXT_OUTPUT)
    }
    if not sentence_of:
        remedy = "give it a text.meaning, or --disjoint_sentences false"
        raise UserError(f"{source}: no utterance has a meaning, which is its sentence", remedy)
    counts: dict[str, Counter] = {}  # sentence → set → number of utterances
    kept: Counter = Counter()  # set → number of utterances
    for utt_id, name in set_of.items():
        if utt_id in sentence_of:
            counts.setdefault(sentence_of[utt_id], Counter())[name] += 1
    for by_set in counts.values():
        if len(by_set) == 1:
            kept += by_set
    shared = sorted(sentence for sentence, by_set in counts.items() if len(by_set) > 1)
    random.Random(options.seed).shuffle(shared)
    total = sum(options.shares.values())
    owner = {}
    for sentence in shared:

        def lacking(name: str, size: int = kept.total()) -> float:
            return options.shares[name] / total * size - kept[name]

        owner[sentence] = max(sorted(counts[sentence]), key=lacking)
        kept[owner[sentence]] += counts[sentence][owner[sentence]]
    left_out = [
        utt_id
        for utt_id, name in set_of.items()
        if owner.get(sentence_of.get(utt_id, ""), name) != name
    ]
    for utt_id in left_out:
        del set_of[utt_id]
    return sorted(left_out)


def _summary(folder: Path, utterances: Sequence[Utterance]) -> str:
    labelled = Counter(output for utterance in utterances for output in utterance.texts)
    labels = ", ".join(f"{output} {n}" for output, n in sorted(labelled.items()))
    speakers = len({utterance.speaker for utterance in utterances})
    return f"{folder}: {len(utterances)} utterances, {speakers} speakers; labelled: {labels or '-'}"


def _notes(sets: Mapping[str, Sequence[Utterance]]) -> list[str]:
    """Return notes on shared speakers and sentences."""
    notes = []
    first, *others = sets
    for what, values in (
        ("speakers", {name: {one.speaker for one in items} for name, items in sets.items()}),
        (
            "sentences",
            {
                name: {one.texts.get(PLAIN_TEXT_OUTPUT) for one in items} - {None, ""}
                for name, items in sets.items()
            },
        ),
    ):
        for name in others:
            if shared := len(values[name] & values[first]):
                notes.append(f"{shared} of {len(values[name])} {what} of {name} are in {first} too")
    return notes
