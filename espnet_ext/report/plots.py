"""Figures as inline SVG, drawn by matplotlib, in the colours of the page's style sheet.

matplotlib draws with placeholder colours that are then replaced by CSS variables, so that figures
follow the page's light or dark colours. A system has one colour in all figures. Series also differ
by marker and line style.
"""

import io
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from espnet_ext.document import Figure, Heatmap, Point

COLOURS = 8  # --s0 … --s7 of the style sheet
MARKERS = "os^D"
MARKED_POINTS = 12  # curves with more points are drawn without markers
MAX_TEXTS = 7  # heatmaps up to this size have their values written in
_INK, _SOFT, _RULE, _HEAT = "#010201", "#010202", "#010203", (0.25, 0.56, 0.69)
_VARIABLES = {_INK: "--ink", _SOFT: "--soft", _RULE: "--rule"} | {
    f"#0101{n:02x}": f"--s{n}" for n in range(COLOURS)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "espnet_ext",  # the same figure gives the same bytes
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _SOFT,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "text.color": _INK,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.markersize": 5,
}


def svg(item: Figure | Heatmap, prefix: str, systems: Sequence[str] = ()) -> str:
    """Return a figure as an `<svg>` element.

    Args:
        prefix: makes its ids unique on the page.
        systems: the systems of the report. Their place decides the colour of their series.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(layout="constrained")
        FigureCanvasSVG(canvas)
        axes = canvas.add_subplot()
        if isinstance(item, Heatmap):
            _heatmap(item, canvas, axes)
        else:
            _KINDS[item.kind](item, canvas, axes, style_numbers(item.series, systems))
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), prefix)


def _inline(text: str, prefix: str) -> str:
    """Return the `<svg>` element for a page: unique ids, colours of the page, nothing else."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r"<clipPath .*?</clipPath>| clip-path=\"[^\"]*\"", "", text, flags=re.S)
    text = re.sub(r"(\bid=\"|href=\"#)", rf"\g<1>{prefix}", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    width, height = re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2]
    size = f'class="plot" style="max-width: {float(width) * 1.25:.0f}px"'
    return re.sub(r' width="[^"]*" height="[^"]*"|height="[^"]*pt" ', f" {size} ", text, count=1)


def style_numbers(series: Iterable[str], systems: Sequence[str]) -> list[int]:
    """Return the number of the colour, marker and line style of each series.

    A system has the number of its place among all systems. Other series of the same figure have
    later numbers. In a figure without systems, series are numbered in order.

    >>> style_numbers(["do", "complete"], ["so_surface", "so_meaning", "do"])
    [2, 3]
    >>> style_numbers(["layer 0", "layer 1"], ["so_surface", "do"])
    [0, 1]
    """
    names = list(series)
    with_systems = any(name in systems for name in names)
    others = itertools.count(len(systems) if with_systems else 0)
    return [systems.index(name) if name in systems else next(others) for name in names]


def _colour(number: int) -> str:
    return f"#0101{number % COLOURS:02x}"


def _line_style(number: int, points: int) -> dict[str, Any]:
    marker = MARKERS[number % len(MARKERS)] if points <= MARKED_POINTS else None
    return {
        "color": _colour(number),
        "marker": marker,
        "linestyle": ("-", "--", ":")[number // COLOURS % 3],
        "clip_on": False,
    }


def _lines(figure: Figure, canvas, axes, numbers: Sequence[int]) -> None:
    shown = 0
    for number, (name, points) in zip(numbers, figure.series.items(), strict=True):
        if any(point.y is not None for point in points):
            x, y = [p.x for p in points], [_value(p) for p in points]
            axes.plot(x, y, label=name, **_line_style(number, len(points)))
            shown += 1
    if figure.ticks:
        axes.set_xticks(range(len(figure.ticks)), figure.ticks)
        axes.set_xlim(-0.3, len(figure.ticks) - 0.7)
    elif all(float(p.x).is_integer() for points in figure.series.values() for p in points):
        axes.xaxis.get_major_locator().set_params(integer=True)  # epochs, steps
    bottom, top = figure.y_range or (0.0, None)
    axes.set_ylim(bottom, top)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.set(xlabel=figure.x_label, ylabel=figure.y_label)
    longest = max(map(len, figure.series), default=0)
    columns = 1 if longest > 24 else 2 if longest > 12 else 3
    rows = -(-shown // columns)
    canvas.set_size_inches(4.4, 2.5 + 0.19 * rows)
    if shown:
        canvas.legend(loc="outside lower left", ncols=columns, frameon=False)


def _value(point: Point) -> float:
    return float("nan") if point.y is None else point.y


def _intervals(figure: Figure, canvas, axes, numbers: Sequence[int]) -> None:
    """Draw one row per series: its value, with its interval as a line."""
    names = list(figure.series)
    for row, (number, (point, *_)) in enumerate(zip(numbers, figure.series.values(), strict=True)):
        axes.plot(point.y, row, **_line_style(number, 1))
        if point.low is not None:
            axes.plot([point.low, point.high], [row, row], color=_colour(number), alpha=0.5)
        high = point.y if point.high is None else point.high
        axes.annotate(f"{point.y:.2f}", (high, row), (6, -3), textcoords="offset points")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.margins(x=0.12)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set(xlabel=figure.x_label)
    canvas.set_size_inches(4.4, 0.8 + 0.28 * len(names))


def _points(figure: Figure, canvas, axes, numbers: Sequence[int]) -> None:
    """Draw one named point per series; both axes have one scale and the origin in the middle."""
    points = [point for (point, *_) in figure.series.values()]
    reach = 1.25 * max((abs(v) for p in points for v in (p.x, _value(p))), default=1.0) or 1.0
    for number, name, point in zip(numbers, figure.series, points, strict=True):
        axes.plot(point.x, point.y, **_line_style(number, 1))
        side = ("left", (7, 4)) if point.x <= 0 else ("right", (-7, 4))
        axes.annotate(name, (point.x, point.y), side[1], textcoords="offset points", ha=side[0])
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.axhline(0, color=_RULE, zorder=0)
    axes.axvline(0, color=_RULE, zorder=0)
    axes.set(xlabel=figure.x_label, ylabel=figure.y_label)
    canvas.set_size_inches(3.6, 3.4)


def _heatmap(grid: Heatmap, canvas, axes) -> None:
    """Draw values as the opacity of one colour, which works on light and on dark paper."""
    rows, columns = len(grid.row_names), len(grid.column_names)
    image = [
        [(*_HEAT, 0.0 if v is None else min(max(v, 0.0), 1.0)) for v in row] for row in grid.values
    ]
    axes.imshow(image, interpolation="none", aspect="equal")
    axes.set_yticks(range(rows), grid.row_names)
    axes.set_xticks(range(columns), grid.column_names, rotation=_rotation(grid.column_names))
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    if max(rows, columns) <= MAX_TEXTS:
        for y, row in enumerate(grid.values):
            for x, value in enumerate(row):
                text = "–" if value is None else f"{value:.2f}".removeprefix("0")
                axes.text(x, y, text, ha="center", va="center", fontsize=8)
    else:
        axes.tick_params(labelsize=7)
    cell = 0.36 if rows <= MAX_TEXTS else 0.16
    label = 0.075 * max(map(len, grid.row_names), default=0)
    canvas.set_size_inches(label + 0.3 + cell * columns, label + 0.3 + cell * rows)


def _rotation(names: Sequence[str]) -> int:
    return 90 if max(map(len, names), default=0) > 6 else 0


_KINDS: dict[str, Callable[[Figure, Any, Any, Sequence[int]], None]] = {
    "lines": _lines,
    "intervals": _intervals,
    "points": _points,
}
