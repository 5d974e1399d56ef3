"""Distances between the references of an utterance, and bins of utterances by these distances.

An utterance may have three references:

=========  =========================================================================================
surface    what was pronounced
canonical  the pronunciation that the intended words should have had
meaning    the words that were intended
=========  =========================================================================================

Distances are edit distances in characters, jamo or phones, between the pairs

=================  =================================================================================
surface-meaning    the whole divergence. It may be less than the sum of the other two.
surface-canonical  the learner's errors
canonical-meaning  regular phonology (in Korean: spelling against standard pronunciation)
=================  =================================================================================

No distance is defined between phones and letters. If surface is phones and meaning is letters, only
surface-canonical is measured.

Utterances are binned in three groupings:

==========  ========================================================================================
distance    the distance: 0, 1–3, 4–10, ≥11 (arXiv 2606.06065)
normalised  the distance per reference token: 0, ≤0.1, ≤0.3, >0.3. Unlike the distance, it does not
            grow with length. The edges correspond to 3 and 10 edits in 30 tokens.
origin      whether the utterance has a learner error, only regular phonology, or neither
==========  ========================================================================================

The edges of the bins are fixed and not quantiles, so that corpora can be compared.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espnet_ext.errors import UserError
from espnet_ext.scoring.counts import SPACE, edit_distances, tokenize
from espnet_ext.scoring.normal_form import token_type_of
from espnet_ext.text import hangul

DISTANCE_BINS = (("0", 0), ("1-3", 3), ("4-10", 10), (">=11", None))  # name, largest distance
NORMALISED_BINS = (("0", 0.0), ("<=0.1", 0.1), ("<=0.3", 0.3), (">0.3", None))
PAIRS = (("surface", "meaning"), ("surface", "canonical"), ("canonical", "meaning"))
WHOLE, LEARNER, REGULAR = ("-".join(pair) for pair in PAIRS)
UNITS = ("char", "jamo", "phone")
# Bins of the origin. NO_LEARNER_ERROR is used if canonical-meaning is not measured.
NEITHER, PHONOLOGY_ONLY, LEARNER_ERROR = "neither", "regular phonology only", "learner error"
NO_LEARNER_ERROR = "no learner error"
GROUPINGS = ("distance", "normalised", "origin")
_PHONES_AND_LETTERS = (
    "surface is phones and meaning is letters, between which no distance is defined"
)

Texts = Mapping[str, Mapping[str, str]]  # utterance → kind of reference → text


@dataclass(frozen=True)
class Distance:
    """The distance of a text from its reference."""

    edits: int
    tokens: int  # length of the reference


@dataclass(frozen=True)
class ReferenceDistances:
    """All distances between the references of a set."""

    unit: str
    pairs: Mapping[str, Mapping[str, Distance]]  # pair, e.g. "surface-meaning" → utterance → …
    lacks: Mapping[str, str]  # pair → reason why it is not measured
    main: str | None  # the pair that determines the bins
    bins: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict
    )  # grouping → utterance → bin


def distance_bin(distance: int) -> str:
    """Return the name of the bin of a distance.

    >>> [distance_bin(distance) for distance in (0, 3, 4, 11)]
    ['0', '1-3', '4-10', '>=11']
    """
    return next(name for name, high in DISTANCE_BINS if high is None or distance <= high)


def normalised_bin(distance: int, tokens: int) -> str:
    """Return the name of the bin of a distance per token. `tokens` must be positive.

    >>> [normalised_bin(distance, 10) for distance in (0, 1, 3, 4)]
    ['0', '<=0.1', '<=0.3', '>0.3']
    """
    value = distance / tokens
    return next(name for name, high in NORMALISED_BINS if high is None or value <= high)


def divergence_kinds(token_types: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return (reference, compared kind, metric) of the divergence, or None if it is undefined.

    >>> divergence_kinds({"surface": "phone", "meaning": "char"})
    ('canonical', 'surface', 'per')
    """
    if "surface" not in token_types or "meaning" not in token_types:
        return None
    if token_types["surface"] == "phone" and token_types["meaning"] != "phone":
        return "canonical", "surface", "per"
    return "meaning", "surface", "per" if token_types["surface"] == "phone" else "cer"


def divergences(texts: Texts, token_types: Mapping[str, str]) -> dict[str, int]:
    """Return the divergence of every utterance that has both references.

    >>> divergences({"a": {"surface": "궁물", "meaning": "국물"}, "b": {"meaning": "국"}},
    ...             {"surface": "char", "meaning": "char"})
    {'a': 1}
    """
    kinds = divergence_kinds(token_types)
    if kinds is None:
        return {}
    reference, compared, metric = kinds
    distances = _distances(texts, compared, reference, "phone" if metric == "per" else "char")
    return {utt_id: distance.edits for utt_id, distance in distances.items()}


def split_units(text: str, unit: str) -> list[str]:
    """Split a text into units. Among characters and jamo, a space is a unit.

    >>> len(split_units("국물 맛", "char")), len(split_units("국물 맛", "jamo"))
    (4, 10)
    >>> split_units("S IY", "phone")
    ['S', 'IY']
    """
    if unit == "phone":
        return tokenize(text, "per")
    squeezed = " ".join(text.split())
    characters = hangul.to_jamo(squeezed) if unit == "jamo" else squeezed
    return [SPACE if character == " " else character for character in characters]


def choose_unit(token_types: Mapping[str, str], unit: str | None = None) -> str:
    """Return the unit of distances. Default: phones if surface is phones, otherwise characters.

    Raises:
        UserError: the texts do not consist of the requested unit.
    """
    is_phones = token_types.get("surface") == "phone"
    unit = unit or ("phone" if is_phones else "char")
    if unit not in UNITS:
        raise UserError(f"unknown unit of distances '{unit}'", f"use one of {', '.join(UNITS)}")
    if is_phones != (unit == "phone"):
        actual = "phones" if is_phones else "written characters"
        valid = "phone" if is_phones else "char or jamo"
        raise UserError(f"distances in '{unit}', but surface is {actual}", f"use {valid}")
    return unit


def measure_references(
    texts: Texts, token_types: Mapping[str, str], unit: str | None = None
) -> ReferenceDistances:
    """Measure all pairs of references, and give the reason for each pair that is not measured.

    Of references without a token type it is not known what they consist of: they are not measured.
    Canonical forms are written like the surface.

    >>> measured = measure_references(
    ...     {"a": {"surface": "궁물", "canonical": "궁물", "meaning": "국물"}},
    ...     {"surface": "char", "meaning": "char"})
    >>> [distances["a"].edits for distances in measured.pairs.values()]
    [1, 0, 1]
    >>> measured.bins["origin"]["a"]
    'regular phonology only'
    """
    unit = choose_unit(token_types, unit)
    mixed = unit == "phone" and token_types.get("meaning") != "phone"
    pairs, lacks = {}, {}
    for compared, reference in PAIRS:
        name = f"{compared}-{reference}"
        absent = [
            kind
            for kind in (compared, reference)
            if not any(kind in references for references in texts.values())
        ]
        untyped = [kind for kind in (compared, reference) if not token_type_of(kind, token_types)]
        if token_types and untyped:
            lacks[name] = f"{untyped[0]} has no token type"
        elif mixed and reference == "meaning":
            lacks[name] = _PHONES_AND_LETTERS
        elif absent:
            lacks[name] = f"no utterance has a {absent[0]} reference"
        elif distances := _distances(texts, compared, reference, unit):
            pairs[name] = distances
        else:
            lacks[name] = f"no utterance has both {compared} and {reference}"
    main = next((name for name in (WHOLE, LEARNER) if name in pairs), None)
    return ReferenceDistances(unit, pairs, lacks, main, _bins(pairs, main))


def _distances(texts: Texts, compared: str, reference: str, unit: str) -> dict[str, Distance]:
    """Return the distance of every utterance that has both kinds of references."""
    ids = [utt_id for utt_id, kinds in texts.items() if compared in kinds and reference in kinds]
    references = [split_units(texts[utt_id][reference], unit) for utt_id in ids]
    edits = edit_distances(references, [split_units(texts[i][compared], unit) for i in ids])
    lengths = map(len, references)
    return dict(zip(ids, map(Distance, edits, lengths), strict=True))


def _bins(pairs: Mapping[str, Mapping[str, Distance]], main: str | None) -> dict:
    """Return the bin of every utterance in every grouping that is defined."""
    if main is None:
        return {}
    bins = bins_by_distance(pairs[main])
    if LEARNER in pairs:
        origins = {
            utt_id: _origin(utt_id, distance, pairs.get(REGULAR))
            for utt_id, distance in pairs[LEARNER].items()
        }
        bins["origin"] = {utt_id: origin for utt_id, origin in origins.items() if origin}
    return bins


def bins_by_distance(distances: Mapping[str, Distance]) -> dict[str, dict[str, str]]:
    """Return the bins of utterances by distance and by distance per token.

    An utterance without reference tokens has no bin by distance per token.
    """
    return {
        "distance": {utt_id: distance_bin(d.edits) for utt_id, d in distances.items()},
        "normalised": {
            utt_id: normalised_bin(d.edits, d.tokens) for utt_id, d in distances.items() if d.tokens
        },
    }


def _origin(utt_id: str, learner: Distance, regular: Mapping[str, Distance] | None) -> str | None:
    """Return the bin of an utterance by origin, or None if it is not known.

    Args:
        learner: the surface-canonical distance.
        regular: utterance → canonical-meaning distance, or None if this pair is not measured.
    """
    if learner.edits:
        return LEARNER_ERROR
    if regular is None:
        return NO_LEARNER_ERROR
    if utt_id not in regular:
        return None
    return PHONOLOGY_ONLY if regular[utt_id].edits else NEITHER


def bin_names(grouping: str, measured: ReferenceDistances) -> tuple[str, ...]:
    """Return the names of the bins of a grouping, in order.

    >>> bin_names("normalised", measure_references({}, {}))
    ('0', '<=0.1', '<=0.3', '>0.3')
    """
    if grouping == "origin":
        if REGULAR in measured.pairs:
            return NEITHER, PHONOLOGY_ONLY, LEARNER_ERROR
        return NO_LEARNER_ERROR, LEARNER_ERROR
    return tuple(name for name, _ in (DISTANCE_BINS if grouping == "distance" else NORMALISED_BINS))


def count_bins(bins: Mapping[str, str], names: Sequence[str]) -> list[dict]:
    """Return the number and share of utterances in every bin, including empty bins.

    Args:
        bins: utterance → bin.
        names: names of all bins.

    >>> count_bins({"a": "0", "b": "0"}, ["0", "1-3"])
    [{'bin': '0', 'utterances': 2, 'share': 1.0}, {'bin': '1-3', 'utterances': 0, 'share': 0.0}]
    """
    return bin_shares(Counter(bins.values()), names)


def bin_shares(sizes: Counter[str], names: Sequence[str]) -> list[dict]:
    """Return what `count_bins` returns.

    Args:
        sizes: bin → number of utterances.
        names: names of all bins.
    """
    total = sizes.total()
    return [
        {"bin": name, "utterances": sizes[name], "share": sizes[name] / total if total else 0.0}
        for name in names
    ]
