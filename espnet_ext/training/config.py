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


def use_checkpoint(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return the configuration with `model` in the `*_conf` of every part that is `pretrained`.

    Args:
        model: folder of a checkpoint, or its name on the Hugging Face hub.
    Raises:
        UserError: if no part is `pretrained`.
    """
    parts = [part for part in ("frontend", "encoder") if config.get(part) == "pretrained"]
    if not parts:
        raise UserError(
            f"--pretrained {model}: the configuration has no part that is pretrained",
            "choose a configuration with frontend: pretrained and encoder: pretrained, for example "
            "--asr_config train_whisper_base.yaml",
        )
    return merge(config, {f"{part}_conf": {"model": model} for part in parts})


def check_known(config: Mapping[str, Any], known: list[str], source: str) -> None:
    """Raise `UserError` for the first top-level key that is not in `known`."""
    for key in config:
        if key not in known:
            raise UserError(f"{source}: unknown key '{key}'", suggest(str(key), known))
