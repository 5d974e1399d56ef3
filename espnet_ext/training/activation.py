"""Which outputs the utterances of a training set activate: those that they have labels for."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError


def count_sets(folder: Path, outputs: Sequence[str]) -> Counter[tuple[str, ...]]:
    """How many utterances of a dumped set have labels for exactly which outputs."""
    sets: dict[str, list[str]] = {}
    for name in outputs:
        for utt_id, text in read_table(folder / f"text.{name}").items():
            sets.setdefault(utt_id, [])
            if text != NA:
                sets[utt_id].append(name)
    return Counter(tuple(names) for names in sets.values())


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
    """The configuration with the sets of outputs that training will activate, for inference.

    With `drop_tasks` these are also all parts of the sets that the labels make.
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
        }
    conf["trained"] = [list(one) for one in sorted(found)]
    return {**config, "conditioning_conf": conf}
