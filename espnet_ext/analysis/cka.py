"""Similarity of encoders and decoders, layer by layer (centred kernel alignment and others)."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from espnet_ext.analysis import branching, definition
from espnet_ext.analysis.definition import Analysis, Option, Output, Result
from espnet_ext.document import MANY_SPEAKERS, Figure, Item, Point, Section, Table, number

OUTPUT_LAYER = "output"  # the encoder output, where outputs share the last block
TWIN = "~twin"  # suffix of a system's name in the result: the same system from another seed
MEASURES = {  # name in the result → name in the report
    "cka": "CKA",
    "rbf_cka": "RBF CKA",
    "svcca": "SVCCA",
    "pwcca": "PWCCA",
    "procrustes": "Procrustes",
    "mutual_knn": "mutual kNN",
    "rsa": "RSA",
}
_LAYERS = (
    "“embed” is the output of subsampling (in a decoder, of the embedding), 0 the first block."
)
ENCODERS = Output(
    "Encoder similarity by layer",
    "Linear CKA of two encoders' hidden states at the same frames: 1 where they are equal up to "
    f"rotation and scale, 0 where they share nothing linear. {_LAYERS}",
)
DECODERS = Output(
    "Decoder similarity by layer",
    f"Debiased linear CKA of two decoders' hidden states. {_LAYERS}",
)
OTHER_MEASURES = Output(
    "Other similarity measures of the encoders",
    "Each measure is 1 for the same representation; the null is its mean after frames are shifted "
    "in time within each speaker.",
)
LAYER_GRID = Output(
    "CKA of every layer with every layer",
    "Linear CKA of the layers of two encoders; a strong diagonal means that layers of the same "
    "depth are the most similar.",
)
ALL_LAYERS = Output(
    "CKA of all layers of all systems",
    "Debiased linear CKA of utterance means, over every encoder and decoder layer.",
)
DECODER_ROWS = {
    ("teacher-forced", "utterances"): "teacher-forced, utterance means",
    ("free-running", "utterances"): "free-running, utterance means",
    ("teacher-forced", "tokens"): "teacher-forced, token by token",
}


def measure_names(text: str) -> list[str]:
    """Return the names in a comma-separated list; `all` and `none` are understood."""
    named = {"all": list(MEASURES), "none": []}.get(text)
    names = [name for name in text.split(",") if name] if named is None else named
    if unknown := [name for name in names if name not in MEASURES]:
        raise argparse.ArgumentTypeError(
            f"unknown {', '.join(unknown)}; there are {', '.join(MEASURES)}"
        )
    return names


def run(
    models: Mapping[str, str],
    data: str,
    *,
    twins: Mapping[str, str],
    hypotheses: Mapping[str, str],
    **options: Any,
) -> Result:
    """Compare every pair of layers of every pair of systems (`computation.layer_similarity`)."""
    from espnet_ext.analysis.computation.layer_similarity import compare_systems

    return compare_systems(models, data, twins=twins, hypotheses=hypotheses, **options)


def section(result: Mapping[str, Any]) -> Section:
    """Return curves, their values, other measures and layer grids."""
    pairs = result["pairs"]
    caveats = _caveats(result)
    items: list[Item] = [_curves(ENCODERS, pairs)]
    items += [
        _curves(DECODERS, group, about)
        for about, group in decoder_groups(result)
        if group[0]["rows"] == "utterances"
    ]
    items.append(_values(ENCODERS, pairs, caveats, both=True))
    items += [_values(DECODERS, group, caveats, about) for about, group in decoder_groups(result)]
    items += _other_measures(result, caveats)
    items += [
        LAYER_GRID.heatmap(
            grid_layers(result, pair, "a"),
            grid_layers(result, pair, "b"),
            pair["grid"],
            about="{} (rows), {} (columns)".format(*(_network(pair, side) for side in "ab")),
        )
        for pair in pairs
    ]
    if everything := result.get("everything"):
        names = [
            " ".join(
                filter(
                    None,
                    [
                        layer["system"],
                        f"{layer['stream']} encoder" if layer.get("stream") else layer["output"],
                        layer["layer"],
                    ],
                )
            )
            for layer in everything["layers"]
        ]
        values = [[_above_zero(value) for value in row] for row in everything["debiased"]]
        items.append(ALL_LAYERS.heatmap(names, names, values))
    return Section(
        "Similarity of the systems' layers",
        _findings(result),
        items,
        result["notes"],
        topic="models",
    )


def _caveats(result: Mapping[str, Any]) -> list[str]:
    caveats = [f"{result['utterances']} utterances, {result['frames']:,} frames"]
    if result["groups"] < 3:
        caveats.append("fewer than 3 speakers: no intervals")
    elif result["speakers"] < MANY_SPEAKERS:
        caveats.append(
            f"{result['speakers']} speakers: intervals by the jackknife over speakers, with "
            f"Student's t of {result['groups'] - 1} degrees of freedom"
        )
    return caveats


def layer_names(pairs: Sequence[Mapping]) -> list[str]:
    """Return the layers of all curves, in order; the encoder output is the last."""
    names = dict.fromkeys(point["layer"] for pair in pairs for point in pair["curve"])
    return sorted(names, key=lambda name: name == OUTPUT_LAYER)


def grid_layers(result: Mapping, pair: Mapping, side: str) -> list[str]:
    """Return the layers of the rows (side "a") or columns ("b") of the grid of two encoders."""
    return pair.get(f"layers_{side}") or result["models"][pair[side]]["layers"]


def _network(pair: Mapping, side: str) -> str:
    return " ".join(filter(None, [pair[side], pair.get(f"output_{side}")]))


def pair_name(pair: Mapping) -> str:
    """Return the names of the two compared networks.

    >>> pair_name({"a": "do", "b": "do~twin", "output_a": "meaning", "output_b": "meaning"})
    'do meaning – its twin'
    """
    first, second = (_network(pair, side) for side in "ab")
    twin = pair["b"] == pair["a"] + TWIN and pair.get("output_a") == pair.get("output_b")
    return f"{first} – its twin" if twin else f"{first} – {second.replace(TWIN, ' (twin)')}"


def decoder_groups(result: Mapping) -> Iterator[tuple[str, list[Mapping]]]:
    """Yield (how decoders were run, pairs): teacher-forced and free-running."""
    for key, about in DECODER_ROWS.items():
        pairs = [pair for pair in result["decoders"] if (pair["how"], pair["rows"]) == key]
        if pairs:
            yield about, pairs


def value_text(point: Mapping | None, key: str = "debiased") -> str:
    """Return a CKA value; the debiased one with its interval."""
    if point is None or point.get(key) is None:
        return "–"
    bounds = point.get("interval") if key == "debiased" else None
    return number(point[key]) + (" [{:.2f}–{:.2f}]".format(*bounds) if bounds else "")


def _above_zero(value: float | None) -> float | None:
    """Debiased CKA can fall slightly below zero; plots begin at zero."""
    return None if value is None else max(0.0, value)


def _curves(output: Output, pairs: Sequence[Mapping], about: str = "") -> Figure:
    layers = layer_names(pairs)
    series = {}
    for pair in pairs:
        values = {point["layer"]: _above_zero(point["debiased"]) for point in pair["curve"]}
        series[pair_name(pair)] = [Point(x, values.get(name)) for x, name in enumerate(layers)]
    return output.figure(
        "lines",
        series,
        about=about,
        x_label="layer",
        y_label="debiased CKA",
        ticks=layers,
        y_range=(0.0, 1.0),
    )


def _values(
    output: Output, pairs: Sequence[Mapping], caveats: list[str], about: str = "", both=False
) -> Table:
    layers = layer_names(pairs)
    rows = []
    for key, suffix in (("cka", ", biased"), ("debiased", "")) if both else (("debiased", ""),):
        for pair in pairs:
            points = {point["layer"]: point for point in pair["curve"]}
            values = [value_text(points.get(layer), key) for layer in layers]
            rows.append([pair_name(pair) + suffix, *values])
    return output.table(["systems", *layers], rows, about=about, caveats=caveats, details=True)


def _other_measures(result: Mapping, caveats: list[str]) -> Iterator[Table]:
    points = [(pair, point) for pair in result["pairs"] for point in pair["curve"]]
    names = list(dict.fromkeys(name for _, point in points for name in point["measures"]))
    rows = [
        [pair_name(pair), point["layer"], *(_measure(point["measures"].get(n)) for n in names)]
        for pair, point in points
        if point["measures"]
    ]
    if rows:
        most = f"at most {result['sampled']['rows']} frames"
        header = ["systems", "layer", *(MEASURES[name] for name in names)]
        yield OTHER_MEASURES.table(
            header, rows, text_columns=2, caveats=[most, *caveats[1:]], details=True
        )


def _measure(value: Mapping | None) -> str:
    if not value or value["value"] is None:
        return "–"
    text = number(value["value"])
    if value["interval"]:
        text += " [{:.2f}–{:.2f}]".format(*value["interval"])
    if value["null"]:
        text += f"; null {value['null']['mean']:.2f}".replace("-0.00", "0.00")
    return text


def _findings(result: Mapping) -> list[str]:
    findings = list(_closest_single_output_encoder(result))
    for pair in result["pairs"]:
        points = [point for point in pair["curve"] if point["debiased"] is not None]
        if len(points) == 1 and pair["a"] == pair["b"]:
            findings.append(
                f"Encoders {pair_name(pair)}: CKA {value_text(points[0])} at layer "
                f"{points[0]['layer']}, the only one that they do not share."
            )
        if len(points) < 2:
            continue
        most, least = (pick(points, key=lambda p: p["debiased"]) for pick in (max, min))
        findings.append(
            f"Encoders {pair_name(pair)}: most similar at layer {most['layer']} "
            f"({value_text(most)}), least similar at layer {least['layer']} ({value_text(least)})."
        )
        for side in "ab":
            if unmatched := pair[f"only_{side}"]:
                findings.append(
                    f"Layers {', '.join(unmatched)} of {_network(pair, side)} have no counterpart "
                    "at the "
                    "same depth."
                )
    findings += branching.finding(result, ("so_surface", "so_meaning"))
    if not any(pair["ceiling"] for pair in result["pairs"]):
        findings.append(
            "No system was trained from a second seed (--twins), so it is not known how similar "
            "two trainings of one system are; that would be the ceiling."
        )
    return findings


def _closest_single_output_encoder(result: Mapping) -> Iterator[str]:
    """Say which single-output encoder each multi-output encoder is closest to at its last layer.

    Encoders of one output are left out: each is compared with one single-output encoder only.
    """
    last: dict[str, dict[str, Mapping]] = {}
    for pair in result["pairs"]:
        is_shared = not (pair.get("output_a") or pair.get("output_b"))
        if pair["grid"] and not pair["ceiling"] and is_shared:
            point = _last_layers(result, pair)
            last.setdefault(pair["a"], {})[pair["b"]] = point
            last.setdefault(pair["b"], {})[pair["a"]] = point
    for system, points in last.items():
        single = {name: point for name, point in points.items() if name.startswith("so_")}
        ranked = sorted((p["debiased"], name) for name, p in single.items() if p["debiased"])
        if system.startswith("so_") or len(ranked) < 2:
            continue
        (low, farthest), (high, closest) = ranked[0], ranked[-1]
        lower, upper = (single[name].get("interval") for name in (farthest, closest))
        apart = lower and upper and lower[1] < upper[0]
        yield (
            f"The last encoder layer of {system} is more similar to {closest} ({high:.2f}) than "
            f"to {farthest} ({low:.2f})"
            + ("." if apart else "; the intervals overlap or are unknown.")
        )


def _last_layers(result: Mapping, pair: Mapping) -> Mapping:
    """Return the value of both last layers; its interval is known where both have one number."""
    first, second = (grid_layers(result, pair, side)[-1] for side in "ab")
    if first == second and pair["curve"]:
        return pair["curve"][-1]
    return {"layer": f"{first}/{second}", "debiased": pair["debiased"][-1][-1]}


ANALYSIS = Analysis(
    name="cka",
    description="similarity of encoders and decoders, layer by layer",
    inputs=[definition.MODELS, definition.DATA, definition.TWINS, definition.HYPOTHESES],
    options=[
        Option(
            "--measures",
            "of a sample of rows, separated by commas: cka (linear, with a null), rbf_cka, svcca, "
            "pwcca, procrustes, mutual_knn, rsa; all or none",
            "all",
            measure_names,
        ),
        Option(
            "--max_rows",
            "frames or utterances for --measures, each an N x N matrix; 0: all",
            500,
            definition.count,
        ),
        Option("--permutations", "for the null of --measures", 49, definition.count),
        definition.max_utterances(500),
    ],
    outputs=[ENCODERS, DECODERS, OTHER_MEASURES, LAYER_GRID, ALL_LAYERS],
    run=run,
    section=section,
    result_files=["analysis/cka.json"],
    min_systems=2,
    uses_device=True,
)
