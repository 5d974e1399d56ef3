"""Rows and readings of cka.json: how alike the layers of systems are. For both reports."""

from collections.abc import Iterator, Mapping, Sequence

from espnet_ext.report import published

MEASURES = {
    "cka": "CKA",
    "rbf_cka": "RBF CKA",
    "svcca": "SVCCA",
    "pwcca": "PWCCA",
    "procrustes": "Procrustes",
    "mutual_knn": "mutual kNN",
    "rsa": "RSA",
}
TWIN = "~twin"


def layer_names(pairs: Sequence[Mapping]) -> list[str]:
    """The layers of all curves, in order."""
    return list(dict.fromkeys(point["layer"] for pair in pairs for point in pair["curve"]))


def pair_name(pair: Mapping) -> str:
    """Who is compared, in words.

    >>> pair_name({"a": "do", "b": "do~twin", "output_a": "meaning", "output_b": "meaning"})
    'do meaning – its twin'
    """
    first, second = (
        " ".join(filter(None, [pair[side], pair.get(f"output_{side}")])) for side in "ab"
    )
    twin = pair["b"] == pair["a"] + TWIN and pair.get("output_a") == pair.get("output_b")
    return f"{first} – its twin" if twin else f"{first} – {second.replace(TWIN, ' (twin)')}"


def value_text(point: Mapping | None, key: str = "debiased") -> str:
    """A value with its interval, which belongs to the debiased one."""
    if point is None or point.get(key) is None:
        return "–"
    bounds = point.get("interval") if key == "debiased" else None
    return f"{point[key]:.2f}" + (" [{:.2f}–{:.2f}]".format(*bounds) if bounds else "")


def curve_rows(pairs: Sequence[Mapping], key: str = "debiased") -> list[list[str]]:
    """A row a pair: its name, then a value a layer."""
    layers = layer_names(pairs)
    rows = []
    for pair in pairs:
        points = {point["layer"]: point for point in pair["curve"]}
        rows.append([pair_name(pair), *(value_text(points.get(layer), key) for layer in layers)])
    return rows


def decoder_groups(cka: Mapping) -> Iterator[tuple[str, list[Mapping]]]:
    """(what is compared, pairs): teacher-forced and free-running, by utterance and by token."""
    words = {
        ("teacher-forced", "utterances"): "reading the references, means of utterances",
        ("free-running", "utterances"): "writing on their own, means of utterances",
        ("teacher-forced", "tokens"): "reading the same references, token by token",
    }
    for (how, rows), text in words.items():
        pairs = [p for p in cka.get("decoders", ()) if (p["how"], p["rows"]) == (how, rows)]
        if pairs:
            yield text, pairs


def measure_rows(pairs: Sequence[Mapping]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row for each pair and layer: every other measure, its interval, its null."""
    names = list(
        dict.fromkeys(
            name for pair in pairs for point in pair["curve"] for name in point.get("measures", ())
        )
    )
    rows = [
        [pair_name(pair), point["layer"], *(_measure(point["measures"].get(n)) for n in names)]
        for pair in pairs
        for point in pair["curve"]
        if point.get("measures")
    ]
    return ["systems", "layer", *(MEASURES.get(name, name) for name in names)], rows


def _measure(found: Mapping | None) -> str:
    if not found or found["value"] is None:
        return "–"
    text = f"{found['value']:.2f}"
    if found.get("interval"):
        text += " [{:.2f}–{:.2f}]".format(*found["interval"])
    if found.get("null"):
        text += f"; null {found['null']['mean']:.2f}".replace("-0.00", "0.00")
    return text


def readings(cka: Mapping) -> list[str]:
    """What the curves say, a sentence each; no more than they show."""
    found = []
    for pair in cka["pairs"]:
        points = [point for point in pair["curve"] if point.get("debiased") is not None]
        if len(points) < 2:
            continue
        most, least = (choose(points, key=lambda p: p["debiased"]) for choose in (max, min))
        found.append(
            f"Encoders, {pair_name(pair)}: most alike in layer {most['layer']} "
            f"({value_text(most)}), least in layer {least['layer']} ({value_text(least)})."
        )
        for side in "ab":
            if alone := pair.get(f"only_{side}"):
                found.append(
                    f"Layers {', '.join(alone)} of {pair[side]} have no counterpart of that number."
                )
    found += _nearer(cka)
    if not any(pair.get("ceiling") for pair in cka["pairs"]):
        found.append(
            "Without twins (another seed of the same system) there is no ceiling: how alike two "
            "trainings of one task would be is not known."
        )
    return [*found, *cka.get("notes", ())]


def _last(cka: Mapping, pair: Mapping) -> Mapping:
    """The last layer of each; an interval is known where they have the same number."""
    first, second = (cka["models"][pair[side]]["layers"][-1] for side in "ab")
    if first == second and pair["curve"]:
        return pair["curve"][-1]
    return {"layer": f"{first}/{second}", "debiased": pair.get("debiased", pair["grid"])[-1][-1]}


def _nearer(cka: Mapping) -> Iterator[str]:
    """Which single-output encoder the last layer of a dual one is nearer to."""
    last: dict[str, dict[str, Mapping]] = {}
    for pair in cka["pairs"]:
        if pair["grid"] and not pair.get("ceiling"):
            for own, other in ((pair["a"], pair["b"]), (pair["b"], pair["a"])):
                last.setdefault(own, {})[other] = _last(cka, pair)
    for system, others in last.items():
        single = {name: point for name, point in others.items() if name.startswith("so_")}
        known = [(p["debiased"], name) for name, p in single.items() if p.get("debiased")]
        if system.startswith("so_") or len(known) < 2:
            continue
        (low, far), (high, near) = min(known), max(known)
        bounds = [single[name].get("interval") for name in (far, near)]
        sure = all(bounds) and bounds[0][1] < bounds[1][0]
        yield (
            f"In its last layer {system} is nearer to {near} ({high:.2f}) than to {far} "
            f"({low:.2f})" + ("." if sure else "; the intervals overlap or are not known.")
        )


def published_text(code: str) -> list[str]:
    """What the paper gives for this language, in words."""
    found = []
    if curve := published.CKA.get(code):
        values = ", ".join(f"{layer}: {value:.2f}" for layer, value in curve.items())
        found.append(f"Published for the two single-output encoders, 12 layers: {values}.")
    for (a, b), (layer, value) in published.DECODER_CKA.get(code, {}).items():
        found.append(f"Published for decoders, layer {layer} of 8: {a} – {b} {value:.2f}.")
    return found
