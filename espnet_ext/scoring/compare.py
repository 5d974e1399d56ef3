"""Differences of two systems on the same utterances, with a paired bootstrap over speakers.

`compare` takes two `utterances.json` and returns::

    {"a": "so_surface", "b": "do", "unit": "char",
     "cells": [{"name": "surface-surface", "by": null, "bin": null, "utterances", "rate_a",
                "rate_b", "difference", "interval": [low, high], "p_value", "p_holm",
                "p_permutation", "macro", "macro_interval"},
               {… "by": "distance", "bin": "1-3" …}],
     "not_comparable": {"meaning-surface": 3},         utterances that one of the two has not
     "dependence": [{"name": "surface-surface", "of": ["distance"], "utterances",
                     "slopes": {"distance": {"slope", "interval", "p_value", "p_holm"}}},
                    {… "of": ["regular", "learner"], "lacks": "…"}]}

Every cell that both have, over all utterances and by bin: of whole distance, of distance per token,
of where the distance comes from (`divergence.py`). Rates in percent, differences b − a in
percentage points, over all tokens (micro) and as the mean of the speakers' own (`macro`).
`p_permutation` flips signs by speaker. `p_holm` is adjusted for the rows of one `by`, all cells
together, since each `by` puts the same question to the same utterances cut up in another way; that
of slopes, for all slopes. `slope`: further errors of b for each unit, see `dependence.regression`.
"""

from collections.abc import Mapping, Sequence

from espnet_ext.errors import UserError
from espnet_ext.scoring import bootstrap, divergence
from espnet_ext.scoring.dependence import holm, regression, sign_flips
from espnet_ext.scoring.divergence import Measured

SPLIT = ("regular", "learner")

Rows = list[tuple[Mapping, Mapping]]  # an utterance as both systems have it


def compare(
    name_a: str, a: Mapping, name_b: str, b: Mapping, measured: Measured | None = None
) -> dict:
    """Compare all cells that both systems have; `measured` are the references' distances.

    UserError if they were scored against different labels.
    """
    if a["data_sha256"] != b["data_sha256"]:
        raise UserError(
            f"{name_a} and {name_b} were scored against different labels of set '{a['set']}'",
            "score both again (stage 13)",
        )
    if measured is None:
        texts = {row["id"]: row["texts"] for row in a["utterances"]}
        measured = divergence.measure(texts, a.get("token_types", {}))
    rows_b = {row["id"]: row for row in b["utterances"]}
    shared = [(row, rows_b[row["id"]]) for row in a["utterances"] if row["id"] in rows_b]
    found, slopes, left_out = [], [], {}
    for name in shared_cells(shared):
        pairs = [(x, y) for x, y in shared if name in x["cells"] and name in y["cells"]]
        left_out[name] = sum(name in x["cells"] or name in y["cells"] for x, y in shared)
        left_out[name] -= len(pairs)
        found += _rows(name, pairs, measured)
        slopes += _dependence(name, pairs, measured)
    _adjust(found, slopes)
    return {
        "a": name_a,
        "b": name_b,
        "unit": measured.unit,
        "cells": found,
        "not_comparable": left_out,
        "dependence": slopes,
    }


def shared_cells(shared: Rows) -> list[str]:
    """The cells that both systems have for some utterance, own cells first."""
    names = {name for x, y in shared for name in x["cells"] if name in y["cells"]}
    return sorted(names, key=lambda name: (len(set(name.split("-"))) > 1, name))


def _rows(name: str, pairs: Rows, measured: Measured) -> list[dict]:
    """All utterances, then every bin that holds any."""
    found = [_row(name, None, None, pairs)]
    for group, places in measured.places.items():
        for label in divergence.labels_of(group, measured):
            chosen = [pair for pair in pairs if places.get(pair[0]["id"]) == label]
            found += [_row(name, group, label, chosen)] if chosen else []
    return found


def _row(name: str, group: str | None, label: str | None, pairs: Rows) -> dict:
    sums: dict[str, list[int]] = {}  # speaker → errors of a, errors of b, tokens
    for x, y in pairs:
        totals = sums.setdefault(x["speaker"], [0, 0, 0])
        totals[0] += x["cells"][name]["errors"]
        totals[1] += y["cells"][name]["errors"]
        totals[2] += x["cells"][name]["tokens"]
    errors_a, errors_b, tokens = (list(column) for column in zip(*sums.values(), strict=True))
    total = sum(tokens)
    difference = bootstrap.paired_interval(errors_a, errors_b, tokens)
    own = [100.0 * (b - a) / n for a, b, n in zip(errors_a, errors_b, tokens, strict=True) if n]
    return {
        "name": name,
        "by": group,
        "bin": label,
        "utterances": len(pairs),
        "rate_a": 100.0 * sum(errors_a) / total if total else None,
        "rate_b": 100.0 * sum(errors_b) / total if total else None,
        "difference": 100.0 * (sum(errors_b) - sum(errors_a)) / total if total else None,
        "interval": difference and difference["interval"],
        "p_value": difference and difference["p_value"],
        "p_permutation": sign_flips([b - a for a, b in zip(errors_a, errors_b, strict=True)]),
        "macro": sum(own) / len(own) if own else None,
        "macro_interval": bootstrap.mean_interval(own),
    }


def _dependence(name: str, pairs: Rows, measured: Measured) -> list[dict]:
    """On the whole distance, and on its two parts beside each other where both are there."""
    if measured.main is None:
        return []
    found = [_regression(name, pairs, {"distance": measured.pairs[measured.main]})]
    parts = {"regular": divergence.REGULAR, "learner": divergence.LEARNER}
    absent = [pair for pair in parts.values() if pair not in measured.pairs]
    if absent:
        reason = f"{absent[0]}: {measured.lacks[absent[0]]}"
        found.append({"name": name, "of": list(parts), "utterances": 0, "lacks": reason})
    else:
        split = {regressor: measured.pairs[pair] for regressor, pair in parts.items()}
        found.append(_regression(name, pairs, split))
    return found


def _regression(name: str, pairs: Rows, regressors: Mapping[str, Mapping]) -> dict:
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
    return {"name": name, "of": list(regressors), **regression(rows, list(regressors))}


def _adjust(rows: Sequence[dict], dependence: Sequence[dict]) -> None:
    """Holm's correction: the rows of each `by`, and all slopes."""
    families: dict[str | None, list[dict]] = {}
    for row in rows:
        families.setdefault(row["by"], []).append(row)
    slopes = [slope for one in dependence for slope in one.get("slopes", {}).values()]
    for family in [*families.values(), slopes]:
        adjusted = holm([row["p_value"] for row in family])
        for row, p_value in zip(family, adjusted, strict=True):
            row["p_holm"] = p_value
