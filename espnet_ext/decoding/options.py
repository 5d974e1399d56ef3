"""Search options: defaults, checks, and overrides for single outputs."""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.model.config import check_keys

MAX_TOKENS = 10_000  # largest constant for maxlenratio and minlenratio
# ESPnet's asr_inference without options, for comparisons with it.
ESPNET = {"maxlenratio": 0.0, "end_detect": False, "normalize_length": False}


@dataclass(frozen=True)
class SearchOptions:
    """Options of joint CTC/attention beam search (Watanabe et al., 2017), named as in ESPnet.

    Transducers use beam_size, greedy, nbest, penalty, normalize_length, the weights, max_symbols
    and expansion_gamma.
    """

    beam_size: int = 10  # hypotheses kept per utterance; limited to the vocabulary size
    greedy: bool = False  # no search: best CTC path, or the decoder's most probable tokens
    # CTC weight c; the decoder's is 1 − c. Ignored if the output has only one of them. For
    # transducers, the weight of CTC when it re-ranks the final beam.
    ctc_weight: float = 0.3
    penalty: float = 0.0  # length bonus per token
    maxlenratio: float = 0.0  # most tokens per frame; 0: as many as frames; −n: n tokens
    end_detect: bool = False  # detect the end also with a maxlenratio; ESPnet only does without
    minlenratio: float = 0.0  # fewest tokens per frame; −n: n tokens
    normalize_length: bool = False  # rank by score per token
    nbest: int = 1  # hypotheses returned
    lm_weight: float = 0.0  # shallow fusion, if there is a language model
    ngram_weight: float = 0.0  # the same for an n-gram model; its scores are log10, as in ESPnet
    max_symbols: int = 3  # transducer: most labels per frame
    # Transducer: prune labels whose hypothesis is below e^−gamma times the best one; 0: no pruning.
    expansion_gamma: float = 10.0
    batch_frames: int = 3000  # encoder frames per batch, with padding
    times: bool = False  # return token times, for outputs with CTC
    # Options of a head with a search of its own; give them under `outputs`, for outputs with it.
    head_conf: Mapping[str, Any] = field(default_factory=dict)


def with_system_defaults(
    config: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Set the options that a configuration leaves open to the defaults for our systems.

    Fast speech has more letters than encoder frames, so `maxlenratio` is 2, with end detection.

    Args:
        config: a decoding configuration.
        defaults: by output, the values that suit its head (`Head.search_defaults`).
    """
    outputs = _output_overrides(with_defaults(config, defaults))
    for name in defaults:
        overrides = outputs.setdefault(name, {})
        set_keys = config.keys() | overrides.keys()
        if "maxlenratio" not in set_keys:
            overrides["maxlenratio"] = 2.0
            if "end_detect" not in set_keys:
                overrides["end_detect"] = True
    return {**config, "outputs": outputs}


def with_defaults(
    config: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Set the options that a configuration sets neither for all outputs nor for one.

    Args:
        config: a decoding configuration.
        defaults: by output, the default values.

    >>> with_defaults({"beam_size": 2}, {"text": {"ctc_weight": 0.0, "beam_size": 5}})
    {'beam_size': 2, 'outputs': {'text': {'ctc_weight': 0.0}}}
    """
    outputs = _output_overrides(config)
    for name, values in defaults.items():
        overrides = outputs.setdefault(name, {})
        for key, value in values.items():
            if key not in config:
                overrides.setdefault(key, value)
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
    option_names = [option.name for option in dataclasses.fields(SearchOptions)]
    for key in config:
        if not isinstance(key, str):
            raise UserError(f"decoding configuration: key {key!r}", "write names of options")
    shared = {key: value for key, value in config.items() if key != "outputs"}
    check_keys(shared, option_names, "decoding configuration")
    all_overrides = _mapping(config.get("outputs"), "outputs")
    parsed = {}
    for name in outputs:
        overrides = _mapping(all_overrides.get(name), f"outputs.{name}")
        check_keys(overrides, option_names, f"decoding configuration, outputs.{name}")
        parsed[name] = _checked(name, SearchOptions(**{**shared, **overrides}))
    return parsed


def change_options(name: str, options: SearchOptions, changes: Mapping[str, Any]) -> SearchOptions:
    """Return the options of output `name` with some changed, checked as in `parse_options`.

    >>> change_options("meaning", SearchOptions(), {"beam_size": 2}).beam_size
    2
    """
    check_keys(changes, [option.name for option in dataclasses.fields(options)], "search options")
    return _checked(name, dataclasses.replace(options, **changes))


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


def _checked(name: str, options: SearchOptions) -> SearchOptions:
    """Return the options of output `name` with numbers converted.

    Raises:
        UserError: for invalid values.
    """
    _mapping(options.head_conf, f"outputs.{name}.head_conf")
    values = {
        option.name: _checked_value(
            f"{name}: {option.name}", getattr(options, option.name), cast(type, option.type)
        )
        for option in dataclasses.fields(options)
        if option.name != "head_conf"
    }
    options = dataclasses.replace(options, **values)
    if not 0 <= options.ctc_weight <= 1:
        raise UserError(f"{name}: ctc_weight {options.ctc_weight}", "give a number from 0 to 1")
    for key in ("maxlenratio", "minlenratio"):
        value = getattr(options, key)
        if value < 0 and (value != int(value) or value < -MAX_TOKENS):
            remedy = f"for a constant, give minus a whole number of tokens, at most {MAX_TOKENS}"
            raise UserError(f"{name}: {key} {value}", remedy)
    if options.expansion_gamma < 0:
        message = f"{name}: expansion_gamma {options.expansion_gamma}"
        raise UserError(message, "give a number above 0, or 0 for no pruning")
    if options.greedy and options.nbest > 1:
        remedy = "leave nbest out: greedy search finds one hypothesis"
        raise UserError(f"{name}: nbest {options.nbest} with greedy search", remedy)
    return options


def _checked_value(where: str, value: Any, kind: type) -> Any:
    """Return a value of type `kind`: bool, a finite float, or a positive int."""
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 3e-1 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    is_right_type = isinstance(value, int | float if kind is float else kind)
    if not is_right_type or isinstance(value, bool) != (kind is bool):
        raise UserError(f"{where} {value!r}", f"give a {kind.__name__}")
    if kind is float and not abs(value) < float("inf"):
        raise UserError(f"{where} {value!r}", "give a finite number")
    if kind is int and value < 1:
        raise UserError(f"{where} {value!r}", "give a positive integer")
    return value
