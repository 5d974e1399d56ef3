"""The public surface: options of commands, keys of configurations, names of the Python API.

python tests/public_surface.py             # print it
python tests/public_surface.py --update    # freeze it in tests/public_surface.txt
"""

import argparse
import contextlib
import dataclasses
import functools
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
FROZEN = Path(__file__).with_suffix(".txt")


@functools.cache
def surface() -> list[str]:
    """Return the public surface as sorted lines, `<where>: <name>`."""
    lines = [f"{script}: {name}" for script, names in shell_options().items() for name in names]
    for recipe in recipes():
        lines += [f"{recipe}: {name}" for name in recipe_options(recipe)]
    for command, names in commands().items():
        lines += [f"espnet-ext {command}: {name}" for name in names]
    lines += [f"configuration: {name}" for name in configuration_keys()]
    lines += [f"api: {name}" for name in api_names()]
    return sorted(lines)


# -- shell


def run_options() -> list[str]:
    """Return names and aliases of the options of run.sh."""
    from espnet_ext.pipeline.options import known_names

    return [f"--{name}" for name in known_names()]


def shell_options() -> dict[str, list[str]]:
    """Return the options of the scripts that users call. All but one list them in their usage."""
    options = {"run.sh": run_options()}
    for script in ("local/setup_env.sh", "local/study.sh", "tests/run.sh"):
        text = (ROOT / script).read_text(encoding="utf-8")
        options[script] = re.findall(r"^  (--[a-z_]+) ", text, re.M)
    return options


def recipes() -> list[str]:
    """Return the recipes of this repository; a user may have more beside them."""
    ours = (
        "TEMPLATE",
        "aihub505",
        "aihub_l2",
        "commonvoice",
        "epadb",
        "ksponspeech",
        "l2arctic",
        "l2english",
        "mini_l2",
        "speakandimprove",
        "speechocean762",
    )
    return [f"egs2/{name}/dual1" for name in ours]


def recipe_options(recipe: str) -> list[str]:
    """Options that a recipe adds to those of run.sh: of its corpus, and per language."""
    from espnet_ext.pipeline.recipe import CORPUS, read_recipe

    read = read_recipe(ROOT / recipe)
    names = {*read.corpus_options, *read.settings} - {CORPUS}
    return [f"--{name}" for name in names if f"--{name}" not in run_options()]


# -- commands


class _Parsed(Exception):
    """Carries the parser out of a command that is about to read its arguments."""


def parser_of(main: Callable) -> argparse.ArgumentParser:
    """The parser that a command builds, caught when it is used; nothing is run."""

    def catch(self, *_args, **_kwargs):
        raise _Parsed(self)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", catch):
        try:
            main([])
        except _Parsed as caught:
            return caught.args[0]
    raise AssertionError(f"{main} never parsed its arguments")


def names_of(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[str]:
    """Options and positional arguments, those of subcommands with the subcommand before them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from names_of(sub, f"{prefix}{name} ")
        elif not isinstance(action, argparse._HelpAction):
            yield from (prefix + name for name in action.option_strings or [action.dest])


def commands() -> dict[str, list[str]]:
    """Every verb of `espnet-ext` (also `python -m espnet_ext.bin.<verb>`) with its options."""
    from espnet_ext.bin.main import module_of, verbs

    return {verb: list(names_of(parser_of(module_of(verb).main))) for verb in verbs()}


# -- configuration and API


def configuration_keys() -> Iterator[str]:
    """Keys beyond ESPnet's own, and the options of the training command that are not ESPnet's."""
    from espnet_ext.decoding.options import SearchOptions
    from espnet_ext.model.build import MODEL_CONF
    from espnet_ext.model.heads.registry import HEADS
    from espnet_ext.model.outputs import option_names
    from espnet_ext.text.tokenizers import TOKEN_TYPES
    from espnet_ext.training.task import DualOutputTask

    keys = {key for head in HEADS.values() for key in option_names(head.Options)}
    yield from (f"outputs.<name>.{key}" for key in keys)
    yield from (f"branch {name}" for name in HEADS)
    yield from (f"token_type {name}" for name in TOKEN_TYPES)
    yield from (f"model_conf.{name}" for name in MODEL_CONF)
    yield from (f"decoding {field.name}" for field in dataclasses.fields(SearchOptions))
    yield "decoding outputs.<name>"
    parser = argparse.ArgumentParser(add_help=False)
    DualOutputTask.add_task_arguments(parser)
    yield from (f"training {name}" for name in names_of(parser))


def api_names() -> Iterator[str]:
    """Members and parameters of what the README shows."""
    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.decoding.search import Hypothesis, Result
    from espnet_ext.model.export import export_head

    for name, member in inspect.getmembers(DualSpeech2Text):
        if callable(member) and (name in ("__call__",) or not name.startswith("_")):
            parameters = [p for p in inspect.signature(member).parameters if p != "self"]
            yield f"DualSpeech2Text.{name}({', '.join(parameters)})"
    yield "Result.best"
    yield from (f"Result.{field.name}" for field in dataclasses.fields(Result))
    yield from (f"Hypothesis.{field.name}" for field in dataclasses.fields(Hypothesis))
    yield f"export_head({', '.join(inspect.signature(export_head).parameters)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--update", action="store_true", help=f"write {FROZEN.name}")
    options = parser.parse_args()
    text = "\n".join(surface()) + "\n"
    if options.update:
        FROZEN.write_text(text, encoding="utf-8")
        print(f"{FROZEN}: {text.count(chr(10))} names", file=sys.stderr)
        with contextlib.suppress(OSError):  # no git here: then there is no difference to show
            subprocess.run(["git", "--no-pager", "diff", "--stat", "--", str(FROZEN)], cwd=ROOT)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(ROOT))
    main()
