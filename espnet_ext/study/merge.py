"""Merge files of collected results: of several machines, or of trainings that were made later."""

from collections.abc import Mapping, Sequence
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.study.design import Study
from espnet_ext.study.model_measures import KEYS

_OF_SETTING = ("condition", "language", "share")
_OF_CELL = (*_OF_SETTING, "seed", "system", "set")
_SEPARATE = "report the two files separately"
_TRAINING_DATA = "the training data ({})"
_OF_AUDIO = {
    _TRAINING_DATA.format("train audio"): "the audio of the training set",
    _TRAINING_DATA.format("valid audio"): "the audio of the validation set",
}


def merge(
    study: Study,
    contents: Mapping[str, Mapping[str, Any]],
    *,
    allow_other_options: bool = False,
) -> dict[str, Any]:
    """Return the content of one `cells.json` with the results of several.

    Within a setting (condition, language and share of the training set), training data, updates and
    shared options must be equal, and all options of trainings and decodings of a system. Audio may
    differ, because machines synthesise and resample it with other rounding. `sources` has the
    provenance of the inputs, and `notes` says which settings have other options than others, and
    which trainings of a setting other audio.

    Args:
        contents: name of a file → its content (`collect.read_cells`).
        allow_other_options: allow that a system has other options in another setting.

    Raises:
        UserError: the files do not belong together, or have different results of a cell.
    """
    first_name, first = next(iter(contents.items()))
    cells: dict[tuple, tuple[dict, str]] = {}
    measures: dict[str, dict[tuple, tuple[dict, str]]] = {}
    data: dict[str, dict] = {}
    sources: list[dict] = []
    for name, content in contents.items():
        if content["title"] != first["title"]:
            raise UserError(
                f"{name}: is of the study '{content['title']}', {first_name} of '{first['title']}'",
                "merge files of one study",
            )
        if content.get("quick", False) != first.get("quick", False):
            raise UserError(
                f"{first_name}, {name}: only one of them is of a quick run (--quick true)",
                _SEPARATE,
            )
        _add(cells, content["cells"], _OF_CELL, name)
        for kind, fields in KEYS.items():
            if kind in content:
                _add(measures.setdefault(kind, {}), content[kind], fields, name)
        for key, described in content["data"].items():
            data[key] = _merged_data(data.get(key), described, f"{name}: {key}")
        for source in content.get("sources") or [content.get("provenance") or {}]:
            if source not in sources:
                sources.append(source)
    planned = study.cells()
    order = {
        (c.condition, c.language, c.share, c.seed, c.system): number
        for number, c in enumerate(planned)
    }
    for key, (_, name) in cells.items():
        if key[:-1] not in order:
            raise UserError(
                f"{name}: {_name(key)} is not in the design of the study",
                "add its system, seed, share or condition to study.yaml",
            )
    sets = list(dict.fromkeys(key[-1] for key in cells))
    notes = _check_settings(cells)
    notes += _other_options(cells, allow_other_options)
    notes += [note for content in contents.values() for note in content.get("notes", ())]
    ordered = sorted(cells, key=lambda key: (order[key[:-1]], sets.index(key[-1])))
    return {
        "kind": first["kind"],
        "version": first["version"],
        "title": first["title"],
        **({"quick": True} if first.get("quick") else {}),
        "data": data,
        "cells": [cells[key][0] for key in ordered],
        **{kind: [row for row, _ in rows.values()] for kind, rows in measures.items()},
        "missing": [
            f"{cell} ({dset})"
            for cell, key in zip(planned, order, strict=True)
            for dset in sets
            if (*key, dset) not in cells
        ],
        "notes": list(dict.fromkeys(notes)),
        "sources": sources,
    }


def _add(
    rows: dict[tuple, tuple[dict, str]], added: Sequence[dict], fields: Sequence[str], name: str
) -> None:
    for row in added:
        key = tuple(row.get(field) for field in fields)
        known, known_name = rows.setdefault(key, (row, name))
        if known != row:
            raise UserError(
                f"{name}: {_name(key)}: other results than in {known_name}",
                "remove one of the two; if both trainings are right, training is not deterministic",
            )


def _merged_data(known: dict | None, described: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what is known of a set, with the outputs of both files."""
    known = known or {**described, "tokens": {}}
    for field in {**known, **described}:
        value = described.get(field)
        if field != "tokens" and known.get(field) != value:
            raise UserError(
                f"{name}: other references, speakers or metrics than in an earlier file ({field})",
                _SEPARATE,
            )
    tokens = dict(known["tokens"])
    for output, of_output in described["tokens"].items():
        if tokens.setdefault(output, of_output) != of_output:
            raise UserError(
                f"{name}: other numbers of reference tokens of {output}",
                "score all cells with the same token types",
            )
    return {**known, "tokens": tokens}


def _check_settings(cells: Mapping[tuple, tuple[dict, str]]) -> list[str]:
    """Raise an error unless the trainings of each setting can be compared.

    Returns:
        Notes on settings with several versions of the audio.
    """
    notes: list[str] = []
    seen: dict[tuple, tuple[Any, tuple, str]] = {}
    for key, (cell, name) in cells.items():
        setting, system = key[:3], key[4]
        training = cell["training"]
        values = {
            ("the options of the training", system): training["configuration"],
            ("the options that all systems share", ""): training.get("shared"),
            ("the planned updates", ""): training.get("planned_updates", training["updates"]),
            ("the options of decoding", system): training.get("decoding"),
            **{
                (_TRAINING_DATA.format(table), ""): digest
                for table, digest in training.get("data", {}).items()
            },
        }
        for what, value in values.items():
            if value is None:
                continue
            first, first_key, first_name = seen.setdefault((setting, *what), (value, key, name))
            if first != value and what[0] in _OF_AUDIO:
                notes.append(f"{_name(setting)}: {_OF_AUDIO[what[0]]} is not the same in all files")
            elif first != value:
                raise UserError(
                    f"{name}: {_name(key)}: {what[0]} differ from those of {_name(first_key)} in "
                    f"{first_name}",
                    "train the cells of a setting with the same code, options and data",
                )
    return list(dict.fromkeys(notes))


def _other_options(cells: Mapping[tuple, tuple[dict, str]], allowed: bool) -> list[str]:
    """Return a note for each setting in which a system has other options than in the first one.

    Raises:
        UserError: that is not allowed.
    """
    differing: dict[tuple, list[str]] = {}
    for what, verb in (("configuration", "trained"), ("decoding", "decoded")):
        seen: dict[tuple, tuple[str, tuple]] = {}
        for key, (cell, name) in cells.items():
            value = cell["training"].get(what)
            if value is None:
                continue
            first, first_key = seen.setdefault((key[1], key[4]), (value, key))
            if first == value:
                continue
            if not allowed:
                raise UserError(
                    f"{name}: {_name(key)}: {verb} with other options than {_name(first_key)}",
                    "use the same code and options, or allow others: --allow_other_options true",
                )
            systems = differing.setdefault((verb, key[:3], first_key[:3]), [])
            if key[4] not in systems:
                systems.append(key[4])
    notes = [
        f"{_name(setting)}: {verb} with other options or another version than {_name(first)} "
        f"({', '.join(systems)})"
        for (verb, setting, first), systems in differing.items()
    ]
    unknown = {key[:3] for key, (cell, _) in cells.items() if not cell["training"].get("decoding")}
    if unknown and any(cell["training"].get("decoding") for cell, _ in cells.values()):
        listed = "; ".join(_name(setting) for setting in sorted(unknown))
        notes.append(f"The options of decoding were not recorded, and not compared: {listed}")
    return notes


def _name(key: Sequence[Any]) -> str:
    condition, language, share, *training = key
    words = [condition, language, f"{100 * share:g} %"]
    if training:
        words += [str(training[1]), f"seed {training[0]}"]
    return ", ".join(words)
