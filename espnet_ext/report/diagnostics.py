"""What was diagnosed while training: rows, readings and plots, for RESULTS.md and report.html.

"At the end" is the mean over the last quarter of the diagnosed steps: one batch alone says little.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from espnet_ext.report import sections, svg
from espnet_ext.report.collect import Language
from espnet_ext.report.markup import Markup, element, join
from espnet_ext.report.summary import signed

FEWEST = 3  # steps whose mean is said to differ from zero, or not
MOST_LINES = 6  # of a plot; of deeper encoders some layers are drawn, all are in the table
WHOLE = "all"  # the encoder as a whole, beside its layers
INTRODUCTION = (
    "Cosine of the gradients that two outputs' losses send into the encoder: above zero they "
    "agree, below they conflict. CKA of an encoder layer with itself at the start, and of the "
    "outputs' decoders, layer by layer, over means of utterances; debiased, on utterances held "
    "from the validation set. At the end is the mean over the last quarter of diagnosed steps."
)


class Mean(NamedTuple):
    """A value at the end."""

    value: float
    error: float | None  # standard error over steps; None for fewer than FEWEST
    steps: int


class Track(NamedTuple):
    """One quantity over the steps, per layer."""

    kind: str  # cosine, norm, drift, decoders
    name: str
    points: dict[str, list[tuple[int, float | None]]]  # layer → (step, value)


def tracks(records: Sequence[Mapping]) -> list[Track]:
    """Everything that the lines of a training hold, in the order in which it is shown."""
    found: dict[tuple[str, str], dict[str, list]] = {}
    for record in records:
        gradients, cka = record["gradients"] or {}, record["cka"] or {}
        here = [("cosine", f"{p['a']} – {p['b']}", p["cosine"]) for p in gradients.get("pairs", ())]
        here += [("norm", name, norms) for name, norms in gradients.get("norms", {}).items()]
        here += [("drift", "", cka["drift"])] if cka else []
        here += [("decoders", f"{p['a']} – {p['b']}", p["layers"]) for p in cka.get("decoders", ())]
        for kind, name, layers in here:
            for layer, value in layers.items():
                points = found.setdefault((kind, name), {}).setdefault(layer, [])
                points.append((record["step"], value))
    order = ("cosine", "norm", "drift", "decoders")
    ranked = sorted(found.items(), key=lambda one: order.index(one[0][0]))
    return [Track(kind, name, points) for (kind, name), points in ranked if points]


def at_the_end(points: Sequence[tuple[int, float | None]]) -> Mean | None:
    """Mean over the last quarter of the steps where there is a value."""
    last = [y for _, y in points[-max(1, len(points) // 4) :] if y is not None]
    if not last:
        return None
    mean = math.fsum(last) / len(last)
    if len(last) < FEWEST:
        return Mean(mean, None, len(last))
    variance = math.fsum((y - mean) ** 2 for y in last) / (len(last) - 1)
    return Mean(mean, math.sqrt(variance / len(last)), len(last))


LABELS = {
    "cosine": "cosine of gradients, {}",
    "norm": "norm of gradient, {}",
    "drift": "CKA with the start",
    "decoders": "CKA of decoders, {}",
}


def table_of(language: Language) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row a system and quantity: values at the end, layer by layer."""
    found = [
        (system, track)
        for system, records in language.diagnostics.items()
        for track in tracks(records)
    ]
    names = list(dict.fromkeys(layer for _, track in found for layer in track.points))
    names = sorted(names, key=lambda name: name == WHOLE)  # the whole comes last
    rows = []
    for system, track in found:
        means = [at_the_end(track.points[n]) if n in track.points else None for n in names]
        rows.append(
            [
                system,
                LABELS[track.kind].format(track.name),
                *(_shown(track.kind, mean) for mean in means),
            ]
        )
    return ["system", "at the end", *names], rows


def _shown(kind: str, mean: Mean | None) -> str:
    if mean is None:
        return "–"
    if kind == "norm":
        return f"{mean.value:.3g}"
    return signed(mean.value) if kind == "cosine" else f"{mean.value:.3f}".replace("-", "−")


def readings(language: Language) -> list[str]:
    """What the diagnoses say, a sentence each; no more than they show."""
    said = []
    for system, records in language.diagnostics.items():
        found = tracks(records)
        if not any(track.kind == "cosine" for track in found):
            said.append(f"{system}: no gradients of two outputs to compare.")
        for track in found:
            if track.kind == "cosine":
                said.append(_cosine_reading(system, track))
            elif track.kind == "drift":
                said.append(_drift_reading(system, track, records))
            elif track.kind == "decoders":
                said.append(_decoder_reading(system, track))
    return said


def _cosine_reading(system: str, track: Track) -> str:
    outputs = track.name.replace(" – ", " and ")
    means = {n: at_the_end(p) for n, p in track.points.items() if n != WHOLE}
    known = {name: mean for name, mean in means.items() if mean}
    if not known:
        return f"{system}: gradients of {outputs} could not be compared at the end."
    steps = max(mean.steps for mean in known.values())
    if steps < FEWEST:
        values = ", ".join(f"{name}: {signed(mean.value)}" for name, mean in known.items())
        return (
            f"{system}: at the end, cosine of the gradients of {outputs} by layer: {values}; "
            f"of {steps} diagnosed step{'s' * (steps > 1)}, too few to read more."
        )
    parts = []
    for verdict, layers in _runs(known):
        values = [known[name].value for name in layers]
        low, high = signed(min(values)), signed(max(values))
        size = low if low == high else f"{low} to {high}"
        parts.append(f"{verdict} in {_span(layers)} (cosine {size})")
    return (
        f"{system}: at the end, gradients of {outputs} {', '.join(parts)}; means of {steps} "
        "steps, beyond chance where two standard errors from 0."
    )


def _verdict(mean: Mean) -> str:
    if mean.error is None or abs(mean.value) <= 2 * mean.error:
        return "neither agree nor conflict beyond chance"
    return "agree" if mean.value > 0 else "conflict"


def _runs(means: Mapping[str, Mean]) -> list[tuple[str, list[str]]]:
    """Neighbouring layers of one verdict."""
    found: list[tuple[str, list[str]]] = []
    for name, mean in means.items():
        verdict = _verdict(mean)
        if found and found[-1][0] == verdict:
            found[-1][1].append(name)
        else:
            found.append((verdict, [name]))
    return found


def named(layer: str) -> str:
    """Blocks have numbers, which alone say little."""
    return f"layer {layer}" if layer.isdigit() else layer


def _span(layers: Sequence[str]) -> str:
    if len(layers) == 1:
        return named(layers[0])
    return f"layers {layers[0]}–{layers[-1]}"


def _drift_reading(system: str, track: Track, records: Sequence[Mapping]) -> str:
    since = next(r["cka"]["since"] for r in reversed(records) if r["cka"])
    last = {name: points[-1] for name, points in track.points.items()}
    known = {name: value for name, (_, value) in last.items() if value is not None}
    if not known:
        return f"{system}: drift of the encoder is undefined at the end."
    step = max(step for step, _ in last.values())
    least, most = max(known, key=known.get), min(known, key=known.get)
    said = f"{system}: from step {since} to step {step}"
    if step == since:
        return f"{said}, nothing could change."
    if least == most:
        return f"{said}, {_span([least])} came to a CKA of {known[least]:.2f} with its start."
    return (
        f"{said}, the encoder changed least in {_span([least])} (CKA {known[least]:.2f}) and "
        f"most in {_span([most])} ({known[most]:.2f})."
    )


def _decoder_reading(system: str, track: Track) -> str:
    means = {name: at_the_end(points) for name, points in track.points.items()}
    values = [f"layer {n}: {m.value:.2f}".replace("-", "−") for n, m in means.items() if m]
    outputs = track.name.replace(" – ", " and ")
    if not values:
        return f"{system}: decoders of {outputs} could not be compared: too few utterances of both."
    return f"{system}: CKA of the decoders of {outputs} at the end, {', '.join(values)}."


# -- the page


def section(language: Language) -> Markup | None:
    """Readings, a plot a quantity and system, and the values at the end."""
    if not language.diagnostics:
        return None
    figures = []
    for system, records in language.diagnostics.items():
        figures += [
            _figure(language, system, track) for track in tracks(records) if track.kind != "norm"
        ]
    heads, rows = table_of(language)
    return join(
        [
            element("h3", "While training"),
            element("ul", [element("li", said) for said in readings(language)]),
            element("p", INTRODUCTION, class_="note"),
            element("div", figures, class_="pair"),
            element(
                "details",
                element("summary", "Values at the end, layer by layer"),
                sections.table(heads, rows, text_columns=2, label="diagnoses of training"),
            ),
        ]
    )


def _figure(language: Language, system: str, track: Track) -> Markup:
    drawn = {name: track.points[name] for name in _some([n for n in track.points if n != WHOLE])}
    values = [y for points in drawn.values() for _, y in points if y is not None]
    low, high = min(values, default=0), max(values, default=1)
    if track.kind == "cosine":
        top = svg.nice_ceiling(max(abs(low), abs(high)))
        bottom = -top
    else:
        top, bottom = max(1.0, high), 0.0 if low >= 0 else -svg.nice_ceiling(-low)
    label = LABELS[track.kind].format(track.name)
    plot = svg.curves(
        drawn, bottom=bottom, top=top, x_title="step", title=f"{language.name}, {system}: {label}"
    )
    legend = svg.legend([named(name) for name in drawn])
    return element("figure", element("figcaption", f"{system}: {label}"), plot, legend)


def _some(layers: Sequence[str]) -> list[str]:
    """At most MOST_LINES layers, evenly spread, with the first and the last.

    >>> _some([str(n) for n in range(13)])
    ['0', '2', '5', '7', '10', '12']
    """
    if len(layers) <= MOST_LINES:
        return list(layers)
    return [layers[round(i * (len(layers) - 1) / (MOST_LINES - 1))] for i in range(MOST_LINES)]
