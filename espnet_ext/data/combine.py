"""Combine several data directories into one; each utterance keeps the transcripts that it has.

`utt2corpus` names the source of each utterance, for balanced sampling (`training.balance`).
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from espnet_ext.data.directory import (
    LABEL_TABLES,
    output_directory,
    read_directory,
    require_label_tables,
    write_directory,
)
from espnet_ext.data.further_tables import FurtherTables
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError

CORPUS_TABLE = "utt2corpus"


def combine_directories(
    sources: Sequence[str | os.PathLike],
    target: str | os.PathLike,
    outputs: Sequence[str],
    labels: Mapping[str, str] | None = None,
    *,
    prefix: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Write all utterances of `sources` to `target`; return a summary line per source and in all.

    `utt2corpus` gets the name of the source (`corpus_names`), except for utterances that have a row
    in the source's own `utt2corpus`.

    Args:
        outputs: every source must have transcripts for at least one of these.
        labels: outputs that stage 4 makes from label tables (output → table, e.g. "utt2l1").
        prefix: put the name of its source before each speaker and utterance id: `l2arctic_ABA`.
        overwrite: replace files that this command did not write.

    Raises:
        UserError: if two sources share an id or a speaker, or a source is unlabelled.
    """
    labels = labels or {}
    require_label_tables(labels)
    if not sources:
        raise UserError("no directories to combine", "name at least one")
    paths = [str(Path(source).resolve()) for source in sources]
    for source, path in zip(sources, paths, strict=True):
        if paths.count(path) > 1:
            raise UserError(f"{source}: named twice", "name each directory once")
    further = FurtherTables(sources, target)
    output = output_directory(
        target,
        "combine",
        sources,
        overwrite=overwrite,
        further=f"{further.pattern()}|{CORPUS_TABLE}",
    )
    output.check()
    owners: dict[str, str] = {}  # "utterance <id>" or "speaker <name>" → source
    combined: list[Utterance] = []
    corpora: dict[str, str] = {}  # utterance id → name of its source
    originals: list[dict[str, Utterance]] = []  # of each source: new id → its utterance
    lines = []
    for source, corpus in zip(sources, corpus_names(sources), strict=True):
        utterances = read_directory(source, empty_texts=True)  # stage 4 checks them
        counts = _count_labelled(utterances, outputs, labels)
        if not any(counts.values()):
            tables = [labels[name] for name in outputs if name in labels]
            raise UserError(
                f"{source}: no utterance has a transcript for {' or '.join(outputs)}",
                f"give it a {' or '.join(['text.<output>', *tables])} file, or leave it out",
            )
        originals.append({})
        if prefix:
            name = re.sub(r"[\s/]+", "_", corpus)
            originals[-1] = {f"{name}_{item.utt_id}": item for item in utterances}
            utterances = [
                replace(item, utt_id=utt_id, speaker=f"{name}_{item.speaker}")
                for utt_id, item in originals[-1].items()
            ]
        _require_unique(owners, (f"utterance {item.utt_id}" for item in utterances), str(source))
        _require_unique(owners, (f"speaker {item.speaker}" for item in utterances), str(source))
        combined += utterances
        corpora |= dict.fromkeys((item.utt_id for item in utterances), corpus)
        lines.append(_summary(source, len(utterances), counts))
    with output as folder:
        extra = _further_rows(further, combined, sources, target, originals)
        extra[CORPUS_TABLE] = corpora | extra.get(CORPUS_TABLE, {})
        write_directory(folder, combined, extra=extra, empty_texts=True)
    counts = _count_labelled(combined, outputs, labels)
    return [*lines, _summary(target, len(combined), counts)]


def _further_rows(
    further: FurtherTables,
    combined: Sequence[Utterance],
    sources: Sequence[str | os.PathLike],
    target: str | os.PathLike,
    originals: Sequence[Mapping[str, Utterance]],
) -> dict[str, dict[str, str]]:
    """Return the rows of further tables; with new ids, those of each source by itself."""
    if not any(originals):
        return further.rows(combined)
    tables: dict[str, dict[str, str]] = {}
    for source, of_source in zip(sources, originals, strict=True):
        copies = [item for item in combined if item.utt_id in of_source]
        for name, rows in FurtherTables([source], target).rows(copies, of_source).items():
            tables.setdefault(name, {}).update(rows)
    return tables


def corpus_names(sources: Sequence[str | os.PathLike]) -> list[str]:
    """Return a name for each of several folders: the part of its path in which they differ.

    >>> corpus_names(["data/speechocean762/en/train", "data/l2arctic/en/train"])
    ['speechocean762', 'l2arctic']
    >>> corpus_names(["data/en/l2arctic", "data/en/librispeech"])
    ['l2arctic', 'librispeech']
    """
    paths = [Path(os.path.abspath(source)).parts for source in sources]
    if len(paths) == 1:
        return [paths[0][-1]]
    shortest = min(map(len, paths))
    start = _equal(paths, shortest - 1)
    end = _equal([parts[::-1] for parts in paths], shortest - 1 - start)
    return ["_".join("/".join(parts[start : len(parts) - end]).split()) for parts in paths]


def _equal(paths: Sequence[Sequence[str]], most: int) -> int:
    """Return how many of the first parts are equal in all paths, but not more than `most`."""
    columns = list(zip(*paths, strict=False))[:most]
    return next((i for i, parts in enumerate(columns) if len(set(parts)) > 1), len(columns))


def _count_labelled(
    utterances: Sequence[Utterance], outputs: Sequence[str], labels: Mapping[str, str]
) -> dict[str, int]:
    """Return how many utterances have a transcript or a label, by output."""

    def is_labelled(utterance: Utterance, name: str) -> bool:
        table = labels.get(name)
        return name in utterance.texts or bool(table and getattr(utterance, LABEL_TABLES[table]))

    return {name: sum(is_labelled(item, name) for item in utterances) for name in outputs}


def _require_unique(owners: dict[str, str], names: Iterable[str], source: str) -> None:
    for name in names:
        owner = owners.setdefault(name, source)
        if owner != source:
            raise UserError(
                f"{source}: {name} also exists in {owner}",
                "make speaker and utterance ids unique: espnet-ext combine --prefix true puts the "
                "corpus before both (speaker l2arctic_ABA, utterance l2arctic_ABA-a0001); give its "
                "output to run.sh as --train_set",
            )


def _summary(folder: str | os.PathLike, utterances: int, counts: Mapping[str, int]) -> str:
    labelled = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{folder}: {utterances} utterances, labelled: {labelled}"
