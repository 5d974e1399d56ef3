"""A recipe: the folder with `conf/recipe.conf`, its settings, and the options of its corpus.

`recipe.conf` holds plain assignments, `name=value`. They are read, never executed: no expansion,
no arithmetic, no command. Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espnet_ext.corpora import registry
from espnet_ext.errors import did_you_mean
from espnet_ext.pipeline.options import OPTIONS, Option, canonical_name, derived_option
from espnet_ext.pipeline.usage import UsageError

# name=value, name="va lue" or name='va lue', and an optional comment
_ASSIGNMENT = re.compile(
    r"""([a-z][a-z0-9_]*)="""
    r"""("[^"$`\\]*"|'[^']*'|[^\]\['"$`\\ ;&|<>(){}#*?]*)[ ]*(\#.*)?"""
)
# Settings of recipe.conf that are not options
CORPUS = "corpus"  # the recipe's corpus in espnet_ext/corpora/registry.py
CORPUS_PATHS = "corpus_paths"  # without `corpus`: options that must be given, "a|b" for one of two


@dataclass(frozen=True)
class Setting:
    """One assignment of recipe.conf."""

    name: str
    value: str
    comment: str  # comment in the lines directly above
    line: int


@dataclass(frozen=True)
class Recipe:
    """A recipe's folder, the settings of its recipe.conf and the options that its corpus adds."""

    folder: Path
    settings: Mapping[str, Setting] = field(default_factory=dict)
    corpus: registry.Corpus | None = None
    corpus_options: Mapping[str, Option] = field(default_factory=dict)
    # Groups of these of which one must have a value
    required_groups: tuple[tuple[str, ...], ...] = ()


def read_settings(path: Path) -> dict[str, Setting]:
    """Return the assignments of a recipe.conf by name.

    Raises:
        UsageError: The file is missing, or a line is not a plain assignment.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise UsageError(f"{path}: no such file", "write it, or name another recipe") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8", "save it as UTF-8") from None
    settings: dict[str, Setting] = {}
    comment: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if line.startswith("#"):
            comment.append(line[1:].strip())
            continue
        if line.strip():
            match = _ASSIGNMENT.fullmatch(line)
            if not match:
                raise UsageError(
                    f"{path}:{number}: not a plain assignment: {line}",
                    "write name=value, with quotes if the value has spaces",
                )
            name, value = match[1], match[2]
            if value[:1] in ("'", '"'):
                value = value[1:-1]
            settings[name] = Setting(name, value, " ".join(comment), number)
        comment = []
    return settings


def read_recipe(folder: Path) -> Recipe:
    """Read conf/recipe.conf and look up its corpus.

    Raises:
        UsageError: The file is wrong, names an unknown corpus, or has a setting that no option of
            run.sh or of the corpus reads.
    """
    path = folder / "conf/recipe.conf"
    settings = read_settings(path)
    corpus = None
    if CORPUS in settings:
        name = settings[CORPUS].value
        if name not in registry.CORPORA:
            raise UsageError(
                f"{path}:{settings[CORPUS].line}: no corpus '{name}'",
                registry.suggestion(name, registry.CORPORA),
            )
        corpus = registry.CORPORA[name]
    if corpus:
        corpus_options = {option.name: _converted(option) for option in corpus.recipe_options}
        groups = corpus.required_groups
    else:
        corpus_options = {
            setting.name: Option(setting.name, setting.value, setting.comment, "path")
            for setting in settings.values()
            if not _is_known(setting.name)
        }
        words = settings[CORPUS_PATHS].value.split() if CORPUS_PATHS in settings else []
        groups = tuple(tuple(word.split("|")) for word in words)
        for name in corpus_options.keys() - {name for group in groups for name in group}:
            if question := did_you_mean(name, OPTIONS, form="{}"):
                print(
                    f"note: {path}:{settings[name].line}: '{name}' is not an option of run.sh, and "
                    f"counts as an option of local/data.sh; {question}",
                    file=sys.stderr,
                )
        for name in (name for group in groups for name in group):
            if name not in corpus_options:
                raise UsageError(
                    f"{path}: corpus_paths names '{name}', which the file does not set",
                    f"add the line {name}=",
                )
    for setting in settings.values():
        if not _is_known(setting.name) and setting.name not in corpus_options:
            known = [*OPTIONS, *corpus_options]
            question = did_you_mean(setting.name, known, form="{}")
            raise UsageError(
                f"{path}:{setting.line}: no option '{setting.name}'",
                f"{question} run.sh --help lists all options".lstrip(),
            )
    return Recipe(folder, settings, corpus, corpus_options, groups)


def check_required(recipe: Recipe, values: Mapping[str, str]) -> list[str]:
    """Return the options that name the corpus; a UsageError if one that is needed has no value."""
    chosen = []
    for group in recipe.required_groups:
        in_use = [name for name in group if values.get(name, "") not in ("", "false")]
        if not in_use:
            others = "".join(f" or --{name}" for name in group[1:])
            raise UsageError(
                f"--{group[0]} is not given",
                f"this recipe needs it{others}: {recipe.corpus_options[group[0]].help}",
            )
        chosen += in_use
    return chosen


def _converted(option: registry.Option) -> Option:
    """Return an option of a corpus as an option of run.sh."""
    return Option(
        option.name, option.default or "", option.help, option.kind, choices=option.choices
    )


def _is_known(name: str) -> bool:
    """Whether run.sh itself reads a setting of this name."""
    if name in (CORPUS, CORPUS_PATHS):
        return True
    return canonical_name(name) in OPTIONS or derived_option(name) is not None
