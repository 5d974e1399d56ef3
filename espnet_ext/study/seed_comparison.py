"""Compare two systems, each trained with several seeds, without the design of a grid.

The result is a table: each output, on all utterances and per band of the audio, with the absolute
and the relative difference and intervals for other speakers and other seeds (`effects`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.document import (
    Section,
    Table,
    number,
    p_value,
    signed_with_interval,
)
from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.study.effects import FEW_SPEAKERS, compare, critical_values, variance_of_difference
from espnet_ext.study.system_options import OF_DECODING, OF_SYSTEMS

ALL = "all"
_SAME = "decode and score all trainings on the same set"


@dataclass(frozen=True)
class Scores:
    """Errors of the trainings of one system on one set.

    Attributes:
        errors: (output, group) → errors per training and speaker, (R, S).
        tokens: (output, group) → reference tokens per speaker, (S,).
        units: output → what its tokens are ("char", "phone").
        trained: recorded options, data and initial weights of each training.
        decoded: options of each decoding.
    """

    speakers: list[str]
    errors: dict[tuple[str, str], np.ndarray]
    tokens: dict[tuple[str, str], np.ndarray]
    units: dict[str, str]
    references: str  # digest
    trained: list[dict[str, Any]]
    decoded: list[Any]


def read_scores(folders: Sequence[str | Path], dset: str, inference_tag: str = "decode") -> Scores:
    """Return the scores of the trainings of one system.

    Args:
        folders: model directories, one per seed.
        dset: name of the decoded and scored set.
        inference_tag: folder of the decodings in a model directory.

    Raises:
        UserError: a folder lacks scores, or utterances could not be decoded; or the trainings
            differ in more than their seed, have a seed twice, or were decoded with other options or
            scored on other references.
    """
    read: list[tuple[Path, dict, dict, Any]] = []
    for folder in map(Path, folders):
        path = folder / inference_tag / dset / "utterances.json"
        if not path.is_file():
            raise UserError(
                f"{folder}: is not scored on '{dset}': {path} is missing",
                f"decode and score it: run.sh --stage 12 --stop_stage 13 --test_sets {dset}",
            )
        trained = _trained_with(folder)
        read.append((folder, read_json(path), trained, _options_of_decoding(path.parent)))
    _require_equal_options(read)
    first_folder, first, _, first_decoded = read[0]
    for folder, scores, _, decoded in read[1:]:
        if decoded != first_decoded:
            raise UserError(f"{folder}: was decoded with other options than {first_folder}", _SAME)
        if scores["data_sha256"] != first["data_sha256"]:
            raise UserError(f"{folder}: other references than {first_folder}", _SAME)
    speakers = sorted({row["speaker"] for row in first["utterances"]})
    sums = [_sums(scores["utterances"], speakers) for _, scores, *_ in read]
    for (folder, *_), (_, tokens) in zip(read, sums, strict=True):
        if tokens.keys() != sums[0][1].keys() or any(
            not np.array_equal(tokens[key], sums[0][1][key]) for key in tokens
        ):
            raise UserError(f"{folder}: other outputs or utterances than {first_folder}", _SAME)
    return Scores(
        speakers,
        {key: np.stack([errors[key] for errors, _ in sums]) for key in sums[0][0]},
        sums[0][1],
        first["token_types"],
        first["data_sha256"],
        [trained for _, _, trained, _ in read],
        [decoded for *_, decoded in read],
    )


def _trained_with(folder: Path) -> dict[str, Any]:
    """Return what a model was trained with, with the number of epochs among the options.

    trained_with.json lacks that number, because a training may be continued.
    """
    trained = read_json(folder / "trained_with.json")
    record = read_json(folder / "train.json")
    lasting = {key: record[key] for key in ("max_epoch", "patience") if key in record}
    return {**trained, "configuration": {**trained["configuration"], **lasting}}


def _options_of_decoding(folder: Path) -> Any:
    record = read_json(folder / "decode.json")
    if record["failed"]:
        raise UserError(
            f"{folder}: {record['failed']} utterances could not be decoded",
            "its log names them; correct the cause and decode again",
        )
    return [record[key] for key in OF_DECODING]


def _require_equal_options(read: Sequence[tuple[Path, dict, dict, Any]]) -> None:
    first_folder, _, first, _ = read[0]
    seen: dict[Any, Path] = {}
    for folder, _, trained, _ in read:
        configuration = trained["configuration"]
        other = seen.setdefault(configuration.get("seed"), folder)
        if other is not folder:
            raise UserError(
                f"{folder} and {other} have the same seed {configuration.get('seed')}",
                "name trainings with different seeds",
            )
        names = _differing(first["configuration"], configuration, {"seed"})
        names += _differing_files(first, trained)
        if names:
            raise UserError(
                f"{folder}: {', '.join(names)} differ from those of {first_folder}",
                "name trainings of one system that differ in their seed only",
            )


def _differing(a: dict[str, Any], b: dict[str, Any], allowed: set[str]) -> list[str]:
    keys = sorted((a.keys() | b.keys()) - allowed)
    return [key for key in keys if a.get(key) != b.get(key)]


def _differing_files(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return names of training data and initial weights of which two trainings had others."""
    names = [
        f"the training data ({name})"
        for name in sorted(a["data"].keys() & b["data"].keys())
        if a["data"][name] != b["data"][name]
    ]
    if a.get("initial weights") != b.get("initial weights"):
        names.append("the initial weights")
    return names


def _sums(
    rows: Sequence[dict], speakers: Sequence[str]
) -> tuple[dict[tuple[str, str], np.ndarray], dict[tuple[str, str], np.ndarray]]:
    """Return errors and tokens per (output, group) and speaker."""
    index = {speaker: number for number, speaker in enumerate(speakers)}
    errors: dict[tuple[str, str], np.ndarray] = {}
    tokens: dict[tuple[str, str], np.ndarray] = {}
    for row in rows:
        for name, counts in row["cells"].items():
            output, _, reference = name.partition("-")
            if output != reference:
                continue
            for group in (ALL, row.get("band")):
                if group:
                    for sums, field in ((errors, "errors"), (tokens, "tokens")):
                        of_group = sums.setdefault((output, group), np.zeros(len(speakers), int))
                        of_group[index[row["speaker"]]] += counts[field]
    return errors, tokens


def relative_change(
    a: np.ndarray, b: np.ndarray, tokens: np.ndarray
) -> tuple[float, tuple[float, float] | None] | None:
    """Return the change of the error rate from a to b in percent of that of a, with its interval.

    The interval is that of the difference b − ratio · a, whose expectation is zero, divided by the
    rate of a (delta method; Cochran, Sampling Techniques, 1977, section 6.3). None if a has no
    errors.

    Args:
        a, b: errors, (R_a, S) and (R_b, S).
        tokens: reference tokens per speaker, (S,).

    >>> a, b = np.array([[10, 30], [14, 26]]), np.array([[9, 27], [9, 27]])
    >>> change, (low, high) = relative_change(a, b, np.array([100, 100]))
    >>> round(change, 1), low < change < high
    (-10.0, True)
    """
    counted = tokens > 0
    a, b, tokens = a[:, counted], b[:, counted], tokens[counted]
    mean_a, mean_b = float(a.sum()) / len(a), float(b.sum()) / len(b)
    if not mean_a:
        return None
    ratio = mean_b / mean_a
    change = 100.0 * (ratio - 1)
    if len(tokens) < 2:
        return change, None
    variance = variance_of_difference(a * ratio, b, tokens)
    margin = float(critical_values(variance.df) * variance.standard_error)
    margin /= mean_a / int(tokens.sum())
    return change, (change - margin, change + margin)


def compare_seeds(a: Scores, b: Scores, names: tuple[str, str], dset: str) -> Section:
    """Return a table of the differences of two systems.

    Args:
        names: names of the systems a and b.

    Raises:
        UserError: the systems were scored on other references, or have no output in common.
    """
    if a.references != b.references:
        raise UserError(f"{names[0]} and {names[1]} have other references", _SAME)
    keys = [key for key in a.tokens if key in b.tokens and a.units[key[0]] == b.units[key[0]]]
    if not keys:
        raise UserError(
            f"{names[0]} and {names[1]} have no output with the same unit in common",
            "compare systems that produce the same output",
        )
    bands = {group for _, group in keys} - {ALL}
    if len(bands) == 1 and all(  # it has all utterances
        np.array_equal(a.tokens[output, group], a.tokens[output, ALL]) for output, group in keys
    ):
        keys = [key for key in keys if key[1] == ALL]
    keys.sort(key=lambda key: (list(a.units).index(key[0]), key[1] != ALL, key[1]))
    for key in keys:
        if not np.array_equal(a.tokens[key], b.tokens[key]):
            raise UserError(
                f"{names[0]} and {names[1]}: other utterances of {key[0]} were scored",
                "score both with all utterances: espnet-ext score without --missing leave_out",
            )
    rows = [_row(key, a, b) for key in keys]
    header = ["output", "utterances", names[0], names[1], "difference", "relative, %"]
    counts = (len(a.trained), len(b.trained))
    sentence = (
        f"Errors in percent on the set {dset}, means of {counts[0]} and {counts[1]} trainings; "
        f"difference: {names[1]} − {names[0]}, in percentage points, and in percent of the errors "
        f"of {names[0]}. 95 % intervals for other speakers and other seeds. p: t test over "
        "speakers and seeds; permutation: exchange of the systems per speaker. Not corrected for "
        "the number of rows."
    )
    notes = []
    if min(counts) == 1:
        notes.append("A system with one training: intervals say nothing about other seeds.")
    left_out = sorted((a.units.keys() | b.units.keys()) - {output for output, _ in keys})
    if left_out:
        notes.append(
            f"Not compared, since only one system has the output or the units differ: "
            f"{', '.join(left_out)}."
        )
    if a.decoded[0] != b.decoded[0]:
        notes.append("The two systems were decoded with other options.")
    first, second = a.trained[0], b.trained[0]
    of_systems = {"seed", "conditions", *OF_SYSTEMS}
    others = _differing(first["configuration"], second["configuration"], of_systems)
    others += _differing_files(first, second)
    if others:
        notes.append(
            f"The trainings of the two systems differ in more options: {', '.join(others)}."
        )
    table = Table(
        f"{names[0]} and {names[1]}",
        sentence,
        [*header, "p", "p (permutation)"],
        rows,
        2,
    )
    return Section("Comparison over seeds", items=[table], notes=notes)


def _row(key: tuple[str, str], a: Scores, b: Scores) -> list[str]:
    output, group = key
    arguments = (a.errors[key], b.errors[key], a.tokens[key])
    effect = compare(*arguments)
    relative = relative_change(*arguments)
    few = effect.speakers < FEW_SPEAKERS
    return [
        output,
        group,
        number(effect.rate_a),
        number(effect.rate_b),
        signed_with_interval(effect.difference, None if few else effect.interval),
        "–"
        if relative is None
        else signed_with_interval(relative[0], None if few else relative[1]),
        "–" if few else p_value(effect.p_value),
        "–" if few else p_value(effect.p_permutation),
    ]
