"""The `outputs` part of a configuration: the head of each transcript, checked before building.

Weights are absolute: the loss is Σ_o Σ_i weight_oi · loss_oi over the outputs o and the losses i of
their heads. Both the dual-output paper's α·CTC + β·surface + γ·meaning (arXiv 2606.06065) and
ESPnet's c·CTC + (1−c)·ATT can be written so.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model.config import OutputConfig, check_keys
from espnet_ext.model.heads.registry import HEADS, head_class
from espnet_ext.model.heads.search_options import check_search
from espnet_ext.model.heads.side_input_options import reading_order

# Modules of the model beside those of the heads.
_RESERVED = (
    "frontend",
    "specaug",
    "normalize",
    "preencoder",
    "encoder",
    "postencoder",
    "conditioning",
    "objective",
    "shared_decoder",
)
_UNSET: tuple[Any, ...] = (None, {}, 0)


def parse_outputs(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check `config["outputs"]` and return each as its head's `Options`, in the same order.

    >>> config = {"outputs": {"meaning": {"branch": "ctc", "ctc_weight": 1.0}}}
    >>> parse_outputs(config)["meaning"].branch
    'ctc'
    """
    outputs = config.get("outputs")
    if not isinstance(outputs, Mapping) or not outputs:
        raise UserError(
            "the configuration names no outputs",
            "add a system overlay, for example conf/systems/do.yaml",
        )
    parsed = {}
    for name, entry in outputs.items():
        where = f"outputs.{name}"
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", str(name)):
            raise UserError(f"{where}: not a name", "use lower-case letters, digits and _")
        if not isinstance(entry, Mapping):
            raise UserError(f"{where}: must be a mapping", "write key: value below it")
        parsed[name] = _parse(entry, where)
    if "shared" in parsed:
        raise UserError(
            "outputs.shared: its decoder would have the name of the shared decoder",
            "rename the output",
        )
    reading_order(parsed)  # raises errors
    _check_prefixes([m for name, options in parsed.items() for m in module_names(name, options)])
    return parsed


def _parse(entry: Mapping[str, Any], where: str) -> OutputConfig:
    branch = entry.get("branch", OutputConfig.branch)
    head = head_class(branch, f"{where}.branch")
    keys = option_names(head.Options)
    elsewhere = {key: name for name, other in HEADS.items() for key in option_names(other.Options)}
    check_keys(entry, list({**dict.fromkeys(keys), **elsewhere}), where)
    for key, value in entry.items():
        if key not in keys and value not in _UNSET:
            raise UserError(
                f"{where}.{key}: branch '{branch}' does not use {key}",
                f"remove it, or choose branch '{elsewhere[key]}'; the keys of '{branch}' are "
                f"{', '.join(keys)}",
            )
    options = head.Options(**{key: value for key, value in entry.items() if key in keys})
    check_search(options.search, f"{where}.search")
    head.check(options, where)
    return options


def option_names(options: type[OutputConfig]) -> list[str]:
    """Return the configuration keys of a head's `Options`."""
    return [field.name for field in dataclasses.fields(options)]


def module_names(name: str, options: Any) -> list[str]:
    """Return the names of an output's modules in the model."""
    return [f"{name}_{part}" for part in head_class(options.branch).part_names(options)]


def _check_prefixes(names: Sequence[str]) -> None:
    # ESPnet's --init_param and --freeze_param match by bare prefix.
    names = [*names, *_RESERVED]
    for name in names:
        for longer in names:
            if name != longer and longer.startswith(name):
                raise UserError(
                    f"outputs: module '{name}' is a prefix of '{longer}'", "rename the output"
                )
