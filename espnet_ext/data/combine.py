"""Several corpora as one training set: each utterance keeps the transcripts that it has."""

import os
from collections.abc import Mapping, Sequence

from espnet_ext.data.directory import (
    LABEL_TABLES,
    read_directory,
    require_label_tables,
    require_output,
    write_directory,
)
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError


def combine_directories(
    sources: Sequence[str | os.PathLike],
    target: str | os.PathLike,
    outputs: Sequence[str],
    labels: Mapping[str, str] | None = None,
) -> list[str]:
    """Write all utterances of `sources` to `target`; returns a line a source, and one for all.

    `UserError` for an id or a speaker that two of them have, and for a source in which nothing is
    labelled for any of `outputs`. Those in `labels` (output → table, "utt2l1") are also labelled by
    that table, of which stage 4 makes them.
    """
    labels = labels or {}
    require_label_tables(labels)
    if len(set(map(str, sources))) < len(sources) or not sources:
        raise UserError("sets to combine: none, or one of them twice", "name each once")
    owners: dict[str, str] = {}  # of ids and speakers; an id never is a speaker's name as well
    found: list[Utterance] = []
    lines = []
    for source in sources:
        require_output(source, target)
        utterances = read_directory(source)
        counts = _counts(utterances, outputs, labels)
        if not any(counts.values()):
            tables = [labels[name] for name in outputs if name in labels]
            raise UserError(
                f"{source}: no utterance has a transcript for {' or '.join(outputs)}",
                f"give it a {' or '.join(['text.<output>', *tables])} file, or leave it out",
            )
        _claim(owners, (f"utterance {one.utt_id}" for one in utterances), str(source))
        _claim(owners, (f"speaker {one.speaker}" for one in utterances), str(source))
        found += utterances
        lines.append(f"{source}: {_told(len(utterances), counts)}")
    write_directory(target, found)
    return [*lines, f"{target}: {_told(len(found), _counts(found, outputs, labels))}"]


def _counts(
    utterances: Sequence[Utterance], outputs: Sequence[str], labels: Mapping[str, str]
) -> dict[str, int]:
    """How many utterances are labelled for each output."""

    def labelled(one: Utterance, name: str) -> bool:
        table = labels.get(name)
        return name in one.texts or bool(table and getattr(one, LABEL_TABLES[table]))

    return {name: sum(labelled(one, name) for one in utterances) for name in outputs}


def _claim(owners: dict[str, str], names, source: str) -> None:
    for name in names:
        owner = owners.setdefault(name, source)
        if owner != source:
            raise UserError(
                f"{source}: {name} is in {owner} too",
                "rename one of them: put its corpus before it, as in l2arctic_ABA-a0001",
            )


def _told(utterances: int, counts: dict[str, int]) -> str:
    labelled = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{utterances} utterances, labelled: {labelled}"
