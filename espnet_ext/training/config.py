"""Configurations: a base YAML, a system's overlay and command-line overrides become one mapping."""

from collections.abc import Mapping
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`overlay` over `base`: mappings are merged key by key, everything else is replaced.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    """
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value
    return merged


def check_known(config: Mapping[str, Any], known: list[str], source: str) -> None:
    """Every top-level key must be an option of the training command."""
    for key in config:
        if key not in known:
            raise UserError(f"{source}: unknown key '{key}'", suggest(str(key), known))
