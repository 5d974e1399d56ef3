"""Which tasks a training set's utterances activate: outputs and tags that they have labels for."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.text.tags import output_of, split_tags, tag_task, tag_token_ids


def tags_of(outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The kinds of inline tags in the token lists of a configuration's outputs, as tasks."""
    return [
        tag_task(name, kind)
        for name, entry in outputs.items()
        for kind in tag_token_ids(entry["token_list"])
    ]


def count_sets(
    folder: Path, outputs: Sequence[str], tags: Sequence[str] = ()
) -> Counter[tuple[str, ...]]:
    """How many utterances of a dumped set have labels for exactly which outputs and tags."""
    sets: dict[str, set[str]] = {}
    for name in outputs:
        for utt_id, text in read_table(folder / f"text.{name}").items():
            found = sets.setdefault(utt_id, set())
            if text != NA:
                found |= {name, *(tag_task(name, kind) for kind in split_tags(text)[1])}
    tasks = (*outputs, *tags)
    return Counter(tuple(task for task in tasks if task in found) for found in sets.values())


def partly_tagged(
    sets: Mapping[tuple[str, ...], int], tags: Sequence[str]
) -> list[tuple[str, int, int]]:
    """Tags that some transcripts of their output have and some lack: tag, with it, without it."""
    found = []
    for tag in tags:
        there = sum(count for one, count in sets.items() if tag in one)
        lacking = sum(
            count for one, count in sets.items() if tag not in one and output_of(tag) in one
        )
        if there and lacking:
            found.append((tag, there, lacking))
    return found


def check_labels(sets: Mapping[tuple[str, ...], int], folder: Path, outputs: Sequence[str]) -> None:
    """`UserError` for an output that no utterance of the training set has a label for."""
    for name in outputs:
        if not any(name in one for one in sets):
            raise UserError(
                f"{folder / f'text.{name}'}: every utterance is unlabelled: '{name}' would never "
                "be trained",
                f"add labels for it, or leave {name} out of the system",
            )


def with_trained_sets(
    config: Mapping[str, Any], sets: Mapping[tuple[str, ...], int]
) -> dict[str, Any]:
    """The configuration with the sets of tasks that training will activate, for inference.

    With `drop_tasks` these are also all parts of the sets that the labels make, less those in which
    a tag stands without its output.
    """
    if config.get("conditioning") is None:
        return dict(config)
    conf = dict(config.get("conditioning_conf") or {})
    found = {one for one in sets if one}
    if conf.get("drop_tasks"):
        found |= {
            part
            for one in found
            for size in range(1, len(one))
            for part in itertools.combinations(one, size)
            if all(output_of(task) in part for task in part)
        }
    conf["trained"] = [list(one) for one in sorted(found)]
    return {**config, "conditioning_conf": conf}
