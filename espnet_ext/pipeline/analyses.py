"""The analyses of stage 17 and their inputs, as the analysis registry declares them."""

import ast
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.pipeline.digests import Digests

PACKAGE = "espnet_ext.analysis"
REGISTRY = Path(__file__).parents[1] / "analysis/registry.py"
# run.sh has a block for each of these, as their inputs differ. It runs all others of the registry
# on the systems, if these are all the inputs that they need.
WITH_A_BLOCK = ("cross", "mdd", "cka", "probes", "swaps", "vectors", "partial")
INPUTS = {"--models", "--hypotheses", "--systems", "--data", "--train", "--config", "--lexicon"}


def other_analyses() -> dict[str, Any]:
    """Return the analyses that run.sh has no block for and can run, by name.

    Those that an option of run.sh asks for are left out. The registry's source is read instead of
    importing it, because that would import every analysis.
    """
    tree = ast.parse(REGISTRY.read_text(encoding="utf-8"))
    names = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "ANALYSIS"
        and isinstance(node.value, ast.Name)
    }
    analyses = {}
    for name in sorted(names - set(WITH_A_BLOCK)):
        analysis = importlib.import_module(f"{PACKAGE}.{name}").ANALYSIS
        required = {source.option for source in analysis.inputs if source.required}
        if required <= INPUTS and not analysis.requested_by and len(analysis.result_files) == 1:
            analyses[name] = analysis
    return analyses


def modules(analysis: str) -> list[str]:
    """Return the module of an analysis, in a list; an empty list for none."""
    return [f"{PACKAGE}.{analysis}"] if analysis else []


def inputs(
    analysis: str, command: Sequence[str], digests: Digests, code: Mapping[str, str]
) -> list[str]:
    """Return the files and folders that the options of a command name as inputs of an analysis.

    Args:
        analysis: Name of the analysis; "" for a command that runs no analysis.
        digests: Cache of the declared inputs, so that the analysis need not be imported again.
        code: Digests of the modules that the command reaches.
    """
    if not analysis:
        return []
    key, version = f"inputs of {analysis}", [*sorted(code.values())]
    if digests.modules.get(key, [None])[0] != version:
        digests.modules[key] = [version, _declared(analysis)]
        digests.changed = True
    declared = {option: files for option, files in digests.modules[key][1]}
    return list(_paths(command, declared))


def _declared(analysis: str) -> list[tuple[str, list[str] | None]]:
    """Return (option, files that count below the folder of each system; None: it is a path)."""
    definition = importlib.import_module(f"{PACKAGE}.{analysis}").ANALYSIS
    return [
        (source.option, list(source.depends_on) if source.per_system else None)
        for source in definition.inputs
    ]


def _paths(command: Sequence[str], declared: Mapping[str, list[str] | None]) -> Iterator[str]:
    """Yield the paths behind the declared options.

    >>> command = "analyze cka --models a=exp/a b=exp/b --data dump --seed 1".split()
    >>> list(_paths(command, {"--models": ["model.pth"], "--data": None}))
    ['exp/a/model.pth', 'exp/b/model.pth', 'dump']
    """
    option = ""
    for word in command:
        if word.startswith("--"):
            option = word
        elif option in declared:
            files = declared[option]
            if files is None:
                yield word
                continue
            for item in word.split():
                folder = item.partition("=")[2]
                yield from (f"{folder}/{name}" for name in files) if files else (folder,)
