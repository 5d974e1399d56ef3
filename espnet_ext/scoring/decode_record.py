"""The options of a decoding, as recorded in `decode.json`, that can change its hypotheses."""

from collections.abc import Mapping
from typing import Any

from espnet_ext.files import flat_items

_OF_RECOGNISER = ("weights", "precision", "segment_seconds")
_OF_OUTPUT = ("lms", "ngrams")  # output → its language model
_NO_EFFECT = ("batch_frames", "times", "nbest")
# These differ between kinds of heads, as each kind has defaults or options of its own.
_OF_HEADS = ("ctc_weight", "maxlenratio", "end_detect", "normalize_length", "penalty")


def compared_options(record: Any, output: str, *, same_head: bool) -> dict[str, Any]:
    """Return the options that must be equal in two decodings for a comparison of one output.

    Variants of a decoding (canonical forms, coupling) are left out: systems are named after them.

    Args:
        record: content of `decode.json`.
        output: name of the output.
        same_head: whether both systems have the same kind of head for it. If not, options with
            other defaults in each kind are left out.
    """
    if not isinstance(record, Mapping):
        return {}
    ignored = _NO_EFFECT if same_head else (*_NO_EFFECT, *_OF_HEADS)
    search = (record.get("options") or {}).get(output) or {}
    compared = {name: record[name] for name in _OF_RECOGNISER if name in record}
    compared |= {name: record[name].get(output) for name in _OF_OUTPUT if name in record}
    return compared | {
        name: value
        for name, value in flat_items(search)
        if name not in ignored and (same_head or not name.startswith("head_conf"))
    }
