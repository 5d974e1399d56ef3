"""What a search can be told, in one frozen record; `outputs` may override it for one output."""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_keys


@dataclass(frozen=True)
class SearchOptions:
    """Options of joint CTC/attention beam search (Watanabe et al., 2017), as ESPnet names them."""

    beam_size: int = 10  # hypotheses kept; never more than the vocabulary
    greedy: bool = False  # no search: the best path of CTC, or else the decoder's likeliest tokens
    ctc_weight: float = 0.3  # c; the decoder has 1 − c. Ignored by branches that have only one
    penalty: float = 0.0  # length bonus a token
    maxlenratio: float = 0.0  # 0: as many tokens as frames; negative: a constant
    end_detect: bool = False  # stop early also with a maxlenratio, as ESPnet does without
    minlenratio: float = 0.0
    normalize_length: bool = False  # rank by score per token
    nbest: int = 1  # hypotheses given back
    lm_weight: float = 0.0  # shallow fusion, where a language model is given
    ngram_weight: float = 0.0  # the same of an n-gram model (logarithms to base 10, as ESPnet's)
    batch_frames: int = 3000  # encoder frames (padded) decoded together
    times: bool = False  # also say when each token was said; of branches with CTC


def parse_options(config: Mapping[str, Any], outputs: list[str]) -> dict[str, SearchOptions]:
    """Options for each output: the shared ones, then those under `outputs.<name>`.

    >>> parse_options({"beam_size": 5, "outputs": {"meaning": {"beam_size": 2}}}, ["meaning"])[
    ...     "meaning"].beam_size
    2
    """
    known = [field.name for field in dataclasses.fields(SearchOptions)]
    shared = {key: value for key, value in config.items() if key != "outputs"}
    check_keys(shared, known, "decoding configuration")
    special = _mapping(config.get("outputs"), "outputs")
    # A configuration serves systems that lack an output, so any output name is taken.
    parsed = {}
    for name in outputs:
        own = _mapping(special.get(name), f"outputs.{name}")
        check_keys(own, known, f"decoding configuration, outputs.{name}")
        parsed[name] = _check(name, SearchOptions(**{**shared, **own}))
    return parsed


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise UserError(
            f"decoding configuration: {where}: {value!r} is not a mapping",
            "write options under the name of an output",
        )
    return value or {}


def read_options(path: str | Path) -> dict[str, Any]:
    """Read a decoding configuration (YAML mapping)."""
    import yaml

    try:
        with open(path, encoding="utf-8") as handle:
            options = yaml.safe_load(handle) or {}
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such decoding configuration", "give conf/decode.yaml"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}", "correct it") from None
    if not isinstance(options, dict):
        raise UserError(f"{path}: must be a mapping of keys to values", "correct it")
    return options


def _check(name: str, options: SearchOptions) -> SearchOptions:
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.type is float and isinstance(value, str):  # YAML 1.1 reads 3e-1 as a text
            with contextlib.suppress(ValueError):
                value = float(value)
                options = dataclasses.replace(options, **{field.name: value})
        wanted = (int, float) if field.type is float else field.type
        if not isinstance(value, wanted) or isinstance(value, bool) != (field.type is bool):
            raise UserError(f"{name}: {field.name} {value!r}", f"give a {field.type.__name__}")
        if field.type is float and not abs(value) < float("inf"):
            raise UserError(f"{name}: {field.name} {value!r}", "give a finite number")
        if field.type is int and value < 1:
            raise UserError(f"{name}: {field.name} {value!r}", "give a positive integer")
    if not 0 <= options.ctc_weight <= 1:
        raise UserError(f"{name}: ctc_weight {options.ctc_weight}", "give a number from 0 to 1")
    for key in ("maxlenratio", "minlenratio"):
        if -1 < getattr(options, key) < 0:
            raise UserError(
                f"{name}: {key} {getattr(options, key)}", "give a whole number of tokens below 0"
            )
    return options


def change_options(name: str, options: SearchOptions, changes: Mapping[str, Any]) -> SearchOptions:
    """The options of output `name` with some changed, checked as those of a configuration.

    >>> change_options("meaning", SearchOptions(), {"beam_size": 2}).beam_size
    2
    """
    check_keys(changes, [field.name for field in dataclasses.fields(options)], "search options")
    return _check(name, dataclasses.replace(options, **changes))
