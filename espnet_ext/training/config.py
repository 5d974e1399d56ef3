"""Configurations: a base YAML, a system's overlay and command-line overrides become one mapping."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Safe YAML that reads 1e-3 as a number (YAML 1.1 alone reads it as a string)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping; a missing or broken file is a `UserError` naming file and line."""
    try:
        with open(path, encoding="utf-8") as handle:
            value = yaml.load(handle, Loader=_Loader)  # a safe loader, see above
    except FileNotFoundError:
        folder = Path(path).parent
        there = sorted(p.stem for p in folder.glob("*.yaml"))
        raise UserError(
            f"{path}: no such configuration", f"there are: {', '.join(there) or 'none'}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}", "correct it") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: must be a mapping of keys to values", "correct it")
    return value


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
