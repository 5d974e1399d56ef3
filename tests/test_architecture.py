"""The house rules, read off the sources: who imports whom, what is heavy, how long a file may be.

`ROOMS` is the table that the package's README explains. Imports within functions count too.
"""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "espnet_ext"
ANYWHERE = {"document", "errors", "files", "progress"}  # the package's root modules, for every room
ROOMS = {
    "text": set(),
    "data": {"text"},
    "corpora": {"data", "text"},
    # A model builds and loads itself from its configuration, and what it exports names stock
    # ESPnet's tokenizer: so it knows text, and inference needs nothing of training.
    "model": {"text"},
    "objectives": {"model"},
    "training": {"objectives", "model", "data", "text"},
    "decoding": {"model", "data", "text"},
    "scoring": {"data", "text"},
    "analysis": {"decoding", "scoring", "model", "data"},
    "report": set(),
    "pipeline": {"corpora", "analysis"},  # their registries
}
ROOMS["bin"] = set(ROOMS)
LIGHT = ("text", "data", "corpora", "scoring", "report", "pipeline")  # they load no torch
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


def named(path: Path) -> str:
    """The dotted name of a module's file; a room's `__init__.py` is the room."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {named(path): path for path in MODULES}


def room_of(module: str) -> str:
    """`espnet_ext.data.audio` is in `data`; `espnet_ext.files` is `files`; the package is ''."""
    return (module.split(".") + [""])[1]


def imported(tree: ast.AST) -> set[str]:
    """Dotted names that a module imports, wherever in it; `from a import b` as a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_imports(path: Path) -> set[str]:
    """The package's modules that a module imports: `espnet_ext.files.write_text` as its module."""
    found = set()
    for name in imported(parsed(path)):
        if name.split(".")[0] == "espnet_ext":
            module = name if name in NAMES else name.rpartition(".")[0]
            assert module in NAMES, f"{path}: imports {name}, which does not exist"
            found.add(module)
    return found - {"espnet_ext"}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def docstrings(tree: ast.AST) -> set[int]:
    """The nodes (by id) that are docstrings."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, holders)]
    return {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_room_is_in_the_table():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(ROOMS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == ANYWHERE | {"__init__"}


def test_rooms_import_only_what_the_table_allows():
    wrong = []
    for path in MODULES:
        room = room_of(named(path))
        allowed = ROOMS.get(room, set()) | ANYWHERE | {room}
        for module in own_imports(path):
            if room_of(module) not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}: {room} must not import {module}")
    assert not wrong, "\n".join(wrong)


def test_the_table_has_no_circle():
    list(TopologicalSorter(ROOMS).static_order())


def test_modules_import_each_other_without_circles():
    graph = {named(path): own_imports(path) - {named(path)} for path in MODULES}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' → '.join(error.args[1])}")


def test_one_module_knows_where_espnet_keeps_things():
    wrong = []
    for path in MODULES:
        if path == PACKAGE / "model/espnet.py":
            continue
        tree = parsed(path)
        spared = docstrings(tree)
        wrong += [
            f"{path}: imports {name}"
            for name in imported(tree)
            if name.split(".")[0] in ("espnet", "espnet2", "espnet3")
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                # ESPnet's commands (espnet2.bin.…) are its public face, and may be shown.
                rest = node.value.replace("espnet2.bin.", "")
                if "espnet2." in rest and id(node) not in spared:
                    wrong.append(f"{path}:{node.lineno}: names {node.value!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_can_be_read_in_a_sitting_and_says_what_it_is(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES, f"{len(lines)} lines: split it"
    tree = parsed(path)
    assert ast.get_docstring(tree), "begin with a docstring"
    if path.name == "__init__.py" and path.parent != PACKAGE:
        assert len(tree.body) == 1, "a room's __init__.py holds a docstring and nothing else"


def test_importing_the_package_loads_nothing():
    code = (
        "import sys; before = set(sys.modules); import espnet_ext; "
        "print(*sorted(set(sys.modules) - before))"
    )
    assert python(code).split() == ["espnet_ext"]


def test_light_rooms_load_nothing_heavy():
    light = [name for name in NAMES if room_of(name) in (*LIGHT, *ANYWHERE)]
    # What needs no model, although its room has some that do
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


def test_commands_load_nothing_heavy_before_they_know_their_options():
    commands = [name for name in NAMES if room_of(name) == "bin"]
    code = f"""
import importlib, sys
for name in {commands}:
    importlib.import_module(name)
sys.exit([one for one in {HEAVY} if one in sys.modules] or None)
"""
    python(code)
