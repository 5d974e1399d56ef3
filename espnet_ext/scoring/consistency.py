"""Consistency of the two outputs of an utterance: are they as far apart as they should be?

A dual-output system recognises surface and meaning of every utterance; so do two single-output
systems together. The distance between the two hypotheses is compared with the distance between the
two references. If a system makes its outputs too similar, the distance of its hypotheses is too
small.

If surface is phones and meaning is written, the distance is that from the canonical phones to the
surface. The recognised meaning is then converted to phones with a lexicon. An utterance with a word
that is not in the lexicon is *not comparable*: it has no distance and is counted. Whether outputs
are correct is judged for all utterances.

All measures are functions of sums over utterances. A bootstrap resamples these sums per speaker,
and a permutation test exchanges them per speaker.

===================  ===============================================================================
ref, hyp             distance between the references, and between the hypotheses
ref_ref, hyp_hyp,    their squares and product
ref_hyp
compared             1 if the utterance has distances
absolute_difference  |ref − hyp|
tokens               length of the meaning (or canonical) reference
ref_zero, hyp_zero   1 if the distance is 0
judged               1
both, only_surface,  1 if both outputs are correct, only one of them, or neither
only_meaning,
neither
===================  ===============================================================================

Symbols: S speakers, K sums, R resamples or permutations.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from espnet_ext.scoring import bootstrap, divergence
from espnet_ext.scoring.counts import edit_distances
from espnet_ext.scoring.significance import holm, permutation_p_value, sign_patterns

_DISTANCE_SUMS = (
    *("compared", "ref", "hyp", "ref_ref", "hyp_hyp", "ref_hyp", "absolute_difference"),
    *("tokens", "ref_zero", "hyp_zero"),
)
_CORRECTNESS_SUMS = ("judged", "both", "only_surface", "only_meaning", "neither")
SUMS = (*_DISTANCE_SUMS, *_CORRECTNESS_SUMS)

Sums = Mapping[str, np.ndarray]  # name in SUMS → (...)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is not positive."""
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.where(denominator > 0, numerator / safe, np.nan)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return _ratio(100.0 * part, whole)


def _correlation(s: Sums) -> np.ndarray:
    """Pearson correlation of reference and hypothesis distances; NaN if one is constant."""
    n = s["compared"]
    covariance = n * s["ref_hyp"] - s["ref"] * s["hyp"]
    # sums of integers are exact, so a constant distance has exactly zero variance
    variances = (n * s["ref_ref"] - s["ref"] ** 2) * (n * s["hyp_hyp"] - s["hyp"] ** 2)
    safe = np.where(variances > 0, variances, 1.0)
    return np.where(variances > 0, covariance / np.sqrt(safe), np.nan)


# Distances in units, shares in percent. `meaning_if_surface` is the share of utterances with a
# correct meaning among those with a correct surface.
MEASURES: dict[str, Callable[[Sums], np.ndarray]] = {
    "distance_references": lambda s: _ratio(s["ref"], s["compared"]),
    "distance_hypotheses": lambda s: _ratio(s["hyp"], s["compared"]),
    "difference": lambda s: _ratio(s["hyp"] - s["ref"], s["compared"]),
    "absolute_difference": lambda s: _ratio(s["absolute_difference"], s["compared"]),
    "per_100_tokens": lambda s: _percent(s["absolute_difference"], s["tokens"]),
    "correlation": _correlation,
    "equal_references": lambda s: _percent(s["ref_zero"], s["compared"]),
    "equal_hypotheses": lambda s: _percent(s["hyp_zero"], s["compared"]),
    "both_right": lambda s: _percent(s["both"], s["judged"]),
    "only_surface_right": lambda s: _percent(s["only_surface"], s["judged"]),
    "only_meaning_right": lambda s: _percent(s["only_meaning"], s["judged"]),
    "both_wrong": lambda s: _percent(s["neither"], s["judged"]),
    "meaning_if_surface": lambda s: _percent(s["both"], s["both"] + s["only_surface"]),
    "meaning_if_not_surface": lambda s: _percent(
        s["only_meaning"], s["only_meaning"] + s["neither"]
    ),
    "surface_if_meaning": lambda s: _percent(s["both"], s["both"] + s["only_meaning"]),
    "surface_if_not_meaning": lambda s: _percent(
        s["only_surface"], s["only_surface"] + s["neither"]
    ),
}
# Measures that are not tested: they depend only on the references, or test the same as another one.
NOT_TESTED = ("distance_references", "equal_references", "distance_hypotheses", "per_100_tokens")


@dataclass(frozen=True)
class OutputPair:
    """Surface and meaning of a set's utterances, recognised by one system or by two."""

    name: str
    rows: dict[str, np.ndarray] = field(default_factory=dict)  # utterance → its terms, (K,)
    speakers: dict[str, str] = field(default_factory=dict)  # utterance → speaker
    unlabelled: list[str] = field(default_factory=list)
    not_comparable: set[str] = field(default_factory=set)  # utterances without distances
    against: str = "meaning"  # the reference of distances: "meaning" or "canonical"


def pair_outputs(
    name: str,
    surface: Mapping,
    meaning: Mapping,
    unit: str,
    pronounce: Callable[[str], str | None],
) -> OutputPair:
    """Collect surface and meaning of every utterance from one or two systems.

    Args: surface, meaning: contents of the `utterances.json` that has the output. They may be the
        same. unit: unit of distances, see `divergence`. pronounce: converts a written meaning to
        phones, or returns None.
    """
    convert = unit == "phone" and meaning["token_types"].get("meaning") != "phone"
    pair = OutputPair(name, against="canonical" if convert else "meaning")
    meaning_rows = {row["id"]: row for row in meaning["utterances"]}
    texts = {}
    for row in surface["utterances"]:
        utt_id, references = row["id"], row["texts"]
        if utt_id not in meaning_rows or not {"surface", "meaning"} <= set(references):
            pair.unlabelled.append(utt_id)
            continue
        if not (_is_scored(row, "surface") and _is_scored(meaning_rows[utt_id], "meaning")):
            continue  # a baseline without a hypothesis for it
        correct = _is_correct(row, "surface"), _is_correct(meaning_rows[utt_id], "meaning")
        outcomes = ((True, True), (True, False), (False, True), (False, False))
        pair.speakers[utt_id] = row["speaker"]
        pair.rows[utt_id] = np.array(
            [0.0] * len(_DISTANCE_SUMS) + [1.0, *(correct == outcome for outcome in outcomes)]
        )
        hypothesis: str | None = meaning_rows[utt_id]["hypotheses"].get("meaning", "")
        if convert and hypothesis:
            hypothesis = pronounce(hypothesis)
        if hypothesis is None or pair.against not in references:
            pair.not_comparable.add(utt_id)
        else:
            texts[utt_id] = (
                references[pair.against],
                references["surface"],
                hypothesis,
                row["hypotheses"].get("surface", ""),
            )
    _add_distances(pair, texts, unit)
    return pair


def _is_scored(row: Mapping, output: str) -> bool:
    return f"{output}-{output}" in row["cells"]


def _is_correct(row: Mapping, output: str) -> bool:
    """Return whether an output equals its reference, by the metric of its own cell."""
    return row["cells"][f"{output}-{output}"]["errors"] == 0


def _add_distances(pair: OutputPair, texts: Mapping[str, tuple[str, ...]], unit: str) -> None:
    """Add the terms of distances to the rows.

    Args:
        texts: utterance → (meaning reference, surface reference, meaning hypothesis, surface
            hypothesis).
    """
    units = [[divergence.split_units(text, unit) for text in four] for four in texts.values()]
    references = edit_distances([four[0] for four in units], [four[1] for four in units])
    hypotheses = edit_distances([four[2] for four in units], [four[3] for four in units])
    for utt_id, four, ref, hyp in zip(texts, units, references, hypotheses, strict=True):
        terms = {
            "compared": 1,
            "ref": ref,
            "hyp": hyp,
            "ref_ref": ref * ref,
            "hyp_hyp": hyp * hyp,
            "ref_hyp": ref * hyp,
            "absolute_difference": abs(ref - hyp),
            "tokens": len(four[0]),
            "ref_zero": ref == 0,
            "hyp_zero": hyp == 0,
        }
        pair.rows[utt_id][: len(_DISTANCE_SUMS)] = [terms[name] for name in _DISTANCE_SUMS]


def named_sums(sums: np.ndarray) -> Sums:
    """Return an array of sums, (..., K), as a mapping name → (...)."""
    return dict(zip(SUMS, np.moveaxis(sums, -1, 0), strict=True))


def describe(pair: OutputPair) -> dict:
    """Return every measure with its interval over speakers, or the reason why there is none."""
    if not pair.rows:
        reason = "no utterance has both references"
        return {**_header(pair), "lacks": reason, "measures": {}}
    sums = _sums_by_speaker(pair, sorted(pair.rows))  # (S, K)
    weights = bootstrap.speaker_weights(len(sums), bootstrap.RESAMPLES, bootstrap.SEED)  # (R, S)
    total, resampled = named_sums(sums.sum(0)), named_sums(weights @ sums)
    measures = {}
    for name, measure in MEASURES.items():
        value = float(measure(total))
        measures[name] = {
            "value": None if np.isnan(value) else value,
            "interval": _interval(measure(resampled)) if len(sums) > 1 else None,
        }
    lacks = "intervals need at least two speakers" if len(sums) < 2 else None
    return {**_header(pair), "lacks": lacks, "measures": measures}


def _header(pair: OutputPair) -> dict:
    return {
        "name": pair.name,
        "against": pair.against,
        "utterances": len(pair.rows),
        "unlabelled": len(pair.unlabelled),
        "not_comparable": len(pair.not_comparable),  # included in `utterances`
    }


def _sums_by_speaker(
    pair: OutputPair, utterances: Sequence[str], without_distances: Set[str] = frozenset()
) -> np.ndarray:
    """Return the sums of each speaker, (S, K), in the order of speaker names.

    Args:
        without_distances: utterances whose distances are left out.
    """
    sums: dict[str, np.ndarray] = {}
    for utt_id in utterances:
        row = pair.rows[utt_id]
        if utt_id in without_distances:
            row = np.where(np.arange(len(SUMS)) < len(_DISTANCE_SUMS), 0.0, row)
        speaker = pair.speakers[utt_id]
        sums[speaker] = sums.get(speaker, np.zeros(len(SUMS))) + row
    return np.stack([sums[speaker] for speaker in sorted(sums)])


def _interval(resampled: np.ndarray) -> tuple[float, float] | None:
    return bootstrap.percentile_interval(resampled) if np.isfinite(resampled).any() else None


def compare_pairs(a: OutputPair, b: OutputPair) -> dict:
    """Return the difference b − a of every tested measure, paired by speaker.

    Only utterances that both have are used, and only distances that both have. `p_permutation`
    exchanges the two per speaker. `p_holm` is corrected for all tested measures.
    """
    shared = sorted(set(a.rows) & set(b.rows))
    without_distances = a.not_comparable | b.not_comparable
    header = {
        "a": a.name,
        "b": b.name,
        "utterances": len(shared),
        "not_comparable": len(without_distances & set(shared)),
    }
    if not shared:
        return {**header, "lacks": "the two have no utterance in common", "measures": {}}
    sums_a, sums_b = (_sums_by_speaker(pair, shared, without_distances) for pair in (a, b))
    if len(sums_a) < 2:
        return {**header, "lacks": "a test needs at least two speakers", "measures": {}}
    weights = bootstrap.speaker_weights(len(sums_a), bootstrap.RESAMPLES, bootstrap.SEED)
    keep = (sign_patterns(len(sums_a)) > 0).astype(np.float64)  # (R, S)
    observed = [named_sums(sums.sum(0)) for sums in (sums_a, sums_b)]
    resampled = [named_sums(weights @ sums) for sums in (sums_a, sums_b)]
    exchanged = [
        named_sums(keep @ sums_a + (1 - keep) @ sums_b),
        named_sums(keep @ sums_b + (1 - keep) @ sums_a),
    ]
    measures: dict[str, dict] = {}
    for name, measure in MEASURES.items():
        if name in NOT_TESTED:
            continue
        value = float(measure(observed[1]) - measure(observed[0]))
        resampled_values = measure(resampled[1]) - measure(resampled[0])
        exchanged_values = measure(exchanged[1]) - measure(exchanged[0])
        defined = np.isfinite(value) and np.isfinite(resampled_values).any()
        measures[name] = {
            "difference": value if defined else None,
            "interval": _interval(resampled_values) if defined else None,
            "p_value": bootstrap.two_sided_p_value(resampled_values) if defined else None,
            "p_permutation": permutation_p_value(exchanged_values, value) if defined else None,
        }
    adjusted = holm([row["p_value"] for row in measures.values()])
    for row, p_value in zip(measures.values(), adjusted, strict=True):
        row["p_holm"] = p_value
    return {**header, "lacks": None, "measures": measures}
