"""What the reports say of a training's diagnoses: values, readings, plots, and broken files."""

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from make_results import COSINES, make

from espnet_ext.bin import report as command
from espnet_ext.errors import UserError
from espnet_ext.files import read_json_lines
from espnet_ext.report import diagnostics, svg
from espnet_ext.report.collect import Language, collect


def line(step, cosine=None, drift=None, decoders=None):
    """A line of the file; layers in a row as `embed`, `0`, `1`, …"""

    def layers(values):
        return dict(zip(["embed", "0", "1", "2", "3"], values, strict=False))

    pair = {"a": "surface", "b": "meaning"}
    gradients = {"labelled": {}, "norms": {}, "pairs": [{**pair, "cosine": layers(cosine or [])}]}
    compared = [{**pair, "utterances": 9, "layers": decoders}] if decoders else []
    cka = {"since": 0, "drift": layers(drift or []), "decoders": compared}
    return {"step": step, "epoch": 1, "gradients": gradients if cosine else None, "cka": cka}


def said(*records):
    return diagnostics.readings(Language("en", diagnostics={"do": list(records)}))


def test_the_end_is_the_last_quarter_with_its_standard_error():
    points = list(enumerate([9.0] * 15 + [0.1, 0.2, None, 0.4, 0.3]))
    mean = diagnostics.at_the_end(points)
    assert mean.value == pytest.approx(0.25) and mean.steps == 4
    deviation = math.sqrt((0.15**2 + 0.05**2 + 0.15**2 + 0.05**2) / 3)
    assert mean.error == pytest.approx(deviation / 2)
    assert diagnostics.at_the_end([(0, 1.0), (1, None)]) is None
    assert diagnostics.at_the_end([(0, 1.0), (1, 2.0)]) == (2.0, None, 1)


def test_layers_that_agree_conflict_or_neither_are_told_together():
    wobble = (0.02, -0.02, 0.01, -0.01)
    records = [
        line(n, [0.31 + w, 0.42 + w, 0.001 + w, -0.05 + w], [1, 0.9, 0.5, 0.2 - n / 99], {"0": 0.4})
        for n, w in enumerate(wobble * 4)
    ]
    cosine, drift, decoders = said(*records)
    assert cosine.startswith(
        "do: at the end, gradients of surface and meaning agree in layers embed–0 (cosine +0.31 "
        "to +0.42), neither agree nor conflict beyond chance in layer 1 (cosine 0.00), conflict in "
        "layer 2 (cosine −0.05); means of 4 steps"
    )
    assert drift == (
        "do: from step 0 to step 15, the encoder changed least in embed (CKA 1.00) "
        "and most in layer 2 (0.05)."
    )
    assert decoders == "do: CKA of the decoders of surface and meaning at the end, layer 0: 0.40."


def test_few_steps_are_not_read():
    (cosine, drift) = said(line(0, [0.3, -0.2], [1.0, 1.0]))
    assert "embed: +0.30, 0: −0.20; of 1 diagnosed step, too few to read more" in cosine
    assert drift == "do: from step 0 to step 0, nothing could change."


def test_undefined_values_are_said_to_be_so():
    found = said(line(0, [None, None], [None, None], {"0": None}))
    assert found == [
        "do: gradients of surface and meaning could not be compared at the end.",
        "do: drift of the encoder is undefined at the end.",
        "do: decoders of surface and meaning could not be compared: too few utterances of both.",
    ]
    one = {**line(0, None, [1.0]), "gradients": None}
    assert said(one)[0] == "do: no gradients of two outputs to compare."
    without = {"step": 4, "gradients": None, "cka": None}  # out of memory
    assert said(without) == ["do: no gradients of two outputs to compare."]


def report(tree, out):
    arguments = [
        "--exp_dir",
        tree / "exp",
        "--dump_dir",
        tree / "dump/raw",
        "--langs",
        "en",
        "--systems",
        "so_surface so_meaning do",
        "--train_tag",
        "small",
        "--decode_tag",
        "decode",
        "--results",
        out / "R.md",
        "--html",
        out / "r.html",
    ]
    assert command.main([str(argument) for argument in arguments]) == 0
    return (out / "R.md").read_text("utf-8"), (out / "r.html").read_text("utf-8")


def test_both_reports_have_values_and_readings(tree, tmp_path):
    markdown, page = report(tree, tmp_path)
    row = next(r for r in markdown.splitlines() if "| cosine of gradients, surface – meaning" in r)
    shown = [cell.strip().replace("−", "-") for cell in row.split("|")[3:-1]]
    assert [float(cell) for cell in shown] == list(COSINES.values())
    reading = (
        "do: at the end, gradients of surface and meaning agree in layers embed–0 (cosine +0.31 to "
        "+0.42), neither agree nor conflict beyond chance in layer 1 (cosine 0.00), conflict in "
        "layer 2 (cosine −0.05)"
    )
    for text in (markdown, page):
        assert reading in text
        assert "so_surface: no gradients of two outputs to compare." in text
        assert "the encoder changed least in embed (CKA 0.81) and most in layer 2 (0.24)" in text
        assert "layer 0: 0.50, layer 1: −0.12" in text
        assert "so_meaning: no gradients" not in text  # it was not diagnosed
    for title in (
        "English, do: cosine of gradients, surface – meaning",
        "English, so_surface: CKA with the start",
    ):
        assert f"<title>{title}</title>" in page


def test_trainings_without_diagnoses_have_no_section(tmp_path):
    tree = make(tmp_path, systems=("so_meaning",), languages=("en",), audio=False)
    results = collect(tree / "exp", ["en"], ["so_meaning"], "small", "decode", ["test"])
    assert results.languages[0].diagnostics == {}
    assert diagnostics.section(results.languages[0]) is None


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("nonsense\n", r"diagnostics.jsonl:1: not valid JSON"),
        ("[1]\n", r"diagnostics.jsonl:1: is no diagnosis"),
        ('{"step": 3}\n', r"diagnostics.jsonl:1: is no diagnosis"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, broken, named):
    tree = make(tmp_path, systems=("do",), languages=("en",), audio=False)
    path = tree / "exp/en/do_small/diagnostics.jsonl"
    path.write_text(broken + path.read_text())
    with pytest.raises(UserError, match=named):
        collect(tree / "exp", ["en"], ["do"], "small", "decode", ["test"])


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 0}\n{"st')
    assert read_json_lines(path) == [{"step": 0}]
    path.write_text("")
    assert read_json_lines(path) == []
    with pytest.raises(UserError, match="no such file"):
        read_json_lines(tmp_path / "b.jsonl")


# -- the plot


def polylines(drawing):
    found = [e for e in ElementTree.fromstring(drawing).iter() if e.tag == "polyline"]
    return [[tuple(map(float, p.split(","))) for p in e.attrib["points"].split()] for e in found]


def test_curves_stand_where_their_values_are_and_gaps_stay_open():
    points = [(0, 0.5), (100, -0.5), (200, None), (300, 0.0), (400, 0.5)]
    drawing = svg.curves({"<a>": points}, bottom=-0.5, top=0.5, title="&", x_title="step")
    one, other = polylines(drawing)
    grid = sorted({float(y) for y in re.findall(r'<line [^>]*y1="([\d.]+)"', drawing)})
    assert [y for _, y in one] == [grid[0], grid[-1]]
    assert other[0][1] == pytest.approx(grid[2], abs=0.1) and other[1][1] == grid[0]
    (x0, _), (x1, _) = one
    assert other[1][0] - x0 == pytest.approx(4 * (x1 - x0), abs=0.2)
    assert "−0.5" in drawing and drawing.count("<circle") == 4
    ticks = re.findall(r'class="tick">(\d+)</text>', drawing)
    assert ticks[-5:] == ["0", "100", "200", "300", "400"]


def test_many_points_are_marked_at_their_end_only_and_one_alone_is_seen():
    many = svg.curves(
        {"a": [(n, n / 99) for n in range(99)]}, bottom=0, top=1, title="t", x_title="x"
    )
    assert many.count("<circle") == 1
    one = svg.curves({"a": [(5, 0.5)], "b": [(5, None)]}, bottom=0, top=1, title="t", x_title="x")
    assert one.count("<circle") == 1 and polylines(one) == []
    assert ElementTree.fromstring(svg.curves({}, bottom=0, top=1, title="t", x_title="x")).tag
