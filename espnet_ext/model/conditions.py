"""Conditions: labels of utterances, such as the band, that a conditioner or an encoder reads.

The condition `band` is in the file `utt2band` of a data directory. A conditioner or an encoder
names its conditions in the class attribute `conditions`. The configuration of a trained model has
the values of each (`conditions: {band: [narrow, wide]}`). The id of a value is its position.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.conditioning.registry import conditioner_class
from espnet_ext.model.config import check_keys, check_mapping, suggest


def condition_file(name: str) -> str:
    """Return the name of the file with a condition, in a data directory."""
    return f"utt2{name}"


def names_of(*parts: object) -> tuple[str, ...]:
    """Return the conditions that conditioners and encoders (objects or classes) read."""
    return tuple(dict.fromkeys(name for part in parts for name in getattr(part, "conditions", ())))


def configured_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the conditions that the conditioner and the encoder of a configuration read."""
    names: list[str] = []
    if config.get("conditioning") is not None:
        conf = config.get("conditioning_conf") or {}
        check_mapping(conf, "conditioning_conf")
        names += conditioner_class(config["conditioning"]).conditions_of(conf)
    if config.get("encoder") is not None:
        names += names_of(espnet.resolve("encoder", config["encoder"]))
    return tuple(dict.fromkeys(names))


def values_of(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of conditions in a configuration.

    Raises:
        UserError: if values are missing or not lists of different strings, or if nothing reads a
            condition of the configuration.
    """
    conditions = config.get("conditions") or {}
    if not isinstance(conditions, Mapping):
        raise UserError(f"conditions: {conditions!r}", "write {band: [narrow, wide]}")
    for name in conditions:
        if name not in names:
            raise UserError(
                f"conditions: neither conditioning nor encoder reads '{name}'",
                "remove it" if not names else suggest(str(name), names),
            )
    values = {}
    for name in names:
        listed = conditions.get(name)
        if listed is None:
            raise UserError(
                f"conditions: the values of '{name}' are missing",
                f"list them, for example conditions: {{{name}: [a, b]}}, or train by run.sh, "
                f"which reads them in {condition_file(name)} of the training set",
            )
        is_list = isinstance(listed, list | tuple) and len(listed) > 0
        if not is_list or not all(isinstance(value, str) for value in listed):
            raise UserError(f"conditions.{name}: {listed!r}", "give a list of quoted strings")
        if len(set(listed)) < len(listed):
            raise UserError(f"conditions.{name}: {listed}: a value occurs twice", "name each once")
        values[name] = tuple(listed)
    return values


def ids_of(
    values: Mapping[str, Sequence[str]], labels: Mapping[str, str | Sequence[str]], count: int
) -> dict[str, list[int]]:
    """Return the value ids of conditions for some utterances.

    Args:
        values: condition → its known values.
        labels: condition → value of all utterances, or a value for each.
        count: number of utterances.

    Raises:
        UserError: if a condition is missing or unknown, or has an unknown value.

    >>> ids_of({"band": ["narrow", "wide"]}, {"band": ["wide", "narrow"]}, 2)
    {'band': [1, 0]}
    """
    _check_names(values, labels)
    ids = {}
    for name, known in values.items():
        if name not in labels:
            raise UserError(
                f"no value of the condition '{name}', which the model reads",
                f"give conditions={{'{name}': '{known[0]}'}}, or the option conditions of "
                f"transcribe, judge and serve: {name}={known[0]}; the values are "
                f"{', '.join(known)}",
            )
        of_each = labels[name]
        of_each = [of_each] * count if isinstance(of_each, str) else list(of_each)
        if len(of_each) != count:
            raise UserError(
                f"condition '{name}': {len(of_each)} values for {count} utterances",
                "give one value, or one per utterance",
            )
        ids[name] = [_id(name, known, value) for value in of_each]
    return ids


def check_labels(values: Mapping[str, Sequence[str]], labels: Mapping[str, str]) -> None:
    """Check labels that hold for many utterances; conditions of the model may be missing.

    Raises:
        UserError: a condition or a value is unknown.
    """
    _check_names(values, labels)
    for name, value in labels.items():
        _id(name, values[name], value)


def _check_names(values: Mapping[str, Sequence[str]], labels: Iterable[str]) -> None:
    names = list(labels)
    if not values and names:
        raise UserError(
            f"conditions: the model reads no conditions, so not {', '.join(names)}",
            "leave them out",
        )
    check_keys(names, list(values), "conditions")


def _id(name: str, known: Sequence[str], value: str) -> int:
    if value not in known:
        raise UserError(
            f"condition '{name}': '{value}' was not in the training data", suggest(value, known)
        )
    return list(known).index(value)


def tensors_of(ids: Mapping[str, Iterable[int]]) -> dict[str, torch.Tensor]:
    """Return value ids as tensors (B,), for `EncoderRequest.conditions`."""
    return {name: torch.tensor(list(numbers)) for name, numbers in ids.items()}
