"""Stage 17 on a system whose outputs have separate encoder outputs, beside others."""

import shutil
import subprocess
import sys

import pytest
import tiny_recipe

from espnet_ext.analysis.registry import ANALYSES
from espnet_ext.bin import analyze
from espnet_ext.errors import UserError
from espnet_ext.files import read_json
from espnet_ext.pipeline.analyses import collect

SYSTEMS = ("one", "two", "tops")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe with two plain systems and one with `conditioning: tops`, each trained one epoch."""
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("separate"))
    for seed, name in enumerate(SYSTEMS):
        config = {"conditioning": "tops"} if name == "tops" else {}
        recipe.train(
            f"exp/en/{name}_tiny", config, options=["--max_epoch", "1", "--seed", str(seed)]
        )
        decoding = recipe.root / f"exp/en/{name}_tiny/decode/valid"
        decoding.mkdir(parents=True)
        for output in tiny_recipe.OUTPUTS:
            shutil.copy(recipe.root / f"dump/valid/text.{output}", decoding)
    return recipe


def steps(recipe, systems, names):
    """Return the commands of stage 17 and its notes."""
    raw = recipe.root / "raw/en"
    raw.mkdir(parents=True, exist_ok=True)
    for folder in ("train", "valid"):
        if not (raw / folder).exists():
            (raw / folder).symlink_to(recipe.root / "dump" / folder)
    decoding = recipe.write_yaml("decode", {})
    variables = {
        "python": sys.executable,
        "langs": "en",
        "systems": systems,
        "twins": "",
        "variants": "",
        "test_sets": "valid",
        "train_set": "train",
        "dumpdir": str(recipe.root),
        "expdir": str(recipe.root / "exp"),
        "asr_tag": "tiny",
        "inference_tag": "decode",
        "inference_config": str(decoding),
        "swaps": "true",
        "baseline_runs": [],
        "stress_runs": [],
    }
    analyses = {name: ANALYSES[name] for name in names}
    words, notes = collect(analyses, variables, "models")
    return [step[step.index("--") + 1 :] for step in words], notes


def test_stage_17_goes_on_for_the_other_systems(recipe):
    names = ("cka", "probes", "swaps")
    commands, notes = steps(recipe, "one tops two", names)
    assert len(commands) == len(names)
    for name, note in zip(names, notes, strict=True):
        assert note.startswith(f"note: analysis {name} leaves out tops for en: ")
        assert note.endswith("conditioning: tops gives each output its own encoder output")
    done = subprocess.run(commands[0], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = read_json(recipe.root / "exp/en/analysis/cka.json")
    assert list(result["models"]) == ["one", "two"]


def test_stage_17_does_not_run_an_analysis_for_one_system_that_remains(recipe):
    commands, (note,) = steps(recipe, "one tops", ["cka"])
    assert not commands and "analysis cka is not run for en: " in note and "tops_tiny" in note


def test_command_names_the_system(recipe, tmp_path):
    models = [f"{name}={recipe.root}/exp/en/{name}_tiny" for name in SYSTEMS]
    arguments = ["--data", str(recipe.root / "dump/valid"), "--output", str(tmp_path / "cka.json")]
    with pytest.raises(UserError, match="^tops: the outputs have separate encoder"):
        analyze.main(["cka", "--models", *models, *arguments])
