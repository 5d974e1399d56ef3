"""Prepare the corpus of a recipe: what `local/data.sh` of a recipe runs.

    python -m espnet_ext.pipeline.prepare RECIPE [--<option> <value> ...]

RECIPE is the recipe's folder; its conf/recipe.conf names the corpus and sets defaults. Options are
those of run.sh (--data_dir, --langs, --quick, --nj) and of the corpus. Calls
`python -m espnet_ext.bin.prepare`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ext.corpora import registry
from espnet_ext.corpora.languages import spoken_language
from espnet_ext.errors import UserError
from espnet_ext.pipeline.command_line import checked, read_command_line
from espnet_ext.pipeline.options import OPTIONS, Option
from espnet_ext.pipeline.recipe import Recipe, check_required, read_recipe
from espnet_ext.pipeline.usage import UsageError

DATA_DIR = Option("data_dir", registry.DATA_DIR.default or "", registry.DATA_DIR.help)
SHARED = {"data_dir": DATA_DIR, **{name: OPTIONS[name] for name in ("langs", "quick", "nj")}}


def arguments(recipe: Recipe, words: Sequence[str]) -> list[str]:
    """Return the arguments of `espnet_ext.bin.prepare`.

    Raises:
        UsageError: An option is wrong or missing, or the corpus lacks a language.
    """
    if recipe.corpus is None:
        raise UsageError(
            f"{recipe.folder / 'conf/recipe.conf'}: names no corpus",
            f"add a line corpus=NAME; the corpora are {', '.join(registry.CORPORA)}",
        )
    options = {**SHARED, **recipe.corpus_options}
    values = {
        name: checked(options[name], setting.value, f"recipe.conf:{setting.line}: ")
        for name, setting in recipe.settings.items()
        if name in options
    }
    values.update(read_command_line(words, options))
    if "langs" in values:
        values["langs"] = " ".join(map(spoken_language, values["langs"].split()))
    check_required(recipe, values)
    try:
        return recipe.corpus.arguments(values)
    except UserError as error:
        raise UsageError(error.message, error.remedy) from None


def main(argv: Sequence[str]) -> int:
    folder, *words = argv
    try:
        recipe = read_recipe(Path(folder))
        if {"-h", "--help"} & set(words):
            name = recipe.corpus.name if recipe.corpus else ""
            command = [name, "--help"]
        else:
            command = arguments(recipe, words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    os.execv(sys.executable, [sys.executable, "-m", "espnet_ext.bin.prepare", *command])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
