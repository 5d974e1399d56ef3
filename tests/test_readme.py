"""Check that the documents are true: commands, options, links, examples, tables and figures."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import public_surface  # noqa: E402
import test_architecture  # noqa: E402
from documents import (  # noqa: E402
    ROOT,
    anchors,
    blocks,
    documents,
    first_column,
    prose,
    read,
    shell_commands,
)

README = read("README.md")
PACKAGE = read("espnet_ext/README.md")
DOCUMENTS = documents()
# Commands of other programs. They are not checked.
OTHER_PROGRAMS = (
    "cp ",
    "cd ",
    "curl ",
    "docker ",
    "eval ",
    "git ",
    "mkdir ",
    "mypy ",
    "pip install ",
    "pip wheel ",
    "python -m pytest ",
    "ruff ",
    "sed ",
    ". ",
    "python -m espnet2.bin.asr_inference ",
)
# Options of other programs that the prose names.
OTHER_OPTIONS = {
    "account",
    "asr_model_file",
    "asr_train_config",
    "batch_size",
    "ctc_window_margin",
    "data_path_and_name_and_type",
    "freeze_param",
    "help",
    "init_param",
    "logdir",  # of tensorboard
    "max_epoch",
    "no",  # pip --no-deps
    "partition",
    "update",  # tests/public_surface.py
    "version",  # espnet-ext --version
    "wandb_name",
    "wandb_project",
}
COMMANDS = [(name, words) for name in DOCUMENTS for words in shell_commands(name)]


# -- commands and options


def options_of(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def recipe_of(words: list[str], document: str) -> str:
    """The recipe that a call of run.sh is for. A recipe that does not exist is the template's."""
    if "--recipe" in words:
        recipe = words[words.index("--recipe") + 1]
        return recipe if recipe in public_surface.recipes() else "egs2/TEMPLATE/dual1"
    folder = str(Path(document).parent)
    return folder if folder.startswith("egs2/") else "egs2/mini_l2/dual1"


def known_options(words: list[str], document: str) -> list[str]:
    """The options that a command accepts. Fail for a command that no test knows."""
    line = " ".join(words)
    shell = public_surface.shell_options()
    if words[0] == "./run.sh":
        return shell["run.sh"] + public_surface.recipe_options(recipe_of(words, document))
    if words[:2] == ["bash", "tests/run.sh"]:
        return shell["tests/run.sh"]
    if re.fullmatch(r"egs2/\w+/study\d/run\.sh", words[0]) and (ROOT / words[0]).is_file():
        return shell["local/study.sh"]
    if words[:2] == ["bash", "local/setup_env.sh"]:
        return shell["local/setup_env.sh"]
    added = words[0] == "espnet-ext" or words[:2] == ["bash", "local/data.sh"]
    if document == "CONTRIBUTING.md" and added:  # its examples, which test_contributing.py runs
        return options_of(words)
    if words[:2] == ["bash", "local/data.sh"]:
        common = ["--langs", "--quick", "--nj", "--data_dir"]
        return common + public_surface.recipe_options(recipe_of(words, document))
    if words[0] == "python" and words[1].endswith(".py"):
        source = read(words[1])
        return re.findall(r'add_argument\(\s*"(--\w+)"', source)
    for start in ("espnet-ext ", "python -m espnet_ext.bin."):
        if line.startswith(start):
            verb = line.removeprefix(start).split()[0].replace("-", "_")
            options = [name.split()[-1] for name in public_surface.commands()[verb]]
            return [*options, "--", *shell["run.sh"]] if verb == "unit_ablation" else options
    assert line == "python -" or line.startswith(OTHER_PROGRAMS), f"{document}: unknown: {line}"
    return options_of(words)


@pytest.mark.parametrize(
    ("document", "words"), COMMANDS, ids=[f"{name}:{' '.join(w)[:60]}" for name, w in COMMANDS]
)
def test_commands_and_options_exist(document, words):
    for option in options_of(words):
        assert option in known_options(words, document), f"{document}: {option}"
    script = words[1] if words[0] in ("bash", "python") else words[0]
    if words[0] in ("bash", "./run.sh") or (words[0] == "python" and script.endswith(".py")):
        folders = (ROOT, ROOT / recipe_of(words, document))
        assert any((folder / script).is_file() for folder in folders), script


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_named_in_the_text_exist(document):
    known = {line.split("--")[-1] for line in public_surface.surface() if "--" in line}
    for path in (ROOT / "benchmarks").glob("*.py"):
        known |= set(re.findall(r'add_argument\(\s*"--(\w+)"', path.read_text(encoding="utf-8")))
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9_]*)", prose(read(document))))
    assert named <= known | OTHER_OPTIONS, named - known - OTHER_OPTIONS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_systems_and_configurations_exist(document):
    text = read(document)
    systems = {path.stem for path in (ROOT / "conf/systems").glob("*.yaml")}
    systems |= set(re.findall(r"^# conf/systems/(\w+)\.yaml", text, re.M))  # examples in the text
    named = re.findall(r'--(?:stress_)?systems "([^"]+)"', text)
    assert {word for names in named for word in names.split()} <= systems
    for name in re.findall(r"--(?:asr|train)_config (\w+\.yaml)", text):
        assert (ROOT / "conf" / name).is_file(), name


# -- links and paths


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_existing_files_and_headings(document):
    text = prose(read(document))
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        if path.endswith("RESULTS.md"):  # written by a run
            continue
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_test_files_exist(document):
    for name in re.findall(r"`(?:tests/)?(?:\w+/)*(test_\w+\.py)`", read(document)):
        assert list((ROOT / "tests").rglob(name)), name


def test_every_page_is_in_the_index():
    linked = set(re.findall(r"\]\((\w+\.md)\)", read("docs/README.md")))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert linked == pages


def test_paths_of_the_tree_exist():
    tree = README[README.index("## The tree") :]
    parent = ROOT
    lines = blocks(tree, "")[0].splitlines()
    assert len(lines) > 20
    for line in lines:
        indent, entry = re.match(r"( *)(\S+)", line).groups()
        assert indent in ("", "  "), line
        path = (parent if indent else ROOT) / entry
        assert path.exists(), line
        assert path.is_dir() == entry.endswith("/"), line
        if not indent and entry.endswith("/"):
            parent = path


def test_the_tree_shows_every_package():
    packages = {path.parent.name for path in (ROOT / "espnet_ext").glob("*/__init__.py")}
    shown = set(re.findall(r"^  (\w+)/ ", README, re.M))
    assert packages <= shown, packages - shown


# -- examples


PYTHON = [(name, code) for name in DOCUMENTS for code in blocks(read(name), "python")]


@pytest.mark.parametrize(("document", "code"), PYTHON, ids=[name for name, _ in PYTHON])
def test_python_examples_match_the_api(document, code):
    """Imports of the package exist, and calls of what they import fit its signature."""
    if document == "CONTRIBUTING.md":
        pytest.skip("test_contributing.py executes them")
    objects = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("espnet_ext"):
            module = importlib.import_module(node.module)
            objects |= {alias.name: getattr(module, alias.name) for alias in node.names}
    assert objects or "espnet_ext" not in code
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name) if name in objects:
                function = objects[name]
            case ast.Attribute(value=ast.Name(id=name), attr=member) if name in objects:
                function = getattr(objects[name], member)
            case _:
                continue
        inspect.signature(function).bind(*node.args, **{w.arg: None for w in node.keywords})


def test_example_systems_are_valid():
    yaml = pytest.importorskip("yaml")
    from espnet_ext.model.outputs import parse_outputs

    text = read("docs/configure.md")
    examples = [parse_outputs(yaml.safe_load(block)) for block in blocks(text, "yaml")]
    assert list(examples[1]) == ["surface", "meaning", "l1"]
    outputs = examples[0]
    assert outputs["meaning"].ctc_weight > 0 and outputs["meaning"].decoder_conf == {
        "num_blocks": 1
    }


# -- tables of keys and options


def test_every_key_of_an_output_is_documented():
    keys = {
        line.rpartition(".")[2]
        for line in public_surface.surface()
        if line.startswith("configuration: outputs.<name>.")
    }
    cells = first_column(read("docs/configure.md"), "key of an output")
    assert {key for cell in cells for key in re.findall(r"`(\w+)`", cell)} == keys


def test_every_key_of_the_task_vectors_is_documented():
    from espnet_ext.model.conditioning.vectors import TaskVectors

    keys = set(inspect.signature(TaskVectors).parameters) - {"outputs", "sizes", "tags", "trained"}
    cells = first_column(read("docs/partial_labels.md"), "key of a system")
    named = {
        name.rpartition(".")[2] for cell in cells for name in re.findall(r"`([\w.: ]+)`", cell)
    }
    assert named == {*keys, "where", "divide_by", "conditioning: vectors"}


def test_every_search_option_is_documented():
    options = {
        line.rpartition(" ")[2]
        for line in public_surface.surface()
        if line.startswith("configuration: decoding ") and "outputs" not in line
    }
    cells = first_column(read("docs/decoding.md"), "option")
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == options


def test_every_system_is_documented():
    text = read("docs/configure.md")
    for path in (ROOT / "conf/systems").glob("*.yaml"):
        assert f"`{path.stem}`" in text, path.stem


# -- figures


@pytest.mark.parametrize(
    ("marker", "name"),
    [
        ("results", "egs2/mini_l2/dual1/RESULTS.md"),
        ("real-results", "egs2/l2arctic/folds1/RESULTS.md"),
    ],
)
def test_figures_are_in_the_results(marker, name):
    """Figures between the markers are in the RESULTS.md of the recipe, here or committed."""
    shown = re.search(rf"<!-- {marker}:begin -->(.*)<!-- {marker}:end -->", README, re.S)[1]
    figures = set(re.findall(r"\d+\.\d+", shown))
    assert figures
    committed = subprocess.run(
        ["git", "show", f"HEAD:{name}"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    ).stdout
    text = committed + (read(name) if (ROOT / name).exists() else "")
    if not text:
        pytest.skip("no RESULTS.md here")
    missing = figures - set(re.findall(r"\d+\.\d+", text))
    assert not missing, f"not in {name}: {sorted(missing)}"


# -- the package's README


def test_the_package_readme_names_every_module():
    for package in test_architecture.PACKAGES:
        section = re.search(rf"^## {package}\n(.*?)(?=^## |\Z)", PACKAGE, re.M | re.S)
        assert section, package
        if package == "bin":
            continue  # `espnet-ext --help` lists its modules
        for path in (ROOT / "espnet_ext" / package).rglob("*.py"):
            if not path.stem.startswith("__"):
                assert f"`{path.name}`" in section[1], f"{package}: {path.name}"
        named = re.findall(r"`(\w+\.\w+)`", section[1])
        files = {path.name for path in (ROOT / "espnet_ext" / package).rglob("*.*")}
        root_modules = {path.name for path in (ROOT / "espnet_ext").glob("*.py")}
        written = {"result.txt", *root_modules}
        assert {n for n in named if n.endswith((".py", ".txt"))} <= files | written


def test_the_package_readme_has_the_import_table():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", PACKAGE, re.M))
    for package, allowed in test_architecture.PACKAGES.items():
        if package != "bin":
            named = set(re.findall(r"\w+", rows[package].partition("(")[0]))
            assert named == allowed, package
