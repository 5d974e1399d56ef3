"""Measures of the models of a study, as rows of `cells.json`.

They come from the result files of the analyses `cka`, `swaps` and `probes` of each setting and
seed. All rows have the fields condition, language, share and seed::

    {"similarity": [{"a", "b", "ceiling", "layer", "cka", "null",
                     "output_a", "output_b" (of encoders that one output reads)}],
     "swaps": [{"output", "decoder", "encoder", "encoder_output" (or null), "connection", "rate"}],
     "probes": [{"task", "system", "output" (or null), "layer", "accuracy"}]}

Similarity and probes are those of the last encoder layer, and probes those of output tokens.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from espnet_ext.files import read_json
from espnet_ext.study.design import OUTPUTS, Setting, Study, analysis_file

TWIN = "~twin"  # suffix of a model in the results of CKA: the same system with another seed
_ENCODER_OUTPUT = "output"  # a layer of `probes`: above all numbered layers
_OF_SETTING = ("condition", "language", "share", "seed")
# Kind of rows → what identifies a row
KEYS = {
    "similarity": (*_OF_SETTING, "a", "b", "ceiling", "output_a", "output_b"),
    "swaps": (*_OF_SETTING, "output", "decoder", "encoder", "encoder_output", "connection"),
    "probes": (*_OF_SETTING, "task", "system", "output"),
}


def read_measures(study: Study, root: str | os.PathLike) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each kind from all files of a study's experiments that exist.

    The kinds of analyses that the study does not have are left out, except `similarity`.
    """
    kinds: dict[str, tuple[str, Callable[[Mapping], Iterator[dict]]]] = {
        "similarity": ("cka", _similarity),
        "swaps": ("swaps", _swaps),
        "probes": ("probes", _probes),
    }
    measures: dict[str, list[dict[str, Any]]] = {}
    for kind, (analysis, rows_of) in kinds.items():
        if kind != "similarity" and analysis not in study.analyses:
            continue
        measures[kind] = [
            {**_place(setting, seed), **row}
            for setting in study.settings()
            for seed in study.seeds
            for path in [analysis_file(root, setting, seed, analysis)]
            if path.is_file()
            for row in rows_of(read_json(path))
        ]
    return measures


def _place(setting: Setting, seed: int) -> dict[str, Any]:
    return {
        "condition": setting.condition,
        "language": setting.language,
        "share": setting.share,
        "seed": seed,
    }


def _similarity(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for pair in result["pairs"]:
        last = pair["curve"][-1]
        null = last.get("measures", {}).get("cka", {}).get("null") or {}
        yield {
            "a": pair["a"].removesuffix(TWIN),
            "b": pair["b"].removesuffix(TWIN),
            "ceiling": pair["ceiling"],
            "layer": last["layer"],
            "cka": last["debiased"],
            "null": null.get("mean"),
            **{key: pair[key] for key in ("output_a", "output_b") if key in pair},
        }


def _swaps(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in result["rows"]:
        yield {
            "output": row["output"],
            "decoder": row["decoder"],
            "encoder": row["encoder"],
            "encoder_output": row.get("encoder_output"),
            "connection": row["connection"],
            "rate": row["rate"],
        }


def _probes(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    last: dict[tuple, Mapping[str, Any]] = {}
    for row in result["rows"]:  # layers from the bottom
        key = (row["task"], row["system"], row.get("output"))
        if key not in last or last[key]["layer"] != _ENCODER_OUTPUT:
            last[key] = row
    for (task, system, output), row in last.items():
        if task in OUTPUTS:
            yield {
                "task": task,
                "system": system,
                "output": output,
                "layer": row["layer"],
                "accuracy": row["accuracy"],
            }
