"""What the cross-task evaluation of a set says: tables, each with a reading in plain words.

`blocks` makes of a `cross_<set>.json` what both RESULTS.md and report.html show.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from espnet_ext.report.summary import interval, percent, signed, signed_interval

UNITS = {"char": "characters", "jamo": "jamo", "phone": "phones"}
BIN_NAMES = {
    "1-3": "1–3",
    "4-10": "4–10",
    ">=11": "≥ 11",
    "<=0.1": "to 0.1",
    "<=0.3": "to 0.3",
    ">0.3": "above 0.3",
}
LEVEL = 0.05  # of adjusted p, from which on a difference is not told from chance
_WHOLE, _LEARNER, _REGULAR = "surface-meaning", "surface-canonical", "canonical-meaning"
_PAIR_NAMES = {
    _WHOLE: "surface from meaning",
    _LEARNER: "surface from canonical (learner error)",
    _REGULAR: "canonical from meaning (regular phonology)",
}


@dataclass(frozen=True)
class Block:
    """A table with its heading, what it says, and how to read it."""

    title: str
    note: str
    readings: Sequence[str]
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    folded: bool = False  # long: opened when asked for


def blocks(result: Mapping) -> list[Block]:
    """All tables that the evaluation has rows for."""
    made = (_changes, _bins, _origins, _slopes, _divergence, _articulation, _outputs, _tests)
    return [block for block in (make(result) for make in made) if block.rows or block.readings]


def readings(result: Mapping) -> list[str]:
    """All that is said in words, what is lacking last."""
    said = [line for block in blocks(result) for line in block.readings]
    return said + [_sentence(one) for one in result["lacks"]]


def lacking(result: Mapping) -> list[str]:
    """What the set or its systems do not have."""
    return [_sentence(one) for one in result["lacks"]]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _bounded(value: float | None, bounds: Sequence[float] | None, digits: int = 2) -> str:
    """`1.20 [0.40–2.10]`."""
    return percent(value, digits) + (f" [{interval(bounds, digits)}]" if bounds else "")


def _signed(value: float | None, bounds: Sequence[float] | None, digits: int = 2) -> str:
    """`+1.20 [+0.40 to +2.10]`."""
    return signed(value, digits) + (f" [{signed_interval(bounds, digits)}]" if bounds else "")


def side(row: Mapping) -> int:
    """1 or -1 where a figure can be told from zero, by its interval and after Holm's correction."""
    if not row["interval"] or (row.get("p_holm") or 0.0) >= LEVEL:
        return 0
    low, high = row["interval"]
    return (low > 0) - (high < 0)


def only_here(row: Mapping) -> str:
    """What a permutation test leaves of a difference: with few speakers it speaks for these alone.

    The bootstrap is too sure there: with four speakers, about one in five differences of nothing
    is taken for one.
    """
    p_value = row.get("p_permutation")
    if not side(row) or p_value is None or p_value < LEVEL:
        return ""
    return f" For these speakers; for others it is not shown (permutation test, p {p_value:.3f})."


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cell(name: str) -> str:
    output, _, reference = name.partition("-")
    return f"{output} against {reference}"


def _pair(one: Mapping) -> str:
    return f"{one['b']} − {one['a']}"


# -- differences of error rates

_DIFFERENCE = "Percentage points; below zero, the second system is better. "
_HEADS = ["first %", "second %", "difference", "of speakers' means", "p", "Holm", "permuted", "utt"]


def _figures(row: Mapping) -> list[str]:
    return [
        percent(row["rate_a"]),
        percent(row["rate_b"]),
        _signed(row["difference"], row["interval"]),
        _signed(row["macro"], row.get("macro_interval")),
        *(_p(row.get(key)) for key in ("p_value", "p_holm", "p_permutation")),
        str(row["utterances"]),
    ]


def _chosen(result: Mapping, *groups: str | None) -> Iterator[tuple[Mapping, Mapping]]:
    for comparison in result["differences"]:
        for row in comparison["cells"]:
            if row["by"] in groups:
                yield comparison, row


def _changes(result: Mapping) -> Block:
    rows = [[_pair(c), _cell(row["name"]), *_figures(row)] for c, row in _chosen(result, None)]
    note = (
        _DIFFERENCE + "The same utterances, resampled by speaker for both systems at once. p of "
        "the bootstrap, the same adjusted for all rows of two systems (Holm), and of a permutation "
        "test, which with S speakers cannot fall below 2/2^S. A cell that needs a lexicon holds "
        "the utterances whose words it knows in both systems."
    )
    said = [_change(c, row) for c, row in _chosen(result, None) if row["interval"]]
    return Block(
        "What joint training changes",
        note,
        said,
        ["systems", "cell", *_HEADS],
        rows,
        text_columns=2,
    )


def _change(comparison: Mapping, row: Mapping) -> str:
    """ "Joint training cost surface 1.2 points [0.4 to 2.1]", for an own cell."""
    output, _, reference = row["name"].partition("-")
    who = f"{comparison['b']} against {comparison['a']}"
    bounds = f"[{signed_interval(row['interval'])}]"
    low, high = row["interval"]
    if output != reference:
        nearer = "neither nearer to it nor further from it that can be told from chance"
        nearer = {-1: "nearer to it", 1: "further from it"}.get(side(row), nearer)
        points = f"{signed(row['difference'])} points {bounds}"
        return (
            f"{who}: {output}, held against the {reference} reference, came {nearer}: "
            f"{points}.{only_here(row)}"
        )
    what = "joint training" if comparison.get("joint") else "the change"
    size = f"{percent(abs(row['difference']))} points"
    if side(row) > 0:
        return f"{who}: {what} cost {output} {size} [{low:.2f} to {high:.2f}].{only_here(row)}"
    if side(row) < 0:
        bounds = f"[{-high:.2f} to {-low:.2f}]"
        return f"{who}: {what} gained {output} {size} {bounds}.{only_here(row)}"
    change = f"{signed(row['difference'])} points {bounds}"
    return f"{who}: {what} made no difference to {output} that can be told from chance: {change}."


def _bin(row: Mapping) -> str:
    name = BIN_NAMES.get(row["bin"], row["bin"])
    return name if row["by"] == "distance" else f"{name} a token"


def _bins(result: Mapping) -> Block:
    rows = [
        [_pair(c), _cell(row["name"]), _bin(row), *_figures(row)]
        for c, row in _chosen(result, "distance", "normalised")
    ]
    found = result["divergence"]
    note = (
        f"{_DIFFERENCE}Distance of {_PAIR_NAMES.get(found['main'], '–')}, in "
        f"{UNITS[found['unit']]}: whole, which grows with length, and for each token of the "
        "reference, which does not. Holm's correction is for all whole distances, and for all "
        "distances a token. Bins that hold no utterance are left out."
    )
    return Block(
        "Differences by distance",
        note,
        [],
        ["systems", "cell", "distance", *_HEADS],
        rows,
        text_columns=3,
        folded=True,
    )


def _origins(result: Mapping) -> Block:
    rows = [
        [_pair(c), _cell(row["name"]), row["bin"], *_figures(row)]
        for c, row in _chosen(result, "origin")
    ]
    note = (
        _DIFFERENCE + "Learner error: surface is not canonical. Regular phonology only: surface is "
        "canonical, and not as the meaning is written. Neither: all three are the same."
    )
    said = []
    for comparison in result["differences"]:
        by_cell: dict[str, list[str]] = {}
        for row in comparison["cells"]:
            output, _, reference = row["name"].partition("-")
            if row["by"] == "origin" and output == reference:
                points = _signed(row["difference"], row["interval"])
                by_cell.setdefault(output, []).append(f"{row['bin']}: {points} points")
        who = f"{comparison['b']} against {comparison['a']}"
        said += [f"{who}, {output}: {'; '.join(parts)}." for output, parts in by_cell.items()]
    return Block(
        "Learner error and regular phonology",
        note,
        said,
        ["systems", "cell", "utterances with", *_HEADS],
        rows,
        text_columns=3,
    )


def _slopes(result: Mapping) -> Block:
    learner = result["divergence"]["main"] == _LEARNER
    names = {
        "distance": "learner error" if learner else "whole distance",
        "regular": "regular phonology",
        "learner": "learner error",
    }
    rows, said, absent = [], [], set()
    for comparison in result["differences"]:
        for one in comparison["dependence"]:
            if "lacks" in one:
                absent.add((tuple(one["of"]), one["lacks"]))
                continue
            beside = " beside the other" if len(one["of"]) > 1 else ""
            for key, slope in one["slopes"].items():
                figures = _signed(slope["slope"], slope["interval"], 3)
                rows.append(
                    [
                        _pair(comparison),
                        _cell(one["name"]),
                        names[key] + beside,
                        figures,
                        _p(slope["p_value"]),
                        _p(slope.get("p_holm")),
                        str(one["utterances"]),
                    ]
                )
            output, _, reference = one["name"].partition("-")
            if output == reference:
                said.append(_slope_reading(comparison, output, one["slopes"], names))
    said += [
        f"No slopes of {' and '.join(names[key] for key in of)}: {reason}."
        for of, reason in sorted(absent)
    ]
    note = (
        "Further errors of the second system for each unit of distance "
        f"({UNITS[result['divergence']['unit']]}), length and first language held equal; Holm's "
        "correction is for all slopes of two systems."
    )
    return Block(
        "Does the difference grow with distance?",
        note,
        said,
        ["systems", "cell", "distance", "errors a unit", "p", "Holm", "utt"],
        rows,
        text_columns=3,
    )


def _slope_reading(comparison: Mapping, output: str, slopes: Mapping, names: Mapping) -> str:
    parts = []
    for key, slope in slopes.items():
        more = "no dependence that can be told from chance"
        more = {1: "further errors with each unit", -1: "fewer errors with each unit"}.get(
            side(slope), more
        )
        parts.append(
            f"{names[key]}, {more}: {_signed(slope['slope'], slope['interval'], 3)}, "
            f"Holm's p {_p(slope.get('p_holm'))}"
        )
    who = f"{comparison['b']} against {comparison['a']}, {output}"
    return f"{who} (at equal length and first language): {'; '.join(parts)}."


# -- references


def _divergence(result: Mapping) -> Block:
    found = result["divergence"]
    unit = UNITS[found["unit"]]
    pairs = found["pairs"]
    rows = []
    for name, one in pairs.items():
        sounds = one["articulatory"]
        rows.append(
            [
                _PAIR_NAMES[name],
                percent(one["mean"]),
                _bounded(one["per_100_tokens"], one["interval"]),
                percent(one["macro"]),
                *(
                    " / ".join(f"{100 * b['share']:.0f}" for b in one[key])
                    for key in ("bins", "normalised")
                ),
                _bounded(sounds["per_100_segments"], sounds["interval"]) if sounds else "–",
                str(one["utterances"]),
            ]
        )
    said = []
    if found["origin"]:
        counts = ", ".join(f"{b['bin']} in {b['utterances']}" for b in found["origin"])
        said.append(f"Utterances by where their distance comes from: {counts}.")
    for name in (_LEARNER, _REGULAR):
        if name in pairs:
            figure = _bounded(pairs[name]["per_100_tokens"], pairs[name]["interval"])
            said.append(f"{_PAIR_NAMES[name].capitalize()}: {figure} {unit} in a hundred.")
    note = (
        f"Edit distance of the references, in {unit}: an utterance; for 100 tokens of the "
        "reference, over all and as the mean of speakers; percent of utterances with a whole "
        "distance of 0 / 1–3 / 4–10 / ≥ 11, and with one a token of 0 / to 0.1 / to 0.3 / above. "
        "Articulatory: in features (PanPhon's), for 100 segments; a sound that differs in one "
        "feature counts one twenty-fourth."
    )
    heads = [
        "references",
        "an utterance",
        "in 100 tokens",
        "of speakers' means",
        "whole, %",
        "a token, %",
        "articulatory",
        "utt",
    ]
    return Block("How far the references lie apart", note, said, heads, rows)


def _articulation(result: Mapping) -> Block:
    found = result["articulatory"]
    rows = [
        [
            system,
            _bounded(one["per_100_segments"], one["interval"]),
            "–",
            "–",
            str(one["utterances"]),
        ]
        for system, one in found["systems"].items()
    ]
    said = []
    for one in found["differences"]:
        rows.append(
            [
                _pair(one),
                _signed(one["difference"], one["interval"]),
                _p(one["p_value"]),
                _p(one["p_permutation"]),
                str(one["utterances"]),
            ]
        )
        if one["interval"]:
            how = {-1: "nearer to", 1: "further from"}.get(
                side(one), "neither nearer to nor further from"
            )
            points = _signed(one["difference"], one["interval"])
            said.append(
                f"{one['b']} against {one['a']}: its recognised sounds lie {how} what was "
                f"said: {points} in 100 segments.{only_here(one)}"
            )
    note = (
        "Articulatory distance of the recognised surface from the surface reference, for 100 "
        "segments of it: small where the wrong sounds are similar ones."
    )
    return Block(
        "How wrong the sounds are",
        note,
        said,
        ["system", "in 100 segments", "p", "permuted", "utt"],
        rows,
    )


# -- two outputs of an utterance

_MEASURES = {
    "distance_references": ("distance of the references, mean", 2),
    "distance_hypotheses": ("distance of the hypotheses, mean", 2),
    "difference": ("hypotheses less references, mean", 2),
    "absolute_difference": ("the same, absolute", 2),
    "per_100_tokens": ("the same, in 100 tokens", 2),
    "correlation": ("correlation of both distances", 3),
    "equal_references": ("references that are equal, %", 1),
    "equal_hypotheses": ("hypotheses that are equal, %", 1),
    "both_right": ("both right, %", 1),
    "only_surface_right": ("only surface right, %", 1),
    "only_meaning_right": ("only meaning right, %", 1),
    "both_wrong": ("both wrong, %", 1),
    "meaning_if_surface": ("meaning right where surface is, %", 1),
    "meaning_if_not_surface": ("meaning right where surface is wrong, %", 1),
    "surface_if_meaning": ("surface right where meaning is, %", 1),
    "surface_if_not_meaning": ("surface right where meaning is wrong, %", 1),
}


def _outputs(result: Mapping) -> Block:
    found = [one for one in result["consistency"]["outputs"] if one["measures"]]
    rows = []
    for key, (label, digits) in _MEASURES.items():
        write = _signed if key == "difference" else _bounded
        shown = [one["measures"][key] for one in found]
        rows.append([label, *(write(m["value"], m["interval"], digits) for m in shown)])
    rows.append(["utterances", *(str(one["utterances"]) for one in found)])
    rows.append(["of these without a distance", *(str(one["not_comparable"]) for one in found)])
    said = [_outputs_reading(one, UNITS[result["consistency"]["unit"]]) for one in found]
    said += [
        f"{one['name']}: {one['lacks']}."
        for one in result["consistency"]["outputs"]
        if one["lacks"] and not one["measures"]
    ]
    against = found[0]["against"] if found else "meaning"
    how = "meaning" if against == "meaning" else "the canonical phones of the meaning's words"
    note = (
        f"Distance of surface from {how}, in {UNITS[result['consistency']['unit']]}, of hypotheses "
        "as of references. An output is right where it is its reference, token by token. An "
        "utterance with a recognised word that is in no lexicon has no distance."
    )
    names = [one["name"] for one in found]
    return Block("Do both outputs fit each other?", note, said, ["", *names], rows if found else [])


def _outputs_reading(one: Mapping, unit: str) -> str:
    measures = one["measures"]
    parts = []
    if (value := measures["difference"])["value"] is not None:
        way = "further apart than" if value["value"] > 0 else "nearer together than"
        if value["interval"] and value["interval"][0] <= 0 <= value["interval"][1]:
            way = "as far apart as"
        size = _signed(value["value"], value["interval"])
        left_out = one["not_comparable"]
        known = f"; {left_out} of {one['utterances']} have no distance" if left_out else ""
        parts.append(f"both outputs lie {way} the references ({size} {unit} an utterance{known})")
    if (value := measures["meaning_if_surface"])["value"] is not None:
        other = measures["meaning_if_not_surface"]
        wrong = f", where it is wrong in {_bounded(other['value'], other['interval'], 1)} %"
        right = _bounded(value["value"], value["interval"], 1)
        parts.append(
            f"where surface is right, meaning is in {right} %"
            + (wrong if other["value"] is not None else "")
        )
    return f"{one['name']}: {'; '.join(parts) or 'nothing can be said'}."


def _tests(result: Mapping) -> Block:
    rows, said = [], []
    for one in result["consistency"]["differences"]:
        who = _pair(one)
        for key, row in one["measures"].items():
            label, digits = _MEASURES[key]
            figures = _signed(row["difference"], row["interval"], digits)
            tests = [_p(row[p]) for p in ("p_value", "p_holm", "p_permutation")]
            rows.append([who, label, figures, *tests])
        if one["measures"]:
            said.append(_test_reading(one))
        if one["lacks"]:
            said.append(f"{one['b']} against {one['a']}: {one['lacks']}.")
    note = "Over the utterances that both have; p as above, Holm's correction for all measures."
    return Block(
        "Fit of both outputs: differences",
        note,
        said,
        ["systems", "measure", "difference", "p", "Holm", "permuted"],
        rows,
        text_columns=2,
        folded=True,
    )


def _test_reading(one: Mapping) -> str:
    words = {
        "absolute_difference": ("fits the references' distance worse", "fits it better"),
        "both_right": ("more often has both right", "less often has both right"),
    }
    parts = []
    for key, (above, below) in words.items():
        row = one["measures"][key]
        if row["interval"] is None:
            continue
        same = f"{_MEASURES[key][0]}: no difference that can be told from chance"
        what = {1: above, -1: below}.get(side(row), same)
        parts.append(f"{what} ({_signed(row['difference'], row['interval'])})")
    return f"{one['b']} against {one['a']}: {'; '.join(parts) or 'nothing can be said'}."
