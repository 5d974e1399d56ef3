"""Checks of configuration values, and the keys that every output has.

Imports no torch, so that a command can check a configuration at once.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError, did_you_mean
from espnet_ext.model.archive import META

TEXT_PREFIX = "text_"  # a batch holds text_<output> and text_<output>_lengths
_MAX_PARENTS = 3  # folders above the model's in which files are looked for
_MAX_DEPTH = 10  # up to this many if they are archives of ESPnet
UNLABELLED = -2  # the one token id of a row that has no transcript


@dataclass(frozen=True)
class OutputConfig:
    """Configuration keys of every output. The `Options` of a head add its own."""

    branch: str = "ctc_attention"  # the kind of head, see model.heads.registry
    token_type: str = "char"  # char, jamo, phone, word, bpe, label
    token_list: str | Sequence[str] | None = None  # path of tokens.txt, or the tokens
    bpemodel: str | None = None  # SentencePiece model, for token_type bpe
    # Defaults of search options, e.g. {normalize_length: true}, instead of those of the branch
    search: Mapping[str, Any] = field(default_factory=dict)


def places_of(folder: Path) -> list[Path]:
    """Return where relative paths in the config.yaml of a model may start, in order.

    They are relative to the folder in which training was started. That is the model's folder, or
    one that contains it: recipes have it in exp/<name> or exp/<lang>/<name>. In an unpacked archive
    of ESPnet, it is the folder of the archive. The current folder is the last choice, since it may
    be another recipe, with a file of the same name.
    """
    parents = folder.resolve().parents
    packs = [path for path in parents[_MAX_PARENTS:_MAX_DEPTH] if (path / META).is_file()]
    return [folder, *parents[:_MAX_PARENTS], *packs, Path()]


def suggest(unknown: str, known: Sequence[str]) -> str:
    """Return a remedy for a misspelt name: the most similar known name, or all of them."""
    return did_you_mean(str(unknown), known, f"use one of: {', '.join(sorted(known))}")


def sample_rate_of(config: Mapping[str, Any]) -> int:
    """Return the sample rate in Hz that a model is trained with.

    >>> sample_rate_of({"frontend_conf": {"fs": "16k"}}), sample_rate_of({})
    (16000, 16000)
    """
    rate = (config.get("frontend_conf") or {}).get("fs", 16000)
    try:
        if isinstance(rate, str):  # ESPnet accepts "16k"
            rate = float(rate[:-1]) * 1000 if rate.endswith("k") else rate
        return int(rate)
    except (TypeError, ValueError):
        raise UserError(f"frontend_conf.fs {rate!r}", "write it in Hz, e.g. 16000") from None


def check_weight(value: Any, where: str) -> None:
    """Raise `UserError` unless a value is a finite number, 0 or more."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < float("inf"):
        raise UserError(f"{where}: {value!r}", "give a number, 0 or more")


def check_count(value: Any, where: str, least: int) -> None:
    """Raise `UserError` unless a value is a whole number, `least` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{where}: {value!r}", f"write a whole number, {least} or more")


def check_smoothing(value: Any, where: str) -> None:
    """Raise `UserError` unless a value is a number from 0 to below 1."""
    check_weight(value, where)
    if value >= 1:
        raise UserError(f"{where}: {value!r}", "give a number from 0 to below 1")


def check_mapping(value: Any, where: str) -> None:
    """Raise `UserError` unless a value is a mapping."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {value!r} is not a mapping", "write key: value below it")


def check_keys(mapping: Iterable[str], known: Sequence[str], where: str) -> None:
    """Raise `UserError` naming the first key of `mapping` that is not known."""
    for key in mapping:
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'", suggest(str(key), known))


def check_conf(
    conf: Mapping[str, Any], build: type, where: str, reserved: Sequence[str] = ()
) -> None:
    """Check the keys of a `*_conf` mapping against the parameters of a constructor.

    Args:
        reserved: parameters that a configuration must not set.
    """
    parameters = inspect.signature(build).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    check_keys(conf, [name for name in parameters if name not in reserved], where)


def construct(
    build: type, conf: Mapping[str, Any], where: str, arguments: Mapping[str, Any]
) -> Any:
    """Return `build(**arguments, **conf)`.

    Args:
        conf: keyword arguments from a configuration; they must not be among `arguments`.
        where: names the configuration in messages.
    Raises:
        UserError: if the constructor raises an error about its arguments.
    """
    from typeguard import TypeCheckError

    check_conf(conf, build, where, tuple(arguments))
    try:
        return build(**arguments, **conf)
    except (
        AssertionError,
        TypeError,
        ValueError,
        KeyError,
        RuntimeError,
        NotImplementedError,
        TypeCheckError,  # ESPnet's constructors check the types of their arguments with typeguard
    ) as error:
        reason = str(error).strip().partition("\n")[0] or "its values contradict each other"
        raise UserError(
            f"{where}: not valid for {build.__name__}: {reason}", f"correct the values in {where}"
        ) from error
