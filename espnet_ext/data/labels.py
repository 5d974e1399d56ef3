"""Labels taken away, to measure what training does without them: sets with fewer transcripts."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_ext import files
from espnet_ext.data.directory import read_directory, require_output, write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError

KEPT_FILES = ("feats_type", "audio_format")
DROPPED = "dropped.tsv"


@dataclass(frozen=True)
class Drop:
    """Which labels go."""

    output: str  # whose transcripts
    share: float  # 0 to 1, of the utterances that have one
    seed: int = 0
    outputs: Sequence[str] = ()  # of the training: completed by `<na>`, as stage 4 does
    complete: bool = False  # keep only utterances that then have all of `outputs`

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UserError(f"share {self.share:g} of labels", "give a number from 0 to 1")
        if self.outputs and self.output not in self.outputs:
            names = " ".join(self.outputs)
            raise UserError(f"labels of '{self.output}', but the outputs are {names}", "name both")


def order(utt_ids: Sequence[str], output: str, seed: int) -> list[str]:
    """Ids in a random order that depends on nothing but them, the output and the seed.

    A larger share therefore takes away all that a smaller one does, in any set and on any machine.
    """
    return sorted(utt_ids, key=lambda i: hashlib.sha256(f"{seed} {output} {i}".encode()).digest())


def drop(utterances: Sequence[Utterance], rule: Drop) -> tuple[list[Utterance], dict[str, str]]:
    """The utterances with fewer labels; and what was done to which of them.

    >>> one = [Utterance(f"s-{i}", "s", "a.wav", {"surface": "K"}) for i in range(4)]
    >>> left, done = drop(one, Drop("surface", 0.5))
    >>> sum("surface" in utterance.texts for utterance in left), len(done)
    (2, 2)
    """
    labelled = [one.utt_id for one in utterances if rule.output in one.texts]
    if not labelled:
        raise UserError(
            f"no utterance has a transcript for '{rule.output}'", "name an output that is labelled"
        )
    gone = set(order(labelled, rule.output, rule.seed)[: round(rule.share * len(labelled))])
    kept, done = [], {}
    for one in utterances:
        if one.utt_id in gone:
            texts = {name: text for name, text in one.texts.items() if name != rule.output}
            one = replace(one, texts=texts)
            done[one.utt_id] = f"label of {rule.output}"
        if rule.complete and not all(name in one.texts for name in rule.outputs):
            done[one.utt_id] = "whole utterance"
        else:
            kept.append(one)
    return kept, done


def drop_labels(source: str | os.PathLike, target: str | os.PathLike, rule: Drop) -> str:
    """Write `source` with fewer labels to `target`; returns a line saying what is left.

    What was taken away is listed in `dropped.tsv`.
    """
    require_output(source, target)
    try:
        kept, done = drop(read_directory(source), rule)
    except UserError as error:
        raise UserError(f"{source}: {error.message}", error.remedy) from None
    if not kept:
        raise UserError(f"{source}: no utterance is left", "take fewer labels away")
    rows = "".join(f"{utt_id}\t{what}\n" for utt_id, what in sorted(done.items()))
    files.write_text(Path(target) / DROPPED, f"utterance\ttaken away\n{rows}")
    extra = {}
    if (Path(source) / "utt2dur").is_file():
        seconds = read_table(Path(source) / "utt2dur")
        extra["utt2dur"] = {i: seconds[i] for i in (one.utt_id for one in kept) if i in seconds}
    for name in KEPT_FILES:
        if (Path(source) / name).is_file():
            files.write_text(Path(target) / name, (Path(source) / name).read_text("utf-8"))
    write_directory(target, kept, fill_missing=tuple(rule.outputs), extra=extra)
    names = dict.fromkeys([*rule.outputs, rule.output])
    counts = ", ".join(f"{sum(name in one.texts for one in kept)} {name}" for name in names)
    return f"{target}: {len(kept)} utterances, labelled: {counts}"
