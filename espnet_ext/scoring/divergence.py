"""How far surface, canonical and meaning lie apart, in every utterance's references.

Distances are Levenshtein's, in characters, jamo or phones, whole and for each token of the
reference (the second of a pair). Canonical–meaning is regular phonology, surface–canonical is the
learner's error; surface–meaning, which may be less than their sum, holds both. Letters and phones
have no distance: where surface is phones and meaning is written, only surface–canonical is there.

Bins of whole distances are those of arXiv 2606.06065: 0, 1–3, 4–10, ≥11. These grow with length;
the bins of distances per token do not: 0, ≤0.1, ≤0.3, more, which are 3 and 10 edits of 30 or so
tokens, the length of a sentence. Fixed edges, not quantiles, so that corpora can be compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from espnet_ext.errors import UserError
from espnet_ext.scoring.counts import SPACE, edit_distances, tokenize
from espnet_ext.text import hangul

BINS = (("0", 0, 0), ("1-3", 1, 3), ("4-10", 4, 10), (">=11", 11, None))
NORMALISED = (("0", 0.0), ("<=0.1", 0.1), ("<=0.3", 0.3), (">0.3", None))
PAIRS = (("surface", "meaning"), ("surface", "canonical"), ("canonical", "meaning"))
WHOLE, LEARNER, REGULAR = ("-".join(pair) for pair in PAIRS)
UNITS = ("char", "jamo", "phone")
NOTHING, PHONOLOGY, ERROR = "neither", "regular phonology only", "learner error"
NO_ERROR = "no learner error"  # where regular phonology cannot be told
GROUPS = ("distance", "normalised", "origin")
_LETTERS = "surface is phones and meaning is letters, between which no distance is defined"

Texts = Mapping[str, Mapping[str, str]]  # utterance → kind → text


def bin_of(distance: int) -> str:
    """The name of a distance's bin.

    >>> [bin_of(d) for d in (0, 3, 4, 11)]
    ['0', '1-3', '4-10', '>=11']
    """
    return next(name for name, _, high in BINS if high is None or distance <= high)


def normalised_bin_of(distance: int, tokens: int) -> str:
    """The name of the bin of a distance per token; `tokens` above zero.

    >>> [normalised_bin_of(d, 10) for d in (0, 1, 3, 4)]
    ['0', '<=0.1', '<=0.3', '>0.3']
    """
    value = distance / tokens
    return next(name for name, high in NORMALISED if high is None or value <= high)


def comparison(token_types: Mapping[str, str]) -> tuple[str, str, str] | None:
    """(reference kind, compared kind, metric) whose distance is the divergence, or None.

    >>> comparison({"surface": "phone", "meaning": "char"})
    ('canonical', 'surface', 'per')
    """
    if "surface" not in token_types or "meaning" not in token_types:
        return None
    if token_types["surface"] == "phone" and token_types["meaning"] != "phone":
        return "canonical", "surface", "per"
    return "meaning", "surface", "per" if token_types["surface"] == "phone" else "cer"


def distances(texts: Texts, token_types: Mapping[str, str]) -> dict[str, int]:
    """The divergence of every utterance that has both references.

    >>> distances({"a": {"surface": "궁물", "meaning": "국물"}, "b": {"meaning": "국"}},
    ...           {"surface": "char", "meaning": "char"})
    {'a': 1}
    """
    kinds = comparison(token_types)
    if kinds is None:
        return {}
    intended, said, metric = kinds
    found = _between(texts, said, intended, "phone" if metric == "per" else "char")
    return {utt_id: distance.edits for utt_id, distance in found.items()}


def split(text: str, unit: str) -> list[str]:
    """A text's units; the space between words is one of characters and of jamo.

    >>> len(split("국물 맛", "char")), len(split("국물 맛", "jamo")), split("S IY", "phone")
    (4, 10, ['S', 'IY'])
    """
    if unit == "phone":
        return tokenize(text, "per")
    squeezed = " ".join(text.split())
    spelt = hangul.to_jamo(squeezed) if unit == "jamo" else squeezed
    return [SPACE if character == " " else character for character in spelt]


def unit_of(token_types: Mapping[str, str], unit: str | None = None) -> str:
    """The unit of distances: what is asked for, or phones where surface is phones, else characters.

    `UserError` for a unit that the texts are not made of.
    """
    phones = token_types.get("surface") == "phone"
    unit = unit or ("phone" if phones else "char")
    if unit not in UNITS:
        raise UserError(f"'{unit}' is no unit of distances", f"use one of {', '.join(UNITS)}")
    if phones != (unit == "phone"):
        made = "phones" if phones else "written characters"
        good = "phone" if phones else "char or jamo"
        raise UserError(f"distances in '{unit}', but surface is {made}", f"use {good}")
    return unit


@dataclass(frozen=True)
class Distance:
    """Between two texts: edits, and tokens of the reference."""

    edits: int
    tokens: int


@dataclass(frozen=True)
class Measured:
    """All distances between the references of a set."""

    unit: str
    pairs: Mapping[str, Mapping[str, Distance]]  # "surface-canonical" → utterance → distance
    lacks: Mapping[str, str]  # pair → why it is not there
    main: str | None  # the pair that bins go by
    places: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # group → utterance → bin


def measure(texts: Texts, token_types: Mapping[str, str], unit: str | None = None) -> Measured:
    """Measure every pair of references that can be measured, and say why others cannot.

    >>> found = measure({"a": {"surface": "궁물", "canonical": "궁물", "meaning": "국물"}},
    ...                 {"surface": "char", "meaning": "char"})
    >>> {name: rows["a"].edits for name, rows in found.pairs.items()}, found.places["origin"]["a"]
    ({'surface-meaning': 1, 'surface-canonical': 0, 'canonical-meaning': 1}, 'regular phonology only')
    """  # noqa: E501
    unit = unit_of(token_types, unit)
    mixed = unit == "phone" and token_types.get("meaning") != "phone"
    pairs, lacks = {}, {}
    for said, intended in PAIRS:
        name = f"{said}-{intended}"
        absent = [k for k in (said, intended) if not any(k in labels for labels in texts.values())]
        if mixed and intended == "meaning" and "meaning" in token_types:
            lacks[name] = _LETTERS
        elif absent:
            lacks[name] = f"no utterance has a {absent[0]} reference"
        elif not (found := _between(texts, said, intended, unit)):
            lacks[name] = f"no utterance has both {said} and {intended}"
        else:
            pairs[name] = found
    main = next((name for name in (WHOLE, LEARNER) if name in pairs), None)
    return Measured(unit, pairs, lacks, main, _places(pairs, main))


def _between(texts: Texts, said: str, intended: str, unit: str) -> dict[str, Distance]:
    both = [utt_id for utt_id, labels in texts.items() if said in labels and intended in labels]
    references = [split(texts[utt_id][intended], unit) for utt_id in both]
    edits = edit_distances(references, [split(texts[utt_id][said], unit) for utt_id in both])
    found = zip(both, edits, references, strict=True)
    return {utt_id: Distance(n, len(reference)) for utt_id, n, reference in found}


def _places(pairs: Mapping[str, Mapping[str, Distance]], main: str | None) -> dict:
    """Which bin every utterance is in, by whole distance, by distance per token, by origin."""
    if main is None:
        return {}
    places = places_of(pairs[main])
    if LEARNER in pairs:
        origins = {u: _origin(d, u, pairs.get(REGULAR)) for u, d in pairs[LEARNER].items()}
        places["origin"] = {utt_id: origin for utt_id, origin in origins.items() if origin}
    return places


def places_of(rows: Mapping[str, Distance]) -> dict[str, dict[str, str]]:
    """The bins of one pair's distances, whole and per token (none without a reference token)."""
    return {
        "distance": {utt_id: bin_of(d.edits) for utt_id, d in rows.items()},
        "normalised": {
            utt_id: normalised_bin_of(d.edits, d.tokens) for utt_id, d in rows.items() if d.tokens
        },
    }


def _origin(learner: Distance, utt_id: str, regular: Mapping[str, Distance] | None) -> str | None:
    """Where an utterance's divergence comes from; None where that is not known."""
    if learner.edits:
        return ERROR
    if regular is None:
        return NO_ERROR
    if utt_id not in regular:
        return None
    return PHONOLOGY if regular[utt_id].edits else NOTHING


def labels_of(group: str, measured: Measured) -> tuple[str, ...]:
    """The bins of a group, in order: "distance", "normalised" or "origin".

    >>> labels_of("normalised", measure({}, {}))
    ('0', '<=0.1', '<=0.3', '>0.3')
    """
    if group == "origin":
        return (NOTHING, PHONOLOGY, ERROR) if REGULAR in measured.pairs else (NO_ERROR, ERROR)
    return tuple(name for name, *_ in (BINS if group == "distance" else NORMALISED))


def counted(places: Mapping[str, str], labels: Sequence[str]) -> list[dict]:
    """Utterances and share of every bin, empty ones too.

    >>> counted({"a": "0", "b": "0"}, ["0", "1-3"])
    [{'bin': '0', 'utterances': 2, 'share': 1.0}, {'bin': '1-3', 'utterances': 0, 'share': 0.0}]
    """
    sizes = {label: _count(places.values(), label) for label in labels}
    total = len(places)
    return [
        {"bin": label, "utterances": n, "share": n / total if total else 0.0}
        for label, n in sizes.items()
    ]


def _count(values: Iterable[str], label: str) -> int:
    return sum(value == label for value in values)
