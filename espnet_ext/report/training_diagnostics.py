"""Tables and figures of the diagnostics of a training (`diagnostics.jsonl`).

"At the end" is the mean over the last quarter of the diagnosed steps, since one batch is noisy.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from espnet_ext.document import Figure, Item, Point, Section, Table, number, signed
from espnet_ext.report.collect import Language

MIN_STEPS = 3  # of fewer steps there is no standard error
MAX_LINES = 6  # per figure; the table has all layers
WHOLE = "all"  # the encoder as a whole, beside its layers
LABELS = {
    "cosine": "cosine of gradients, {}",
    "norm": "norm of gradient, {}",
    "drift": "CKA with the start",
    "decoders": "CKA of decoders, {}",
}
SENTENCES = {
    "cosine": "Cosine of the gradients that two outputs' losses send into the encoder: above zero "
    "they agree, below zero they conflict.",
    "drift": "Debiased CKA of an encoder layer with itself at the first diagnosed step, on held "
    "validation utterances.",
    "decoders": "Debiased CKA of the outputs' decoders, over utterance means.",
}


class Mean(NamedTuple):
    """A mean over steps."""

    value: float
    error: float | None  # standard error; None below MIN_STEPS
    steps: int


class Track(NamedTuple):
    """One quantity over the steps, per layer."""

    kind: str  # a key of LABELS
    name: str
    points: dict[str, list[tuple[int, float | None]]]  # layer → (step, value)

    @property
    def label(self) -> str:
        return LABELS[self.kind].format(self.name)


def tracks(records: Sequence[Mapping]) -> list[Track]:
    """Return everything that the lines of a training hold, in the order of LABELS."""
    by_quantity: dict[tuple[str, str], dict[str, list]] = {}
    for record in records:
        gradients, cka = record["gradients"] or {}, record["cka"] or {}
        values = [
            *(("cosine", f"{p['a']} – {p['b']}", p["cosine"]) for p in gradients.get("pairs", ())),
            *(("norm", name, norms) for name, norms in gradients.get("norms", {}).items()),
            *([("drift", "", cka["drift"])] if cka else []),
            *(("decoders", f"{p['a']} – {p['b']}", p["layers"]) for p in cka.get("decoders", ())),
        ]
        for kind, name, layers in values:
            for layer, value in layers.items():
                points = by_quantity.setdefault((kind, name), {}).setdefault(layer, [])
                points.append((record["step"], value))
    ranked = sorted(by_quantity.items(), key=lambda item: list(LABELS).index(item[0][0]))
    return [Track(kind, name, points) for (kind, name), points in ranked if points]


def mean_at_end(points: Sequence[tuple[int, float | None]]) -> Mean | None:
    """Return the mean over the last quarter of the steps, where there is a value."""
    last = [y for _, y in points[-max(1, len(points) // 4) :] if y is not None]
    if not last:
        return None
    mean = math.fsum(last) / len(last)
    if len(last) < MIN_STEPS:
        return Mean(mean, None, len(last))
    variance = math.fsum((y - mean) ** 2 for y in last) / (len(last) - 1)
    return Mean(mean, math.sqrt(variance / len(last)), len(last))


def section(language: Language) -> Section | None:
    """Return figures over the steps, the values at the end, and what they show."""
    by_system = [(s, t) for s, records in language.diagnostics.items() for t in tracks(records)]
    if not by_system:
        return None
    items: list[Item] = [
        _figure(system, track) for system, track in by_system if track.kind != "norm"
    ]
    items.append(_table(by_system))
    return Section("Diagnostics of the trainings", findings(language), items, topic="models")


def _figure(system: str, track: Track) -> Figure:
    layers = _some([name for name in track.points if name != WHOLE])
    series = {named(n): [Point(x, y) for x, y in track.points[n]] for n in layers}
    values = [y for n in layers for _, y in track.points[n] if y is not None]
    y_range = None
    if track.kind == "cosine":
        reach = max(map(abs, values), default=1.0) * 1.1 or 1.0
        y_range = (-reach, reach)
    elif values:
        y_range = (min(0.0, *values), max(1.0, *values))
    title = f"{system}: {track.label}"
    sentence = SENTENCES[track.kind]
    return Figure("lines", title, sentence, "step", track.label, series, y_range=y_range)


def _some(layers: Sequence[str]) -> list[str]:
    """Return at most MAX_LINES layers, evenly spread, with the first and the last.

    >>> _some([str(n) for n in range(13)])
    ['0', '2', '5', '7', '10', '12']
    """
    if len(layers) <= MAX_LINES:
        return list(layers)
    return [layers[round(i * (len(layers) - 1) / (MAX_LINES - 1))] for i in range(MAX_LINES)]


def _table(by_system: Sequence[tuple[str, Track]]) -> Table:
    names = list(dict.fromkeys(layer for _, track in by_system for layer in track.points))
    names.sort(key=lambda name: name == WHOLE)  # the whole comes last
    rows = []
    for system, track in by_system:
        means = [mean_at_end(track.points.get(name, ())) for name in names]
        rows.append([system, track.label, *(_text(track.kind, mean) for mean in means)])
    return Table(
        "Diagnostics at the end of training",
        "Mean over the last quarter of the diagnosed steps, by encoder or decoder layer.",
        ["system", "quantity", *names],
        rows,
        text_columns=2,
        details=True,
    )


def _text(kind: str, mean: Mean | None) -> str:
    if mean is None:
        return "–"
    if kind == "norm":
        return f"{mean.value:.3g}"
    return signed(mean.value) if kind == "cosine" else number(mean.value, 3).replace("-", "−")


def findings(language: Language) -> list[str]:
    """Return what the diagnostics show, one sentence per quantity."""
    makers = {"cosine": _cosine, "drift": _drift, "decoders": _decoders}
    sentences = []
    for system, records in language.diagnostics.items():
        of_system = tracks(records)
        if not any(track.kind == "cosine" for track in of_system):
            sentences.append(f"{system}: there are no gradients of two outputs to compare.")
        sentences += [makers[t.kind](system, t, records) for t in of_system if t.kind in makers]
    return sentences


def _cosine(system: str, track: Track, _records: Sequence[Mapping]) -> str:
    outputs = track.name.replace(" – ", " and ")
    means = {n: mean_at_end(points) for n, points in track.points.items() if n != WHOLE}
    known = {name: mean for name, mean in means.items() if mean}
    if not known:
        return f"{system}: the gradients of {outputs} could not be compared at the end."
    steps = max(mean.steps for mean in known.values())
    if steps < MIN_STEPS:
        values = ", ".join(f"{name}: {signed(mean.value)}" for name, mean in known.items())
        return (
            f"{system}: cosine of the gradients of {outputs} at the end, by layer: {values} "
            f"({steps} diagnosed step{'s' * (steps > 1)}, too few for a conclusion)."
        )
    parts = []
    for verdict, layers in _runs(known):
        cosines = [known[name].value for name in layers]
        low, high = signed(min(cosines)), signed(max(cosines))
        size = low if low == high else f"{low} to {high}"
        parts.append(f"{verdict} in {_span(layers)} (cosine {size})")
    return (
        f"{system}: at the end, the gradients of {outputs} {', '.join(parts)}; means over {steps} "
        "steps, significant at two standard errors from 0."
    )


def _runs(means: Mapping[str, Mean]) -> list[tuple[str, list[str]]]:
    """Group neighbouring layers with the same verdict."""
    runs: list[tuple[str, list[str]]] = []
    for name, mean in means.items():
        verdict = "neither agree nor conflict significantly"
        if mean.error is not None and abs(mean.value) > 2 * mean.error:
            verdict = "agree" if mean.value > 0 else "conflict"
        if runs and runs[-1][0] == verdict:
            runs[-1][1].append(name)
        else:
            runs.append((verdict, [name]))
    return runs


def named(layer: str) -> str:
    """Return `layer 0` for a block's number, other names as they are."""
    return f"layer {layer}" if layer.isdigit() else layer


def _span(layers: Sequence[str]) -> str:
    return named(layers[0]) if len(layers) == 1 else f"layers {layers[0]}–{layers[-1]}"


def _drift(system: str, track: Track, records: Sequence[Mapping]) -> str:
    since = next(r["cka"]["since"] for r in reversed(records) if r["cka"])
    last = {name: points[-1] for name, points in track.points.items()}
    known = {name: value for name, (_, value) in last.items() if value is not None}
    if not known:
        return f"{system}: the drift of the encoder is undefined at the end."
    step = max(step for step, _ in last.values())
    if step == since:
        return f"{system}: only step {step} was diagnosed, so there is no drift yet."
    least, most = (pick(known, key=lambda name: known[name]) for pick in (max, min))
    text = f"{system}: from step {since} to step {step}, the encoder changed "
    if least == most:
        return f"{text}to a CKA of {known[least]:.2f} with its start ({_span([least])})."
    return (
        f"{text}least in {_span([least])} (CKA {known[least]:.2f}) and most in {_span([most])} "
        f"({known[most]:.2f})."
    )


def _decoders(system: str, track: Track, _records: Sequence[Mapping]) -> str:
    means = {name: mean_at_end(points) for name, points in track.points.items()}
    values = [f"layer {n}: {m.value:.2f}".replace("-", "−") for n, m in means.items() if m]
    outputs = track.name.replace(" – ", " and ")
    if not values:
        return (
            f"{system}: the decoders of {outputs} could not be compared: too few utterances have "
            "both."
        )
    return f"{system}: CKA of the decoders of {outputs} at the end, {', '.join(values)}."
