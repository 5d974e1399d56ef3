"""The page's section on what systems share inside: curves, maps, tables, and the published ones."""

from collections.abc import Mapping, Sequence

from espnet_ext.report import evidence, facts, similarity, svg
from espnet_ext.report.collect import Language
from espnet_ext.report.markup import Markup, element, join
from espnet_ext.report.sections import PAIRS, table


def section(language: Language) -> Markup | None:
    """Encoders and decoders, layer by layer, as lines; everything else folded below."""
    cka = language.cka
    if not cka:
        return None
    text = (
        "Linear CKA, without the bias of few rows: 1 where two layers hold the same up to rotation "
        f"and scale, 0 where they have nothing in common. {cka['utterances']} utterances, "
        f"{facts.number(cka['frames'])} frames; “embed” is the output of subsampling (of a "
        "decoder: of the embedding), 0 the first block."
    )
    decoders = list(similarity.decoder_groups(cka))
    plots = [_plot(language, "Encoders, frame by frame", cka["pairs"], "encoder layer")]
    plots += [
        _plot(language, f"Decoders {how}", pairs, "decoder layer")
        for how, pairs in decoders
        if pairs[0]["rows"] == "utterances"
    ]
    beside = similarity.published_text(language.code)
    return join(
        [
            element("h3", "What the systems share inside"),
            element("p", text),
            element("div", plots, class_="pair"),
            element("ul", [element("li", said) for said in similarity.readings(cka)]),
            element("p", " ".join(beside), class_="note") if beside else None,
            element(
                "details",
                element("summary", "The values, with intervals over speakers"),
                _values("encoders", cka["pairs"]),
                [
                    join([element("p", f"Decoders, {how}:"), _values("decoders", pairs)])
                    for how, pairs in decoders
                ],
            ),
            _measures(cka),
            element(
                "details",
                element("summary", "All layers against all layers"),
                element("div", [_map(cka, pair) for pair in cka["pairs"]], class_="pair"),
                _whole(cka.get("everything")),
            ),
        ]
    )


def probes(language: Language) -> Markup | None:
    """What linear probes read off each layer."""
    found = language.probes
    if not found:
        return None
    text = (
        "Balanced accuracy in percent of a linear probe of the encoder's layers, with its interval "
        "over speakers. The control's labels are random, fixed for each kind of row: what a probe "
        "can learn by heart; “tokens alone” is what the tokens say without the encoder."
    )
    tables = [
        join([element("h4", title), table(heads, rows, label=f"probes: {title}")])
        for title, heads, rows in evidence.probe_tables(found)
    ]
    return join(
        [
            element("h3", "What can be read off the encoders"),
            element("p", text),
            element("ul", [element("li", said) for said in evidence.probe_readings(found)]),
            element("details", element("summary", "Every layer"), tables),
        ]
    )


def swaps(language: Language) -> Markup | None:
    """Every decoder on every encoder."""
    found = language.swaps
    if not found:
        return None
    heads, rows = evidence.swap_rows(found)
    text = (
        f"Each decoder was put on each encoder ({found['utterances']} utterances), as it is and "
        f"through a linear map fitted to {found['train_utterances']} training utterances."
    )
    return join(
        [
            element("h3", "Encoders exchanged"),
            element("p", text),
            element("ul", [element("li", said) for said in evidence.swap_readings(found)]),
            element(
                "details",
                element("summary", "The values"),
                table(heads, rows, text_columns=4, label="exchanged encoders"),
            ),
        ]
    )


def _plot(language: Language, title: str, pairs: Sequence[Mapping], x_title: str) -> Markup:
    layers = similarity.layer_names(pairs)
    series = {}
    for pair in pairs:
        values = {point["layer"]: _shown(point) for point in pair["curve"]}
        series[similarity.pair_name(pair)] = [values.get(layer) for layer in layers]
    plot = svg.lines(
        layers, series, top=1.0, first=PAIRS, x_title=x_title, title=f"{language.name}: {title}"
    )
    return element("figure", element("figcaption", title), plot, svg.legend(list(series), PAIRS))


def _shown(point: Mapping) -> float | None:
    """The debiased value where it is drawn: it can fall a little below zero."""
    value = point.get("debiased", point["cka"])
    return None if value is None else max(0.0, value)


def _values(label: str, pairs: Sequence[Mapping]) -> Markup:
    heads = [label, *similarity.layer_names(pairs)]
    return table(heads, similarity.curve_rows(pairs), label=f"CKA of {label}")


def _measures(cka: Mapping) -> Markup | None:
    heads, rows = similarity.measure_rows(cka["pairs"])
    if not rows:
        return None
    text = (
        f"Of {cka['sampled']['rows']} frames at most; intervals by leaving out each speaker; null: "
        "the mean for other moments of the same speaker."
    )
    summary = element("summary", "Other measures of the encoders")
    return element(
        "details",
        summary,
        element("p", text),
        table(heads, rows, text_columns=2, label="other measures"),
    )


def _map(cka: Mapping, pair: Mapping) -> Markup:
    drawing = svg.heatmap(
        cka["models"][pair["a"]]["layers"],
        cka["models"][pair["b"]]["layers"],
        pair["grid"],
        title=f"CKA of all layers, {pair['a']} and {pair['b']}",
        row_title=pair["a"],
        column_title=pair["b"],
    )
    return element("figure", drawing)


def _whole(everything: Mapping | None) -> Markup | None:
    """Every encoder's and decoder's layers against each other, by means of utterances."""
    if not everything:
        return None
    names = [
        " ".join(filter(None, [one["system"], one["output"], one["layer"]]))
        for one in everything["layers"]
    ]
    values = [[None if v is None else max(0.0, v) for v in row] for row in everything["debiased"]]
    drawing = svg.heatmap(
        names,
        names,
        values,
        title="Debiased CKA of all layers of all systems",
        row_title="",
        column_title="",
        long_names=True,
    )
    caption = f"Means over {everything['utterances']} utterances, debiased"
    return element("figure", element("figcaption", caption), drawing)
