"""Plots as inline SVG: a few lines of geometry each, coloured by the page's own style.

Colours come from CSS classes (`s0`, `s1`, … for series, `grid`), so that light and dark follow the
page; series also differ by marker, so that nothing is told by colour alone.
"""

import math
from collections.abc import Mapping, Sequence

from espnet_ext.report.markup import Markup, element
from espnet_ext.report.style import SERIES

MARKERS = ("circle", "square", "triangle", "diamond")


def nice_ceiling(value: float) -> float:
    """The next number at or above a value whose quarters are round, for an axis.

    >>> nice_ceiling(7.3), nice_ceiling(0.83), nice_ceiling(33)
    (8.0, 1.0, 40.0)
    """
    if value <= 0:
        return 1.0
    scale = 1.0
    while value > 10 * scale:
        scale *= 10
    while value <= scale:
        scale /= 10
    return next(
        step * scale for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if value <= step * scale
    )


def _svg(width: int, height: int, label: str, *children) -> Markup:
    return element(
        "svg",
        element("title", label),
        *children,
        viewbox=f"0 0 {width} {height}",
        role="img",
        aria_label=label,
        class_="plot",
        style=f"max-width:{width}px",
    )


def _text(x: float, y: float, content: str, anchor: str = "start", class_: str = "") -> Markup:
    return element("text", content, x=_r(x), y=_r(y), text_anchor=anchor, class_=class_ or None)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=_r(x1), y1=_r(y1), x2=_r(x2), y2=_r(y2), class_=class_)


def _r(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def marker(x: float, y: float, series: int, title: str = "") -> Markup:
    """A point of a series, with a tooltip."""
    shape = MARKERS[series % len(MARKERS)]
    tip = element("title", title) if title else None
    kind = f"mark s{series % SERIES}"
    if shape == "circle":
        return element("circle", tip, cx=_r(x), cy=_r(y), r="4", class_=kind)
    points = {
        "square": [(-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)],
        "triangle": [(0, -4.8), (4.6, 3.6), (-4.6, 3.6)],
        "diamond": [(0, -5.2), (5.2, 0), (0, 5.2), (-5.2, 0)],
    }[shape]
    path = " ".join(f"{_r(x + dx)},{_r(y + dy)}" for dx, dy in points)
    return element("polygon", tip, points=path, class_=kind)


def lines(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    top: float,
    title: str,
    x_title: str,
    digits: int = 2,
    first: int = 0,
    width: int = 560,
    height: int = 300,
) -> Markup:
    """Lines over named positions, from 0 to `top`; None leaves a gap. The legend is `legend`'s.

    Colours and markers count from `first`: what is not a system gets colours of its own.
    """
    left, right, above, below = 44, 14, 14, 44
    inner_w, inner_h = width - left - right, height - above - below

    def x_at(i: int) -> float:
        return left + inner_w * (i + 0.5) / len(labels)

    def y_at(value: float) -> float:
        return above + inner_h * (1 - value / top)

    drawn = []
    for tick in range(5):
        value = top * tick / 4
        drawn.append(_line(left, y_at(value), width - right, y_at(value), "grid"))
        drawn.append(_text(left - 8, y_at(value) + 4, f"{value:g}", "end", "tick"))
    for i, label in enumerate(labels):
        drawn.append(_text(x_at(i), height - below + 18, label, "middle", "tick"))
    drawn.append(_text(left + inner_w / 2, height - 6, x_title, "middle", "axis"))
    for number, (name, values) in enumerate(series.items(), start=first):
        points = [(x_at(i), y_at(v), labels[i], v) for i, v in enumerate(values) if v is not None]
        path = " ".join(f"{_r(x)},{_r(y)}" for x, y, _, _ in points)
        drawn.append(element("polyline", points=path, class_=f"curve s{number % SERIES}"))
        for x, y, label, value in points:
            drawn.append(marker(x, y, number, f"{name}, {label}: {value:.{digits}f}"))
    return _svg(width, height, title, *drawn)


def curves(
    series: Mapping[str, Sequence[tuple[float, float | None]]],
    *,
    bottom: float,
    top: float,
    title: str,
    x_title: str,
    width: int = 400,
    height: int = 250,
) -> Markup:
    """Lines over numbers: (x, y) in order of x; None leaves a gap. The legend is `legend`'s.

    Points are marked where they are few, else the last of each line alone.
    """
    left, right, above, below = 44, 14, 14, 44
    inner_w, inner_h = width - left - right, height - above - below
    ends = [x for points in series.values() for x, _ in points]
    first, last = min(ends, default=0), max(ends, default=1)

    def x_at(x: float) -> float:
        return left + inner_w * ((x - first) / (last - first) if last > first else 0.5)

    def y_at(value: float) -> float:
        return above + inner_h * (top - value) / (top - bottom)

    drawn = []
    for tick in range(5):
        value = bottom + (top - bottom) * tick / 4
        drawn.append(_line(left, y_at(value), width - right, y_at(value), "grid"))
        text = f"{value:g}".replace("-", "−")
        drawn.append(_text(left - 8, y_at(value) + 4, text, "end", "tick"))
    for x in _round_steps(first, last):
        drawn.append(_text(x_at(x), height - below + 18, f"{x:g}", "middle", "tick"))
    drawn.append(_text(left + inner_w / 2, height - 6, x_title, "middle", "axis"))
    for number, (name, points) in enumerate(series.items()):
        for part in _without_gaps(points):
            path = " ".join(f"{_r(x_at(x))},{_r(y_at(y))}" for x, y in part)
            drawn.append(element("polyline", points=path, class_=f"curve s{number % SERIES}"))
        known = [(x, y) for x, y in points if y is not None]
        for x, y in known if len(known) <= 12 else known[-1:]:
            drawn.append(marker(x_at(x), y_at(y), number, f"{name}, {x:g}: {y:.3f}"))
    return _svg(width, height, title, *drawn)


def _without_gaps(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    parts: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            parts.append([])
        else:
            parts[-1].append((x, y))
    return [part for part in parts if len(part) > 1]


def _round_steps(first: float, last: float) -> list[float]:
    """At most six multiples of 1, 2 or 5 times a power of ten, from `first` to `last`."""
    wanted = max((last - first) / 5, 1e-9)
    power = 10.0 ** math.floor(math.log10(wanted))
    size = next(step * power for step in (1, 2, 5, 10) if wanted <= step * power * (1 + 1e-9))
    start = -(-first // size)
    return [i * size for i in range(int(start), int(last // size) + 1)]


def whiskers(
    rows: Sequence[tuple[str, int, float | None, Sequence[float] | None]],
    *,
    title: str,
    x_title: str,
    width: int = 560,
) -> Markup:
    """A dot with its interval per row: (label, series, value, interval), from 0 to a round end."""
    left, right, row_height, above, below = 128, 60, 28, 6, 42
    height = above + row_height * len(rows) + below
    ends = [bounds[1] if bounds else value for _, _, value, bounds in rows if value is not None]
    top = nice_ceiling(max(ends, default=1))
    inner = width - left - right

    def x_at(value: float) -> float:
        return left + inner * value / top

    drawn = []
    bottom = height - below
    for tick in range(5):
        x = x_at(top * tick / 4)
        drawn.append(_line(x, above, x, bottom, "grid"))
        drawn.append(_text(x, bottom + 16, f"{top * tick / 4:g}", "middle", "tick"))
    drawn.append(_text(left + inner / 2, height - 6, x_title, "middle", "axis"))
    for i, (label, series, value, bounds) in enumerate(rows):
        y = above + row_height * (i + 0.5)
        drawn.append(_text(left - 14, y + 4, label, "end", "name"))
        if value is None:
            continue
        tip = f"{label}: {value:.2f}"
        if bounds:
            drawn.append(
                _line(x_at(bounds[0]), y, x_at(bounds[1]), y, f"whisker s{series % SERIES}")
            )
            tip += f" ({bounds[0]:.2f} to {bounds[1]:.2f})"
        drawn.append(marker(x_at(value), y, series, tip))
        drawn.append(_text(width - right + 12, y + 4, f"{value:.2f}", "start", "value"))
    return _svg(width, height, title, *drawn)


def points(
    names: Sequence[str],
    places: Sequence[Sequence[float]],
    *,
    title: str,
    x_title: str,
    y_title: str,
    size: int = 320,
) -> Markup:
    """Named points of a plane, one scale for both directions, the origin in the middle."""
    margin = 40
    reach = nice_ceiling(max((abs(v) for place in places for v in place), default=1.0))
    inner = size - 2 * margin

    def at(value: float) -> float:
        return margin + inner * (value / reach + 1) / 2

    drawn = []
    for value in (-reach, 0.0, reach):
        drawn.append(_line(at(value), margin, at(value), size - margin, "grid"))
        drawn.append(_line(margin, at(value), size - margin, at(value), "grid"))
        drawn.append(_text(at(value), size - margin + 16, f"{value:g}", "middle", "tick"))
        drawn.append(_text(margin - 6, at(-value) + 4, f"{value:g}", "end", "tick"))
    drawn.append(_text(size / 2, size - 4, x_title, "middle", "axis"))
    drawn.append(_text(4, 14, y_title, "start", "axis"))
    for number, (name, (x, y)) in enumerate(zip(names, places, strict=True)):
        drawn.append(marker(at(x), at(-y), number, f"{name}: {x:.2f}, {y:.2f}"))
        right = x <= 0
        drawn.append(
            _text(at(x) + (8 if right else -8), at(-y) - 7, name, "start" if right else "end")
        )
    return _svg(size, size, title, *drawn)


def heatmap(
    rows: Sequence[str],
    columns: Sequence[str],
    grid: Sequence[Sequence[float | None]],
    *,
    title: str,
    row_title: str,
    column_title: str,
    long_names: bool = False,
) -> Markup:
    """A grid of values from 0 to 1, darker is larger; numbers inside where there is room.

    `long_names` gives rows a wide margin and leaves the columns', which are the same, unwritten.
    """
    most = max(len(rows), len(columns))
    size = 34 if most <= 7 else 22 if most <= 20 else 14
    left, above, below = 190 if long_names else 62, 22, 22
    width, height = left + size * len(columns) + 6, above + size * len(rows) + below
    drawn = [_text(left + size * len(columns) / 2, height - 5, column_title, "middle", "axis")]
    middle = above + size * len(rows) / 2
    turned = element(
        "text",
        row_title,
        x="12",
        y=_r(middle),
        text_anchor="middle",
        class_="axis",
        transform=f"rotate(-90 12 {_r(middle)})",
    )
    drawn.append(turned)
    for j, name in enumerate(() if long_names else columns):
        drawn.append(_text(left + size * (j + 0.5), above - 7, name, "middle", "tick"))
    for i, name in enumerate(rows):
        y = above + size * i
        drawn.append(_text(left - 7, y + size / 2 + 4, name, "end", "tick"))
        for j, value in enumerate(grid[i]):
            x, tip = left + size * j, f"{name} × {columns[j]}: "
            tip += "undefined" if value is None else f"{value:.3f}"
            drawn.append(
                element(
                    "rect",
                    element("title", tip),
                    x=_r(x),
                    y=_r(y),
                    width=size - 1,
                    height=size - 1,
                    class_="heat",
                    fill_opacity=f"{max(0.0, value or 0.0):.2f}",
                )
            )
            if size >= 30 and value is not None:
                class_ = "cell strong" if value > 0.75 else "cell"
                drawn.append(
                    _text(
                        x + size / 2 - 0.5,
                        y + size / 2 + 4,
                        f"{value:.2f}".removeprefix("0"),
                        "middle",
                        class_,
                    )
                )
    return _svg(width, height, title, *drawn)


def legend(names: Sequence[str], first: int = 0) -> Markup:
    """The series' markers and names, as a list below a plot."""
    items = []
    for number, name in enumerate(names, start=first):
        swatch = element(
            "svg", marker(8, 8, number), viewbox="0 0 16 16", class_="key", aria_hidden="true"
        )
        items.append(element("li", swatch, name))
    return element("ul", items, class_="legend")
