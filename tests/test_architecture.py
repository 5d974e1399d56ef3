"""Rules for the sources: allowed imports, packages without torch, length and docstring of files.

`PACKAGES` is the table that the package's README explains. Imports inside functions count as well.
"""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "espnet_ext"
# Every package may import them
ROOT_MODULES = {"arguments", "document", "errors", "files", "overwriting", "progress", "provenance"}
PACKAGES = {
    "text": set(),
    "data": {"text"},
    "corpora": {"data", "text"},
    # A model is built and loaded from its configuration, and an exported head names the tokenizer
    # of stock ESPnet. Inference must not need `training`.
    "model": {"text"},
    # Features come from encoders of `model`.
    "units": {"model", "data", "text"},
    "objectives": {"model"},
    "training": {"objectives", "units", "model", "data", "text"},
    "decoding": {"units", "model", "data", "text"},
    "scoring": {"data", "text"},
    "analysis": {"decoding", "scoring", "model", "data", "text"},
    "feedback": {"decoding", "scoring", "model", "data", "text"},
    "serving": {"feedback", "data"},
    "study": {"scoring", "data", "text"},
    "report": set(),
    "pipeline": {"corpora", "analysis"},  # their registries
}
PACKAGES["bin"] = set(PACKAGES)
LIGHT = ("text", "data", "corpora", "scoring", "study", "report", "pipeline")  # they load no torch
HEAVY = (
    "torch",
    "torchaudio",
    "espnet2",
    "espnet",
    "pandas",
    "scipy",
    "librosa",
    "matplotlib",
    "jiwer",
    "tqdm",
    "transformers",
)
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 500


def module_name(path: Path) -> str:
    """Return the dotted name of a module's file. `__init__.py` is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in MODULES}


def package_of(module: str) -> str:
    """Return the package of a module: `data` for `espnet_ext.data.audio`, '' for the root."""
    return (module.split(".") + [""])[1]


def imported(tree: ast.AST) -> set[str]:
    """Return the dotted names that a module imports; `from a import b` is `a.b`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def internal_imports(path: Path) -> set[str]:
    """Return the modules of espnet_ext that a module imports."""
    modules = set()
    for name in imported(parsed(path)):
        if name.split(".")[0] == "espnet_ext":
            module = name if name in NAMES else name.rpartition(".")[0]
            assert module in NAMES, f"{path}: imports {name}, which does not exist"
            modules.add(module)
    return modules - {"espnet_ext"}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def docstrings(tree: ast.AST) -> set[int]:
    """Return the ids of the nodes that are docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, documented)]
    return {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_package_is_in_the_table():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(PACKAGES)
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOT_MODULES | {"__init__"}


def test_packages_import_only_what_the_table_allows():
    wrong = []
    for path in MODULES:
        package = package_of(module_name(path))
        allowed = PACKAGES.get(package, set()) | ROOT_MODULES | {package}
        for module in internal_imports(path):
            if package_of(module) not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}: {package} must not import {module}")
    assert not wrong, "\n".join(wrong)


def test_the_table_has_no_cycle():
    list(TopologicalSorter(PACKAGES).static_order())


def test_modules_import_each_other_without_cycles():
    graph = {module_name(path): internal_imports(path) - {module_name(path)} for path in MODULES}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' → '.join(error.args[1])}")


def test_only_one_module_imports_espnet():
    wrong = []
    for path in MODULES:
        if path == PACKAGE / "model/espnet.py":
            continue
        tree = parsed(path)
        docstring_ids = docstrings(tree)
        wrong += [
            f"{path}: imports {name}"
            for name in imported(tree)
            if name.split(".")[0] in ("espnet", "espnet2", "espnet3")
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                # ESPnet's commands (espnet2.bin.…) are public and may be named.
                text = node.value.replace("espnet2.bin.", "")
                if "espnet2." in text and id(node) not in docstring_ids:
                    wrong.append(f"{path}:{node.lineno}: names {node.value!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_is_short_and_has_a_docstring(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES, f"{len(lines)} lines: split it"
    tree = parsed(path)
    assert ast.get_docstring(tree), "begin with a docstring"
    if path.name == "__init__.py" and path.parent != PACKAGE:
        assert len(tree.body) == 1, "an __init__.py contains only a docstring"


def test_importing_the_package_loads_nothing():
    code = (
        "import sys; before = set(sys.modules); import espnet_ext; "
        "print(*sorted(set(sys.modules) - before))"
    )
    assert python(code).split() == ["espnet_ext"]


def test_light_packages_load_no_heavy_libraries():
    light = [name for name in NAMES if package_of(name) in (*LIGHT, *ROOT_MODULES)]
    # modules without torch in other packages
    light += [f"espnet_ext.{name}" for name in ("model.config", "training.config")]
    light += ["espnet_ext.decoding.options"]
    code = f"""
import importlib, sys
for name in {light}:
    importlib.import_module(name)
    heavy = [one for one in {HEAVY} if one in sys.modules]
    if heavy:
        sys.exit(f"{{name}} loads {{heavy}}")
"""
    python(code)


def test_commands_load_no_heavy_libraries_before_parsing_options():
    commands = [name for name in NAMES if package_of(name) == "bin"]
    code = f"""
import importlib, sys
for name in {commands}:
    importlib.import_module(name)
sys.exit([one for one in {HEAVY} if one in sys.modules] or None)
"""
    python(code)
