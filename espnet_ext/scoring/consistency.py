"""Whether two recognised transcripts of an utterance lie as far apart as they should.

A dual system gives both outputs of every utterance; so does a pair of single-output systems. Their
hypotheses' distance, surface from meaning, is held against the references': a system whose outputs
are drawn towards each other has a smaller one. Where surface is phones, the distance is that from
the canonical phones, the recognised meaning's being its words in a lexicon; an utterance with a
word that the lexicon does not know has no distance, and is counted. Which outputs are right is
judged of all utterances.

All measures are functions of sums over utterances, so that resampling speakers, and exchanging two
systems speaker by speaker, are sums again. Legend: S speakers, K sums, R resamples.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from espnet_ext.scoring import bootstrap, divergence
from espnet_ext.scoring.counts import edit_distances
from espnet_ext.scoring.dependence import holm, swaps

SUMS = (
    "n",
    "x",
    "y",
    "xx",
    "yy",
    "xy",
    "apart",
    "tokens",
    "same_x",
    "same_y",
    "judged",
    "both",
    "only_surface",
    "only_meaning",
    "neither",
)
_AT = {name: i for i, name in enumerate(SUMS)}
_DISTANCES = SUMS.index("judged")  # the sums before it are of distances

Totals = np.ndarray  # (..., K)


def _share(part: Sequence[str], whole: Sequence[str]) -> Callable[[Totals], np.ndarray]:
    """Percent of one sum of sums in another; NaN where that is nothing."""

    def measure(totals: Totals) -> np.ndarray:
        above = sum(totals[..., _AT[name]] for name in part)
        below = sum(totals[..., _AT[name]] for name in whole)
        return _over(100.0 * above, below)

    return measure


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def _mean(above: str, less: str | None = None, per: str = "n", scale: float = 1.0) -> Callable:
    def measure(totals: Totals) -> np.ndarray:
        value = totals[..., _AT[above]] - (totals[..., _AT[less]] if less else 0.0)
        return _over(scale * value, totals[..., _AT[per]])

    return measure


def _correlation(totals: Totals) -> np.ndarray:
    """Pearson's, of the hypotheses' distance with the references'; NaN where one is constant."""
    n, x, y, xx, yy, xy = (totals[..., _AT[name]] for name in ("n", "x", "y", "xx", "yy", "xy"))
    spread = (n * xx - x * x) * (n * yy - y * y)
    # sums of whole numbers are exact: what is not above zero is constant
    return np.where(spread > 0, (n * xy - x * y) / np.sqrt(np.where(spread > 0, spread, 1)), np.nan)


MEASURES: dict[str, Callable[[Totals], np.ndarray]] = {
    "distance_references": _mean("x"),
    "distance_hypotheses": _mean("y"),
    "difference": _mean("y", "x"),
    "absolute_difference": _mean("apart"),
    "per_100_tokens": _mean("apart", None, "tokens", 100.0),
    "correlation": _correlation,
    "equal_references": _share(["same_x"], ["n"]),
    "equal_hypotheses": _share(["same_y"], ["n"]),
    "both_right": _share(["both"], ["judged"]),
    "only_surface_right": _share(["only_surface"], ["judged"]),
    "only_meaning_right": _share(["only_meaning"], ["judged"]),
    "both_wrong": _share(["neither"], ["judged"]),
    "meaning_if_surface": _share(["both"], ["both", "only_surface"]),
    "meaning_if_not_surface": _share(["only_meaning"], ["only_meaning", "neither"]),
    "surface_if_meaning": _share(["both"], ["both", "only_meaning"]),
    "surface_if_not_meaning": _share(["only_surface"], ["only_surface", "neither"]),
}
# Of the references, or the same question as another measure's once these are the same.
NOT_TESTED = ("distance_references", "equal_references", "distance_hypotheses", "per_100_tokens")


@dataclass(frozen=True)
class Outputs:
    """Both outputs of a set's utterances, by one system or by two."""

    name: str
    rows: dict[str, np.ndarray] = field(default_factory=dict)  # utterance → what it adds, (K,)
    speakers: dict[str, str] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)
    not_comparable: set[str] = field(default_factory=set)  # without a distance
    against: str = "meaning"  # "canonical" where meaning is pronounced


def outputs_of(
    name: str,
    surface: Mapping,
    meaning: Mapping,
    unit: str,
    pronounce: Callable[[str], str | None],
) -> Outputs:
    """What the utterances of two `utterances.json` (or one, twice) add to the sums."""
    mixed = unit == "phone" and meaning["token_types"].get("meaning") != "phone"
    found = Outputs(name, against="canonical" if mixed else "meaning")
    meant = {row["id"]: row for row in meaning["utterances"]}
    texts = {}
    for row in surface["utterances"]:
        utt_id, labels = row["id"], row["texts"]
        if utt_id not in meant or not {"surface", "meaning"} <= set(labels):
            found.unlabelled.append(utt_id)
            continue
        right = _right(row, "surface"), _right(meant[utt_id], "meaning")
        found.speakers[utt_id] = row["speaker"]
        found.rows[utt_id] = np.array(
            [0.0] * _DISTANCES
            + [1, all(right), right == (True, False), right == (False, True), not any(right)]
        )
        understood = meant[utt_id]["hypotheses"].get("meaning", "")
        written = pronounce(understood) if mixed and understood else understood
        if written is None or found.against not in labels:
            found.not_comparable.add(utt_id)
        else:
            texts[utt_id] = (
                labels[found.against],
                labels["surface"],
                written,
                row["hypotheses"].get("surface", ""),
            )
    _add_distances(found, texts, unit)
    return found


def _add_distances(found: Outputs, texts: Mapping[str, tuple[str, ...]], unit: str) -> None:
    """`texts`: of each utterance both references and both hypotheses, meaning first."""
    split = [[divergence.split(text, unit) for text in four] for four in texts.values()]
    references = edit_distances([four[0] for four in split], [four[1] for four in split])
    hypotheses = edit_distances([four[2] for four in split], [four[3] for four in split])
    for utt_id, four, x, y in zip(texts, split, references, hypotheses, strict=True):
        found.rows[utt_id][:_DISTANCES] = (
            1,
            x,
            y,
            x * x,
            y * y,
            x * y,
            abs(x - y),
            len(four[0]),
            x == 0,
            y == 0,
        )


def _right(row: Mapping, output: str) -> bool:
    """Whether an output has its own reference, by the own cell's metric."""
    return row["cells"][f"{output}-{output}"]["errors"] == 0


def describe(outputs: Outputs) -> dict:
    """Every measure with its interval over speakers, or the reason why there is none."""
    if not outputs.rows:
        reason = "no utterance has both references"
        return {**_head(outputs), "lacks": reason, "measures": {}}
    sums = _by_speaker(outputs, sorted(outputs.rows))
    weights = bootstrap.draws(len(sums), bootstrap.RESAMPLES, bootstrap.SEED)
    measures = {}
    for name, function in MEASURES.items():
        value = float(function(sums.sum(0)))
        drawn = function(weights @ sums)
        measures[name] = {
            "value": None if np.isnan(value) else value,
            "interval": _bounds(drawn) if len(sums) > 1 else None,
        }
    lacks = "one speaker: no intervals" if len(sums) < 2 else None
    return {**_head(outputs), "lacks": lacks, "measures": measures}


def _head(outputs: Outputs) -> dict:
    return {
        "name": outputs.name,
        "against": outputs.against,
        "utterances": len(outputs.rows),
        "unlabelled": len(outputs.unlabelled),
        "not_comparable": len(outputs.not_comparable),  # of the utterances
    }


def _by_speaker(
    outputs: Outputs, chosen: Sequence[str], no_distance: Set[str] = frozenset()
) -> np.ndarray:
    """(S, K), speakers in order; the distances of some utterances may be left out."""
    sums: dict[str, np.ndarray] = {}
    for utt_id in chosen:
        row = outputs.rows[utt_id]
        if utt_id in no_distance:
            row = np.where(np.arange(len(SUMS)) < _DISTANCES, 0.0, row)
        speaker = outputs.speakers[utt_id]
        sums[speaker] = sums.get(speaker, 0.0) + row
    return np.stack([sums[speaker] for speaker in sorted(sums)])


def _bounds(drawn: np.ndarray) -> tuple[float, float] | None:
    return bootstrap.percentiles(drawn) if np.isfinite(drawn).any() else None


def differences(a: Outputs, b: Outputs) -> dict:
    """b − a in every measure, over the utterances that both have, paired by speaker.

    Distances are those of utterances that are comparable in both. `p_permutation` exchanges the two
    speaker by speaker; `p_holm` is adjusted for all measures.
    """
    shared = sorted(set(a.rows) & set(b.rows))
    no_distance = a.not_comparable | b.not_comparable
    head = {"a": a.name, "b": b.name, "utterances": len(shared)}
    head["not_comparable"] = len(no_distance & set(shared))
    if not shared:
        return {**head, "lacks": "no utterance that both have", "measures": {}}
    sums_a, sums_b = (_by_speaker(one, shared, no_distance) for one in (a, b))
    if len(sums_a) < 2:
        return {**head, "lacks": "one speaker: no test is possible", "measures": {}}
    weights = bootstrap.draws(len(sums_a), bootstrap.RESAMPLES, bootstrap.SEED)
    keep = (swaps(len(sums_a)) > 0).astype(np.float64)  # (R, S)
    measures = {}
    for name, function in MEASURES.items():
        if name in NOT_TESTED:
            continue
        value = float(function(sums_b.sum(0)) - function(sums_a.sum(0)))
        drawn = function(weights @ sums_b) - function(weights @ sums_a)
        exchanged = function(keep @ sums_b + (1 - keep) @ sums_a)
        exchanged = exchanged - function(keep @ sums_a + (1 - keep) @ sums_b)
        known = np.isfinite(value) and np.isfinite(drawn).any()
        measures[name] = {
            "difference": value if known else None,
            "interval": _bounds(drawn) if known else None,
            "p_value": bootstrap.two_sided(drawn) if known else None,
            "p_permutation": _as_far(exchanged, value) if known else None,
        }
    adjusted = holm([row["p_value"] for row in measures.values()])
    for row, p_value in zip(measures.values(), adjusted, strict=True):
        row["p_holm"] = p_value
    return {**head, "lacks": None, "measures": measures}


def _as_far(exchanged: np.ndarray, value: float) -> float:
    """The share of exchanges that lie as far from zero as what was observed."""
    finite = exchanged[np.isfinite(exchanged)]
    return float(np.mean(np.abs(finite) >= abs(value) - 1e-9))
