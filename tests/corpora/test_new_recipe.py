"""Tests of new_corpus: the recipe runs unchanged; wrong names are refused."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from espnet_ext.bin import cli, new_corpus
from espnet_ext.corpora import new_recipe
from espnet_ext.corpora.recipe_files import copy_recipes
from espnet_ext.data.audio import load_audio
from espnet_ext.data.directory import read_directory
from espnet_ext.data.validate import validate_directory
from espnet_ext.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path):
    """A repository with all that the stages of a recipe need, except the package."""
    for name in ("local", "conf", "egs2/TEMPLATE"):
        shutil.copytree(ROOT / name, tmp_path / "tree" / name)
    shutil.copy(ROOT / "run.sh", tmp_path / "tree/run.sh")
    shutil.copy(ROOT / "setup.py", tmp_path / "tree/setup.py")
    return tmp_path / "tree"


def shell(tree, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", *words],
        cwd=tree,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("lang", ["en", "ko", "de"])
def test_stage_1_of_a_new_recipe(tree, lang):
    recipe = new_recipe.create("my_corpus", tree, lang=lang, title="A corpus of mine")
    assert recipe == tree / "egs2/my_corpus/dual1"
    done = shell(recipe, "local/data.sh")
    assert done.returncode == 0, done.stderr
    for name in ("train", "valid", "test"):
        folder = recipe / "data" / lang / name
        findings = validate_directory(folder)
        assert not [finding for finding in findings if finding.severity == "error"]
        assert len(read_directory(folder)) == 2
        for utterance in read_directory(folder):
            assert utterance.texts.keys() == {"surface", "meaning"}
            samples, rate = load_audio(utterance.audio)
            assert rate == 16000 and len(samples) == 16000 and 0.05 < np.abs(samples).max() < 1
    settings = (recipe / "conf/recipe.conf").read_text()
    assert 'title="A corpus of mine"' in settings and f'langs="{lang}"' in settings


def test_stages_1_to_5_of_a_new_recipe(tree):
    new_recipe.create("toy", tree)
    done = shell(
        tree,
        "run.sh",
        "--recipe",
        "egs2/toy/dual1",
        "--stop_stage",
        "5",
        "--python",
        sys.executable,
        "--nj",
        "1",
    )
    assert done.returncode == 0, done.stderr
    tokens = (tree / "egs2/toy/dual1/data/en_token_list/surface_phone/tokens.txt").read_text()
    assert {"W", "IY", "S", "M"} <= set(tokens.split())


def test_command_prints_the_path_and_the_next_step(tree, capsys, monkeypatch):
    (tree / "below").mkdir()
    monkeypatch.chdir(tree / "below")  # any folder of a repository
    assert cli.run(new_corpus.main, ["mine"]) == 0
    message = capsys.readouterr().out
    assert str(tree / "egs2/mine/dual1") in message
    assert "./run.sh --recipe egs2/mine/dual1 --quick true" in message
    assert os.access(tree / "egs2/mine/dual1/run.sh", os.X_OK)
    readme = (tree / "egs2/mine/dual1/README.md").read_text()
    for target in re.findall(r"\]\(([^)]+)\)", readme):
        assert (tree / "egs2/mine/dual1" / target).exists()


def test_other_language_gets_a_note_on_missing_support(tree, capsys):
    assert cli.run(new_corpus.main, ["french", "--lang", "fr", "--root", str(tree)]) == 0
    message = capsys.readouterr().out
    assert message.startswith("fr: there are no pronunciation rules") and "canonical" in message
    for lang in ("en", "ko"):
        assert cli.run(new_corpus.main, [f"in_{lang}", "--lang", lang, "--root", str(tree)]) == 0
        assert "no pronunciation rules" not in capsys.readouterr().out
    recipe = tree / "egs2/french/dual1"
    table = (recipe / "corpus.tsv").read_text().replace("surface", "surface\tcanonical", 1)
    (recipe / "corpus.tsv").write_text(re.sub(r"\t(mama|nana)\t", r"\t\1\t\1\t", table))
    done = shell(
        tree,
        "run.sh",
        "--recipe",
        "egs2/french/dual1",
        "--stop_stage",
        "5",
        "--python",
        sys.executable,
        "--nj",
        "1",
    )
    assert done.returncode == 0, done.stderr
    for output in ("surface", "meaning"):
        tokens = (recipe / f"data/fr_token_list/{output}_char/tokens.txt").read_text().split()
        assert {"m", "a", "n"} <= set(tokens)
    assert read_directory(recipe / "dump/raw/fr/test")[0].texts["canonical"] == "mama"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../x",
        "a/b",
        "/abs",
        "a b",
        "A",
        "ÄÖ",
        "1a",
        "-a",
        "a.b",
        "a\n",
        "a;b",
        "$a",
        ".git",
        "TEMPLATE",
        "template",
        "a" * 42,
        "con/../../x",
    ],
)
def test_invalid_names_are_refused(tree, capsys, name):
    before = sorted(path for path in tree.rglob("*"))
    code = 2 if name.startswith("-") else 1
    try:
        exit_code = cli.run(new_corpus.main, [name, "--root", str(tree)])
    except SystemExit as usage:
        exit_code = usage.code
    assert exit_code == code
    assert "Traceback" not in (message := capsys.readouterr().err)
    assert code == 2 or "remedy" in message
    assert sorted(path for path in tree.rglob("*")) == before


def test_existing_recipe_is_not_overwritten(tree):
    new_recipe.create("mine", tree)
    table = tree / "egs2/mine/dual1/corpus.tsv"
    table.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        new_recipe.create("mine", tree)
    (tree / "egs2/dangling").symlink_to(tree / "nowhere")
    with pytest.raises(UserError, match="exists already"):
        new_recipe.create("dangling", tree)
    assert table.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lang": "../x"}, "--lang"),
        ({"title": 'a"b'}, "--title"),
        ({"title": "a$(b)"}, "--title"),
        ({"root": "/nowhere"}, "has no egs2/TEMPLATE"),
    ],
)
def test_invalid_options_are_refused(tree, options, message):
    with pytest.raises(UserError, match=message):
        new_recipe.create("mine", **{"root": tree, **options})
    assert not (tree / "egs2/mine").exists()


def test_template_without_a_setting_raises_user_error(tree):
    path = tree / "egs2/TEMPLATE/dual1/conf/recipe.conf"
    path.write_text(path.read_text().replace("manifest=\n", ""))
    with pytest.raises(UserError, match="has no setting manifest"):
        new_recipe.create("mine", tree)
    assert [path.name for path in (tree / "egs2").iterdir()] == ["TEMPLATE"]


def test_every_file_that_a_recipe_runs_is_copied(tmp_path):
    """Also the systems of a recipe in conf/systems, and Python programs in local."""
    copy_recipes(tmp_path, ["mini_l2", "l2arctic"])
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for name in ("mini_l2", "l2arctic"):
        for folder in ("local", "conf"):
            for path in (ROOT / "egs2" / name).glob(f"*/{folder}/**/*"):
                if path.is_file() and path.suffix != ".pyc":
                    assert (tmp_path / path.relative_to(ROOT)).is_file(), path
    assert (tmp_path / "egs2/mini_l2/discrete1/conf/systems/do_text.yaml").is_file()
    assert '"egs2/*/*/conf/systems/*"' in setup
