"""Merge configuration mappings, and check their top-level keys."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.model.config import suggest

_UNSET = object()


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


def merge_overlay(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with a system's overlay merged into it.

    If the overlay names another class of a part (`encoder`, `optim`, …), the options of the base's
    class (`encoder_conf`) are left out, because the other class has other options.

    >>> base = {"encoder": "conformer", "encoder_conf": {"macaron_style": True}}
    >>> merge_overlay(base, {"encoder": "transformer", "encoder_conf": {"num_blocks": 2}})
    {'encoder': 'transformer', 'encoder_conf': {'num_blocks': 2}}
    """
    changed = [key for key, value in overlay.items() if key in base and base[key] != value]
    unused = {f"{key}_conf" for key in changed}
    return merge({key: value for key, value in base.items() if key not in unused}, overlay)


def use_checkpoint(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return the configuration with `model` in the `*_conf` of every part that is `pretrained`.

    Args:
        model: folder of a checkpoint, or its name on the Hugging Face hub.
    Raises:
        UserError: if no part is `pretrained`.
    """
    change = {
        f"{part}_conf": {"model": model}
        for part in ("frontend", "encoder", "decoder")
        if config.get(part) == "pretrained"
    }
    outputs = {
        name: {"decoder_conf": {"model": model}}
        for name, output in (config.get("outputs") or {}).items()
        if output.get("decoder") == "pretrained"
    }
    if not change and not outputs:
        raise UserError(
            f"--pretrained {model}: the configuration has no part that is pretrained",
            "choose a configuration with frontend: pretrained and encoder: pretrained, for example "
            "--asr_config train_whisper_base.yaml",
        )
    return merge(config, {**change, **({"outputs": outputs} if outputs else {})})


_WITHOUT_DECODER = ("ctc", "transducer")  # branches that ignore `decoder`


def with_decoder_language(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration with the language of pre-trained decoders, unless it is set.

    Args:
        folder: the training set. Its `utt2lang` gives the language.
    Raises:
        UserError: if the set has utterances of no language, or of several.
    """
    changes = {}
    outputs = config.get("outputs")
    for name, output in outputs.items() if isinstance(outputs, Mapping) else ():
        if not isinstance(output, Mapping):
            continue  # `parse_outputs` reports it
        if output.get("branch") in _WITHOUT_DECODER:
            continue
        conf = {**(config.get("decoder_conf") or {}), **(output.get("decoder_conf") or {})}
        if output.get("decoder", config.get("decoder")) != "pretrained" or "language" in conf:
            continue
        table = folder / "utt2lang"
        languages = sorted(set(read_table(table).values()) - {NA}) if table.is_file() else []
        if len(languages) != 1:
            raise UserError(
                f"{table}: the pre-trained decoder of '{name}' needs one language, but the "
                f"training set has {', '.join(languages) or 'none'}",
                "set decoder_conf.language in the training configuration",
            )
        changes[name] = {"decoder_conf": {"language": languages[0]}}
    return merge(config, {"outputs": changes}) if changes else dict(config)


def check_known(config: Mapping[str, Any], known: list[str], source: str) -> None:
    """Raise `UserError` for the first top-level key that is not in `known`."""
    for key in config:
        if key not in known:
            raise UserError(f"{source}: unknown key '{key}'", suggest(str(key), known))


@contextmanager
def naming_the_file(
    config: Path, overlays: Sequence[Path], options: Sequence[str] = ()
) -> Iterator[None]:
    """Prefix the messages of UserErrors about configuration keys with the file that sets the key.

    The configuration is merged before it is checked, so that the checks name its base or no file.
    A key that no file sets, or that an option of the command replaces, leaves the message as it is.

    Args:
        options: further options of ESPnet's training command.
    """
    try:
        yield
    except UserError as error:
        message = error.message.removeprefix(f"{config}: ")
        keys = _keys_of(message, is_check=message != error.message)
        option_names = {word.partition("=")[0] for word in options if word.startswith("--")}
        is_option = bool(keys) and f"--{keys[0]}" in option_names
        source = None if is_option else _file_of_key(keys, [*reversed(overlays), config])
        if source and type(error) is UserError:
            raise UserError(f"{source}: {message}", error.remedy) from error
        raise


def _keys_of(message: str, *, is_check: bool) -> list[str]:
    """Return the keys at the start of a message: "outputs.surface.branch: …" or so.

    Args:
        is_check: the message is certainly of a check of the configuration. Then no colon is needed.

    >>> _keys_of("outputs.surface: unknown key 'ctc'", is_check=False)
    ['outputs', 'surface', 'ctc']
    >>> _keys_of("seed 3 differs", is_check=False), _keys_of("seed 3 is odd", is_check=True)
    ([], ['seed'])
    """
    if top := re.match(r"unknown key '([^']*)'", message):
        return [top[1]]
    match = re.match(r"([a-z]\w*(?:\.\w+)*)(:?)(?: unknown key '([^']*)')?", message)
    if not match or not (match[2] or is_check):
        return []
    return [*match[1].split("."), *([match[3]] if match[3] is not None else [])]


def _file_of_key(keys: Sequence[str], files: Sequence[Path]) -> Path | None:
    """Return the first file that sets a key (its path from the top)."""
    for file in files if keys else ():
        value: Any = read_yaml(file)
        for key in keys:
            value = value.get(key, _UNSET) if isinstance(value, Mapping) else _UNSET
        if value is not _UNSET:
            return file
    return None
