"""Cross-task evaluation of a set's systems: divergence, consistency of outputs, differences.

`cross_task` reads each system's `utterances.json` and returns (rates in percent, intervals of a
bootstrap over speakers, `null` where undefined)::

    {"kind": "cross", "version": 1, "set": "test", "data_sha256", "token_types",
     "utterances", "speakers", "systems": {"do": "<folder of its hypotheses>"},
     "divergence": {"unit": "char", "main": "surface-meaning",
         "pairs": {"surface-meaning": {"utterances", "mean", "per_100_tokens", "interval", "macro",
                                       "zero", "bins": [{"bin", "utterances", "share"}],
                                       "normalised": […],
                                       "articulatory": {"per_100_segments", "interval"} | null}},
         "origin": [{"bin": "learner error", "utterances", "share"}],
         "lacks": {"<pair>": "<reason>"}},
     "articulatory": {"systems": {"do": {"per_100_segments", "interval", "utterances"}},
                      "differences": [{"a", "b", "difference", "interval", "p_value",
                                       "p_permutation", "utterances"}], "lacks": null | "<reason>"},
     "differences": [what `compare.compare` returns, and "joint": b has further outputs],
     "consistency": {"unit", "outputs": [what `consistency.describe` returns],
                     "differences": [what `consistency.differences` returns]},
     "lacks": ["<what the set or the systems do not have, a sentence each>"]}
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.scoring import articulation, bootstrap, consistency, divergence
from espnet_ext.scoring.compare import compare
from espnet_ext.scoring.dependence import sign_flips
from espnet_ext.scoring.lexicon import pronouncer, read_lexicon

FEW = 12  # speakers up to which a bootstrap's intervals are clearly too narrow
_KEYS = ("set", "token_types", "data_sha256", "utterances")


def cross_task(
    systems: Mapping[str, str | Path], *, unit: str | None = None, lexicon: str | Path | None = None
) -> dict:
    """Evaluate systems (name → folder with its utterances.json) together.

    UserError if they were scored against different labels or there is nothing to evaluate.
    """
    files = {name: _read(Path(folder)) for name, folder in systems.items()}
    first_name, first = next(iter(files.items()))
    for name, file in files.items():
        if any(file[key] != first[key] for key in ("data_sha256", "token_types")):
            raise UserError(
                f"{systems[name]}: {name} was scored against other labels than {first_name}",
                "score all systems against the same data (stage 13)",
            )
    texts = {row["id"]: row["texts"] for row in first["utterances"]}
    speakers = {row["id"]: row["speaker"] for row in first["utterances"]}
    measured = divergence.measure(texts, first["token_types"], unit)
    kinds = {name: outputs_in(file) for name, file in files.items()}
    chosen = system_pairs(kinds)
    pronounce = pronouncer(read_lexicon(lexicon) if lexicon else None)
    result = {
        "kind": "cross",
        "version": 1,
        "set": first["set"],
        "data_sha256": first["data_sha256"],
        "token_types": first["token_types"],
        "utterances": len(texts),
        "speakers": len(set(speakers.values())),
        "systems": {name: str(folder) for name, folder in systems.items()},
        "divergence": _divergence(measured, texts, speakers, first["token_types"]),
        "articulatory": _articulatory(files, chosen),
        "differences": [
            {**compare(a, files[a], b, files[b], measured), "joint": kinds[a] < kinds[b]}
            for a, b in chosen
        ],
        "consistency": _consistency(files, kinds, measured.unit, pronounce),
    }
    return {**result, "lacks": list(_lacks(result, measured))}


def _read(folder: Path) -> dict:
    path = folder / "utterances.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file", "score these hypotheses first (stage 13)")
    value = read_json(path)
    if not isinstance(value, dict) or any(key not in value for key in _KEYS):
        raise UserError(f"{path}: not what scoring writes", "score these hypotheses again")
    if not value["utterances"]:
        raise UserError(f"{path}: holds no utterance", "score a set that has some")
    return value


def outputs_in(file: Mapping) -> set[str]:
    """The outputs that an utterances.json has hypotheses of."""
    return {kind for row in file["utterances"] for kind in row["hypotheses"]}


def system_pairs(kinds: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """(a, b) to be compared: b has all that a has and more, or the same and comes after the first.

    >>> system_pairs({"so": {"surface"}, "do": {"surface", "meaning"}, "x": {"surface", "meaning"}})
    [('so', 'do'), ('so', 'x'), ('do', 'x')]
    """
    found = [(a, b) for b, more in kinds.items() for a, fewer in kinds.items() if fewer < more]
    first: dict[frozenset, str] = {}
    for name, outputs in kinds.items():
        base = first.setdefault(frozenset(outputs), name)
        found += [(base, name)] if base != name else []
    return found


def _divergence(measured, texts, speakers, token_types) -> dict:
    labels = {group: divergence.labels_of(group, measured) for group in divergence.GROUPS}
    pairs = {}
    for name, rows in measured.pairs.items():
        by_pair = divergence.places_of(rows)
        total = _rate({u: (d.edits, d.tokens) for u, d in rows.items()}, speakers)
        pairs[name] = {
            "utterances": len(rows),
            "mean": sum(d.edits for d in rows.values()) / len(rows),
            "per_100_tokens": total["rate"],
            "interval": total["interval"],
            "macro": total["macro"],
            "zero": sum(not d.edits for d in rows.values()),
            "bins": divergence.counted(by_pair["distance"], labels["distance"]),
            "normalised": divergence.counted(by_pair["normalised"], labels["normalised"]),
            "articulatory": _pair_articulation(name, rows, texts, speakers, token_types),
        }
    origin = measured.places.get("origin")
    return {
        "unit": measured.unit,
        "main": measured.main,
        "pairs": pairs,
        "origin": divergence.counted(origin, labels["origin"]) if origin is not None else None,
        "lacks": dict(measured.lacks),
    }


def _pair_articulation(name: str, rows, texts, speakers, token_types) -> dict | None:
    said, intended = name.split("-")
    sounds = articulation.sounds_of((texts[u][said] for u in rows), token_types["surface"])
    if sounds is None:
        return None
    compared = {u: (sounds(texts[u][intended]), sounds(texts[u][said])) for u in rows}
    return _named(_rate(_feature_counts(compared), speakers))


def _feature_counts(pairs: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> dict:
    """Utterance → (distance, segments of the reference)."""
    found = articulation.feature_distances(
        [one for one, _ in pairs.values()], [other for _, other in pairs.values()]
    )
    return {u: (d, len(pair[0])) for (u, pair), d in zip(pairs.items(), found, strict=True)}


def _named(rate: Mapping) -> dict:
    return {"per_100_segments": rate["rate"], "interval": rate["interval"]}


def _rate(counts: Mapping[str, tuple[float, int]], speakers: Mapping[str, str]) -> dict:
    """Of (errors, tokens) by utterance: percent, its interval, and the mean of speakers' own."""
    sums = _speaker_sums(counts, speakers)
    errors, tokens = [e for e, _ in sums.values()], [n for _, n in sums.values()]
    own = [100.0 * e / n for e, n in sums.values() if n]
    return {
        "rate": 100.0 * sum(errors) / sum(tokens) if sum(tokens) else None,
        "interval": bootstrap.interval(errors, tokens),
        "macro": sum(own) / len(own) if own else None,
    }


def _speaker_sums(counts, speakers) -> dict[str, list]:
    sums: dict[str, list] = {}
    for utt_id, (errors, tokens) in counts.items():
        total = sums.setdefault(speakers[utt_id], [0, 0])
        total[0] += errors
        total[1] += tokens
    return sums


def _articulatory(files: Mapping[str, Mapping], chosen: Sequence[tuple[str, str]]) -> dict:
    """How far the recognised surface's sounds lie from what was said, and differences of that."""
    first = next(iter(files.values()))
    speakers = {row["id"]: row["speaker"] for row in first["utterances"]}
    said = [row["texts"].get("surface", "") for row in first["utterances"]]
    sounds = articulation.sounds_of(said, first["token_types"].get("surface", ""))
    if sounds is None:
        reason = "surface is neither phones nor Hangul: its sounds are not known"
        return {"systems": {}, "differences": [], "lacks": reason}
    counts = {
        name: _feature_counts(
            {
                row["id"]: (sounds(row["texts"]["surface"]), sounds(row["hypotheses"]["surface"]))
                for row in file["utterances"]
                if "surface" in row["texts"] and "surface" in row["hypotheses"]
            }
        )
        for name, file in files.items()
        if "surface" in outputs_in(file)
    }
    counts = {name: rows for name, rows in counts.items() if rows}
    systems = {
        name: {**_named(_rate(rows, speakers)), "utterances": len(rows)}
        for name, rows in counts.items()
    }
    found = [
        {"a": a, "b": b, **_paired(counts[a], counts[b], speakers)}
        for a, b in chosen
        if a in counts and b in counts
    ]
    lacks = None if systems else "no system has a surface hypothesis with a reference"
    return {"systems": systems, "differences": found, "lacks": lacks}


def _paired(a: Mapping, b: Mapping, speakers: Mapping[str, str]) -> dict:
    shared = [utt_id for utt_id in a if utt_id in b]
    one = _speaker_sums({u: a[u] for u in shared}, speakers)
    other = _speaker_sums({u: b[u] for u in shared}, speakers)
    errors_a, errors_b = [e for e, _ in one.values()], [e for e, _ in other.values()]
    tokens = [n for _, n in one.values()]
    found = bootstrap.paired_interval(errors_a, errors_b, tokens)
    further = sum(errors_b) - sum(errors_a)
    return {
        "utterances": len(shared),
        "difference": 100.0 * further / sum(tokens) if sum(tokens) else None,
        "interval": found and found["interval"],
        "p_value": found and found["p_value"],
        "p_permutation": sign_flips([y - x for x, y in zip(errors_a, errors_b, strict=True)]),
    }


def _consistency(files, kinds, unit: str, pronounce) -> dict:
    """Every system with both outputs, and every two that have them between them."""
    both = [name for name, outputs in kinds.items() if {"surface", "meaning"} <= outputs]
    alone = {
        kind: [name for name, outputs in kinds.items() if kind in outputs and name not in both]
        for kind in ("surface", "meaning")
    }
    sources = [(name, name, name) for name in both]
    sources += [(f"{s} + {m}", s, m) for s in alone["surface"] for m in alone["meaning"]]
    found = {
        name: consistency.outputs_of(name, files[s], files[m], unit, pronounce)
        for name, s, m in sources
    }
    two = [name for name in found if name not in both]
    tests = [(found[a], found[b]) for b in both for a in two]
    tests += [(found[both[0]], found[b]) for b in both[1:]]
    return {
        "unit": unit,
        "outputs": [consistency.describe(one) for one in found.values()],
        "differences": [consistency.differences(a, b) for a, b in tests],
    }


def _lacks(result: Mapping, measured) -> Iterator[str]:
    if result["speakers"] < 2:
        yield "one speaker: there are neither intervals nor tests"
    elif result["speakers"] <= FEW:
        least = 2 / 2 ** result["speakers"]
        yield (
            f"{result['speakers']} speakers: intervals of a bootstrap over so few are too narrow, "
            f"and no permutation test can give a p below {least:.3f}"
        )
    for pair, reason in measured.lacks.items():
        yield f"no {pair} distance: {reason}"
    if measured.main is None:
        yield "no divergence: no bins, and nothing for a difference to depend on"
    for group, places in measured.places.items():
        rows = divergence.counted(places, divergence.labels_of(group, measured))
        if empty := [row["bin"] for row in rows if not row["utterances"]]:
            yield f"no utterance by {group} in: {', '.join(empty)}"
    if len(result["systems"]) < 2:
        yield "one system: nothing to compare it with"
    elif not result["differences"]:
        yield "no two systems share all outputs of one: no differences"
    if not result["consistency"]["outputs"]:
        yield "no system, and no two together, with both surface and meaning: no consistency"
    if result["articulatory"]["lacks"]:
        yield f"no articulatory distance: {result['articulatory']['lacks']}"
