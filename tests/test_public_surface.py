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


def test_recipes_set_known_options_only():
    """A misspelled setting would silently become a new option of the recipe."""
    recipe_options = {
        "TEMPLATE": {"manifest", "skip_unreadable"},
        "aihub505": {
            "aihub505",
            "split",
            "disfluencies",
            "unintelligible",
            "personal",
            "pseudonym_key_file",
            "skip_unreadable",
        },
        "aihub_l2": {
            "aihub_l2",
            "split",
            "read_tasks",
            "disfluencies",
            "unintelligible",
            "personal",
            "pseudonym_key_file",
            "skip_unreadable",
        },
        "ksponspeech": {
            "ksponspeech",
            "labels",
            "disfluencies",
            "unintelligible",
            "skip_unreadable",
        },
        "commonvoice": {"commonvoice", "train_clips", "text", "skip_unreadable"},
        "epadb": {"epadb", "allophones", "unidentified", "skip_unreadable"},
        "speakandimprove": {"speakandimprove", "hesitation", "partials", "skip_unreadable"},
        "l2arctic": {
            "l2arctic",
            "archive",
            "sha256",
            "split",
            "unannotated",
            "unidentified",
            "suitcase",
            "skip_unreadable",
        },
        "mini_l2": set(),
        "speechocean762": {
            "speechocean762",
            "archive",
            "download",
            "sha256",
            "accept_unverified",
            "skip_unreadable",
        },
    }
    known = public_surface.declared(public_surface.ROOT / "run.sh")
    for recipe in public_surface.recipes():
        for option in public_surface.recipe_options(recipe):
            name = option.removeprefix("--")
            derived = name.startswith(("token_types_", "lexicon_")) or name == "corpus_paths"
            derived = derived or name.removeprefix("quick_") in known
            assert derived or name in recipe_options[recipe.split("/")[1]], f"{recipe}: {name}"
