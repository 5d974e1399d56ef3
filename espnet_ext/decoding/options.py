"""Search options: defaults, checks, and overrides for single outputs."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.model.config import check_keys
from espnet_ext.model.heads.search_options import SearchOptions, checked, fill_in, option_names

if TYPE_CHECKING:  # it loads torch
    from espnet_ext.model.heads.base import Head

__all__ = [
    "ESPNET",
    "SearchOptions",
    "change_options",
    "describe",
    "parse_options",
    "read_options",
    "with_defaults",
]

# ESPnet's asr_inference without options, for comparisons with it.
ESPNET = {"maxlenratio": 0.0, "end_detect": False, "normalize_length": False}


def with_defaults(
    config: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Set the options that a configuration sets neither for all outputs nor for one.

    A default of `end_detect` only applies together with the default of `maxlenratio`.

    Args:
        config: a decoding configuration.
        defaults: output → its default values (`Head.default_search`).

    >>> with_defaults({"beam_size": 2}, {"text": {"ctc_weight": 0.0, "beam_size": 5}})
    {'beam_size': 2, 'outputs': {'text': {'ctc_weight': 0.0}}}
    """
    outputs = _output_overrides(config)
    for name, values in defaults.items():
        overrides = outputs.setdefault(name, {})
        outputs[name] = fill_in(overrides, values, config.keys() | overrides.keys())
    return {**config, "outputs": outputs}


def parse_options(config: Mapping[str, Any], outputs: list[str]) -> dict[str, SearchOptions]:
    """Return the options of each output: shared ones, overridden by those in `outputs.<name>`.

    Overrides for other outputs are ignored, as one configuration serves several systems.

    Raises:
        UserError: for unknown options and invalid values.

    >>> config = {"beam_size": 5, "outputs": {"meaning": {"beam_size": 2}}}
    >>> options = parse_options(config, ["surface", "meaning"])
    >>> options["surface"].beam_size, options["meaning"].beam_size
    (5, 2)
    """
    for key in config:
        if not isinstance(key, str):
            raise UserError(f"decoding configuration: key {key!r}", "write names of options")
    shared = {key: value for key, value in config.items() if key != "outputs"}
    check_keys(shared, option_names(), "decoding configuration")
    all_overrides = _mapping(config.get("outputs"), "outputs")
    parsed = {}
    for name in outputs:
        overrides = _mapping(all_overrides.get(name), f"outputs.{name}")
        check_keys(overrides, option_names(), f"decoding configuration, outputs.{name}")
        parsed[name] = checked(name, SearchOptions(**{**shared, **overrides}))
    return parsed


def change_options(name: str, options: SearchOptions, changes: Mapping[str, Any]) -> SearchOptions:
    """Return the options of output `name` with some changed, checked as in `parse_options`.

    >>> change_options("meaning", SearchOptions(), {"beam_size": 2}).beam_size
    2
    """
    check_keys(changes, option_names(), "search options")
    return checked(name, dataclasses.replace(options, **changes))


def describe(head: "Head", options: SearchOptions) -> str:
    """Return the options that matter for a head in one line.

    For heads with an attention decoder: `beam_size 10, ctc_weight 0.3, penalty 0, …`.
    """
    values = {name: getattr(options, name) for name in head.search_option_names(options)}
    if values.get("maxlenratio") == 0:
        values["end_detect"] = True  # as in ESPnet
    if options.head_conf:
        values["head_conf"] = dict(options.head_conf)
    return ", ".join(f"{name} {_format(value)}" for name, value in values.items())


def _format(value: Any) -> str:
    """Return a value as in YAML, without a needless fraction."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_options(path: str | Path) -> dict[str, Any]:
    """Read a decoding configuration (a YAML mapping)."""
    return read_yaml(path, missing="give conf/decode.yaml")


def _output_overrides(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a copy of the options of single outputs."""
    all_overrides = _mapping(config.get("outputs"), "outputs")
    return {
        name: dict(_mapping(overrides, f"outputs.{name}"))
        for name, overrides in all_overrides.items()
    }


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise UserError(
            f"decoding configuration: {where}: {value!r} is not a mapping",
            "write options under the name of an output",
        )
    return value or {}
