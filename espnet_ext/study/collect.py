"""Collect the results of all cells into one small file, `cells.json`, and check that they belong
together.

::

    {"kind": "study", "version": 1, "title", "provenance", "quick": true (with --quick true),
     "data": {"valid normal ko": {"sha256", "speakers": [names], "l1": [first languages],
                                  "learner": [edits per 100 tokens, per speaker],
                                  "metrics": {"meaning": "wer"} (those of study.yaml),
                                  "tokens": {"surface": {"0": [per speaker], "1-3": …}, …}}},
     "cells": [{"condition", "language", "share", "seed", "system", "set",
                "errors": {"surface": {"0": [per speaker], …}, …},
                "training": {"seconds", "parameters", "updates" (made), "planned_updates" (without
                             accumulation and early stopping), "commit", "configuration",
                             "shared", "gradient_cosine", "data", "decoding"}}],
     "similarity": […], "swaps": […], "probes": […],           # see `study.model_measures`
     "missing": ["normal, ko, 50 %, do, seed 1 (test)"],
     "notes": [str], "sources": [provenance]}                  # if files were merged

`configuration` (all options), `shared` (those that all systems have in common), `data` and
`decoding` are digests of options and training data (`study.merge` compares them).
Errors and tokens are by bin of divergence (`scoring.divergence`); "none" has utterances without a
bin. The sum over bins is that of all utterances.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.files import read_json, read_json_lines, write_text
from espnet_ext.scoring.counts import align_texts, count_edits
from espnet_ext.scoring.decode_record import compared_options
from espnet_ext.scoring.divergence import LEARNER, measure_references
from espnet_ext.study.design import Cell, Study, folder_of
from espnet_ext.study.model_measures import read_measures
from espnet_ext.study.system_options import OF_DECODING, OF_SYSTEMS

KIND, VERSION = "study", 1
NO_BIN = "none"
_OF_CELLS = ("seed", "num_iters_per_epoch")  # options in which the trainings of a grid may differ
_RERUN = "remove the folder and run the study again"
_DECODE_AGAIN = "decode all cells with the same options"


def collect(
    study: Study, root: str | os.PathLike, sets: Sequence[str], *, require_all: bool = True
) -> dict[str, Any]:
    """Return the content of `cells.json`, without its provenance.

    Args:
        root: folder of the study's experiments.
        sets: names of the decoded sets.
        require_all: raise an error if a cell lacks results. Otherwise it is listed in `missing`.

    Raises:
        UserError: cells are missing, are not in the design, or were not made from the same data
            and options. The message names the cell.
    """
    planned = study.cells()
    _refuse_foreign(study, root, planned)
    collected = _Collection(study)
    missing = []
    for cell in planned:
        folder = folder_of(root, cell)
        for dset in sets:
            if (folder / "decode" / dset / "score.json").is_file():
                collected.add(cell, folder, dset)
            else:
                missing.append(f"{cell} ({dset})")
    if missing and require_all:
        names = "; ".join(missing[:5])
        raise UserError(
            f"{root}: {len(missing)} results are missing: {names}{'; …' if missing[5:] else ''}",
            "run the study until they exist, or collect what exists: --partial true",
        )
    return {
        "kind": KIND,
        "version": VERSION,
        "title": study.title,
        "data": collected.data,
        "cells": collected.cells,
        **read_measures(study, root),
        "missing": missing,
    }


def _refuse_foreign(study: Study, root: str | os.PathLike, planned: Sequence[Cell]) -> None:
    """Raise an error if the folder has trainings that are not in the design."""
    known = {folder_of(root, cell) for cell in planned}
    for path in sorted(Path(root).glob("*/*/share*/*/*_seed*/train.json")):
        if path.parent not in known:
            raise UserError(
                f"{path.parent}: a training that is not in the design of the study",
                "move this folder away, or add its system, seed, share or condition to study.yaml",
            )


class _Collection:
    """Results of cells, and what they must have in common."""

    def __init__(self, study: Study):
        self.study = study
        self.data: dict[str, dict] = {}
        self.cells: list[dict] = []
        # What must be equal → (its value, the first cell that has it)
        self._common: dict[tuple, tuple[Any, Cell]] = {}

    def add(self, cell: Cell, folder: Path, dset: str) -> None:
        """Add the result of a cell on a set."""
        decoded = folder / "decode" / dset
        training = self._training(cell, folder)
        training["decoding"] = self._check_decoding(cell, decoded)
        utterances = read_json(decoded / "utterances.json")
        name = f"{dset} {cell.condition} {cell.language}"
        self._require_equal(
            ("data", name),
            utterances["data_sha256"],
            cell,
            f"the references of {dset}",
            "score all cells again on the same data",
        )
        if name not in self.data:
            self.data[name] = _describe_data(utterances)
            if self.study.metrics:
                self.data[name]["metrics"] = dict(self.study.metrics)
        data = self.data[name]
        errors, tokens = _sum_by_bin(utterances, data["speakers"], self.study.metrics)
        for output, of_output in tokens.items():
            known = data["tokens"].setdefault(output, of_output)
            if known != of_output:
                raise UserError(
                    f"{decoded}: other numbers of reference tokens of {output} than other cells",
                    "score all cells again with the same token types",
                )
        self.cells.append(
            {
                "condition": cell.condition,
                "language": cell.language,
                "share": cell.share,
                "seed": cell.seed,
                "system": cell.system,
                "set": dset,
                "errors": errors,
                "training": training,
            }
        )

    def _training(self, cell: Cell, folder: Path) -> dict[str, Any]:
        """Check what a model was trained with, and return what is recorded of its training."""
        record = read_json(folder / "train.json")
        recorded = read_json(folder / "trained_with.json")
        configuration = recorded["configuration"]
        expected = {
            "seed": cell.seed,
            "num_iters_per_epoch": self.study.batches_per_epoch[cell.language],
        }
        for key, value in expected.items():
            if configuration.get(key) != value:
                raise UserError(
                    f"{folder}: {cell}: was trained with {key} {configuration.get(key)}, "
                    f"not {value}",
                    _RERUN,
                )
        shared = {
            key: value
            for key, value in configuration.items()
            if key not in (*OF_SYSTEMS, *_OF_CELLS)
        }
        options = {**shared, "max_epoch": record["max_epoch"]}
        for key, value in options.items():
            self._require_equal(("option", cell.language, key), value, cell, key, _RERUN)
        of_system = {key: _without_token_lists(configuration.get(key)) for key in OF_SYSTEMS}
        name = f"the options of {cell.system}"
        self._require_equal(("system", cell.language, cell.system), of_system, cell, name, _RERUN)
        for key, digest in recorded["data"].items():
            place = ("trained on", cell.condition, cell.language, cell.share, key)
            name = f"the training data ({key})"
            self._require_equal(place, digest, cell, name, _RERUN)
        return {
            "seconds": record["seconds"],
            "parameters": record["parameters"],
            "updates": _updates(record, configuration),
            "planned_updates": record["max_epoch"] * (expected["num_iters_per_epoch"] or 0),
            "commit": record["provenance"]["commit"],
            "configuration": _digest([options, of_system]),
            "shared": _digest(options),
            "gradient_cosine": _gradient_cosine(folder / "diagnostics.jsonl"),
            "data": {key: _digest(digest) for key, digest in recorded["data"].items()},
        }

    def _check_decoding(self, cell: Cell, decoded: Path) -> str:
        """Check the options of decoding, and return their digest."""
        record = read_json(decoded / "decode.json")
        if record["failed"]:
            raise UserError(
                f"{decoded}: {cell}: {record['failed']} utterances could not be decoded",
                "its log names them; correct the cause and decode again",
            )
        used = [record[key] for key in OF_DECODING]
        name = f"the options of decoding {cell.system}"
        place = ("decoding", cell.language, cell.system)
        self._require_equal(place, used, cell, name, _DECODE_AGAIN)
        for output in record["options"]:
            compared = compared_options(record, output, same_head=False)
            for option, value in compared.items():
                common = ("decoding", cell.language, output, option)
                name = f"{option} of decoding {output}"
                self._require_equal(common, value, cell, name, _DECODE_AGAIN)
        return _digest(used)

    def _require_equal(self, place: tuple, value: Any, cell: Cell, name: str, remedy: str) -> None:
        first, first_cell = self._common.setdefault(place, (value, cell))
        if first != value:
            raise UserError(f"{cell}: {name} differ from those of: {first_cell}", remedy)


def _describe_data(utterances: Mapping[str, Any]) -> dict[str, Any]:
    rows = utterances["utterances"]
    speakers = sorted({row["speaker"] for row in rows})
    l1s = {row["speaker"]: row.get("l1") for row in rows}
    measured = measure_references(
        {row["id"]: row["texts"] for row in rows}, utterances["token_types"]
    )
    pair = LEARNER if LEARNER in measured.pairs else measured.main
    sums = {speaker: [0, 0] for speaker in speakers}
    for row in rows:
        if pair and row["id"] in measured.pairs[pair]:
            distance = measured.pairs[pair][row["id"]]
            sums[row["speaker"]][0] += distance.edits
            sums[row["speaker"]][1] += distance.tokens
    return {
        "sha256": utterances["data_sha256"],
        "speakers": speakers,
        "l1": [l1s[speaker] for speaker in speakers],
        "learner": [round(100.0 * e / n, 3) if n else None for e, n in sums.values()],
        "learner_pair": pair,
        "tokens": {},
    }


def _sum_by_bin(
    utterances: Mapping[str, Any], speakers: Sequence[str], metrics: Mapping[str, str]
) -> tuple[dict[str, dict[str, list[int]]], dict[str, dict[str, list[int]]]]:
    """Return errors and tokens per output, bin of divergence and speaker.

    Args:
        metrics: output → metric, where it is not the main one of the token type.
    """
    rows = utterances["utterances"]
    measured = measure_references(
        {row["id"]: row["texts"] for row in rows}, utterances["token_types"]
    )
    bins = measured.bins.get("distance", {})
    index = {speaker: number for number, speaker in enumerate(speakers)}
    errors: dict[str, dict[str, list[int]]] = {}
    tokens: dict[str, dict[str, list[int]]] = {}
    for row in rows:
        for name, counts in row["cells"].items():
            hypothesis, _, reference = name.partition("-")
            if hypothesis != reference:
                continue
            if metric := metrics.get(reference):
                texts = row["texts"][reference], row["hypotheses"].get(hypothesis, "")
                edits = count_edits(*align_texts([texts[0]], [texts[1]], metric))
                counts = {"errors": edits.errors, "tokens": edits.tokens}
            of_bin = bins.get(row["id"], NO_BIN)
            for sums, key in ((errors, "errors"), (tokens, "tokens")):
                zeros = [0] * len(speakers)
                sums.setdefault(reference, {}).setdefault(of_bin, zeros)
                sums[reference][of_bin][index[row["speaker"]]] += counts[key]
    return errors, tokens


def _updates(record: Mapping[str, Any], configuration: Mapping[str, Any]) -> int:
    """Return the updates of a training: of the epochs until `patience` ended it, if it did."""
    epochs = record.get("epochs", record["max_epoch"])
    batches = configuration.get("num_iters_per_epoch") or 0
    return epochs * (batches // (configuration.get("accum_grad") or 1))


def _gradient_cosine(path: Path) -> float | None:
    """Return the mean cosine of the gradients of surface and meaning over a training."""
    if not path.is_file():
        return None
    cosines = [
        pair["cosine"].get("all")
        for record in read_json_lines(path)
        for pair in (record["gradients"] or {}).get("pairs", ())
        if {pair["a"], pair["b"]} == {"surface", "meaning"}
    ]
    known = [cosine for cosine in cosines if cosine is not None]
    return round(sum(known) / len(known), 5) if known else None


def _without_token_lists(value: Any) -> Any:
    """Return options of outputs without digests of token lists, which depend on the data."""
    if isinstance(value, dict):
        return {k: _without_token_lists(v) for k, v in value.items() if k != "token_list"}
    return value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def is_cells_file(path: Path) -> bool:
    """Return whether a file was written by `write_cells`."""
    content = read_json(path)
    return isinstance(content, dict) and content.get("kind") == KIND


def write_cells(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Write `cells.json` with one line per cell, so that changes are readable in git."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in value)
            parts.append(f"{json.dumps(key)}: [\n{rows}\n]" if rows else f"{json.dumps(key)}: []")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    write_text(path, "{" + ",\n".join(parts) + "}\n")


def read_cells(path: str | os.PathLike) -> dict[str, Any]:
    """Return the content of `cells.json`."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise UserError(f"{path}: is not a file of the command collect", "name cells.json")
    if content["version"] != VERSION:
        raise UserError(f"{path}: version {content['version']}, not {VERSION}", "collect again")
    return content
