"""What the READMEs tell is so: commands, options, paths, examples, figures."""

import ast
import importlib
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import public_surface  # noqa: E402
import test_architecture  # noqa: E402

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = (ROOT / "espnet_ext/README.md").read_text(encoding="utf-8")
READMES = sorted(
    [
        "README.md",
        "espnet_ext/README.md",
        *(f"{recipe}/README.md" for recipe in public_surface.recipes()),
    ]
)
FOREIGN = ("cp ", "cd ", "mkdir ", ". ", "python -m espnet2.bin.asr_inference ")


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.M | re.S)


def shell_commands(name: str) -> list[list[str]]:
    """The commands of a README's shell blocks, as words, here-documents left out."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = []
    for block in blocks(text, "sh"):
        block = re.sub(r"<<'(\w+)'\n.*?^\1$", "", block, flags=re.M | re.S)
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                found.append(words)
    return found


COMMANDS = [(name, words) for name in READMES for words in shell_commands(name)]


def options_of(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def recipe_of(words: list[str], readme: str) -> str:
    """The recipe that a call of run.sh is for; one that a reader is to make is the template's."""
    if "--recipe" in words:
        named = words[words.index("--recipe") + 1]
        return named if named in public_surface.recipes() else "egs2/TEMPLATE/dual1"
    folder = str(Path(readme).parent)
    return folder if folder.startswith("egs2/") else "egs2/mini_l2/dual1"


def known_options(words: list[str], readme: str) -> list[str]:
    """The options that the command takes; fails for a command that nobody has looked at."""
    line = " ".join(words)
    shell = public_surface.shell_options()
    if words[0] == "./run.sh":
        return shell["run.sh"] + public_surface.recipe_options(recipe_of(words, readme))
    if words[:2] == ["bash", "tests/run.sh"]:
        return shell["tests/run.sh"]
    if words[:2] == ["bash", "local/data.sh"]:
        return [
            "--langs",
            "--quick",
            "--nj",
            "--data_dir",
            *public_surface.recipe_options(recipe_of(words, readme)),
        ]
    for start in ("espnet-ext ", "python -m espnet_ext.bin."):
        if line.startswith(start):
            verb = line.removeprefix(start).split()[0].replace("-", "_")
            names = public_surface.commands()[verb]
            return [name.split()[-1] for name in names]
    assert line == "python -" or line.startswith(FOREIGN), f"{readme}: an unknown command: {line}"
    return options_of(words)  # not ours


@pytest.mark.parametrize(
    ("readme", "words"), COMMANDS, ids=[f"{name}:{' '.join(w)[:60]}" for name, w in COMMANDS]
)
def test_commands_and_options_exist(readme, words):
    for option in options_of(words):
        assert option in known_options(words, readme), f"{readme}: {option}"
    script = words[1] if words[0] == "bash" else words[0]
    if words[0] in ("bash", "./run.sh"):
        places = (ROOT, ROOT / recipe_of(words, readme))
        assert any((place / script).is_file() for place in places), script


def test_options_named_in_the_text_exist():
    known = {line.split("--")[-1] for line in public_surface.surface() if "--" in line}
    stock = {
        "init_param",
        "freeze_param",
        "max_epoch",
        "ctc_window_margin",
        "asr_train_config",
        "asr_model_file",
        "data_path_and_name_and_type",
        "help",
        "partition",
    }
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9_]*)", README))
    assert named and named <= known | stock, named - known - stock


def test_names_of_systems_and_configurations_exist():
    named = set(re.findall(r'--systems "([^"]+)"', README))
    there = {path.stem for path in (ROOT / "conf/systems").glob("*.yaml")}
    there |= set(re.findall(r"^# conf/systems/(\w+)\.yaml", README, re.M))  # the example
    assert {word for names in named for word in names.split()} <= there
    for name in re.findall(r"--train_config (\S+\.yaml)", README):
        assert (ROOT / "conf" / name).is_file()


def test_paths_of_the_tree_exist():
    tree = README[README.index("## The tree") :]
    folder = ROOT
    lines = blocks(tree, "")[0].splitlines()
    assert len(lines) > 20
    for line in lines:
        entry = re.match(r"(  )?(\S.*?)(?:   |$)", line)
        names = entry[2].split("  ")
        if not entry[1]:
            folder = ROOT
        for name in names:
            path = (folder if entry[1] else ROOT) / name
            assert path.exists(), line
            assert path.is_dir() == name.endswith("/"), line
        if not entry[1] and names[0].endswith("/"):
            folder = ROOT / names[0]


def test_the_tree_shows_every_room():
    rooms = {path.parent.name for path in (ROOT / "espnet_ext").glob("*/__init__.py")}
    shown = set(re.findall(r"^  (\w+)/ ", README, re.M))
    assert rooms <= shown


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_somewhere(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        if not target.endswith("RESULTS.md"):  # a run writes it
            assert ((ROOT / readme).parent / target).exists(), target


def test_named_test_files_exist():
    for name in re.findall(r"`(test_\w+\.py)`", README):
        assert list((ROOT / "tests").rglob(name)), name


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_python_examples_call_what_there_is(code):
    objects = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            objects |= {alias.name: getattr(module, alias.name) for alias in node.names}
    assert objects
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


def test_the_example_systems_are_valid():
    yaml = pytest.importorskip("yaml")
    from espnet_ext.model.config import parse_outputs

    examples = [parse_outputs(yaml.safe_load(block)) for block in blocks(README, "yaml")]
    assert list(examples[1]) == ["surface", "meaning", "l1"]
    outputs = examples[0]
    assert outputs["meaning"].has_ctc and outputs["meaning"].decoder_conf == {"num_blocks": 1}


def test_keys_of_an_output_are_all_told():
    keys = {
        line.rpartition(".")[2]
        for line in public_surface.surface()
        if line.startswith("configuration: outputs.<name>.")
    }
    section = README[README.index("| key of an output") :].partition("\n\n")[0]
    told = {
        key for row in section.splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert told == keys


def test_keys_of_the_conditioning_are_all_told():
    from espnet_ext.model.conditioning import TaskVectors

    known = set(inspect.signature(TaskVectors).parameters) - {"outputs", "sizes", "tags", "trained"}
    section = README[README.index("| key of a system") :].partition("\n\n")[0]
    told = {
        name.rpartition(".")[2]
        for row in section.splitlines()[2:]
        for name in re.findall(r"`([\w.: ]+)`", row.split("|")[1])
    }
    assert told == {*known, "where", "divide_by", "conditioning: vectors"}


def test_figures_stand_in_the_results():
    """Figures between the markers are in RESULTS.md of the embedded corpus, here or committed."""
    shown = re.search(r"<!-- results:begin -->(.*)<!-- results:end -->", README, re.S)[1]
    figures = set(re.findall(r"\d+\.\d+", shown))
    if not figures:
        return
    name = "egs2/mini_l2/dual1/RESULTS.md"
    committed = subprocess.run(
        ["git", "show", f"HEAD:{name}"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    ).stdout
    file = ROOT / name
    text = committed + (file.read_text(encoding="utf-8") if file.exists() else "")
    if not text:
        pytest.skip("no RESULTS.md here")
    missing = figures - set(re.findall(r"\d+\.\d+", text))
    assert not missing, f"not in {name}: {sorted(missing)}"


# -- the package's README


def test_the_package_readme_names_every_module():
    for room in test_architecture.ROOMS:
        section = re.search(rf"^## {room}\n(.*?)(?=^## |\Z)", PACKAGE, re.M | re.S)
        assert section, room
        if room == "bin":
            continue  # `espnet-ext --help` lists them
        for path in (ROOT / "espnet_ext" / room).rglob("*.py"):
            if not path.stem.startswith("__"):
                assert f"`{path.name}`" in section[1], f"{room}: {path.name}"
        named = re.findall(r"`(\w+\.\w+)`", section[1])
        files = {path.name for path in (ROOT / "espnet_ext" / room).rglob("*.*")}
        written = {"score.json", "result.txt", "RESULTS.md", "report.html"}
        assert {n for n in named if n.endswith((".py", ".txt"))} <= files | written


def test_the_package_readme_has_the_import_table():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", PACKAGE, re.M))
    for room, allowed in test_architecture.ROOMS.items():
        if room != "bin":
            told = set(re.findall(r"\w+", rows[room].partition("(")[0]))
            assert told == allowed, room
