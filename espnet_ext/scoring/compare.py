"""Differences of two systems on the same utterances, with a paired bootstrap over speakers.

`compare` takes two `utterances.json` and returns::

    {"a": "so_surface", "b": "do",
     "cells": [{"name": "surface-surface", "bin": null, "utterances", "rate_a", "rate_b",
                "difference", "interval": [low, high], "p_value", "p_holm", "p_permutation",
                "macro"}, {… "bin": "1-3" …}],
     "dependence": [{"name": "surface-surface", "slope", "interval", "p_value", "utterances"}]}

Rates in percent, differences b − a in percentage points, over all tokens (micro) and as the mean
of the speakers' own (`macro`). `p_holm` is adjusted for all rows; `p_permutation` flips signs by
speaker. `slope`: further errors of b for each unit of distance, see `dependence.regression`.
"""

from collections.abc import Mapping

from espnet_ext.errors import UserError
from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.dependence import holm, regression, sign_flips
from espnet_ext.scoring.divergence import BINS, bin_of


def compare(name_a: str, a: Mapping, name_b: str, b: Mapping) -> dict:
    """Compare the own cells that both systems have, over all utterances and by divergence bin."""
    if a["data_sha256"] != b["data_sha256"]:
        raise UserError(
            f"{name_a} and {name_b} were scored against different labels of set '{a['set']}'",
            "score both again (stage 13)",
        )
    rows_b = {row["id"]: row for row in b["utterances"]}
    shared = [(row, rows_b[row["id"]]) for row in a["utterances"] if row["id"] in rows_b]
    names = {name for row, _ in shared for name in row["cells"]}
    own = sorted(name for name in names if len(set(name.split("-"))) == 1)
    found = []
    slopes = []
    for name in own:
        pairs = [(x, y) for x, y in shared if name in x["cells"] and name in y["cells"]]
        found += [_row(name, None, pairs)] if pairs else []
        for label, *_ in BINS:
            chosen = [p for p in pairs if _bin(p[0]) == label]
            found += [_row(name, label, chosen)] if chosen else []
        dependence = regression([_regressors(name, *p) for p in pairs if _bin(p[0]) is not None])
        slopes += [{"name": name, **dependence}] if dependence else []
    for row, adjusted in zip(found, holm([row["p_value"] for row in found]), strict=True):
        row["p_holm"] = adjusted
    return {"a": name_a, "b": name_b, "cells": found, "dependence": slopes}


def _regressors(name: str, x: Mapping, y: Mapping) -> dict:
    a, b = x["cells"][name], y["cells"][name]
    return {
        "difference": b["errors"] - a["errors"], "tokens": a["tokens"],
        "distance": x["distance"], "l1": x.get("l1"), "speaker": x["speaker"],
    }  # fmt: skip


def _bin(row: Mapping) -> str | None:
    return None if row["distance"] is None else bin_of(row["distance"])


def _row(name: str, label: str | None, pairs: list[tuple[Mapping, Mapping]]) -> dict:
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
        "bin": label,
        "utterances": len(pairs),
        "rate_a": 100.0 * sum(errors_a) / total if total else None,
        "rate_b": 100.0 * sum(errors_b) / total if total else None,
        "difference": 100.0 * (sum(errors_b) - sum(errors_a)) / total if total else None,
        "interval": difference and difference["interval"],
        "p_value": difference and difference["p_value"],
        "p_permutation": sign_flips([b - a for a, b in zip(errors_a, errors_b, strict=True)]),
        "macro": sum(own) / len(own) if own else None,
    }
