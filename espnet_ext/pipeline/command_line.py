"""The command line of `run.sh`: values by option name, and the text of `--help`.

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from espnet_ext.errors import did_you_mean
from espnet_ext.pipeline.espnet_options import OTHER_IN_ESPNET
from espnet_ext.pipeline.options import (
    ALIASES,
    GROUPS,
    OPTIONS,
    Option,
    canonical_name,
    derived_option,
)
from espnet_ext.pipeline.recipe import Recipe
from espnet_ext.pipeline.usage import UsageError

USAGE = """usage: ./run.sh [--recipe egs2/<corpus>/dual1] [--<name> <value> ...]; ./run.sh --version
An option with the values true and false needs none: --quick is --quick true.

Runs the stages of a recipe, from data preparation to the report. Without options: the embedded
corpus mini_l2. Paths are relative to the recipe's folder; those of corpora, lexicons and
configurations also to the current directory.
Exit codes: 0 done, 1 bad input or a failed step (its log is named), 2 wrong usage.
"""


def wants_help(words: Sequence[str]) -> bool:
    """Whether `-h` or `--help` stands where an option's name is expected.

    >>> wants_help(["--nj", "2", "--help"]), wants_help(["--title", "--help"])
    (True, False)
    >>> wants_help(["--quick", "--help"])
    True
    """
    i = 0
    while i < len(words) and words[i] != "--":
        if words[i] in ("-h", "--help"):
            return True
        has_value = words[i].startswith("--") and "=" not in words[i]
        if has_value and _is_flag(OPTIONS.get(_name_of(words[i])), words[i + 1 : i + 2]):
            has_value = False
        i += 2 if has_value else 1
    return False


def _name_of(flag: str) -> str:
    return canonical_name(flag[2:].replace("-", "_"))


def _is_flag(option: Option | None, following: Sequence[str]) -> bool:
    """Whether a boolean option stands without a value, which means true.

    Args:
        following: the next word, if there is one.
    """
    if option is None or option.kind != "boolean":
        return False
    return not following or following[0].startswith("-")


def named_recipe(words: Sequence[str]) -> str | None:
    """Return the last value of --recipe: it is needed before the recipe's options are known."""
    value = None
    for i, word in enumerate(words):
        if word == "--":
            break
        if word.startswith("--recipe="):
            value = word.partition("=")[2]
        elif word == "--recipe" and i + 1 < len(words):
            value = words[i + 1]
    return value


def read_command_line(
    words: Sequence[str], options: Mapping[str, Option] = OPTIONS
) -> dict[str, str]:
    """Return the values of a command line by documented option name.

    `--name value` and `--name=value` are understood, `-` in a name is `_`, the last value of an
    option counts. A boolean option without a value is true.

    Raises:
        UsageError: An option is unknown or has no value, or its value is not allowed.

    >>> read_command_line(["--train-config", "my.yaml", "--nj=08"])
    {'asr_config': 'my.yaml', 'nj': '8'}
    >>> read_command_line(["--quick", "--force", "false"])
    {'quick': 'true', 'force': 'false'}
    """
    values: dict[str, str] = {}
    i = 0
    while i < len(words):
        if words[i] == "--":
            if words[i + 1 :]:
                raise UsageError(
                    f"unexpected argument '{words[i + 1]}' after --",
                    "ESPnet's options go into --asr_args, --lm_args or --inference_args",
                )
            break
        if not words[i].startswith("--"):
            raise UsageError(
                f"unexpected argument '{words[i]}'", "options are --name value; see --help"
            )
        flag, equals, value = words[i].partition("=")
        name = _name_of(flag)
        option = options.get(name) or derived_option(name)
        if option is None:
            raise UsageError(f"unknown option {flag}", _remedy(name, options))
        if not equals and _is_flag(option, words[i + 1 : i + 2]):
            values[option.name] = "true"
            i += 1
            continue
        if not equals:
            if i + 1 == len(words):
                raise UsageError(f"{flag} needs a value", f"write {flag} VALUE; see --help")
            value = words[i + 1]
        values[option.name] = checked(option, value)
        i += 1 if equals else 2
    return values


def checked(option: Option, value: str, source: str = "") -> str:
    """Return a value in its normal form; a UsageError if it is not allowed."""
    if problem := option.problem(value):
        what, remedy = problem
        shown = f" {value}:" if value.strip() else " is"
        raise UsageError(f"{source}--{option.name}{shown} {what}", remedy)
    return option.normalize(value)


def _remedy(name: str, options: Mapping[str, Option]) -> str:
    if name in OTHER_IN_ESPNET:
        return f"ESPnet has it, this pipeline does not: {OTHER_IN_ESPNET[name]}"
    aliases = [alias for alias, documented in ALIASES.items() if documented in options]
    question = did_you_mean(name, [*options, *aliases], form="--{}")
    return f"{question} see --help for all options".lstrip()


def help_text(recipe: Recipe) -> str:
    """Return the text of --help: all options in groups, with those of the recipe last."""
    lines = [USAGE]
    groups = dict(GROUPS)
    if recipe.corpus_options:
        groups[f"This recipe ({recipe.folder})"] = tuple(
            option for name, option in recipe.corpus_options.items() if name not in OPTIONS
        )
    for title, options in groups.items():
        lines.append(f"# {title}")
        for option in options:
            setting = recipe.settings.get(option.name)
            default = setting.value if setting else option.default
            for alias in option.aliases if setting is None else ():
                if alias in recipe.settings:
                    default = recipe.settings[alias].value
            lines += _help_lines(option, default)
        lines.append("")
    lines.append("An option has the names in parentheses, too. recipe.conf sets other defaults.")
    return "\n".join(lines)


def _help_lines(option: Option, default: str) -> list[str]:
    names = f"--{option.name}"
    if option.aliases:
        names += f" ({', '.join('--' + alias for alias in option.aliases)})"
    choices = [choice for choice in option.choices if choice]
    allowed = f": {', '.join(choices)}" if choices else ""
    text = f"{option.help}{allowed}" + (f" (default: {default})" if default else "")
    wrapped = textwrap.wrap(text, 100 - 30) or [""]
    start = f"    {names:<25} "
    if len(start) > 30:
        return [start.rstrip(), *(" " * 30 + line for line in wrapped)]
    return [start + wrapped[0], *(" " * 30 + line for line in wrapped[1:])]
