"""Whether two systems were decoded with equal options.

A difference of their error rates may come from a search option instead. The options are those of
`decode.json` in the folders of hypotheses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_ext.analysis.training_options import Difference
from espnet_ext.files import flat_items, read_json

_OF_RECOGNISER = ("weights", "precision", "segment_seconds")
_OF_OUTPUT = ("lms", "ngrams")  # output → its language model
_NO_EFFECT = ("batch_frames", "times", "nbest")
# These differ between kinds of heads, as each kind has defaults or options of its own.
_OF_HEADS = ("ctc_weight", "maxlenratio", "end_detect", "normalize_length", "penalty")


def decoding_differences(
    first: Path, second: Path, output: str, *, same_head: bool
) -> list[Difference]:
    """Return the options that differ between two decodings, as far as they affect one output.

    Variants of a decoding (canonical forms, coupling) are left out: systems are named after them.

    Args:
        first, second: folders of hypotheses.
        output: the output that both systems have.
        same_head: whether both systems have the same kind of head for it. If not, options with
            other defaults in each kind are left out.

    Returns:
        One item (option, its values) per option; none if an option or a file is absent, as for
        hypotheses of other recognisers.
    """
    a, b = (_options(folder, output, same_head) for folder in (first, second))
    return [
        (f"{name} of decoding", str(a[name]), str(b[name]))
        for name in sorted(a.keys() & b.keys())
        if a[name] != b[name]
    ]


def _options(folder: Path, output: str, same_head: bool) -> dict[str, Any]:
    path = folder / "decode.json"
    record = read_json(path) if path.is_file() else {}
    if not isinstance(record, Mapping):
        return {}
    ignored = _NO_EFFECT if same_head else (*_NO_EFFECT, *_OF_HEADS)
    search = (record.get("options") or {}).get(output) or {}
    found = {name: record[name] for name in _OF_RECOGNISER if name in record}
    found |= {name: record[name].get(output) for name in _OF_OUTPUT if name in record}
    return found | {
        name: value
        for name, value in flat_items(search)
        if name not in ignored and (same_head or not name.startswith("head_conf"))
    }
