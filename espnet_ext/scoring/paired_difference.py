"""Differences of two systems on the same utterances, with paired tests over speakers.

`compare_systems` takes two `utterances.json` (see `score`) and returns::

    {"a": "so_surface", "b": "do", "unit": "char",
     "cells": [{"name": "surface-surface", "by": null, "bin": null, "utterances", "rate_a",
                "rate_b", "difference", "interval": [low, high], "p_value", "p_holm",
                "p_permutation", "relative", "relative_interval", "macro", "macro_interval"},
               {… "by": "distance", "bin": "1-3" …}],
     "not_comparable": {"meaning-surface": 3},     utterances in which the hypothesis of a system
                                                   cannot be converted
     "no_hypothesis": {"meaning-surface": 2},      utterances for which only one system has any
     "dependence": [{"name": "surface-surface", "of": ["distance"], "utterances",
                     "slopes": {"distance": {"slope", "interval", "p_value", "p_holm"}}},
                    {… "of": ["regular", "learner"], "lacks": "<reason>"}]}

There is one row per cell that both systems have, over all utterances (`by` is null), per bin of
each grouping in `divergence`, and per band of the audio if there are several (`by` is "band").

==============  ====================================================================================
rate_a, rate_b  error rates in percent
difference      b − a in percentage points over all tokens
relative        (b − a) / a in percent
macro           the mean over speakers of their differences b − a in percentage points
p_value         two-sided, by the paired bootstrap over speakers
p_permutation   two-sided, by exchanging the systems per speaker (`significance.sign_flip_test`)
p_holm          `p_value` with Holm's correction over all rows with the same `by` (all cells
                together). For slopes: over all slopes.
slope           additional errors of b per unit of the regressor (`regression`)
==============  ====================================================================================
"""

from collections.abc import Mapping, Sequence

from espnet_ext.errors import UserError
from espnet_ext.scoring import bootstrap, divergence
from espnet_ext.scoring.divergence import ReferenceDistances
from espnet_ext.scoring.normal_form import CANONICAL, PHONE
from espnet_ext.scoring.regression import regress_difference
from espnet_ext.scoring.significance import holm, sign_flip_test

BAND = "band"  # grouping by the band of the audio
Pairs = Sequence[tuple[Mapping, Mapping]]  # the row of an utterance in both files


def compare_systems(
    name_a: str, a: Mapping, name_b: str, b: Mapping, measured: ReferenceDistances | None = None
) -> dict:
    """Compare two systems in all cells that both have. See the module's description.

    Args:
        a, b: contents of `utterances.json`.
        measured: distances of the references. They are measured if not given.

    Raises:
        UserError: the systems were scored against different labels.
    """
    if a["data_sha256"] != b["data_sha256"]:
        raise UserError(
            f"{name_a} and {name_b} were scored against different labels of set '{a['set']}'",
            "score both again (stage 13)",
        )
    if measured is None:
        texts = {row["id"]: row["texts"] for row in a["utterances"]}
        measured = divergence.measure_references(texts, a.get("token_types", {}))
    rows_b = {row["id"]: row for row in b["utterances"]}
    shared = [(row, rows_b[row["id"]]) for row in a["utterances"] if row["id"] in rows_b]
    cells: list[dict] = []
    dependence: list[dict] = []
    not_comparable = {}
    no_hypothesis = {}
    for name in shared_cells(shared):
        pairs = [(x, y) for x, y in shared if name in x["cells"] and name in y["cells"]]
        kind, _, reference = name.partition("-")
        labels = _labels_of_cell(kind, reference, a.get("token_types", {}))
        recognised = sum(
            labels <= x["texts"].keys() and kind in x["hypotheses"] and kind in y["hypotheses"]
            for x, y in shared
        )
        no_hypothesis[name] = sum(
            (name in x["cells"] and kind not in y["hypotheses"])
            or (name in y["cells"] and kind not in x["hypotheses"])
            for x, y in shared
        )
        not_comparable[name] = recognised - len(pairs)
        cells += _rows_of_cell(name, pairs, measured)
        dependence += _regressions(name, pairs, measured)
    _add_holm(cells, dependence)
    return {
        "a": name_a,
        "b": name_b,
        "unit": measured.unit,
        "cells": cells,
        "not_comparable": not_comparable,
        "no_hypothesis": no_hypothesis,
        "dependence": dependence,
    }


def paired_statistics(
    errors_a: Sequence[float], errors_b: Sequence[float], tokens: Sequence[float]
) -> dict:
    """Return difference, relative change, intervals and p values; see the module's description.

    Args:
        errors_a, errors_b: errors of both systems per speaker.
        tokens: reference tokens per speaker.

    >>> paired_statistics([1, 2], [2, 3], [10, 10])["difference"]
    10.0
    """
    total = sum(tokens)
    paired = bootstrap.paired_interval(errors_a, errors_b, tokens)
    return {
        "difference": 100.0 * (sum(errors_b) - sum(errors_a)) / total if total else None,
        "interval": paired and paired["interval"],
        "p_value": paired and paired["p_value"],
        "p_permutation": sign_flip_test([b - a for a, b in zip(errors_a, errors_b, strict=True)]),
        **bootstrap.relative_change(errors_a, errors_b),
    }


def shared_cells(pairs: Pairs) -> list[str]:
    """Return the cells that both systems have for some utterance, own cells first."""
    names = {name for x, y in pairs for name in x["cells"] if name in y["cells"]}
    return sorted(names, key=lambda name: (len(set(name.split("-"))) > 1, name))


def _labels_of_cell(hypothesis: str, reference: str, token_types: Mapping[str, str]) -> set[str]:
    """Return the references that an utterance of a cell must have (see `cells`)."""
    is_phones = [token_types.get(kind) == PHONE for kind in (hypothesis, reference)]
    return {reference, CANONICAL} if is_phones == [True, False] else {reference}


def _rows_of_cell(name: str, pairs: Pairs, measured: ReferenceDistances) -> list[dict]:
    """Return the row of all utterances, then the row of every bin that is not empty."""
    rows = [_row(name, None, None, pairs)]
    for grouping, bins in measured.bins.items():
        for bin_name in divergence.bin_names(grouping, measured):
            in_bin = [pair for pair in pairs if bins.get(pair[0]["id"]) == bin_name]
            if in_bin:
                rows.append(_row(name, grouping, bin_name, in_bin))
    bands: dict[str, list[tuple[Mapping, Mapping]]] = {}
    for pair in pairs:
        if band := pair[0].get("band"):
            bands.setdefault(band, []).append(pair)
    return rows + [_row(name, BAND, band, bands[band]) for band in sorted(bands)]


def _row(name: str, grouping: str | None, bin_name: str | None, pairs: Pairs) -> dict:
    sums: dict[str, list[int]] = {}  # speaker → errors of a, errors of b, tokens
    for x, y in pairs:
        totals = sums.setdefault(x["speaker"], [0, 0, 0])
        totals[0] += x["cells"][name]["errors"]
        totals[1] += y["cells"][name]["errors"]
        totals[2] += x["cells"][name]["tokens"]
    errors_a, errors_b, tokens = (list(column) for column in zip(*sums.values(), strict=True))
    total = sum(tokens)
    by_speaker = [100.0 * (b - a) / n for a, b, n in sums.values() if n]
    return {
        "name": name,
        "by": grouping,
        "bin": bin_name,
        "utterances": len(pairs),
        "rate_a": 100.0 * sum(errors_a) / total if total else None,
        "rate_b": 100.0 * sum(errors_b) / total if total else None,
        **paired_statistics(errors_a, errors_b, tokens),
        "macro": sum(by_speaker) / len(by_speaker) if by_speaker else None,
        "macro_interval": bootstrap.mean_interval(by_speaker),
    }


def _regressions(name: str, pairs: Pairs, measured: ReferenceDistances) -> list[dict]:
    """Regress on the main distance, and on regular phonology and learner errors together."""
    if measured.main is None:
        return []
    rows = [_regression(name, pairs, {"distance": measured.pairs[measured.main]})]
    parts = {"regular": divergence.REGULAR, "learner": divergence.LEARNER}
    absent = [pair for pair in parts.values() if pair not in measured.pairs]
    if absent:
        reason = f"{absent[0]}: {measured.lacks[absent[0]]}"
        rows.append({"name": name, "of": list(parts), "utterances": 0, "lacks": reason})
    else:
        regressors = {regressor: measured.pairs[pair] for regressor, pair in parts.items()}
        rows.append(_regression(name, pairs, regressors))
    return rows


def _regression(
    name: str, pairs: Pairs, regressors: Mapping[str, Mapping[str, divergence.Distance]]
) -> dict:
    rows = [
        {
            "difference": y["cells"][name]["errors"] - x["cells"][name]["errors"],
            "tokens": x["cells"][name]["tokens"],
            "l1": x.get("l1"),
            "speaker": x["speaker"],
            **{key: distances[x["id"]].edits for key, distances in regressors.items()},
        }
        for x, y in pairs
        if all(x["id"] in distances for distances in regressors.values())
    ]
    return {"name": name, "of": list(regressors), **regress_difference(rows, list(regressors))}


def _add_holm(cells: Sequence[dict], dependence: Sequence[dict]) -> None:
    """Add `p_holm` to the rows, corrected per grouping, and to the slopes."""
    families: dict[str | None, list[dict]] = {}
    for row in cells:
        families.setdefault(row["by"], []).append(row)
    slopes = [slope for row in dependence for slope in row.get("slopes", {}).values()]
    for family in [*families.values(), slopes]:
        adjusted = holm([row["p_value"] for row in family])
        for row, p_value in zip(family, adjusted, strict=True):
            row["p_holm"] = p_value
