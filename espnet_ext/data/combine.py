"""Several corpora as one training set: each utterance keeps the transcripts that it has."""

import os
from collections.abc import Sequence

from espnet_ext.data.directory import read_directory, require_output, write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError


def combine_directories(
    sources: Sequence[str | os.PathLike], target: str | os.PathLike, outputs: Sequence[str]
) -> list[str]:
    """Write all utterances of `sources` to `target`; returns a line a source, and one for all.

    `UserError` for an id or a speaker that two of them have, and for a source in which nothing is
    labelled for any of `outputs`.
    """
    if len(set(map(str, sources))) < len(sources) or not sources:
        raise UserError("sets to combine: none, or one of them twice", "name each once")
    owners: dict[str, str] = {}  # of ids and speakers; an id never is a speaker's name as well
    found: list[Utterance] = []
    lines = []
    for source in sources:
        require_output(source, target)
        utterances = read_directory(source)
        counts = {name: sum(name in one.texts for one in utterances) for name in outputs}
        if not any(counts.values()):
            raise UserError(
                f"{source}: no utterance has a transcript for {' or '.join(outputs)}",
                "give it a text.<output> file, or leave it out",
            )
        _claim(owners, (f"utterance {one.utt_id}" for one in utterances), str(source))
        _claim(owners, (f"speaker {one.speaker}" for one in utterances), str(source))
        found += utterances
        lines.append(f"{source}: {_told(len(utterances), counts)}")
    write_directory(target, found)
    counts = {name: sum(name in one.texts for one in found) for name in outputs}
    return [*lines, f"{target}: {_told(len(found), counts)}"]


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
