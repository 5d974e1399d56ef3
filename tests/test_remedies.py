"""Messages name only options that their reader has: of the command that prints them, or of run.sh.

An option of another command needs that command's name before it in the message, as in
`validate --fix DIR`.
"""

import ast
import functools
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import public_surface  # noqa: E402
from test_architecture import NAMES, internal_imports, module_name, parsed  # noqa: E402

from espnet_ext.bin.main import module_of, verbs  # noqa: E402

PACKAGE = public_surface.ROOT / "espnet_ext"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
# Programs of others: their options are not checked
OPTIONS_WITHOUT_VERB = {"--version"}  # espnet-ext --version
OTHER_PROGRAMS = ("asr_inference", "convmv", "ffmpeg", "hf download", "hf auth", "pip", "torchrun")
OF_ASR_INFERENCE = (
    "model/export.py",
    "model/pack.py",
    "model/heads/joint.py",
    "model/heads/transducer.py",
)
REGISTRIES = {"espnet_ext.corpora.registry": "prepare", "espnet_ext.analysis.registry": "analyze"}
# Commands that print the messages of a folder or module, among those that import it. Others import
# it for functions without messages to a reader. The longest path counts.
PRINTERS = {
    "analysis": ("analyze",),
    "analysis/mdd.py": ("mdd",),
    "corpora": ("import", "prepare"),
    "corpora/interchange": ("import",),
    "corpora/interchange/to_lhotse.py": ("export",),
    "corpora/new_recipe.py": ("new_corpus",),
    "corpora/plain.py": ("prepare",),
    "corpora/preparation.py": ("prepare",),
    "decoding/canonical_command.py": ("decode",),
    # Of run.sh; unit_ablation passes options on to it
    "pipeline/command_line.py": (),
    "pipeline/espnet_options.py": (),
    "pipeline/names.py": (),
    "pipeline/option_values.py": (),
    "training": ("train",),
    "training/failures.py": ("lm_train", "train"),
    "training/finish.py": ("lm_train", "train"),
    "training/health.py": ("lm_train", "train"),
    "training/language_model.py": ("lm_train",),
    "training/trained_with.py": ("lm_train", "train"),
    "units/input_set.py": ("unit_inputs",),
    "units/kmeans.py": ("learn_kmeans",),
}


@functools.cache
def options_of_commands():
    """Return the options of every command, without the names of subcommands before them."""
    from espnet_ext.training.language_model import LanguageModelTask
    from espnet_ext.training.task import DualOutputTask

    options = {
        verb: {"--help", *(name.split(" ")[-1] for name in names)}
        for verb, names in public_surface.commands().items()
    }
    options["train"].update(public_surface.names_of(DualOutputTask.get_parser()))  # after --
    options["lm_train"].update(public_surface.names_of(LanguageModelTask.get_parser()))
    return options


@functools.cache
def neighbours(module):
    """Return the modules that a module imports, or names in strings."""
    tree = parsed(NAMES[module])
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return internal_imports(NAMES[module]) | {text for text in strings if text in NAMES}


@functools.cache
def reachable(verb):
    """Return the modules that a command can load."""
    modules, stack = set(), [module_of(verb).__name__]
    while stack:
        name = stack.pop()
        # A registry knows all corpora or analyses; only one command runs them.
        if name not in modules and REGISTRIES.get(name, verb) == verb:
            modules.add(name)
            stack += neighbours(name)
    return modules


def printers_of(path):
    """Return the commands that can print the messages of a module."""
    name = path.relative_to(PACKAGE).as_posix()
    module = module_name(path)
    same_name = [verb for verb in verbs() if module_of(verb).__name__ == module]
    if same_name:
        return same_name
    prefixes = [prefix for prefix in PRINTERS if name == prefix or name.startswith(f"{prefix}/")]
    candidates = PRINTERS[max(prefixes, key=len)] if prefixes else verbs()
    return [verb for verb in candidates if module in reachable(verb)]


def texts(node):
    """Yield the strings of code with their lines, without docstrings; {} stands for a value."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in child.values)
            yield child.lineno, "".join(parts)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.lineno, child.value
        else:
            yield from texts(child)


def messages(path):
    """Yield line and text of strings in a module that have words and name an option."""
    for line, text in texts(parsed(path)):
        if OPTION.search(text) and " " in text.strip():
            yield line, text


def named_command(text, position):
    """Return the command whose name stands before an option in the same part of a sentence."""
    before = re.split(r"[;:.] |\bor\b", text[:position])[-1]
    names = [*verbs(), "run.sh", *OTHER_PROGRAMS]
    matches = [
        name for name in names if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w./-])", before)
    ]
    return matches[-1] if matches else None


def problems(path):
    commands = options_of_commands()
    run_options = {"--help", *public_surface.run_options()}
    printers = printers_of(path)
    for line, text in messages(path):
        for match in OPTION.finditer(text):
            option, command = match.group(), named_command(text, match.start())
            if command in OTHER_PROGRAMS or option in OPTIONS_WITHOUT_VERB:
                continue
            if command == "run.sh":
                lacking = [] if option in run_options else ["run.sh"]
            elif command is not None:
                lacking = [] if option in commands[command] else [command]
            elif option in run_options:
                lacking = []
            else:
                lacking = [verb for verb in printers if option not in commands[verb]]
            if lacking:
                yield f"{path}:{line}: {', '.join(lacking)}: no {option}: {text!r}"


CHECKED = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if any(messages(path)) and path.relative_to(PACKAGE).as_posix() not in OF_ASR_INFERENCE
]


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_options_in_messages_exist(path):
    assert not list(problems(path))
