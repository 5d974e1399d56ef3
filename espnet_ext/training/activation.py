"""Count label sets: the outputs and inline tags that utterances of a dumped set have labels for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.data.conditions import read_condition
from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.registry import conditioner_class
from espnet_ext.model.conditions import configured_names, values_of
from espnet_ext.text.tags import output_of, split_tags, tag_task, tag_token_ids


def tags_of(outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the task names of the inline tags in the token lists of all outputs."""
    return [
        tag_task(name, kind)
        for name, entry in outputs.items()
        for kind in tag_token_ids(entry["token_list"])
    ]


def count_label_sets(
    folder: Path, outputs: Sequence[str], tags: Sequence[str] = ()
) -> Counter[tuple[str, ...]]:
    """Return label set → number of utterances of a dumped set that have exactly these labels.

    A label set holds names of outputs and tags, in the order of the arguments.
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
    """Return the tags that only some transcripts of their output contain.

    Returns:
        (tag, number of transcripts with the tag, number of transcripts without the tag) for each.
    """
    counts = []
    for tag in tags:
        tagged = sum(count for labels, count in sets.items() if tag in labels)
        untagged = sum(
            count
            for labels, count in sets.items()
            if tag not in labels and output_of(tag) in labels
        )
        if tagged and untagged:
            counts.append((tag, tagged, untagged))
    return counts


def check_training_labels(
    sets: Mapping[tuple[str, ...], int], folder: Path, outputs: Sequence[str]
) -> None:
    """Raise `UserError` if no utterance of the training set is labelled for one of the outputs."""
    for name in outputs:
        if not any(name in labels for labels in sets):
            raise UserError(
                f"{folder / f'text.{name}'}: every utterance is unlabelled, so the output '{name}' "
                "would never be trained",
                f"add labels to this file, or remove the output '{name}' from the system",
            )


def add_label_sets(
    config: Mapping[str, Any], sets: Mapping[tuple[str, ...], int]
) -> dict[str, Any]:
    """Return the configuration with the label sets of the training set in `conditioning_conf`."""
    name = config.get("conditioning")
    if name is None:
        return dict(config)
    conf = config.get("conditioning_conf") or {}
    conf = conditioner_class(name).with_label_sets(conf, sets)
    return {**config, "conditioning_conf": conf}


def add_conditions(config: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """Return the configuration with the values of its conditions (see `model.conditions`).

    They are those of the first folder, sorted, unless the configuration lists them.

    Args:
        folders: the dumped training set and other sets that will be read.

    Raises:
        UserError: if a file is missing, or an utterance has no value or an unknown one.
    """
    names = configured_names(config)
    if not names:
        values_of(config, names)
        return dict(config)
    conditions = dict(config.get("conditions") or {})
    for name in names:
        if name not in conditions:
            conditions[name] = sorted(set(read_condition(folders[0], name).values()))
    values = values_of({"conditions": conditions}, names)
    for folder in folders:
        for name in names:
            read_condition(folder, name, values[name])
    return {**config, "conditions": conditions}
