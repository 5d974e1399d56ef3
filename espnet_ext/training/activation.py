"""The label sets of a data set: the outputs and tags that its utterances have labels for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.registry import conditioner_class
from espnet_ext.text.tags import output_of, split_tags, tag_task, tag_token_ids


def tags_of(outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the kinds of inline tags in the token lists of a configuration's outputs, as tasks."""
    return [
        tag_task(name, kind)
        for name, entry in outputs.items()
        for kind in tag_token_ids(entry["token_list"])
    ]


def count_sets(
    folder: Path, outputs: Sequence[str], tags: Sequence[str] = ()
) -> Counter[tuple[str, ...]]:
    """Return label set → number of utterances that have labels for exactly these tasks.

    Args:
        folder: a dumped set.
        outputs: names; tags: tasks such as `meaning.l1`.
    """
    sets: dict[str, set[str]] = {}
    for name in outputs:
        for utt_id, text in read_table(folder / f"text.{name}").items():
            labels = sets.setdefault(utt_id, set())
            if text != NA:
                labels |= {name, *(tag_task(name, kind) for kind in split_tags(text)[1])}
    tasks = (*outputs, *tags)
    return Counter(tuple(task for task in tasks if task in labels) for labels in sets.values())


def partly_tagged(
    sets: Mapping[tuple[str, ...], int], tags: Sequence[str]
) -> list[tuple[str, int, int]]:
    """Return tags that only some transcripts of their output have: (tag, with it, without it)."""
    partial = []
    for tag in tags:
        present = sum(count for labels, count in sets.items() if tag in labels)
        missing = sum(
            count
            for labels, count in sets.items()
            if tag not in labels and output_of(tag) in labels
        )
        if present and missing:
            partial.append((tag, present, missing))
    return partial


def check_labels(sets: Mapping[tuple[str, ...], int], folder: Path, outputs: Sequence[str]) -> None:
    """Raise `UserError` for an output that no utterance of the training set has a label for."""
    for name in outputs:
        if not any(name in labels for labels in sets):
            raise UserError(
                f"{folder / f'text.{name}'}: every utterance is unlabelled: '{name}' would never "
                "be trained",
                f"add labels for it, or leave {name} out of the system",
            )


def with_trained_sets(
    config: Mapping[str, Any], sets: Mapping[tuple[str, ...], int]
) -> dict[str, Any]:
    """Return the configuration, its conditioner completed with the training set's label sets."""
    name = config.get("conditioning")
    if name is None:
        return dict(config)
    conf = config.get("conditioning_conf") or {}
    conf = conditioner_class(name).with_label_sets(conf, sets)
    return {**config, "conditioning_conf": conf}
