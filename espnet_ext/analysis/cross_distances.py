"""Tables of the cross-task evaluation about distances: of references, sounds and outputs."""

from collections.abc import Mapping

from espnet_ext.analysis.definition import Output
from espnet_ext.analysis.verdict import direction, speakers_caveat
from espnet_ext.document import Table, number, p_value, signed_with_interval, with_interval

Made = tuple[Table, list[str]]  # a table and its findings
UNITS = {"char": "characters", "jamo": "jamo", "phone": "phones"}
LEARNER, REGULAR = "surface-canonical", "canonical-meaning"
PAIR_NAMES = {
    "surface-meaning": "surface to meaning",
    LEARNER: "surface to canonical (learner errors)",
    REGULAR: "canonical to meaning (regular phonology)",
}
DIVERGENCE = Output(
    "Distance between the references",
    "Edit distance per utterance and per 100 tokens; the shares of utterances are for distances of "
    "0 / 1–3 / 4–10 / ≥ 11, and per token for 0 / up to 0.1 / up to 0.3 / above. Articulatory: in "
    "PanPhon features per 100 segments; a sound that differs in one feature counts 1/24.",
)
ARTICULATION = Output(
    "Articulatory error of surface",
    "Articulatory distance of the recognised from the reference surface per 100 reference "
    "segments; small if wrong sounds are similar to the right ones.",
)
CONSISTENCY = Output(
    "Consistency of the two outputs",
    "Whether recognised surface and meaning are as far apart as their references, and how often "
    "both are right. An output is right if it equals its reference token by token. An utterance "
    "with a recognised word outside the lexicon has no distance.",
)
CONSISTENCY_TESTS = Output(
    "Differences in consistency",
    "Over the utterances that both systems have; Holm's correction covers all measures.",
)
MEASURES = {  # key in the result → label, digits
    "distance_references": ("mean distance of the references", 2),
    "distance_hypotheses": ("mean distance of the hypotheses", 2),
    "difference": ("hypotheses minus references, mean", 2),
    "absolute_difference": ("absolute difference, mean", 2),
    "per_100_tokens": ("absolute difference per 100 tokens", 2),
    "correlation": ("correlation of both distances", 3),
    "equal_references": ("references equal, %", 1),
    "equal_hypotheses": ("hypotheses equal, %", 1),
    "both_right": ("both right, %", 1),
    "only_surface_right": ("only surface right, %", 1),
    "only_meaning_right": ("only meaning right, %", 1),
    "both_wrong": ("both wrong, %", 1),
    "meaning_if_surface": ("meaning right if surface is, %", 1),
    "meaning_if_not_surface": ("meaning right if surface is wrong, %", 1),
    "surface_if_meaning": ("surface right if meaning is, %", 1),
    "surface_if_not_meaning": ("surface right if meaning is wrong, %", 1),
}


def pair_text(comparison: Mapping) -> str:
    """Return `b − a`, as differences are taken."""
    return f"{comparison['b']} − {comparison['a']}"


def divergence(result: Mapping, caveats: list[str]) -> Made:
    divergence = result["divergence"]
    unit, pairs = UNITS[divergence["unit"]], divergence["pairs"]
    rows = []
    for name, pair in pairs.items():
        sounds = pair["articulatory"]
        shares = [
            " / ".join(f"{100 * part['share']:.0f}" for part in pair[key])
            for key in ("bins", "normalised")
        ]
        rows.append(
            [
                PAIR_NAMES[name],
                number(pair["mean"]),
                with_interval(pair["per_100_tokens"], pair["interval"]),
                number(pair["macro"]),
                *shares,
                with_interval(sounds["per_100_segments"], sounds["interval"]) if sounds else "–",
                str(pair["utterances"]),
            ]
        )
    findings = [
        f"{PAIR_NAMES[name].capitalize()}: "
        f"{with_interval(pairs[name]['per_100_tokens'], pairs[name]['interval'])} edits per 100 "
        f"{unit}."
        for name in (LEARNER, REGULAR)
        if name in pairs
    ]
    if divergence["origin"]:
        counts = ", ".join(f"{part['bin']} {part['utterances']}" for part in divergence["origin"])
        findings.append(f"Utterances by origin of their distance: {counts}.")
    table = DIVERGENCE.table(
        ["references", "per utterance", "per 100 tokens", "mean over speakers"]
        + ["whole, % of utt", "per token, % of utt", "articulatory", "utt"],
        rows,
        caveats=[f"edit distance in {unit}", *caveats],
        details=True,
    )
    return table, findings


def articulation(result: Mapping, caveats: list[str]) -> Made:
    articulatory = result["articulatory"]
    rows = [
        [name, with_interval(row["per_100_segments"], row["interval"]), "–", "–"]
        + [str(row["utterances"])]
        for name, row in articulatory["systems"].items()
    ]
    findings = []
    for row in articulatory["differences"]:
        size = signed_with_interval(row["difference"], row["interval"])
        tests = [p_value(row[key]) for key in ("p_value", "p_permutation")]
        rows.append([pair_text(row), size, *tests, str(row["utterances"])])
        if row["interval"]:
            words = {1: "farther from", 0: "not shown closer to or farther from", -1: "closer to"}
            findings.append(
                f"The sounds that {row['b']} recognises are {words[direction(row)]} the reference "
                f"than those of {row['a']}: {size} per 100 segments.{speakers_caveat(row)}"
            )
    table = ARTICULATION.table(
        ["system", "per 100 segments", "p (bootstrap)", "p (permutation)", "utt"],
        rows,
        caveats=caveats,
        details=True,
    )
    return table, findings


def consistency(result: Mapping, caveats: list[str]) -> Made:
    outputs = result["consistency"]["outputs"]
    measured = [row for row in outputs if row["measures"]]
    rows = []
    for key, (label, digits) in MEASURES.items():
        shown = signed_with_interval if key == "difference" else with_interval
        values = [row["measures"][key] for row in measured]
        rows.append([label, *(shown(v["value"], v["interval"], digits) for v in values)])
    rows.append(["utterances", *(str(row["utterances"]) for row in measured)])
    rows.append(["of these without a distance", *(str(row["not_comparable"]) for row in measured)])
    unit = UNITS[result["consistency"]["unit"]]
    findings = [_consistency_finding(row, unit) for row in measured]
    findings += [
        f"{row['name']}: {row['lacks']}." for row in outputs if row["lacks"] and not row["measures"]
    ]
    against = measured[0]["against"] if measured else "meaning"
    target = "meaning" if against == "meaning" else "the canonical phones of the meaning's words"
    table = CONSISTENCY.table(
        ["measure", *(row["name"] for row in measured)],
        rows if measured else [],
        caveats=[f"distance of surface to {target}, in {unit}", *caveats],
        details=True,
    )
    return table, findings


def _consistency_finding(row: Mapping, unit: str) -> str:
    measures = row["measures"]
    parts = []
    if (value := measures["difference"])["value"] is not None:
        words = "farther apart than" if value["value"] > 0 else "closer together than"
        if value["interval"] and value["interval"][0] <= 0 <= value["interval"][1]:
            words = "about as far apart as"
        size = signed_with_interval(value["value"], value["interval"])
        without = row["not_comparable"]
        counted = f"; {without} of {row['utterances']} have no distance" if without else ""
        parts.append(
            f"both outputs are {words} the references ({size} {unit} per utterance{counted})"
        )
    if (value := measures["meaning_if_surface"])["value"] is not None:
        other = measures["meaning_if_not_surface"]
        text = (
            f"meaning is right in {with_interval(value['value'], value['interval'], 1)} % of the "
            "utterances whose surface is right"
        )
        if other["value"] is not None:
            text += (
                f", and in {with_interval(other['value'], other['interval'], 1)} % of the others"
            )
        parts.append(text)
    return f"{row['name']}: {'; '.join(parts) or 'no measure is defined'}."


def consistency_tests(result: Mapping, caveats: list[str]) -> Made:
    rows, findings = [], []
    for comparison in result["consistency"]["differences"]:
        for key, row in comparison["measures"].items():
            label, digits = MEASURES[key]
            size = signed_with_interval(row["difference"], row["interval"], digits)
            tests = [p_value(row[p]) for p in ("p_value", "p_holm", "p_permutation")]
            rows.append([pair_text(comparison), label, size, *tests])
        if comparison["measures"]:
            findings.append(_consistency_test_finding(comparison))
        if comparison["lacks"]:
            findings.append(f"{pair_text(comparison)}: {comparison['lacks']}.")
    table = CONSISTENCY_TESTS.table(
        ["systems", "measure", "difference [95 %]"]
        + ["p (bootstrap)", "p (Holm)", "p (permutation)"],
        rows,
        text_columns=2,
        caveats=caveats,
        details=True,
    )
    return table, findings


def _consistency_test_finding(comparison: Mapping) -> str:
    words = {
        "absolute_difference": {
            1: "reproduces the references' distance worse",
            -1: "reproduces the references' distance better",
        },
        "both_right": {
            1: "has both outputs right more often",
            -1: "has both outputs right less often",
        },
    }
    parts = []
    for key, by_direction in words.items():
        row = comparison["measures"][key]
        if row["interval"] is not None:
            unclear = f"{MEASURES[key][0]}: no difference shown"
            text = by_direction.get(direction(row), unclear)
            parts.append(f"{text} ({signed_with_interval(row['difference'], row['interval'])})")
    text = "; ".join(parts) or "no measure is defined"
    return f"{comparison['b']} against {comparison['a']}: {text}."
