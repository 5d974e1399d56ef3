"""Run the examples in docstrings."""

import doctest
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "espnet_ext"
# Packages without torch, each of which must have at least one example.
WITH_EXAMPLES = ("text", "data", "corpora", "scoring", "report")
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.REPORT_NDIFF


def modules_with_examples() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            names.append(".".join(part for part in parts if part != "__init__"))
    return names


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples may write files
    tests = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.summarize(verbose=False).failed, "\n" + "".join(report)
    assert any(test.examples for test in tests), "doctest does not find the example"


@pytest.mark.parametrize("package", WITH_EXAMPLES)
def test_package_has_examples(package):
    assert any(name.startswith(f"espnet_ext.{package}.") for name in modules_with_examples())
