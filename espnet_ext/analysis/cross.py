"""Cross-task evaluation: divergence of the references, consistency of outputs, differences."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet_ext.analysis import cross_distances as distances
from espnet_ext.analysis import definition
from espnet_ext.analysis.cross_distances import LEARNER, PAIR_NAMES, UNITS, Made, pair_text
from espnet_ext.analysis.definition import Analysis, Option, Output, Result
from espnet_ext.analysis.verdict import direction, only_these_speakers, speakers_caveat
from espnet_ext.document import (
    Item,
    Section,
    number,
    p_value,
    signed_with_interval,
    speaker_caveats,
)
from espnet_ext.files import read_json

BIN_NAMES = {
    "1-3": "1–3",
    "4-10": "4–10",
    ">=11": "≥ 11",
    "<=0.1": "up to 0.1",
    "<=0.3": "up to 0.3",
    ">0.3": "above 0.3",
}
_POINTS = (
    "Differences are in percentage points over the same utterances, second system minus first; "
    "below zero, the second system is better."
)
DIFFERENCES = Output("Differences between systems", _POINTS)
BY_BIN = Output(
    "Differences by distance of the references",
    f"{_POINTS} Bins hold utterances by edit distance, whole or per token of the reference. Holm's "
    "correction covers all rows of one kind of bin.",
)
BY_ORIGIN = Output(
    "Differences by origin of the distance",
    f"{_POINTS} Learner error: surface differs from canonical. Regular phonology only: surface is "
    "canonical but differs from the spelling. Neither: all three are equal.",
)
SLOPES = Output(
    "Growth of the difference with distance",
    "Additional errors of the second system per unit of distance, at equal length and first "
    "language (least squares over utterances). Holm's correction covers all slopes of two systems.",
)


def run(
    systems: Mapping[str, str], *, lexicon: str | None = None, unit: str | None = None
) -> Result:
    """Evaluate systems together (`scoring.cross`), and add their outputs and heads."""
    from espnet_ext.scoring.cross import cross_task

    result = cross_task(systems, unit=unit, lexicon=lexicon)
    outputs, heads = {}, {}
    for name, folder in systems.items():
        outputs[name] = sorted(path.name.partition(".")[2] for path in Path(folder).glob("text.*"))
        training = Path(folder) / "../../train.json"  # <model>/<decoding>/<set>
        if training.is_file():
            heads[name] = read_json(training).get("branches") or {}
    return {**result, "outputs": outputs, "heads": heads}


def section(result: Mapping[str, Any]) -> Section:
    """Return all tables that have rows; the findings come from the comparisons in them."""
    makers = (
        _differences,
        _by_bin,
        _by_origin,
        _slopes,
        distances.divergence,
        distances.articulation,
        distances.consistency,
        distances.consistency_tests,
    )
    caveats = speaker_caveats(result["speakers"])
    if result["speakers"] >= 2 and caveats:
        least = 2 / 2 ** result["speakers"]
        caveats.append(f"no permutation test over so few can give p below {least:.3f}")
    findings: list[str] = []
    items: list[Item] = []
    for make in makers:
        table, sentences = make(result, caveats)
        findings += sentences
        items += [table] if table.rows else []
    summary = [
        _difference_finding(comparison, row)
        for comparison, row in _rows(result, None)
        if row["interval"] and _is_own_cell(row["name"])
    ]
    notes = [f"{text[:1].upper()}{text[1:]}." for text in result["lacks"]]
    return Section(f"Comparison of systems on {result['set']}", findings, items, notes, summary)


def _is_own_cell(name: str) -> bool:
    output, _, reference = name.partition("-")
    return output == reference


def _cell(name: str) -> str:
    output, _, reference = name.partition("-")
    return f"{output} against {reference}"


# -- differences of error rates


def _rows(result: Mapping, *groups: str | None) -> Iterator[tuple[Mapping, Mapping]]:
    """Yield (comparison, row) of the rows by one of the groups; None: all utterances."""
    for comparison in result["differences"]:
        for row in comparison["cells"]:
            if row["by"] in groups:
                yield comparison, row


def _differences(result: Mapping, caveats: list[str]) -> Made:
    rows, findings = [], []
    for comparison, row in _rows(result, None):
        rows.append(
            [
                pair_text(comparison),
                _cell(row["name"]),
                number(row["rate_a"]),
                number(row["rate_b"]),
                signed_with_interval(row["difference"], row["interval"]),
                p_value(row["p_holm"]),
                p_value(row["p_permutation"]),
                str(row["utterances"]),
                _conclusion(result, comparison, row),
            ]
        )
        if row["interval"] and not _is_own_cell(row["name"]):
            findings.append(_difference_finding(comparison, row))
    header = ["systems", "hypothesis against reference", "first %", "second %"]
    header += ["difference [95 %]", "p (Holm)", "p (permutation)", "utt", "second system"]
    return DIFFERENCES.table(header, rows, text_columns=2, caveats=caveats), findings


def _conclusion(result: Mapping, comparison: Mapping, row: Mapping) -> str:
    """Say in a few words whether the second system is better, and what else differs."""
    if not row["interval"]:
        return "–"
    output, _, reference = row["name"].partition("-")
    words = {1: "worse", 0: "no difference shown", -1: "better"}
    if output != reference:
        words |= {1: "farther", -1: "closer"}
    text = words[direction(row)]
    if only_these_speakers(row):
        text += " for these speakers only"
    heads = [result.get("heads", {}).get(comparison[side], {}).get(output) for side in "ab"]
    if None not in heads and heads[0] != heads[1]:
        text += f"; its head also changed from {heads[0]} to {heads[1]}"
    return text


def _difference_finding(comparison: Mapping, row: Mapping) -> str:
    """Return one sentence about a difference over all utterances."""
    a, b, way = comparison["a"], comparison["b"], direction(row)
    output, _, reference = row["name"].partition("-")
    rates = f"{number(row['rate_b'])} % against {number(row['rate_a'])} %"
    size = f"{signed_with_interval(row['difference'], row['interval'])} percentage points"
    if output != reference:
        words = {1: "farther from", 0: "not shown closer to or farther from", -1: "closer to"}
        text = f"{output} of {b} is {words[way]} the {reference} reference than that of {a}"
    elif not way:
        text = f"No difference in {output} error is shown between {b} and {a}"
    elif comparison.get("joint"):
        words = {1: "raises", -1: "lowers"}
        text = f"Joint training ({b}) {words[way]} the {output} error of {a}"
    else:
        words = {1: "higher", -1: "lower"}
        text = f"{b} has a {words[way]} {output} error than {a}"
    return f"{text[:1].upper()}{text[1:]}: {rates}, {size}.{speakers_caveat(row)}"


def _full_row(comparison: Mapping, row: Mapping, bin_name: str) -> list[str]:
    return [
        pair_text(comparison),
        _cell(row["name"]),
        bin_name,
        number(row["rate_a"]),
        number(row["rate_b"]),
        signed_with_interval(row["difference"], row["interval"]),
        signed_with_interval(row["macro"], row.get("macro_interval")),
        *(p_value(row[key]) for key in ("p_value", "p_holm", "p_permutation")),
        str(row["utterances"]),
    ]


def _full_header(bin_name: str) -> list[str]:
    header = ["systems", "hypothesis against reference", bin_name, "first %", "second %"]
    header += ["difference [95 %]", "mean over speakers", "p (bootstrap)", "p (Holm)"]
    return [*header, "p (permutation)", "utt"]


def _by_bin(result: Mapping, caveats: list[str]) -> Made:
    rows = [_full_row(c, row, "all") for c, row in _rows(result, None)]
    for comparison, row in _rows(result, "distance", "normalised"):
        name = BIN_NAMES.get(row["bin"], row["bin"])
        name += " per token" if row["by"] == "normalised" else ""
        rows.append(_full_row(comparison, row, name))
    divergence = result["divergence"]
    unit = f"distance of {PAIR_NAMES.get(divergence['main'], '–')}, {UNITS[divergence['unit']]}"
    table = BY_BIN.table(
        _full_header("distance"), rows, text_columns=3, caveats=[unit, *caveats], details=True
    )
    return table, []


def _by_origin(result: Mapping, caveats: list[str]) -> Made:
    rows = []
    points: dict[str, list[str]] = {}
    for comparison, row in _rows(result, "origin"):
        rows.append(_full_row(comparison, row, row["bin"]))
        if _is_own_cell(row["name"]):
            key = f"{pair_text(comparison)}, {row['name'].partition('-')[0]}"
            size = signed_with_interval(row["difference"], row["interval"])
            points.setdefault(key, []).append(f"{row['bin']}: {size} points")
    findings = [f"{key}, by origin of the distance: {'; '.join(p)}." for key, p in points.items()]
    table = BY_ORIGIN.table(
        _full_header("utterances with"), rows, text_columns=3, caveats=caveats, details=True
    )
    return table, findings


def _slopes(result: Mapping, caveats: list[str]) -> Made:
    learner = result["divergence"]["main"] == LEARNER
    names = {
        "distance": "learner error" if learner else "whole distance",
        "regular": "regular phonology",
        "learner": "learner error",
    }
    rows, findings, undefined = [], [], set()
    for comparison in result["differences"]:
        for model in comparison["dependence"]:
            if "lacks" in model:
                regressors = " and ".join(names[key] for key in model["of"])
                undefined.add(f"No slopes for {regressors}: {model['lacks']}.")
                continue
            joint = " (both in one regression)" if len(model["of"]) > 1 else ""
            for key, slope in model["slopes"].items():
                size = signed_with_interval(slope["slope"], slope["interval"], 3)
                p = p_value(slope.get("p_holm"))
                rows.append(
                    [
                        pair_text(comparison),
                        _cell(model["name"]),
                        names[key] + joint,
                        size,
                        p_value(slope["p_value"]),
                        p,
                        str(model["utterances"]),
                    ]
                )
                if _is_own_cell(model["name"]) and (way := direction(slope)):
                    words = {1: "grows", -1: "falls"}[way]
                    findings.append(
                        f"{pair_text(comparison)}, {model['name'].partition('-')[0]}: the "
                        f"difference {words} with {names[key]}{joint}: {size} errors per unit, "
                        f"Holm p = {p}."
                    )
    unit = f"unit of distance: {UNITS[result['divergence']['unit']]}"
    table = SLOPES.table(
        ["systems", "hypothesis against reference", "distance", "errors per unit"]
        + ["p (bootstrap)", "p (Holm)", "utt"],
        rows,
        text_columns=3,
        caveats=[unit, *caveats],
        details=True,
    )
    return table, findings + sorted(undefined)


ANALYSIS = Analysis(
    name="cross",
    description="differences of systems, divergence of references, consistency of outputs",
    inputs=[definition.SCORED_DECODINGS, definition.LEXICON],
    options=[
        Option(
            "--unit",
            "unit of distances: phones if surface is phones, else characters",
            choices=["char", "jamo", "phone"],
        )
    ],
    outputs=[
        DIFFERENCES,
        BY_BIN,
        BY_ORIGIN,
        SLOPES,
        distances.DIVERGENCE,
        distances.ARTICULATION,
        distances.CONSISTENCY,
        distances.CONSISTENCY_TESTS,
    ],
    run=run,
    section=section,
    result_files=["analysis/cross_{set}.json"],
)
