"""Figures: values at their places, gaps, escaped labels, colours of the page."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from espnet_ext.document import Figure, Heatmap, Point
from espnet_ext.report.plots import svg

NAMESPACES = 'xmlns:xlink="http://www.w3.org/1999/xlink"'


def lines(series, **fields):
    return Figure("lines", "t", "s.", "x", "y", series, **fields)


def parsed(drawing):
    return ElementTree.fromstring(drawing)


def curves(drawing):
    """The points of every data line (drawn in a series colour), in the figure's coordinates."""
    lines_drawn = []
    for element in parsed(drawing).iter("{http://www.w3.org/2000/svg}path"):
        if "stroke: var(--s" in element.get("style", "") and element.get("d", "").count("L"):
            points = re.findall(r"[ML] ([\d.]+) ([\d.]+)", element.get("d"))
            lines_drawn.append([(float(x), float(y)) for x, y in points])
    return lines_drawn


def grid_rows(drawing):
    """The heights of the horizontal grid lines, from top to bottom."""
    heights = set()
    for element in parsed(drawing).iter("{http://www.w3.org/2000/svg}path"):
        numbers = re.findall(r"[ML] ([\d.]+) ([\d.]+)", element.get("d", ""))
        if "var(--rule)" in element.get("style", "") and len(numbers) == 2:
            (_, first), (_, second) = numbers
            heights |= {float(first)} if first == second else set()
    return sorted(heights)


def test_lines_pass_through_their_values():
    series = {"a": [Point(0, 0.0), Point(1, 0.5), Point(2, 1.0)]}
    drawing = svg(lines(series, ticks=["a", "b", "c"], y_range=(0.0, 1.0)), "f-")
    ((x0, y0), (x1, y1), (x2, y2)) = curves(drawing)[0]
    rows = grid_rows(drawing)
    assert y0 == pytest.approx(rows[-1], abs=0.1) and y2 == pytest.approx(rows[0], abs=0.1)
    assert y1 == pytest.approx((rows[0] + rows[-1]) / 2, abs=0.1)
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.1)


def test_gaps_stay_open():
    points = [Point(0, 0.5), Point(100, -0.5), Point(200, None), Point(300, 0.0), Point(400, 0.5)]
    drawing = svg(lines({"<a>": points}, y_range=(-0.5, 0.5)), "f-")
    path = next(
        e.get("d")
        for e in parsed(drawing).iter("{http://www.w3.org/2000/svg}path")
        if "stroke: var(--s0)" in e.get("style", "") and e.get("d", "").count("M") > 1
    )
    assert path.count("M") == 2 and path.count("L") == 2
    assert "&lt;a&gt;" in drawing


def test_series_without_values_is_not_drawn():
    drawing = svg(lines({"empty": [Point(5, None)], "one": [Point(5, 0.5)]}), "f-")
    assert ">empty<" not in drawing and ">one<" in drawing
    assert parsed(svg(lines({}), "f-")).tag.endswith("svg")


@pytest.mark.parametrize("kind", ["lines", "intervals"])
def test_system_has_one_colour_in_all_figures(kind):
    systems = ["so_surface", "so_meaning", "do"]

    def colours(*names):
        series = {name: [Point(0, 1.0, 0.5, 1.5), Point(1, 2.0, 1.5, 2.5)] for name in names}
        drawing = svg(Figure(kind, "t", "s.", "x", "y", series), "f-", systems)
        return re.findall(r"stroke: var\((--s\d)\)", drawing)

    assert set(colours("so_surface", "do")) == {"--s0", "--s2"}
    assert set(colours("so_meaning", "do")) == {"--s1", "--s2"}
    assert set(colours("complete", "do")) == {"--s3", "--s2"}


def test_long_curves_have_no_markers():
    few = svg(lines({"a": [Point(n, n) for n in range(5)]}), "f-")
    many = svg(lines({"a": [Point(n, n) for n in range(99)]}), "f-")
    assert few.count("<use") - many.count("<use") >= 5


@pytest.mark.parametrize(
    "figure",
    [
        lines({"a<b & $x_1": [Point(0, 1.0), Point(1, 2.0)]}, ticks=["<", "&"]),
        Figure("intervals", "t", "s.", "<", "", {"a<b": [Point(0, 1.0, 0.5, 2.0)]}),
        Figure("intervals", "t", "s.", "x", "", {"a": [Point(0, 1.0)]}),
        Figure("points", "t", "s.", "<", "&", {"a<b": [Point(1, 2)], "c": [Point(-1, 0)]}),
        Heatmap("t", "s.", ["<0"], ["0", "1"], [[1.0, None]]),
        Heatmap("t", "s.", list("abcdefghi"), ["long name"] * 2, [[0.5, -0.1]] * 9),
    ],
)
def test_figures_are_xml_in_the_colours_of_the_page(figure):
    drawing = svg(figure, "f7-")
    root = parsed(drawing)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert ids and all(one.startswith("f7-") for one in ids)
    assert not re.search(r"#(?!f7-)[0-9a-f]{6}", drawing.replace("#ffffff", "")), "fixed colour"
    assert "url(" not in drawing and "<style" not in drawing
    assert 'style="max-width' in drawing
    assert drawing == svg(figure, "f7-")  # always the same


def test_values_of_small_heatmaps_are_written():
    drawing = svg(Heatmap("t", "s.", ["a", "b"], ["c", "d"], [[1.0, None], [0.25, 0.0]]), "f-")
    for text in (">1.00<", ">.25<", ">–<"):
        assert text in drawing
