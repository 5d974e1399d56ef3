"""Which modules and data files count as the code of a command."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_ext.pipeline.code import Code
from espnet_ext.pipeline.digests import Digests

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Code:
    """The code of this repository."""
    return Code(ROOT, Digests(tmp_path_factory.mktemp("memory") / "digests.json"))


@pytest.fixture
def write(tmp_path):
    """Write files of a package `espnet_ext`; returns the code of the package."""

    def files(**contents: str) -> Code:
        for name, text in {"__init__": "", **contents}.items():
            stem, _, suffix = name.replace("__dot__", ".").partition(".")
            place = "/".join(part for part in stem.split("___") if part)
            path = tmp_path / "espnet_ext" / f"{place}.{suffix or 'py'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Code(tmp_path, Digests(tmp_path / "digests.json"))

    return files


def of(code: Code, module: str) -> dict[str, str]:
    """Return the modules that a command reaches, without the version of ESPnet."""
    digests = code.of_command(["python", "-m", module])
    return {name: digest for name, digest in digests.items() if name.startswith("espnet_ext")}


def short(modules) -> set[str]:
    return {name.removeprefix("espnet_ext.") for name in modules}


def test_imports_strings_and_dynamic_imports_are_followed(write):
    code = write(
        a="import espnet_ext.b\ndef f():\n    from espnet_ext.c import x\n",
        b="WORKER = 'espnet_ext.d'\nCLASSES = {'x': 'espnet_ext.e:Class'}\n",
        c="from espnet_ext.f import g\n",
        d="import importlib\nimportlib.import_module(f'espnet_ext.heads.{x}')\n",
        e="from espnet_ext.deep.g import x\n",
        deep___g="import importlib\nimportlib.import_module(f'{__package__}.{x}')\n",
        deep___h="",
        f="import os\nSHOWN = f'espnet_ext.bin.{x}'\n",
        heads___one="",
        heads___two="",
        bin___verb="",
        other___alone="",
    )
    names = short(of(code, "espnet_ext.a"))
    assert names == set("abcdef") | {"heads.one", "heads.two", "deep.g", "deep.h"}


def test_data_files_that_are_named_count(write, tmp_path):
    sources = {"a": "open('words.txt'); open(f'x_{lang}.txt'); TEMPLATES = 'templates'\n"}
    data = {
        "words__dot__txt": "1",
        "x_en__dot__txt": "1",
        "templates___page__dot__html": "1",
        "other__dot__txt": "1",
    }
    before = of(write(**sources, **data), "espnet_ext.a")
    for name in data:
        after = of(write(**sources, **{**data, name: "2"}), "espnet_ext.a")
        assert (after != before) == (not name.startswith("other")), name


def test_layout_comments_and_docstrings_do_not_count(write):
    plain = of(write(a="def f(x):\n    return x + 1\n"), "espnet_ext.a")
    other = '"""Module."""\n\n\ndef f(\n    x,  # it\n):\n    """Add."""\n    return (x + 1)\n'
    assert of(write(a=other), "espnet_ext.a") == plain
    assert of(write(a="def f(x):\n    return x + 2\n"), "espnet_ext.a") != plain


def test_scripts_are_read_for_the_modules_that_they_run(write, tmp_path, monkeypatch):
    code = write(tool="from espnet_ext import other\n", other="")
    monkeypatch.chdir(tmp_path)
    Path("data.sh").write_text("python -m espnet_ext.tool --nj 2\n")
    assert short(code.of_command(["bash", "data.sh"])) == {"tool", "other"}
    assert code.of_command(["bash", "none.sh"]) == {}
    assert short(code.of_command(["sort"], ["espnet_ext.other"])) == {"other"}


def test_commands_reach_what_they_use_and_nothing_else(package):
    training = short(of(package, "espnet_ext.bin.train"))
    assert {"bin.train", "training.run", "training.task", "model.build", "files"} <= training
    assert not {
        name for name in training if name.split(".")[0] in ("report", "scoring", "decoding")
    }
    report = short(of(package, "espnet_ext.bin.report"))
    assert "report.collect" in report and not any(n.startswith("training.") for n in report)


def test_registries_are_not_followed(package):
    prepare = short(of(package, "espnet_ext.bin.prepare"))
    assert "corpora.registry" in prepare and not {"corpora.l2arctic", "corpora.epadb"} & prepare
    command = ["python", "-m", "espnet_ext.bin.prepare"]
    l2arctic = short(package.of_command(command, ["espnet_ext.corpora.l2arctic"]))
    assert "corpora.l2arctic" in l2arctic and "corpora.epadb" not in l2arctic
    command = ["python", "-m", "espnet_ext.bin.analyze"]
    cka = short(package.of_command(command, ["espnet_ext.analysis.cka"]))
    assert "analysis.cka" in cka and "analysis.probes" not in cka


def test_imports_while_commands_run_are_all_reached(package):
    """An oracle: what Python has imported after a command's help was printed."""
    for verb in ("tokens", "filter", "report", "train"):
        program = (
            "import runpy, sys\n"
            f"sys.argv = ['{verb}', '--help']\n"
            f"try: runpy.run_module('espnet_ext.bin.{verb}', run_name='__main__')\n"
            "except SystemExit: pass\n"
            "print('\\n'.join(m for m in sys.modules if m.startswith('espnet_ext.')))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        imported = {line for line in done.stdout.splitlines() if line.startswith("espnet_ext.")}
        packages = {name for name in imported if (ROOT / name.replace(".", "/")).is_dir()}
        assert imported - packages <= set(of(package, f"espnet_ext.bin.{verb}")), verb


def test_every_import_of_a_reached_module_is_reached(package):
    """An oracle: a plain walk over import statements."""
    reached = of(package, "espnet_ext.bin.decode")
    for name in reached:
        if name in ("espnet_ext.corpora.registry", "espnet_ext.analysis.registry"):
            continue
        tree = ast.parse(package.module_files[name].read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            path = package.module_files.get(module or "")
            if path and path.name != "__init__.py":
                assert module in reached, f"{name} imports {module}"


def test_pipeline_loads_the_standard_library_and_yaml_only():
    modules = [
        f"espnet_ext.pipeline.{path.stem}"
        for path in (ROOT / "espnet_ext/pipeline").glob("*.py")
        if path.stem != "__init__"
    ]
    program = (
        "import importlib, sys\nbefore = set(sys.modules)\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name for name in done.stdout.split() if "cython" not in name}  # of yaml
    assert loaded - set(sys.stdlib_module_names) <= {"espnet_ext", "yaml", "_yaml"}
