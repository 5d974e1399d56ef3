"""Merge configuration mappings, and check their top-level keys."""

from collections.abc import Mapping
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `overlay` merged into it: mappings key by key, other values replaced.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    """
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merge(old, value)
        merged[key] = value
    return merged


def check_known(config: Mapping[str, Any], known: list[str], source: str) -> None:
    """Raise `UserError` for the first top-level key that is not in `known`."""
    for key in config:
        if key not in known:
            raise UserError(f"{source}: unknown key '{key}'", suggest(str(key), known))
