"""Options, configuration keys and API names do not change by accident."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import public_surface  # noqa: E402


def test_public_surface_equals_the_frozen_one():
    frozen = public_surface.FROZEN.read_text(encoding="utf-8").splitlines()
    current = public_surface.surface()
    missing = sorted(set(frozen) - set(current))
    new = sorted(set(current) - set(frozen))
    assert not missing and not new, "\n".join(
        [
            "The public surface differs from tests/public_surface.txt.",
            *(f"  missing: {name}" for name in missing),
            *(f"  new:     {name}" for name in new),
            "A missing name breaks scripts of users. If the change is intended, describe it in",
            "CHANGELOG.md, run `python tests/public_surface.py --update`, and commit both.",
        ]
    )


def test_options_have_underscores_and_are_unique():
    """Option names contain underscores, as in ESPnet, and are unique within a command."""
    names = [line for line in public_surface.surface() if ": --" in line or " --" in line]
    assert names
    for line in names:
        option = line.rpartition("--")[2]
        assert option == option.lower() and "-" not in option, line
    assert len(names) == len(set(names))


def test_recipes_name_their_corpus():
    """A recipe with a corpus of the registry cannot set an option that does not exist."""
    from espnet_ext.pipeline.recipe import read_recipe

    for name in public_surface.recipes():
        recipe = read_recipe(public_surface.ROOT / name)
        corpus = name.split("/")[1]
        if corpus == "l2english":  # two corpora, by its own local/data.sh
            continue
        assert recipe.corpus and recipe.corpus.name == ("plain" if corpus == "TEMPLATE" else corpus)
