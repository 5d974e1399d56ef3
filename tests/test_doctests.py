"""The examples in docstrings run: in the light rooms all modules, elsewhere those that have any."""

import doctest
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "espnet_ext"
LIGHT = ("text", "data", "corpora", "scoring", "report")
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.REPORT_NDIFF


def modules() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            found.append(".".join(part for part in parts if part != "__init__"))
    return found


@pytest.mark.parametrize("name", modules())
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example that writes, writes there
    tests = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.summarize(verbose=False).failed, "\n" + "".join(report)
    assert any(test.examples for test in tests), "an example that doctest does not find"


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_have_examples(room):
    assert any(name.startswith(f"espnet_ext.{room}.") for name in modules())
