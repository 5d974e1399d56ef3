"""The parts of a language's section of the page."""

from collections.abc import Mapping, Sequence

from espnet_ext.report import cross_task, facts, svg
from espnet_ext.report.collect import Language, Run, kinds, metric_of
from espnet_ext.report.examples import SPACE, Example, Line, Token
from espnet_ext.report.markup import Markup, element, join
from espnet_ext.report.summary import interval, percent

VISIBLE_SPACE = "␣"
PAIRS = 4  # colours from here on are pairs of systems, those before it systems


def table(
    heads: Sequence, rows: Sequence[Sequence], *, text_columns: int = 1, label: str = "table"
) -> Markup:
    """A table that scrolls by itself where it is too wide; figures stand right-aligned."""

    def cell(name: str, index: int, content) -> Markup:
        attributes = {"class_": "num" if index >= text_columns else None}
        if name == "th":
            attributes["scope"] = "row"
        if isinstance(content, Markup) and content.startswith("<td"):
            return content
        return element(name, content, **attributes)

    head = [
        element("th", text, scope="col", class_="num" if i >= text_columns else None)
        for i, text in enumerate(heads)
    ]
    body = [
        element("tr", [cell("td" if i else "th", i, content) for i, content in enumerate(row)])
        for row in rows
    ]
    inner = element("table", element("thead", element("tr", head)), element("tbody", body))
    # Scrollable regions need a name and a place in the tab order to be usable without a pointer.
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=label)


def corpus(language: Language) -> Markup | None:
    if not language.corpus:
        return None
    heads = list(language.corpus[0])
    rows = [[str(row[head]) for head in heads] for row in language.corpus]
    return table(heads, rows, label=f"{language.name} data")


def cells(language: Language, runs: Mapping[str, Run], suffix: str) -> Markup:
    """The cells: a row per system and hypothesis, a column per reference; own cells drawn below."""
    hypotheses, references = kinds(runs)
    rows = []
    for system, run in runs.items():
        for kind in hypotheses:
            found = [metric_of(run.score, kind, reference) for reference in references]
            if any(found):
                who = element("span", system, element("small", f"{kind} hypothesis"))
                rows.append([who, *(_cell(one) for one in found)])
    heads = ["system", *(f"against {kind}" for kind in references)]
    data = next(iter(runs.values())).score["data"]
    hashes = facts.label_hashes(runs)
    warning = None
    if len(hashes) > 1:
        text = "The systems were scored against different labels: do not compare them."
        warning = element("div", text, class_="notice")
    how = [
        f" {name.replace('-', ' against ')} compares phones with phones, the {text}."
        for name, text in facts.conversions(runs).items()
    ]
    note = element(
        "p",
        f"{data['utterances']} utterances of {data['speakers']} speakers; labels {hashes[0][:12]}.",
        how,
        class_="note",
    )
    drawn = element(
        "div",
        [_own_plot(language, runs, kind) for kind in hypotheses if kind in references],
        class_="pair",
    )
    title = element("h3", f"The cells{suffix}")
    caption = table(heads, rows, label=f"{language.name} cells")
    return join([title, warning, caption, note, drawn])


def _cell(found: tuple[dict, dict] | None) -> Markup:
    if found is None:
        return element("td", "–", class_="num")
    cell, figures = found
    value = element("b" if cell["own"] else "span", percent(figures["rate"]))
    bounds = interval(figures["interval"]) if figures["interval"] else ""
    omitted = facts.left_out(cell)
    return element(
        "td",
        value,
        element("small", " ".join(filter(None, [cell["metric"].upper(), bounds]))),
        element("small", ", ".join(filter(None, [f"{cell['utterances']} utt", omitted]))),
        class_="num own" if cell["own"] else "num",
    )


def _own_plot(language: Language, runs: Mapping[str, Run], kind: str) -> Markup:
    rows, metric = [], ""
    for number, (system, run) in enumerate(runs.items()):
        found = metric_of(run.score, kind, kind)
        if found:
            metric = found[0]["metric"].upper()
            rows.append((system, number, found[1]["rate"], found[1]["interval"]))
    title = f"{language.name}: {kind} against {kind}, {metric}"
    plot = svg.whiskers(rows, title=title, x_title=f"{metric} %", width=400)
    return element("figure", element("figcaption", f"{kind} against {kind}"), plot)


def cross(language: Language, name: str, suffix: str) -> Markup | None:
    """The cross-task evaluation of a set: readings, then the table they are taken from."""
    if name not in language.cross:
        return None
    parts: list = []
    for block in cross_task.blocks(language.cross[name]):
        label = f"{language.name}, {name}: {block.title}"
        rows = [
            [_with_bounds(cell) if i >= block.text_columns else cell for i, cell in enumerate(row)]
            for row in block.rows
        ]
        shown = table(block.heads, rows, text_columns=block.text_columns, label=label)
        said = [element("li", one) for one in block.readings]
        parts += [
            element("h3", block.title + suffix),
            element("ul", said) if said else None,
            element("p", block.note, class_="note"),
            element("details", element("summary", "The table"), shown) if block.folded else shown,
        ]
    lacks = cross_task.lacking(language.cross[name])
    parts.append(element("ul", [element("li", one) for one in lacks]) if lacks else None)
    return join(parts)


def divergence(runs: Mapping[str, Run], suffix: str) -> Markup | None:
    """Error over bins of surface–meaning distance, a small plot per output."""
    found = facts.divergence_bins(runs)
    if found is None:
        return None
    names = [facts.BIN_NAMES[b["bin"]] for b in found["bins"]]
    by_output: dict[str, dict[str, list]] = {}
    for output, system, bins in facts.divergence_rows(runs):
        by_output.setdefault(output, {})[system] = bins
    unit = "phones" if found["metric"] == "per" else "characters"
    rows = [
        [output, system, *(_rate_cell(b) for b in bins)]
        for output, systems in by_output.items()
        for system, bins in systems.items()
    ]
    shares = [
        element("span", n, element("small", f"{b['utterances']} utt, {100 * b['share']:.0f} %"))
        for n, b in zip(names, found["bins"], strict=True)
    ]
    systems = list(runs)
    figures = [
        _bins_plot(output, {s: by_output[output].get(s) for s in systems}, names)
        for output in by_output
    ]
    return join(
        [
            element("h3", f"Error and divergence{suffix}"),
            element(
                "p",
                f"By edit distance of {found['between'][1]} from {found['between'][0]}, in {unit}.",
            ),
            element("div", figures, class_="pair"),
            svg.legend(systems),
            table(["output", "system", *shares], rows, text_columns=2, label="error by divergence"),
        ]
    )


def _rate_cell(figures: Mapping) -> Markup:
    small = element("small", interval(figures["interval"])) if figures["interval"] else None
    return element("td", percent(figures["rate"]), small, class_="num")


def _bins_plot(output: str, systems: Mapping[str, list | None], names: Sequence[str]) -> Markup:
    series = {
        system: [b["rate"] for b in bins] if bins else [None] * len(names)
        for system, bins in systems.items()
    }
    values = [v for row in series.values() for v in row if v is not None]
    plot = svg.lines(
        names,
        series,
        top=svg.nice_ceiling(max(values, default=1)),
        width=400,
        height=250,
        title=f"{output}: error by divergence",
        x_title="distance",
    )
    return element("figure", element("figcaption", f"{output}, error %"), plot)


def examples(found: Sequence[tuple[Example, str | None]]) -> Markup | None:
    if not found:
        return None
    key = element(
        "p",
        "A marked ",
        element("ruby", "sound", element("rt", "expected"), class_="sub"),
        " stands for another, ",
        element("ins", "this"),
        " is too much, ",
        element("del", "this"),
        " is missing. What was said is marked against how it should have been said; what a system "
        "wrote, against the transcript.",
    )
    return join([element("h3", "Heard and understood"), key, [_example(*one) for one in found]])


def _example(one: Example, audio: str | None) -> Markup:
    by = ", ".join(filter(None, [one.speaker, one.l1 and f"first language {one.l1}"]))
    player = audio and element(
        "audio", controls=True, preload="none", src=audio, aria_label=f"utterance {one.utt_id}"
    )
    meant = [line for line in one.references if line.label == "meant"]
    lines = [line for line in one.references if line.label != "meant"] + one.hypotheses
    return element(
        "article",
        element(
            "header",
            element("p", _tokens(meant[0]) if meant else "–", class_="meant"),
            player or None,
        ),
        element("dl", [_line(line) for line in lines]),
        element("p", f"{one.utt_id}; {by}; distance {one.distance}", class_="facts"),
        class_="example",
    )


def _line(line: Line) -> Markup:
    right = all(token.kind == "=" for token in line.tokens)
    text = _tokens(line) if line.tokens else element("span", "(nothing)", class_="same")
    classes = " ".join(filter(None, ["phones" if line.spaced else "", "same" if right else ""]))
    return join([element("dt", line.label), element("dd", text, class_=classes or None)])


def _tokens(line: Line) -> Markup:
    return join((" " if line.spaced and i else None, _token(t)) for i, t in enumerate(line.tokens))


def _token(token: Token) -> Markup | str:
    if token.kind == "=":
        return token.text
    text, against = _visible(token.text), _visible(token.against)
    if token.kind == "s":
        return element("ruby", text, element("rt", against), class_="sub")
    return element("ins", text) if token.kind == "i" else element("del", against)


def _visible(text: str) -> str:
    return VISIBLE_SPACE if text in (" ", SPACE) else text


def effort(language: Language, runs: Mapping[str, Run]) -> Markup | None:
    heads, rows = facts.run_facts(language, runs)
    if not rows:
        return None
    return join([element("h3", "Training and decoding"), table(heads, rows, label="effort")])


def mispronunciations(language: Language, runs: Mapping[str, Run], suffix: str) -> Markup | None:
    heads, rows = facts.mdd_rows(runs)
    if not rows:
        return None
    note = element(
        "p",
        "Errors that the recognised surface reports, against those of the annotation; with the "
        "canonical pronunciation given (prompt), or derived from the recognised meaning.",
        class_="note",
    )
    title = element("h3", f"Mispronunciation detection and diagnosis{suffix}")
    rows = [[_with_bounds(cell) for cell in row] for row in rows]
    parts = [title, note, table(heads, rows, text_columns=2, label=f"{language.name} MDD")]
    return join([*parts, *_ratings(language, runs)])


def _ratings(language: Language, runs: Mapping[str, Run]) -> list[Markup]:
    heads, rows = facts.rating_rows(runs)
    if not rows:
        return []
    note = element(
        "p",
        "Deviations per canonical unit against human scores; the annotation's own coefficient is "
        "about what can be had.",
        class_="note",
    )
    rows = [[_with_bounds(cell) for cell in row] for row in rows]
    return [note, table(heads, rows, text_columns=3, label=f"{language.name} human scores")]


def _with_bounds(text: str) -> Markup | str:
    """`81.1 [75.3–88.6]` with its interval in a line of its own."""
    value, bracket, bounds = text.partition(" [")
    if not bracket:
        return text
    return element("td", value, element("small", bounds.rstrip("]")), class_="num")
