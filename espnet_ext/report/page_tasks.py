"""The page's part on outputs as tasks: tables of `tasks`, vectors as points, errors as lines."""

from collections.abc import Mapping

from espnet_ext.report import svg, tasks
from espnet_ext.report.collect import Language
from espnet_ext.report.markup import Markup, element, join
from espnet_ext.report.sections import PAIRS, table


def section(language: Language) -> Markup | None:
    """Everything that `tasks.sections` tells, with plots where a plot says more."""
    parts = []
    for title, texts, heads, rows, readings in tasks.sections(language):
        parts.append(
            join(
                [
                    element("h3", title[0].upper() + title[1:]),
                    *(element("p", text) for text in texts),
                    _plots(language, title),
                    table(heads, rows, text_columns=3, label=title),
                    element("ul", [element("li", said) for said in readings]) if readings else None,
                ]
            )
        )
    return join(parts) if parts else None


def _plots(language: Language, title: str) -> Markup | None:
    if title == "task vectors":
        figures = [
            _points(system["system"], place)
            for system in language.vectors["systems"]
            for place in system["places"]
        ]
    elif title.startswith("fewer labels"):
        outputs = dict.fromkeys(row["output"] for row in language.partial["rows"])
        figures = [_curve(language, output) for output in outputs]
    elif title.startswith("length of"):
        figures = [
            _lengths(system["system"], place)
            for system in language.vectors["systems"]
            for place in system["places"]
            if place["history"]["epochs"]
        ]
    else:
        return None
    return element("div", figures, class_="pair")


def _points(system: str, place: Mapping) -> Markup:
    caption = f"{system}, after {place['place']}: two principal components"
    shares = [f"{100 * share:.0f} %" for share in place["explained"]]
    known = tasks.learnt(place)
    drawing = svg.points(
        [place["labels"][i] for i in known],
        [place["points"][i] for i in known],
        title=caption,
        x_title=f"first ({shares[0]})",
        y_title=f"second ({shares[1]})",
    )
    return element("figure", element("figcaption", caption), drawing)


def _lengths(system: str, place: Mapping) -> Markup:
    history, curves = place["history"], tasks.learnt_norms(place)
    top = svg.nice_ceiling(max(max(norms) for norms in curves.values()))
    caption = f"{system}, after {place['place']}: length of the vectors"
    drawing = svg.lines(
        list(map(str, history["epochs"])),
        curves,
        top=top,
        title=caption,
        x_title="epoch",
        first=PAIRS,
    )
    return element(
        "figure", element("figcaption", caption), drawing, svg.legend(list(curves), PAIRS)
    )


def _curve(language: Language, output: str) -> Markup:
    percents, curves = tasks.partial_curves(language.partial, output)
    known = [value for values in curves.values() for value in values if value is not None]
    caption = f"{output}: error by labels taken away"
    drawing = svg.lines(
        percents,
        curves,
        top=svg.nice_ceiling(max(known, default=1.0)),
        title=caption,
        x_title=f"labels of {language.partial['output']} taken away, %",
        first=PAIRS,
    )
    return element(
        "figure", element("figcaption", caption), drawing, svg.legend(list(curves), PAIRS)
    )
