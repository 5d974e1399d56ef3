"""The report shows every file that an analysis writes, whichever it is."""

import importlib.util
import json
import shutil

import pytest
from pages import Page, write
from result_tree import FEATURES, SYSTEMS, VECTORS, write_result, write_swaps

from espnet_ext.analysis import registry
from espnet_ext.bin import analyze

TOY = '''
"""Count the speakers of each system's name."""

from espnet_ext.analysis import definition
from espnet_ext.analysis.definition import Analysis, Option, Output
from espnet_ext.document import Point, Section

LETTERS = Output("Letters of a name", "How many letters each system's name has.")


def run(models, *, factor, data=None):
    return {"letters": {name: factor * len(name) for name in models}}


def section(result):
    rows = [[name, str(count)] for name, count in result["letters"].items()]
    series = {name: [Point(0, count)] for name, count in result["letters"].items()}
    figure = LETTERS.figure("intervals", series, x_label="letters", y_label="")
    table = LETTERS.table(["system", "letters"], rows, caveats=["names are short"])
    return Section("Toy analysis", ["Names differ in length."], [figure, table])


ANALYSIS = Analysis(
    name="toy",
    description="letters of a name",
    inputs=[definition.MODELS],
    options=[Option("--factor", "what to multiply by", 1, definition.count)],
    outputs=[LETTERS],
    run=run,
    section=section,
    result_files=["analysis/toy.json"],
)
'''
INPUTS = "[definition.MODELS, definition.DATA]"


@pytest.fixture(scope="module")
def complete(tree, tmp_path_factory):
    """The experiment directory with a result of every analysis."""
    root = tmp_path_factory.mktemp("complete")
    shutil.copytree(tree, root, dirs_exist_ok=True)
    base = root / "exp/ko"
    write_swaps(base / "analysis/swaps.json", list(SYSTEMS))
    write_result(base / "analysis/vectors.json", VECTORS)
    write_result(base / "analysis/features.json", FEATURES)
    scored = [
        f"50:complete={base}/so_surface_small/decode/test",
        f"50:do={base}/do_small/decode/test",
        f"0:do={base}/do_small/decode/test",
    ]
    out = ["--output_name", "surface", "--output", str(base / "analysis/partial.json")]
    assert analyze.main(["partial", *out, "--runs", *scored]) == 0
    systems = [f"{name}={base}/{name}_small/decode/test" for name in ("so_meaning", "do")]
    out = ["--outputs", "meaning", "--output", str(base / "analysis/translation_test.json")]
    data = ["--data", str(root / "dump/raw/ko/test")]
    assert analyze.main(["translation", *out, *data, "--systems", *systems]) == 0
    return root


@pytest.fixture(scope="module")
def written(complete, tmp_path_factory):
    return write(complete, tmp_path_factory.mktemp("out"), languages="ko", plots=True)


def result_files(root):
    sections = {}
    for path in sorted(root.glob("exp/ko/**/*.json")):
        content = json.loads(path.read_text())
        if "section" in content:
            sections[path] = content["section"]
    return sections


@pytest.mark.parametrize("name", registry.ANALYSES)
def test_every_result_file_is_shown(complete, written, name):
    """Tables, findings and notes are in one of the Markdown files; with the figures on the page."""
    results, details, text = written
    details = results + details
    page = Page(text)
    names = [pattern.rpartition("/")[2] for pattern in registry.ANALYSES[name].result_files]
    expected = [one.format(set="test", decoding="") for one in names]
    sections = [s for path, s in result_files(complete).items() if path.name in expected]
    assert sections
    for section in sections:
        assert section["items"]
        for item in section["items"]:
            assert " ".join(item["title"].split()) in page.text
            assert " ".join(item["sentence"].split()) in page.text
            if item["type"] == "Table":
                assert item["title"] in details
                for row in item["rows"]:
                    assert " | ".join(row).replace("<", "&lt;").replace(">", "&gt;") in details
                for caveat in item["caveats"]:
                    assert f"_{caveat}_" in details and caveat in page.text
        for sentence in [*section["summary"], *section["findings"], *section["notes"]]:
            escaped = sentence.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
            assert escaped in details
            assert " ".join(sentence.split()) in page.text


def test_number_of_figures_is_that_of_the_files(complete, written):
    items = [item for section in result_files(complete).values() for item in section["items"]]
    figures = sum(item["type"] != "Table" for item in items)
    assert figures > 10 and written[2].count("<svg") >= figures
    assert written[2].count("<figure>") == written[2].count("<svg")


def test_front_page_has_the_partial_labels(written):
    """Once, `run.sh --stress` made results that the report did not show."""
    results = written[0]
    assert "### Training with fewer labels" in results
    assert "| surface | 50 | do | CER " in results


def test_front_page_names_every_section(written):
    results, _, _ = written
    for title in ("Encoder swaps", "Task vectors", "Linear probes of the encoders"):
        assert title in results


def test_toy_analysis_needs_one_file_and_one_registration(complete, tmp_path, monkeypatch, capsys):
    (tmp_path / "toy.py").write_text(TOY)
    spec = importlib.util.spec_from_file_location("toy", tmp_path / "toy.py")
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    monkeypatch.setitem(registry.ANALYSES, "toy", toy.ANALYSIS)

    with pytest.raises(SystemExit):
        analyze.main(["--help"])
    assert "letters of a name" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        analyze.main(["toy", "--help"])
    assert "what to multiply by (default: 1)" in capsys.readouterr().out

    shutil.copytree(complete, tmp_path, dirs_exist_ok=True)
    out = tmp_path / "exp/ko/analysis/toy.json"
    models = [f"{name}=exp/ko/{name}_small" for name in SYSTEMS]
    assert analyze.main(["toy", "--models", *models, "--factor", "3", "--output", str(out)]) == 0
    assert "| do | 6 |" in capsys.readouterr().out
    assert json.loads(out.read_text())["letters"]["do"] == 6
    results, details, text = write(tmp_path, tmp_path, languages="ko")
    assert "Letters of a name" in results and "| do | 6 |" in results
    assert "| _names are short_ |" in results and "Names differ in length." in details
    page = Page(text)
    assert "Toy analysis" in page.text and "Names differ in length." in page.text
    assert "analysis toy" in page.text  # its command

    out.unlink()
    write(tmp_path, tmp_path, languages="ko")
    assert f"missing: ko: {out}\n" in capsys.readouterr().err


def test_outdated_result_of_a_contributed_analysis_is_left_out(
    complete, tmp_path, monkeypatch, capsys
):
    """The analysis itself returns neither its systems nor a hash of the labels."""
    (tmp_path / "toy.py").write_text(TOY.replace("[definition.MODELS]", INPUTS))
    spec = importlib.util.spec_from_file_location("toy", tmp_path / "toy.py")
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    monkeypatch.setitem(registry.ANALYSES, "toy", toy.ANALYSIS)
    shutil.copytree(complete, tmp_path, dirs_exist_ok=True)
    out = tmp_path / "exp/ko/analysis/toy.json"

    def shown(*systems, report="so_surface so_meaning do"):
        models = [f"{name}=exp/ko/{name}_small" for name in systems]
        data = ["--data", str(tmp_path / "dump/raw/ko/test")]
        arguments = ["toy", *data, "--models", *models, "--factor", "3", "--output", str(out)]
        assert analyze.main(arguments) == 0
        capsys.readouterr()
        results, _, _ = write(tmp_path, tmp_path, languages="ko", systems=report)
        return "Letters of a name" in results, capsys.readouterr().err

    assert shown("so_surface", "do") == (True, "")
    is_shown, messages = shown("so_surface", "do", report="so_surface")
    assert not is_shown
    assert (
        f"{out} is about so_surface, do. It is not shown: this report has no scores of do\n"
        in messages
    )
    table = tmp_path / "dump/raw/ko/test/text.meaning"
    table.write_text(table.read_text().replace("국물", "극물"))
    is_shown, messages = shown("so_surface", "do")
    assert not is_shown and f"{out} is about other models or labels" in messages


def test_file_of_an_unknown_analysis_is_shown(complete, tmp_path):
    shutil.copytree(complete, tmp_path, dirs_exist_ok=True)
    table = {"type": "Table", "title": "A table", "sentence": "s.", "header": ["x"]}
    section = {"title": "From a plug-in", "findings": [], "notes": [], "summary": []}
    value = {"section": {**section, "items": [{**table, "rows": [["7"]]}]}}
    (tmp_path / "exp/ko/analysis/unknown.json").write_text(json.dumps(value))
    results, _, text = write(tmp_path, tmp_path, languages="ko")
    assert "A table" in results and "From a plug-in" in text


def test_file_without_tables_is_named(complete, tmp_path, capsys):
    shutil.copytree(complete, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "exp/ko/analysis/probes.json"
    value = json.loads(path.read_text())
    del value["section"]
    path.write_text(json.dumps(value))
    write(tmp_path, tmp_path, languages="ko")
    assert f"missing: ko: {path} has no tables" in capsys.readouterr().err
