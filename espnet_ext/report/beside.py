"""Our figures beside the published ones: the paper's table, and the points of its two figures.

The data, the models and the unit of the English surface differ, so that directions can be compared
and sizes cannot. A layer of theirs is put beside ours of the same relative depth.
"""

from collections.abc import Iterator, Mapping

from espnet_ext.report import published, svg
from espnet_ext.report.collect import Language, metric_of
from espnet_ext.report.facts import BIN_NAMES
from espnet_ext.report.markup import Markup, element
from espnet_ext.report.similarity import value_text
from espnet_ext.report.summary import interval, percent, signed, signed_interval

HEADS = ["figure", "here", "published"]
OUTPUTS = ("surface", "meaning")


def rows(language: Language) -> list[list[str]]:
    """What both have: (what, here with its interval, published); of the first set."""
    if language.code not in published.DIVERGENCE:
        return []
    made = (_rates, _differences, _shares, _encoders, _decoders)
    return [row for make in made for row in make(language)]


def _paper(kind: str, code: str, output: str) -> float:
    return published.ERROR_RATES[f"Conformer {kind}"][code][OUTPUTS.index(output)]


def _rates(language: Language) -> Iterator[list[str]]:
    runs = next(iter(language.sets.values()), {})
    for output in OUTPUTS:
        for system, kind in ((f"so_{output}", "SO"), ("do", "DO")):
            found = metric_of(runs[system].score, output, output) if system in runs else None
            if found is None:
                continue
            cell, figures = found
            bounds = f" [{interval(figures['interval'])}]" if figures["interval"] else ""
            yield [
                f"{system}, {output}: error %",
                f"{cell['metric'].upper()} {percent(figures['rate'])}{bounds}",
                f"CER {percent(_paper(kind, language.code, output))}",
            ]


def _own_cells(language: Language) -> Iterator[tuple[str, Mapping]]:
    """(output, row of its own cell) of do against the single-output system."""
    cross = next(iter(language.cross.values()), None)
    for one in cross["differences"] if cross else ():
        for output in OUTPUTS:
            if (one["a"], one["b"]) == (f"so_{output}", "do"):
                yield from ((output, r) for r in one["cells"] if r["name"] == f"{output}-{output}")


def _differences(language: Language) -> Iterator[list[str]]:
    known = published.DIFFERENCE_BY_DISTANCE.get(language.code, {})
    for output, row in _own_cells(language):
        theirs, where = None, ""
        if row["by"] is None:
            theirs = _paper("DO", language.code, output) - _paper("SO", language.code, output)
        elif row["by"] == "distance" and row["bin"] in known.get(output, {}):
            theirs, where = known[output][row["bin"]], f", distance {BIN_NAMES[row['bin']]}"
        if theirs is not None and row["difference"] is not None:
            bounds = f" [{signed_interval(row['interval'])}]" if row["interval"] else ""
            yield [
                f"do − so_{output}, {output}{where}: points",
                signed(row["difference"]) + bounds,
                signed(theirs),
            ]


def _shares(language: Language) -> Iterator[list[str]]:
    cross = next(iter(language.cross.values()), None)
    if not cross:
        return
    divergence = cross["divergence"]
    main = divergence["pairs"].get(divergence["main"])
    for one in main["bins"] if main else ():
        theirs = published.DIVERGENCE[language.code][one["bin"]]
        yield [
            f"utterances at distance {BIN_NAMES[one['bin']]}: %",
            f"{100 * one['share']:.1f}",
            f"{theirs:.1f}",
        ]


def _single_encoders(language: Language) -> list[Mapping]:
    """Ours, by layer: the blocks of the pair of single-output encoders."""
    pairs = language.cka["pairs"] if language.cka else ()
    for pair in pairs:
        if {pair["a"], pair["b"]} == {"so_surface", "so_meaning"}:
            return [point for point in pair["curve"] if point["layer"].isdigit()]
    return []


def _encoders(language: Language) -> Iterator[list[str]]:
    ours, theirs = _single_encoders(language), published.CKA[language.code]
    for point, (layer, value) in zip(
        (ours[:1] + ours[-1:]), (list(theirs.items())[0], list(theirs.items())[-1]), strict=False
    ):
        yield [
            f"CKA so_surface – so_meaning, encoder layer {point['layer']} (theirs {layer})",
            value_text(point),
            f"{value:.2f}",
        ]


def _decoders(language: Language) -> Iterator[list[str]]:
    given = published.DECODER_CKA.get(language.code, {})
    for pair in (language.cka or {}).get("decoders", ()):
        names = [f"{pair[side]} {pair[f'output_{side}']}" for side in "ab"]
        wanted = (pair["how"], pair["rows"]) == ("teacher-forced", "utterances")
        if wanted and pair["curve"] and tuple(names) in given:
            layer, value = given[tuple(names)]
            last = pair["curve"][-1]
            yield [
                f"CKA {' – '.join(names)}, decoder layer {last['layer']} (theirs {layer})",
                value_text(last),
                f"{value:.2f}",
            ]


def figure(language: Language) -> Markup | None:
    """The published encoder curve and ours, over relative depth."""
    ours = _single_encoders(language)
    if len(ours) < 2 or language.code not in published.CKA:
        return None
    theirs = published.CKA[language.code]
    series = {
        "here": [(int(p["layer"]) / (len(ours) - 1), p["debiased"]) for p in ours],
        "published, 12 layers": [(int(layer) / 11, value) for layer, value in theirs.items()],
    }
    drawing = svg.curves(
        series,
        bottom=0.0,
        top=1.0,
        x_title="depth of the encoder, first block 0, last 1",
        title=f"{language.name}: CKA of the single-output encoders, here and published",
    )
    caption = element("figcaption", "so_surface – so_meaning, CKA")
    return element("figure", caption, drawing, svg.legend(list(series)))
