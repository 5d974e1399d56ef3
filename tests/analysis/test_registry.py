"""What every registered analysis declares, and that the registry needs no torch."""

import subprocess
import sys
from dataclasses import replace

import pytest

from espnet_ext.analysis import definition
from espnet_ext.analysis.registry import ANALYSES
from espnet_ext.document import Section, Table


@pytest.mark.parametrize("name", ANALYSES)
def test_declaration_is_complete(name):
    analysis = ANALYSES[name]
    assert analysis.name == name
    assert analysis.description and "\n" not in analysis.description
    assert analysis.inputs and analysis.result_files
    for output in analysis.outputs:
        assert output.title and output.sentence.endswith(".")
    options = [one.option for one in [*analysis.inputs, *analysis.options]]
    assert len(options) == len(set(options))
    assert all(option.startswith("--") for option in options)


def test_registry_loads_no_torch():
    code = "import sys, espnet_ext.analysis.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_result_carries_its_section():
    output = definition.Output("Counts", "How many there are.")
    analysis = replace(
        ANALYSES["cka"],
        name="toy",
        outputs=[output],
        run=lambda data: {"count": len(data)},
        section=lambda result: Section(
            "Toy", items=[output.table(["what", "count"], [["rows", str(result["count"])]])]
        ),
    )
    result = analysis.result(data="abc")
    assert result["kind"] == "toy" and result["count"] == 3
    assert Section.from_json(result["section"]).tables[0].rows == [["rows", "3"]]


def test_undeclared_table_is_refused():
    section = Section("Toy", items=[Table("Other", "", ["a"], [["b"]])])
    analysis = replace(ANALYSES["cka"], run=lambda: {}, section=lambda _: section)
    with pytest.raises(ValueError, match="'Other' is not among its declared outputs"):
        analysis.result()
