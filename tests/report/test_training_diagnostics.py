"""Diagnostics of a training in the report: values, findings, figures, and broken files."""

import math

import pytest
from pages import Page, write
from result_tree import COSINES, make

from espnet_ext.errors import UserError
from espnet_ext.files import read_json_lines
from espnet_ext.report import training_diagnostics as diagnostics
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


def findings(*records):
    return diagnostics.findings(Language("en", diagnostics={"do": list(records)}))


def test_end_is_the_last_quarter_with_its_standard_error():
    points = list(enumerate([9.0] * 15 + [0.1, 0.2, None, 0.4, 0.3]))
    mean = diagnostics.mean_at_end(points)
    assert mean.value == pytest.approx(0.25) and mean.steps == 4
    deviation = math.sqrt((0.15**2 + 0.05**2 + 0.15**2 + 0.05**2) / 3)
    assert mean.error == pytest.approx(deviation / 2)
    assert diagnostics.mean_at_end([(0, 1.0), (1, None)]) is None
    assert diagnostics.mean_at_end([(0, 1.0), (1, 2.0)]) == (2.0, None, 1)


def test_neighbouring_layers_with_one_verdict_share_a_sentence():
    wobble = (0.02, -0.02, 0.01, -0.01)
    records = [
        line(n, [0.31 + w, 0.42 + w, 0.001 + w, -0.05 + w], [1, 0.9, 0.5, 0.2 - n / 99], {"0": 0.4})
        for n, w in enumerate(wobble * 4)
    ]
    cosine, drift, decoders = findings(*records)
    assert cosine.startswith(
        "do: at the end, the gradients of surface and meaning agree in layers embed–0 (cosine "
        "+0.31 to +0.42), neither agree nor conflict significantly in layer 1 (cosine 0.00), "
        "conflict in layer 2 (cosine −0.05); means over 4 steps"
    )
    assert drift == (
        "do: from step 0 to step 15, the encoder changed least in embed (CKA 1.00) "
        "and most in layer 2 (0.05)."
    )
    assert decoders == "do: CKA of the decoders of surface and meaning at the end, layer 0: 0.40."


def test_few_steps_give_no_conclusion():
    (cosine, drift) = findings(line(0, [0.3, -0.2], [1.0, 1.0]))
    assert "embed: +0.30, 0: −0.20 (1 diagnosed step, too few for a conclusion)" in cosine
    assert drift == "do: only step 0 was diagnosed, so there is no drift yet."


def test_undefined_values_are_named():
    texts = findings(line(0, [None, None], [None, None], {"0": None}))
    assert texts == [
        "do: the gradients of surface and meaning could not be compared at the end.",
        "do: the drift of the encoder is undefined at the end.",
        "do: the decoders of surface and meaning could not be compared: too few utterances have "
        "both.",
    ]
    one = {**line(0, None, [1.0]), "gradients": None}
    assert findings(one)[0] == "do: there are no gradients of two outputs to compare."
    without = {"step": 4, "gradients": None, "cka": None}  # out of memory
    assert findings(without) == ["do: there are no gradients of two outputs to compare."]


def test_report_has_values_and_findings(tree, tmp_path):
    _, details, text = write(tree, tmp_path, languages="en")
    row = next(r for r in details.splitlines() if "| cosine of gradients, surface – meaning" in r)
    shown = [cell.strip().replace("−", "-") for cell in row.split("|")[3:-1]]
    assert [float(cell) for cell in shown] == list(COSINES.values())
    finding = (
        "do: at the end, the gradients of surface and meaning agree in layers embed–0 (cosine "
        "+0.31 to +0.42), neither agree nor conflict significantly in layer 1 (cosine 0.00), "
        "conflict in layer 2 (cosine −0.05)"
    )
    for one in (details, Page(text).text):
        assert finding in one
        assert "so_surface: there are no gradients of two outputs to compare." in one
        assert "the encoder changed least in embed (CKA 0.81) and most in layer 2 (0.24)" in one
        assert "layer 0: 0.50, layer 1: −0.12" in one
        assert "so_meaning: there are no gradients" not in one  # it was not diagnosed
    for title in ("do: cosine of gradients, surface – meaning", "so_surface: CKA with the start"):
        assert f"<figcaption>{title}</figcaption>" in text


def test_training_without_diagnostics_has_no_section(tmp_path):
    tree = make(tmp_path, systems=("so_meaning",), languages=("en",), audio=False)
    results = collect(tree / "exp", ["en"], ["so_meaning"], "small", "decode", ["test"])
    assert results.languages[0].diagnostics == {}
    assert diagnostics.section(results.languages[0]) is None


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("nonsense\n", r"diagnostics.jsonl:1: not valid JSON"),
        ("[1]\n", r"diagnostics.jsonl:1: not the diagnostics"),
        ('{"step": 3}\n', r"diagnostics.jsonl:1: not the diagnostics"),
    ],
)
def test_broken_file_raises_user_error_with_its_line(tmp_path, broken, named):
    tree = make(tmp_path, systems=("do",), languages=("en",), audio=False)
    path = tree / "exp/en/do_small/diagnostics.jsonl"
    path.write_text(broken + path.read_text())
    with pytest.raises(UserError, match=named):
        collect(tree / "exp", ["en"], ["do"], "small", "decode", ["test"])


def test_unfinished_last_line_is_skipped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 0}\n{"st')
    assert read_json_lines(path) == [{"step": 0}]
    path.write_text("")
    assert read_json_lines(path) == []
    with pytest.raises(UserError, match="no such file"):
        read_json_lines(tmp_path / "b.jsonl")
