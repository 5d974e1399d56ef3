"""What a search can be told, in one frozen record; `outputs` may override it for one output."""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.model.config import check_keys

MOST_TOKENS = 10_000
# What ESPnet's asr_inference does if it is told nothing.
ESPNET = {"maxlenratio": 0.0, "end_detect": False, "normalize_length": False}


@dataclass(frozen=True)
class SearchOptions:
    """Options of joint CTC/attention beam search (Watanabe et al., 2017), as ESPnet names them.

    Transducers obey beam_size, greedy, nbest, penalty, normalize_length, the weights (ctc_weight in
    the ranking of the last beam) and the two of their own.
    """

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
    max_symbols: int = 3  # labels that a transducer says in one frame, at most
    expansion_gamma: float = 10.0  # and only those worth e^-gamma of its best hypothesis; 0: all
    batch_frames: int = 3000  # encoder frames (padded) decoded together
    times: bool = False  # also say when each token was said; of branches with CTC
    # options of a head that has a search of its own; under `outputs`, for the outputs that have it
    head_conf: Mapping[str, Any] = field(default_factory=dict)


def suited(config: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a configuration that sets what it leaves open to what suits our systems.

    Fast speech has more letters than encoder frames, so `maxlenratio` is 2. An option that is
    given, for all outputs or for one, stays as it is.

    Args:
        defaults: by output, the values that suit its head (`Head.search_defaults`).
    """
    outputs = _by_output(with_defaults(config, defaults))
    for name in defaults:
        entry = outputs.setdefault(name, {})
        set_keys = config.keys() | entry.keys()
        if "maxlenratio" not in set_keys:
            entry["maxlenratio"] = 2.0
            if "end_detect" not in set_keys:
                entry["end_detect"] = True
    return {**config, "outputs": outputs}


def with_defaults(
    config: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a configuration with values for options that it sets neither for all nor for one.

    >>> with_defaults({"beam_size": 2}, {"text": {"ctc_weight": 0.0, "beam_size": 5}})
    {'beam_size': 2, 'outputs': {'text': {'ctc_weight': 0.0}}}
    """
    outputs = _by_output(config)
    for name, values in defaults.items():
        entry = outputs.setdefault(name, {})
        for key, value in values.items():
            if key not in config:
                entry.setdefault(key, value)
    return {**config, "outputs": outputs}


def parse_options(config: Mapping[str, Any], outputs: list[str]) -> dict[str, SearchOptions]:
    """Options for each output: the shared ones, then those under `outputs.<name>`.

    >>> parse_options({"beam_size": 5, "outputs": {"meaning": {"beam_size": 2}}}, ["meaning"])[
    ...     "meaning"].beam_size
    2
    """
    known = [field.name for field in dataclasses.fields(SearchOptions)]
    odd = [key for key in config if not isinstance(key, str)]
    if odd:
        raise UserError(f"decoding configuration: key {odd[0]!r}", "write names of options")
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


def _by_output(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A copy of what is said of single outputs."""
    special = _mapping(config.get("outputs"), "outputs")
    return {name: dict(_mapping(own, f"outputs.{name}")) for name, own in special.items()}


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise UserError(
            f"decoding configuration: {where}: {value!r} is not a mapping",
            "write options under the name of an output",
        )
    return value or {}


def read_options(path: str | Path) -> dict[str, Any]:
    """Read a decoding configuration (a YAML mapping)."""
    return read_yaml(path, missing="give conf/decode.yaml")


def _check(name: str, options: SearchOptions) -> SearchOptions:
    _mapping(options.head_conf, f"outputs.{name}.head_conf")
    for option in dataclasses.fields(options):
        value = getattr(options, option.name)
        if option.name == "head_conf":
            continue
        if option.type is float and isinstance(value, str):  # YAML 1.1 reads 3e-1 as a text
            with contextlib.suppress(ValueError):
                value = float(value)
                options = dataclasses.replace(options, **{option.name: value})
        wanted = (int, float) if option.type is float else option.type
        if not isinstance(value, wanted) or isinstance(value, bool) != (option.type is bool):
            raise UserError(f"{name}: {option.name} {value!r}", f"give a {option.type.__name__}")
        if option.type is float and not abs(value) < float("inf"):
            raise UserError(f"{name}: {option.name} {value!r}", "give a finite number")
        if option.type is int and value < 1:
            raise UserError(f"{name}: {option.name} {value!r}", "give a positive integer")
    if not 0 <= options.ctc_weight <= 1:
        raise UserError(f"{name}: ctc_weight {options.ctc_weight}", "give a number from 0 to 1")
    for key in ("maxlenratio", "minlenratio"):
        value = getattr(options, key)
        if value < 0 and (value != int(value) or value < -MOST_TOKENS):
            remedy = f"give a whole number of tokens below 0, at most {MOST_TOKENS}"
            raise UserError(f"{name}: {key} {value}", remedy)
    if options.expansion_gamma < 0:
        message = f"{name}: expansion_gamma {options.expansion_gamma}"
        raise UserError(message, "give a number above 0, or 0 to try all labels")
    if options.greedy and options.nbest > 1:
        raise UserError(f"{name}: nbest {options.nbest}", "greedy decoding finds one: leave it out")
    return options


def change_options(name: str, options: SearchOptions, changes: Mapping[str, Any]) -> SearchOptions:
    """The options of output `name` with some changed, checked as those of a configuration.

    >>> change_options("meaning", SearchOptions(), {"beam_size": 2}).beam_size
    2
    """
    check_keys(changes, [field.name for field in dataclasses.fields(options)], "search options")
    return _check(name, dataclasses.replace(options, **changes))
