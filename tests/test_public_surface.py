"""What users write does not change by accident: options, configuration keys, API names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import public_surface  # noqa: E402


def test_public_surface_is_as_frozen():
    frozen = public_surface.FROZEN.read_text(encoding="utf-8").splitlines()
    found = public_surface.surface()
    lost = sorted(set(frozen) - set(found))
    new = sorted(set(found) - set(frozen))
    assert not lost and not new, "\n".join(
        [
            "The public surface is not what tests/public_surface.txt says.",
            *(f"  gone: {name}" for name in lost),
            *(f"  new:  {name}" for name in new),
            "What is gone breaks somebody's scripts. If it is meant: tell of it in CHANGELOG.md,",
            "run `python tests/public_surface.py --update`, and commit both.",
        ]
    )


def test_options_are_spelt_one_way():
    """Underscores within names, as in ESPnet, and no name twice in a command."""
    names = [line for line in public_surface.surface() if ": --" in line or " --" in line]
    assert names
    for line in names:
        option = line.rpartition("--")[2]
        assert option == option.lower() and "-" not in option, line
    assert len(names) == len(set(names))


def test_a_recipe_sets_only_what_exists():
    """A misspelt setting would silently become an option of the recipe's own."""
    own = {
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
            assert derived or name in own[recipe.split("/")[1]], f"{recipe}: {name}"
