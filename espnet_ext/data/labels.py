"""Remove transcripts at random, to measure how a model trains on partially labelled data."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from espnet_ext import files
from espnet_ext.data.directory import (
    ESPNET_FILES,
    copy_espnet_files,
    output_directory,
    read_directory,
    write_directory,
)
from espnet_ext.data.further_tables import FurtherTables
from espnet_ext.data.record import Utterance, count_labelled
from espnet_ext.errors import UserError

DROPPED = "dropped.tsv"


@dataclass(frozen=True)
class DropOptions:
    """Which transcripts to remove."""

    output: str  # whose transcripts
    share: float  # 0 to 1, of the utterances that have one
    seed: int = 0
    outputs: Sequence[str] = ()  # outputs of the training: missing rows are written as `<na>`
    complete: bool = False  # keep only utterances that still have all of `outputs`

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UserError(f"share {self.share:g} of labels", "give a number from 0 to 1")
        if self.outputs and self.output not in self.outputs:
            names = " ".join(self.outputs)
            message = f"--output_name '{self.output}' is not one of --outputs: {names}"
            raise UserError(message, "add it to --outputs")


def random_order(utt_ids: Sequence[str], output: str, seed: int) -> list[str]:
    """Return ids in a random order that depends only on the ids, the output and the seed.

    Removing a prefix of it therefore removes, for a larger share, all that a smaller share does;
    the order of two ids is the same in every set and on every machine.
    """
    return sorted(utt_ids, key=lambda i: hashlib.sha256(f"{seed} {output} {i}".encode()).digest())


def drop(
    utterances: Sequence[Utterance], options: DropOptions
) -> tuple[list[Utterance], dict[str, str]]:
    """Return the remaining utterances, and what was removed by id.

    >>> utterances = [Utterance(f"s-{i}", "s", "a.wav", {"surface": "K"}) for i in range(4)]
    >>> remaining, dropped = drop(utterances, DropOptions("surface", 0.5))
    >>> sum("surface" in utterance.texts for utterance in remaining), len(dropped)
    (2, 2)
    """
    labelled = [item.utt_id for item in utterances if options.output in item.texts]
    if not labelled:
        message = f"no utterance has a transcript for '{options.output}'"
        raise UserError(message, "name an output that is labelled")
    count = round(options.share * len(labelled))
    to_drop = set(random_order(labelled, options.output, options.seed)[:count])
    remaining, dropped = [], {}
    for utterance in utterances:
        if utterance.utt_id in to_drop:
            texts = {n: text for n, text in utterance.texts.items() if n != options.output}
            utterance = replace(utterance, texts=texts)
            dropped[utterance.utt_id] = f"label of {options.output}"
        if options.complete and not all(name in utterance.texts for name in options.outputs):
            dropped[utterance.utt_id] = "whole utterance"
        else:
            remaining.append(utterance)
    return remaining, dropped


def drop_labels(
    source: str | os.PathLike,
    target: str | os.PathLike,
    options: DropOptions,
    *,
    overwrite: bool = False,
) -> str:
    """Write `source` with fewer transcripts to `target`; return a summary line.

    What was removed is listed in `dropped.tsv`.

    Args:
        overwrite: replace files that this command did not write.
    """
    further = FurtherTables([source], target)
    output = output_directory(
        target,
        "drop_labels",
        [source],
        overwrite=overwrite,
        further=rf"{re.escape(DROPPED)}|utt2dur|{ESPNET_FILES}|{further.pattern()}",
        evidence=(DROPPED,),
    )
    output.check()
    try:
        remaining, dropped = drop(read_directory(source), options)
    except UserError as error:
        raise UserError(f"{source}: {error.message}", error.remedy) from None
    if not remaining:
        raise UserError(f"{source}: no utterance is left", "use a smaller --share")
    rows = "".join(f"{utt_id}\t{what}\n" for utt_id, what in sorted(dropped.items()))
    with output as folder:
        files.write_text(folder / DROPPED, f"utterance\ttaken away\n{rows}")  # prose: ignore
        copy_espnet_files(source, folder)
        tables = further.rows(remaining)
        write_directory(folder, remaining, fill_missing=tuple(options.outputs), extra=tables)
    names = dict.fromkeys([*options.outputs, options.output])
    counts = ", ".join(f"{n} {name}" for name, n in count_labelled(remaining, names).items())
    return f"{target}: {len(remaining)} utterances, labelled: {counts}"
