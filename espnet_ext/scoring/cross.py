"""Cross-task evaluation of the systems of a set: divergence, differences, consistency of outputs.

`cross_task` reads the `utterances.json` of each system (see `score`) and returns::

    {"kind": "cross", "version": 1, "set": "test", "data_sha256", "token_types",
     "utterances", "speakers", "systems": {"do": "<folder of its hypotheses>"},
     "baselines": ["whisper"],                     systems that are other recognisers
     "normalised": {"<utterances.json>, reference surface": 3},    texts that `normal_form` changed
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
     "differences": [a result of `paired_difference.compare_systems`, and "joint": whether a has one
                     output and b, decoded in the same way, has further ones],
     "consistency": {"unit", "outputs": [results of `consistency.describe`],
                     "differences": [results of `consistency.compare_pairs`]},
     "lacks": ["<what could not be evaluated, and why>"]}

A system that was decoded with the prompt (see `DecodedWith`) is compared only with systems that
know the prompt too. Rates are in percent. Intervals are 95 % intervals of a bootstrap over
speakers. Undefined values are null. `macro` is the mean over speakers of their rates. `zero` is the
number of utterances without divergence.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.scoring import articulatory_distance, bootstrap, consistency, divergence
from espnet_ext.scoring.normal_form import Changes, token_type_of
from espnet_ext.scoring.paired_difference import compare_systems, paired_statistics
from espnet_ext.text.lexicon import make_pronouncer, read_lexicon

FEW_SPEAKERS = 12  # up to this number, bootstrap intervals are clearly too narrow
_KEYS = ("set", "token_types", "data_sha256", "utterances")

Counts = Mapping[str, tuple[float, int]]  # utterance → (errors or distance, reference tokens)
Segmenter = Callable[[str], list[str]]


@dataclass(frozen=True)
class DecodedWith:
    """What a system was decoded with, beside the audio: from `decode.json`."""

    prompt: bool = False  # canonical forms of the prompt
    own_meaning: bool = False  # canonical forms of a recognised meaning
    coupling: bool = False

    @classmethod
    def read(cls, folder: Path) -> "DecodedWith":
        """Read `decode.json` of a folder of hypotheses; without one, nothing is assumed."""
        path = folder / "decode.json"
        record = read_json(path) if path.is_file() else {}
        canonical = record.get("canonical") or {}
        prompt = bool(canonical.get("prompt"))
        return cls(prompt, bool(canonical) and not prompt, record.get("coupling") is not None)


def cross_task(
    systems: Mapping[str, str | Path],
    *,
    baselines: Mapping[str, str | Path] | None = None,
    unit: str | None = None,
    lexicon: str | Path | None = None,
) -> dict:
    """Evaluate the systems of a set together. See the module's description of the result.

    Args:
        systems: name → folder with `utterances.json`.
        baselines: the same of other recognisers, with which every system is compared.
        unit: unit of distances (`divergence.choose_unit`).
        lexicon: file with pronunciations of words (`lexicon.read_lexicon`).

    Raises: UserError: a file is missing or invalid, or the systems were scored against different
        labels.
    """
    baselines = baselines or {}
    if both := [name for name in baselines if name in systems]:
        raise UserError(f"'{both[0]}' is a system and a baseline", "give it another name")
    systems = {**systems, **baselines}
    changes = Changes()
    files = {name: _read_utterances(Path(folder), changes) for name, folder in systems.items()}
    first_name, first = next(iter(files.items()))
    for name, file in files.items():
        if any(file[key] != first[key] for key in ("data_sha256", "token_types")):
            raise UserError(
                f"{systems[name]}: {name} was scored against other labels than {first_name}",
                "score all systems against the same data (stage 13)",
            )
    texts = {row["id"]: row["texts"] for row in first["utterances"]}
    speakers = {row["id"]: row["speaker"] for row in first["utterances"]}
    measured = divergence.measure_references(texts, first["token_types"], unit)
    outputs = {name: outputs_in(file) for name, file in files.items()}
    decoded_with = {name: DecodedWith.read(Path(folder)) for name, folder in systems.items()}
    prompted = [name for name, decoded in decoded_with.items() if decoded.prompt]
    compared = system_pairs(outputs, list(baselines), prompted)
    pronounce = make_pronouncer(read_lexicon(lexicon) if lexicon else None)
    result = {
        "kind": "cross",
        "version": 1,
        "set": first["set"],
        "data_sha256": first["data_sha256"],
        "token_types": first["token_types"],
        "utterances": len(texts),
        "speakers": len(set(speakers.values())),
        "systems": {name: str(folder) for name, folder in systems.items()},
        "baselines": list(baselines),
        "normalised": changes.counts,
        "divergence": _divergence(measured, texts, speakers, first["token_types"]),
        "articulatory": _articulatory(files, compared),
        "differences": [
            {
                **compare_systems(a, files[a], b, files[b], measured),
                "joint": len(outputs[a]) == 1
                and outputs[a] < outputs[b]
                and a not in baselines
                and decoded_with[a] == decoded_with[b],
            }
            for a, b in compared
        ],
        "consistency": _consistency(
            files, outputs, list(baselines), prompted, measured.unit, pronounce
        ),
    }
    return {**result, "lacks": list(_missing(result, measured))}


def _read_utterances(folder: Path, changes: Changes) -> dict:
    path = folder / "utterances.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file", "score these hypotheses first (stage 13)")
    value = read_json(path)
    if not isinstance(value, dict) or any(key not in value for key in _KEYS):
        raise UserError(f"{path}: not a result of scoring", "score these hypotheses again")
    if not value["utterances"]:
        raise UserError(f"{path}: contains no utterances", "score a set that is not empty")
    _normalise(path, value, changes)
    return value


def _normalise(path: Path, value: Mapping, changes: Changes) -> None:
    """Bring all texts to the form for comparison, in place.

    Texts that `score` wrote have that form already; those of other programs may not.
    """
    for side, name in ("texts", "reference"), ("hypotheses", "hypothesis"):
        for kind in dict.fromkeys(kind for row in value["utterances"] for kind in row[side]):
            texts = {row["id"]: row[side][kind] for row in value["utterances"] if kind in row[side]}
            token_type = token_type_of(kind, value["token_types"])
            compared = changes.apply(f"{path}, {name} {kind}", texts, token_type)
            for row in value["utterances"]:
                if kind in row[side]:
                    row[side][kind] = compared[row["id"]]


def outputs_in(file: Mapping) -> set[str]:
    """Return the outputs that an `utterances.json` has hypotheses of."""
    return {kind for row in file["utterances"] for kind in row["hypotheses"]}


def system_pairs(
    outputs: Mapping[str, set[str]],
    baselines: Collection[str] = (),
    prompted: Collection[str] = (),
) -> list[tuple[str, str]]:
    """Return the pairs (a, b) of systems to compare.

    b has all outputs of a and more, or a is the first system with the same outputs as b. A baseline
    a is compared with every b that has one of its outputs. No pair has one system that knows the
    prompt and one that does not.

    Args:
        outputs: system → names of its outputs.
        baselines: the systems among them that are other recognisers.
        prompted: the systems among them that know the prompt.

    >>> system_pairs({"so": {"surface"}, "do": {"surface", "meaning"}, "x": {"surface", "meaning"}})
    [('so', 'do'), ('so', 'x'), ('do', 'x')]
    >>> system_pairs({"so": {"surface"}, "whisper": {"meaning"}, "do": {"surface", "meaning"}},
    ...              ["whisper"])
    [('so', 'do'), ('whisper', 'do')]
    """
    systems = {name: names for name, names in outputs.items() if name not in baselines}
    pairs = [(a, b) for b, more in systems.items() for a, fewer in systems.items() if fewer < more]
    first: dict[tuple[frozenset[str], bool], str] = {}
    for name, names in systems.items():
        base = first.setdefault((frozenset(names), name in prompted), name)
        if base != name:
            pairs.append((base, name))
    for i, baseline in enumerate(baselines):
        others = [*systems, *list(baselines)[i + 1 :]]
        pairs += [(baseline, name) for name in others if outputs[baseline] & outputs[name]]
    return [(a, b) for a, b in pairs if (a in prompted) == (b in prompted)]


def _divergence(
    measured: divergence.ReferenceDistances,
    texts: divergence.Texts,
    speakers: Mapping[str, str],
    token_types: Mapping[str, str],
) -> dict:
    names = {
        grouping: divergence.bin_names(grouping, measured) for grouping in divergence.GROUPINGS
    }
    pairs = {}
    for pair, distances in measured.pairs.items():
        bins = divergence.bins_by_distance(distances)
        rate = _rate({u: (d.edits, d.tokens) for u, d in distances.items()}, speakers)
        pairs[pair] = {
            "utterances": len(distances),
            "mean": sum(d.edits for d in distances.values()) / len(distances),
            "per_100_tokens": rate["rate"],
            "interval": rate["interval"],
            "macro": rate["macro"],
            "zero": sum(not d.edits for d in distances.values()),
            "bins": divergence.count_bins(bins["distance"], names["distance"]),
            "normalised": divergence.count_bins(bins["normalised"], names["normalised"]),
            "articulatory": _articulatory_divergence(pair, distances, texts, speakers, token_types),
        }
    origin = measured.bins.get("origin")
    return {
        "unit": measured.unit,
        "main": measured.main,
        "pairs": pairs,
        "origin": None if origin is None else divergence.count_bins(origin, names["origin"]),
        "lacks": dict(measured.lacks),
    }


def _articulatory_divergence(
    pair: str,
    utterances: Mapping[str, divergence.Distance],
    texts: divergence.Texts,
    speakers: Mapping[str, str],
    token_types: Mapping[str, str],
) -> dict | None:
    """Return the articulatory distance of a pair of references, or None for other scripts."""
    compared, reference = pair.split("-")
    to_segments = articulatory_distance.segmenter(
        (texts[utt_id][compared] for utt_id in utterances), token_types["surface"]
    )
    if to_segments is None:
        return None
    segments = {
        utt_id: (to_segments(texts[utt_id][reference]), to_segments(texts[utt_id][compared]))
        for utt_id in utterances
    }
    return _per_100_segments(_rate(_feature_counts(segments), speakers))


def _feature_counts(pairs: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> Counts:
    """Return utterance → (feature edit distance, reference segments).

    Args:
        pairs: utterance → (reference, hypothesis), as segments.
    """
    references, hypotheses = ([pair[i] for pair in pairs.values()] for i in (0, 1))
    distances = articulatory_distance.feature_distances(references, hypotheses)
    return dict(zip(pairs, zip(distances, map(len, references), strict=True), strict=True))


def _per_100_segments(rate: Mapping) -> dict:
    return {"per_100_segments": rate["rate"], "interval": rate["interval"]}


def _rate(counts: Counts, speakers: Mapping[str, str]) -> dict:
    """Return the rate in percent, its interval, and the mean of the speakers' rates."""
    errors, tokens = _sum_by_speaker(counts, speakers)
    rates = [100.0 * e / n for e, n in zip(errors, tokens, strict=True) if n]
    return {
        "rate": 100.0 * sum(errors) / sum(tokens) if sum(tokens) else None,
        "interval": bootstrap.interval(errors, tokens),
        "macro": sum(rates) / len(rates) if rates else None,
    }


def _sum_by_speaker(counts: Counts, speakers: Mapping[str, str]) -> tuple[list[float], list[float]]:
    """Return errors per speaker and reference tokens per speaker."""
    sums: dict[str, list[float]] = {}
    for utt_id, (errors, tokens) in counts.items():
        total = sums.setdefault(speakers[utt_id], [0, 0])
        total[0] += errors
        total[1] += tokens
    return [errors for errors, _ in sums.values()], [tokens for _, tokens in sums.values()]


def _articulatory(files: Mapping[str, Mapping], compared: Sequence[tuple[str, str]]) -> dict:
    """Return the articulatory distance of surface hypotheses to references, and differences."""
    first = next(iter(files.values()))
    speakers = {row["id"]: row["speaker"] for row in first["utterances"]}
    references = [row["texts"].get("surface", "") for row in first["utterances"]]
    to_segments = articulatory_distance.segmenter(
        references, first["token_types"].get("surface", "")
    )
    if to_segments is None:
        reason = "surface is neither phones nor Hangul, so it cannot be converted to segments"
        return {"systems": {}, "differences": [], "lacks": reason}
    counts = {name: _surface_counts(file, to_segments) for name, file in files.items()}
    counts = {name: rows for name, rows in counts.items() if rows}
    systems = {
        name: {**_per_100_segments(_rate(rows, speakers)), "utterances": len(rows)}
        for name, rows in counts.items()
    }
    differences = [
        {"a": a, "b": b, **_paired(counts[a], counts[b], speakers)}
        for a, b in compared
        if a in counts and b in counts
    ]
    lacks = None if systems else "no system has a surface hypothesis with a reference"
    return {"systems": systems, "differences": differences, "lacks": lacks}


def _surface_counts(file: Mapping, to_segments: Segmenter) -> Counts:
    return _feature_counts(
        {
            row["id"]: (
                to_segments(row["texts"]["surface"]),
                to_segments(row["hypotheses"]["surface"]),
            )
            for row in file["utterances"]
            if "surface" in row["texts"] and "surface" in row["hypotheses"]
        }
    )


def _paired(a: Counts, b: Counts, speakers: Mapping[str, str]) -> dict:
    shared = [utt_id for utt_id in a if utt_id in b]
    errors_a, tokens = _sum_by_speaker({utt_id: a[utt_id] for utt_id in shared}, speakers)
    errors_b, _ = _sum_by_speaker({utt_id: b[utt_id] for utt_id in shared}, speakers)
    return {"utterances": len(shared), **paired_statistics(errors_a, errors_b, tokens)}


def _consistency(
    files: Mapping[str, Mapping],
    outputs: Mapping[str, set[str]],
    baselines: Collection[str],
    prompted: Collection[str],
    unit: str,
    pronounce: Callable[[str], str | None],
) -> dict:
    """Describe every system with both outputs, and every pair of systems that has them together.

    A baseline with one output, or a system with one that knows the prompt, is paired with none.
    """
    dual = [name for name, names in outputs.items() if {"surface", "meaning"} <= names]
    single = {
        kind: [
            name
            for name, names in outputs.items()
            if kind in names and name not in [*dual, *baselines, *prompted]
        ]
        for kind in ("surface", "meaning")
    }
    sources = [(name, name, name) for name in dual]
    sources += [(f"{s} + {m}", s, m) for s in single["surface"] for m in single["meaning"]]
    pairs = {
        name: consistency.pair_outputs(name, files[s], files[m], unit, pronounce)
        for name, s, m in sources
    }
    combined = [name for name in pairs if name not in dual]
    unprompted = [name for name in dual if name not in prompted]
    tests = [(pairs[a], pairs[b]) for b in unprompted for a in combined]
    for group in (unprompted, [name for name in dual if name in prompted]):
        tests += [(pairs[group[0]], pairs[b]) for b in group[1:]]
    return {
        "unit": unit,
        "outputs": [consistency.describe(pair) for pair in pairs.values()],
        "differences": [consistency.compare_pairs(a, b) for a, b in tests],
    }


def _missing(result: Mapping, measured: divergence.ReferenceDistances) -> Iterator[str]:
    """Yield a sentence for everything that could not be evaluated."""
    speakers = result["speakers"]
    if speakers < 2:
        yield "one speaker: there are no intervals and no tests"
    elif speakers <= FEW_SPEAKERS:
        yield (
            f"{speakers} speakers: bootstrap intervals over so few speakers are too narrow, and a "
            f"permutation test cannot give p below {2 / 2**speakers:.3f}"
        )
    for pair, reason in measured.lacks.items():
        yield f"no {pair} distance: {reason}"
    if measured.main is None:
        yield "no divergence: there are no bins, and differences cannot be related to divergence"
    for grouping, bins in measured.bins.items():
        rows = divergence.count_bins(bins, divergence.bin_names(grouping, measured))
        if empty := [row["bin"] for row in rows if not row["utterances"]]:
            of = "distance per token" if grouping == "normalised" else grouping
            yield f"no utterance in these bins of {of}: {', '.join(empty)}"
    if len(result["systems"]) < 2:
        yield "one system: there is no other system to compare it with"
    elif not result["differences"]:
        yield "no system has all outputs of another one: there are no differences"
    if not result["consistency"]["outputs"]:
        yield "consistency is not measured: no system or pair of systems has both outputs"
    if result["articulatory"]["lacks"]:
        yield f"no articulatory distance: {result['articulatory']['lacks']}"
