"""Cross-task evaluation: divergence of the references, consistency of outputs, differences."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet_ext.analysis import definition
from espnet_ext.analysis.definition import Analysis, Option, Output, Result
from espnet_ext.analysis.option_differences import (
    differences_of_decodings,
    differences_of_trainings,
)
from espnet_ext.analysis.verdict import (
    changed_head,
    conclusion,
    difference_finding,
    direction,
    headline,
    option_notes,
    speakers_caveat,
)
from espnet_ext.document import (
    Column,
    Item,
    Section,
    Table,
    is_too_few,
    number,
    p_value,
    signed_with_interval,
    speaker_caveats,
    with_interval,
)
from espnet_ext.files import read_json

UNITS = {"char": "characters", "jamo": "jamo", "phone": "phones"}
BIN_NAMES = {
    "1-3": "1–3",
    "4-10": "4–10",
    ">=11": "≥ 11",
    "<=0.1": "up to 0.1",
    "<=0.3": "up to 0.3",
    ">0.3": "above 0.3",
}
LEARNER = "surface-canonical"
PAIR_NAMES = {
    "surface-meaning": "surface to meaning",
    LEARNER: "surface to canonical (learner errors)",
    "canonical-meaning": "canonical to meaning (regular phonology)",
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
BY_BAND = Output(
    "Differences by band of the audio",
    f"{_POINTS} Relative: the difference in percent of the first system's error.",
)
SLOPES = Output(
    "Growth of the difference with distance",
    "Additional errors of the second system per unit of distance, at equal length and first "
    "language (least squares over utterances). Holm's correction covers all slopes of two systems.",
)
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
_BY_DIVERGENCE: dict[str, Any] = {"details": True, "topic": "divergence"}
_SYSTEM_KEYS = ("a", "b", "joint", "training_differences", "decoding_differences")
Numbers = Mapping[str, Any]


def run(
    systems: Mapping[str, str],
    *,
    baselines: Mapping[str, str] | None = None,
    lexicon: str | None = None,
    unit: str | None = None,
) -> Result:
    """Evaluate systems together (`scoring.cross`); add their outputs, heads, and trainings.

    Comparisons get `decoding_differences`: search options that differ. Those that are `joint` get
    `training_differences`: options that differ between both trainings; null if not recorded.
    """
    from espnet_ext.scoring.cross import cross_task

    result = cross_task(systems, baselines=baselines, unit=unit, lexicon=lexicon)
    outputs, heads = {}, {}
    everything = {**systems, **(baselines or {})}
    for name, folder in everything.items():
        outputs[name] = sorted(path.name.partition(".")[2] for path in Path(folder).glob("text.*"))
        training = Path(folder) / "../../train.json"  # <model>/<decoding>/<set>
        if training.is_file():
            heads[name] = read_json(training).get("branches") or {}
    for comparison in result["differences"]:
        if comparison["joint"]:
            comparison["training_differences"] = differences_of_trainings(comparison, systems)
        comparison["decoding_differences"] = differences_of_decodings(comparison, everything, heads)
    return {**result, "outputs": outputs, "heads": heads}


def section(result: Numbers) -> Section:
    """Return all tables that have rows, and what the comparisons show."""
    caveats = speaker_caveats(result["speakers"])
    if result["speakers"] >= 2 and caveats:
        least = 2 / 2 ** result["speakers"]
        caveats.append(
            "bootstrap p values over so few are too small, and no permutation test over so few can "
            f"give p below {least:.3f}"
        )
    makers: list[Callable[[Numbers, list[str]], Table]] = [
        _differences,
        _by_bin,
        _by_origin,
        _by_band,
        _slopes,
        _divergence,
        _articulation,
        _consistency,
        _consistency_tests,
    ]
    items: list[Item] = [table for make in makers if (table := make(result, caveats)).rows]
    heads = result.get("heads", {})
    matched = [
        {**row, "changed_head": changed_head(row, heads)}
        for row in _rows(result, None)
        if row["interval"] and row["output"] == row["reference"] and not _has_too_few(row)
    ]
    notes = [f"{text[:1].upper()}{text[1:]}." for text in [*result["lacks"], *_undefined(result)]]
    notes += option_notes(result["differences"])
    return Section(
        f"Comparison of systems on {result['set']}",
        list(_findings(result)),
        items,
        notes,
        [difference_finding(row, heads) for row in matched],
        topic="differences",
        headline=headline(matched, result["set"]),
    )


def _pair(row: Numbers) -> str:
    return f"{row['b']} − {row['a']}"


def _p(key: str) -> Column:
    return lambda row: p_value(row.get(key))


def _difference(row: Numbers) -> str:
    return signed_with_interval(row["difference"], row["interval"])


# -- differences of error rates


def _rows(result: Numbers, *groups: str | None) -> Iterator[dict[str, Any]]:
    """Yield the rows by one of the groups (None: all utterances), with their systems and cell."""
    for comparison in result["differences"]:
        for row in comparison["cells"]:
            if row["by"] in groups:
                output, _, reference = row["name"].partition("-")
                systems = {key: comparison.get(key) for key in _SYSTEM_KEYS}
                cell = {
                    "output": output,
                    "reference": reference,
                    "left_out": comparison.get("not_comparable", {}).get(row["name"], 0),
                    "no_hypothesis": comparison.get("no_hypothesis", {}).get(row["name"], 0),
                }
                yield {**row, **systems, **cell}


def _cell(row: Numbers) -> str:
    return row["name"].replace("-", " against ")


_SYSTEMS: dict[str, Column] = {"systems": _pair, "hypothesis against reference": _cell}
_RATES: dict[str, Column] = {
    "first %": lambda row: number(row["rate_a"]),
    "second %": lambda row: number(row["rate_b"]),
    "difference [95 %]": _difference,
}
_TESTS: dict[str, Column] = {
    "mean over speakers": lambda row: signed_with_interval(row["macro"], row["macro_interval"]),
    "p (bootstrap)": _p("p_value"),
    "bootstrap p (Holm)": _p("p_holm"),
    "p (permutation)": _p("p_permutation"),
    "utt": "utterances",
}


def _differences(result: Numbers, caveats: list[str]) -> Table:
    heads = result.get("heads", {})
    columns: dict[str, Column] = {
        **_SYSTEMS,
        **_RATES,
        "bootstrap p (Holm)": _p("p_holm"),
        "p (permutation)": _p("p_permutation"),
        "utt": "utterances",
        "second system": lambda row: conclusion(row, heads),
    }
    rows = list(_rows(result, None))
    shown = [row for row in rows if not _has_too_few(row)]
    caveats = [*caveats, *(text for row in rows if (text := _selection(row)))]
    return DIFFERENCES.table(columns, shown, text_columns=2, caveats=caveats)


def _has_too_few(row: Numbers) -> bool:
    """Return whether a difference is not shown, because it is of too few utterances."""
    return is_too_few(row["utterances"], row["left_out"] + row["no_hypothesis"])


def _selection(row: Numbers) -> str:
    """Return a caveat if a system left out utterances that the other one kept; else empty."""
    where, compared = f"{_pair(row)}, {_cell(row)}", row["utterances"]
    if _has_too_few(row):
        count = compared + row["left_out"] + row["no_hypothesis"]
        shown = f"only {compared} of {count} utterances can be compared"
        return f"{where}: no difference is shown, as {shown}"
    if row["no_hypothesis"]:
        return f"{where}: only the {compared} utterances for which both have a hypothesis"
    if not row["left_out"]:
        return ""
    return (
        f"{where}: only the {compared} utterances in which all words that either system "
        "recognised are in the lexicon, which favours those that were recognised well"
    )


def _by_bin(result: Numbers, caveats: list[str]) -> Table:
    def name(row: Numbers) -> str:
        text = BIN_NAMES.get(row["bin"], row["bin"] or "all")
        return f"{text} per token" if row["by"] == "normalised" else text

    divergence = result["divergence"]
    unit = f"distance of {PAIR_NAMES.get(divergence['main'], '–')}, {UNITS[divergence['unit']]}"
    columns = {**_SYSTEMS, "distance": name, **_RATES, **_TESTS}
    rows = [*_rows(result, None), *_rows(result, "distance", "normalised")]
    return BY_BIN.table(columns, rows, text_columns=3, caveats=[unit, *caveats], **_BY_DIVERGENCE)


def _by_origin(result: Numbers, caveats: list[str]) -> Table:
    columns = {**_SYSTEMS, "utterances with": "bin", **_RATES, **_TESTS}
    rows = _rows(result, "origin")
    return BY_ORIGIN.table(columns, rows, text_columns=3, caveats=caveats, **_BY_DIVERGENCE)


def _by_band(result: Numbers, caveats: list[str]) -> Table:
    columns: dict[str, Column] = {
        **_SYSTEMS,
        "band": lambda row: row["bin"] or "all",
        **_RATES,
        "relative % [95 %]": lambda r: signed_with_interval(r["relative"], r["relative_interval"]),
        **_TESTS,
    }
    bands = list(_rows(result, "band"))
    rows = [*_rows(result, None), *bands] if bands else []
    return BY_BAND.table(columns, rows, text_columns=3, caveats=caveats, details=True)


def _slope_rows(result: Numbers) -> Iterator[dict[str, Any]]:
    is_learner = result["divergence"]["main"] == LEARNER
    names = {
        "distance": "learner error" if is_learner else "whole distance",
        "regular": "regular phonology",
        "learner": "learner error",
    }
    for comparison in result["differences"]:
        for model in comparison["dependence"]:
            joint = " (both in one regression)" if len(model["of"]) > 1 else ""
            systems = {"a": comparison["a"], "b": comparison["b"], **model}
            if "lacks" in model:
                yield {**systems, "distance": " and ".join(names[key] for key in model["of"])}
            for key, slope in model.get("slopes", {}).items():
                yield {**systems, "distance": names[key] + joint, **slope}


def _slope(row: Numbers) -> str:
    return signed_with_interval(row["slope"], row["interval"], 3)


def _slopes(result: Numbers, caveats: list[str]) -> Table:
    columns: dict[str, Column] = {
        **_SYSTEMS,
        "distance": "distance",
        "errors per unit": _slope,
        "p (bootstrap)": _p("p_value"),
        "bootstrap p (Holm)": _p("p_holm"),
        "utt": "utterances",
    }
    unit = f"unit of distance: {UNITS[result['divergence']['unit']]}"
    rows = [row for row in _slope_rows(result) if "slope" in row]
    return SLOPES.table(columns, rows, text_columns=3, caveats=[unit, *caveats], **_BY_DIVERGENCE)


def _undefined(result: Numbers) -> list[str]:
    """Return why there are no slopes."""
    rows = [row for row in _slope_rows(result) if "lacks" in row]
    return sorted({f"no slopes for {row['distance']}: {row['lacks']}" for row in rows})


# -- distances of references, sounds and outputs


def _divergence(result: Numbers, caveats: list[str]) -> Table:
    def shares(key: str) -> Column:
        return lambda pair: " / ".join(f"{100 * part['share']:.0f}" for part in pair[key])

    columns: dict[str, Column] = {
        "references": "name",
        "per utterance": lambda pair: number(pair["mean"]),
        "per 100 tokens": lambda pair: with_interval(pair["per_100_tokens"], pair["interval"]),
        "mean over speakers": lambda pair: number(pair["macro"]),
        "whole, % of utt": shares("bins"),
        "per token, % of utt": shares("normalised"),
        "articulatory": lambda pair: _per_100_segments(pair["articulatory"]),
        "utt": "utterances",
    }
    divergence = result["divergence"]
    rows = [{"name": PAIR_NAMES[name], **pair} for name, pair in divergence["pairs"].items()]
    unit = f"edit distance in {UNITS[divergence['unit']]}"
    return DIVERGENCE.table(columns, rows, caveats=[unit, *caveats], **_BY_DIVERGENCE)


def _per_100_segments(row: Numbers | None) -> str:
    return with_interval(row["per_100_segments"], row["interval"]) if row else "–"


def _articulation(result: Numbers, caveats: list[str]) -> Table:
    columns: dict[str, Column] = {
        "system": lambda row: row.get("system") or _pair(row),
        "per 100 segments": lambda r: _per_100_segments(r) if "system" in r else _difference(r),
        "p (bootstrap)": _p("p_value"),
        "p (permutation)": _p("p_permutation"),
        "utt": "utterances",
    }
    articulatory = result["articulatory"]
    rows = [{"system": name, **row} for name, row in articulatory["systems"].items()]
    rows += articulatory["differences"]
    return ARTICULATION.table(columns, rows, caveats=caveats, details=True)


def _consistency(result: Numbers, caveats: list[str]) -> Table:
    outputs = [row for row in result["consistency"]["outputs"] if row["measures"]]
    rows = []
    for key, (label, digits) in MEASURES.items() if outputs else ():
        text = signed_with_interval if key == "difference" else with_interval
        values = [row["measures"][key] for row in outputs]
        rows.append([label, *(text(v["value"], v["interval"], digits) for v in values)])
    for label, key in ("utterances", "utterances"), ("without a distance", "not_comparable"):
        rows += [[label, *(str(row[key]) for row in outputs)]] if outputs else []
    against = outputs[0]["against"] if outputs else "meaning"
    target = "meaning" if against == "meaning" else "the canonical phones of the meaning's words"
    unit = f"distance of surface to {target}, in {UNITS[result['consistency']['unit']]}"
    header = ["measure", *(row["name"] for row in outputs)]
    return CONSISTENCY.table(header, rows, caveats=[unit, *caveats], details=True)


def _consistency_tests(result: Numbers, caveats: list[str]) -> Table:
    columns: dict[str, Column] = {
        "systems": _pair,
        "measure": lambda row: MEASURES[row["key"]][0],
        "difference [95 %]": lambda row: signed_with_interval(
            row["difference"], row["interval"], MEASURES[row["key"]][1]
        ),
        "p (bootstrap)": _p("p_value"),
        "bootstrap p (Holm)": _p("p_holm"),
        "p (permutation)": _p("p_permutation"),
    }
    rows = [
        {"a": comparison["a"], "b": comparison["b"], "key": key, **row}
        for comparison in result["consistency"]["differences"]
        for key, row in comparison["measures"].items()
    ]
    return CONSISTENCY_TESTS.table(columns, rows, text_columns=2, caveats=caveats, details=True)


def _findings(result: Numbers) -> Iterator[str]:
    """Yield what the tables below the differences show, beside the summary."""
    for row in _slope_rows(result):
        if "slope" in row and len(set(row["name"].split("-"))) == 1 and (way := direction(row)):
            verb, output = {1: "grows", -1: "falls"}[way], row["name"].partition("-")[0]
            yield (
                f"The difference {_pair(row)} in {output} error {verb} with {row['distance']}: "
                f"{_slope(row)} errors per unit."
            )
    words = {1: "farther from", 0: "not shown closer to or farther from", -1: "closer to"}
    for row in result["articulatory"]["differences"]:
        if row["interval"]:
            yield (
                f"The sounds that {row['b']} recognises are {words[direction(row)]} the reference "
                f"than those of {row['a']}: {_difference(row)} per 100 segments."
                f"{speakers_caveat(row)}"
            )
    unit = UNITS[result["consistency"]["unit"]]
    for row in result["consistency"]["outputs"]:
        if row["measures"]:
            yield from _consistency_findings(row, unit)
        elif row["lacks"]:
            yield f"{row['name']}: {row['lacks']}."


def _consistency_findings(row: Numbers, unit: str) -> Iterator[str]:
    value, bounds = (row["measures"]["difference"][key] for key in ("value", "interval"))
    left_out = row["not_comparable"]
    compared = row["utterances"] - left_out
    if is_too_few(compared, left_out):
        yield (
            f"{row['name']}: only {compared} of {row['utterances']} utterances have a "
            "distance of the outputs, too few for a statement."
        )
    elif value is not None:
        words = "farther apart than" if value > 0 else "closer together than"
        if bounds and bounds[0] <= 0 <= bounds[1]:
            words = "about as far apart as"
        counted = f"; {left_out} of {row['utterances']} have no distance" if left_out else ""
        yield (
            f"The outputs of {row['name']} are {words} the references "
            f"({signed_with_interval(value, bounds)} {unit} per utterance{counted})."
        )


ANALYSIS = Analysis(
    name="cross",
    description="differences of systems, divergence of references, consistency of outputs",
    inputs=[definition.SCORED_DECODINGS, definition.BASELINES, definition.LEXICON],
    options=[
        Option(
            "--unit",
            "unit of distances: phones if surface is phones, else characters",
            choices=["char", "jamo", "phone"],
            value="{distance_unit}",
        )
    ],
    outputs=[
        DIFFERENCES,
        BY_BIN,
        BY_ORIGIN,
        BY_BAND,
        SLOPES,
        DIVERGENCE,
        ARTICULATION,
        CONSISTENCY,
        CONSISTENCY_TESTS,
    ],
    run=run,
    section=section,
    result_files=["analysis/cross_{set}.json"],
    verb="cross",
)
