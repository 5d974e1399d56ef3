"""Options of a search, their checks, and those that a head's configuration sets.

Every kind of head has defaults (`Head.search_defaults`). The key `search` of an output overrides
them, so that they belong to the model and not to the name of an output. `decoding.options` merges
them with a decoding configuration.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, cast

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_keys, check_mapping

MAX_TOKENS = 10_000  # largest constant for maxlenratio and minlenratio


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


def option_names() -> list[str]:
    """Return the names of all search options."""
    return [option.name for option in dataclasses.fields(SearchOptions)]


def check_search(search: Any, where: str) -> None:
    """Check the key `search` of an output: default values of search options.

    Raises:
        UserError: for unknown options and invalid values.

    >>> check_search({"normalize_length": True}, "outputs.meaning.search")
    """
    check_mapping(search, where)
    check_keys(search, option_names(), where)
    checked(where, SearchOptions(**search))


def fill_in(
    options: Mapping[str, Any], defaults: Mapping[str, Any], set_keys: Set[str]
) -> dict[str, Any]:
    """Return the options with the defaults of those that are not set.

    A default of `end_detect` only applies together with the default of `maxlenratio`.

    >>> fill_in({"maxlenratio": 1.0}, {"maxlenratio": 2.0, "end_detect": True}, {"maxlenratio"})
    {'maxlenratio': 1.0}
    """
    if "maxlenratio" in set_keys:
        set_keys = {*set_keys, "end_detect"}
    return {**{key: v for key, v in defaults.items() if key not in set_keys}, **options}


def checked(name: str, options: SearchOptions) -> SearchOptions:
    """Return the options of output `name` with numbers converted.

    Raises:
        UserError: for invalid values.
    """
    check_mapping(options.head_conf, f"decoding configuration: outputs.{name}.head_conf")
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
