"""A wheel, installed outside of the repository: recipes, training, inference and scoring."""

import os
import re
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import tiny_recipe  # noqa: E402

FILES = ("run.sh", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
BUILD = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources without the repository's git."""
    source = tmp_path_factory.mktemp("source")
    caches = shutil.ignore_patterns("__pycache__")
    written_by_runs = shutil.ignore_patterns("__pycache__", "data", "dump", "exp", "downloads")
    shutil.copytree(ROOT / "espnet_ext", source / "espnet_ext", ignore=caches)
    for name in ("conf", "local", "egs2"):
        shutil.copytree(ROOT / name, source / name, ignore=written_by_runs)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    (source / "dist").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=source, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return next((source / "dist").glob("*.whl"))


def test_the_wheel_has_the_recipes_and_configurations(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if "recipe_files/" in name}
        mode = archive.getinfo("espnet_ext/recipe_files/run.sh").external_attr >> 16
    expected = {"run.sh"}
    expected |= {f"local/{p.name}" for p in (ROOT / "local").glob("*.*")}
    expected |= {str(p.relative_to(ROOT)) for p in (ROOT / "conf").rglob("*.yaml")}
    done = subprocess.run(
        ["git", "ls-files", "egs2"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    results = ("/RESULTS", "/cells.json", "/figures/")
    expected |= {name for name in done.stdout.split() if not any(r in name for r in results)}
    packed = {name.removeprefix("espnet_ext/recipe_files/") for name in names}
    assert expected <= packed
    assert not [name for name in packed if "RESULTS" in name or "/exp/" in name]
    assert mode & 0o111


class Installed:
    """An environment with the wheel. It shares all other packages with this interpreter's."""

    def __init__(self, wheel: Path, folder: Path):
        self.python = folder / "env/bin/python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        packages = next((folder / "env/lib").glob("python*/site-packages"))
        shared = site.getsitepackages()[0]
        (packages / "a_shared.pth").write_text(f"{shared}\n")
        for path in Path(shared).glob("distutils-precedence.pth"):  # of setuptools, for ESPnet
            shutil.copy(path, packages)
        install = ["install", "--quiet", "--no-deps", str(wheel)]
        installers = (
            [sys.executable, "-m", "uv", "pip", *install, "--offline", "--python", self.python],
            [sys.executable, "-m", "pip", "--python", self.python, *install, "--no-index"],
        )
        for command in installers:
            if subprocess.run(command, capture_output=True, timeout=300).returncode == 0:
                break
        else:
            pytest.skip("this environment has neither uv nor pip")
        self.folder = folder / "empty"
        self.folder.mkdir()
        home = {"PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin"}
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self.environment = {**kept, **home, "OMP_NUM_THREADS": "1"}

    def run(self, *command: str, folder: str = ".", fails: bool = False) -> str:
        """Run a command and return its output and messages."""
        done = subprocess.run(
            command,
            cwd=self.folder / folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    return Installed(wheel, tmp_path_factory.mktemp("installed"))


def test_the_package_is_that_of_the_wheel(installed):
    where = installed.run("python", "-c", "import espnet_ext; print(espnet_ext.__file__)")
    assert str(installed.python.parents[1]) in where
    assert "espnet-ext 0" in installed.run("espnet-ext", "--version")


def test_new_recipe_writes_the_pipeline_and_overwrites_nothing(installed):
    message = installed.run("espnet-ext", "new_corpus", "mine", fails=True)
    assert "espnet-ext new_recipe DIR" in message
    message = installed.run("espnet-ext", "new_recipe", "one", "--recipes", "l2arctic")
    assert "wrote" in message and "./run.sh --recipe egs2/l2arctic/dual1 --help" in message
    assert sorted(p.name for p in (installed.folder / "one/egs2").iterdir()) == [
        "TEMPLATE",
        "l2arctic",
    ]
    assert "--l2arctic" in installed.run(
        "./run.sh", "--recipe", "egs2/l2arctic/dual1", "--help", folder="one"
    )
    message = installed.run("./run.sh", "--stop_stage", "1", folder="one", fails=True)
    assert "egs2/mini_l2/dual1: no such folder" in message
    again = installed.run("espnet-ext", "new_recipe", "one", "--recipes", "l2arctic")
    assert "wrote 0 files" in again
    (installed.folder / "one/conf/train.yaml").write_text("mine")
    message = installed.run("espnet-ext", "new_recipe", "one", fails=True)
    assert "conf/train.yaml: exists with other content" in message
    assert not (installed.folder / "one/egs2/mini_l2").exists()
    assert (installed.folder / "one/conf/train.yaml").read_text() == "mine"
    message = installed.run("espnet-ext", "new_recipe", "two", "--recipes", "l2artic", fails=True)
    assert "did you mean l2arctic?" in message
    assert not (installed.folder / "two").exists()


def test_pages_have_no_links_that_lead_nowhere(installed):
    installed.run("espnet-ext", "new_recipe", "three", "--recipes", "aihub_l2")
    for page in (installed.folder / "three").rglob("*.md"):
        for target in links(page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def links(text):
    return re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", text)


def test_run_sh_of_another_version_warns(installed):
    installed.run("espnet-ext", "new_recipe", "four", "--recipes", "mini_l2")
    assert "warning" not in installed.run("./run.sh", "--help", folder="four")
    (installed.folder / "four/local/espnet_ext_version.txt").write_text("0.0.1\n")
    message = installed.run("./run.sh", "--help", folder="four")
    assert "of espnet-ext 0.0.1" in message and "new_recipe NEW_DIR" in message


def test_without_the_package_run_sh_names_the_remedy(installed):
    installed.run("espnet-ext", "new_recipe", "five", "--recipes", "mini_l2")
    environment = {**installed.environment, "PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
    done = subprocess.run(
        ["bash", "run.sh", "--help"],
        cwd=installed.folder / "five",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "no Python with the package espnet-ext" in done.stderr
    # Named, it is found
    words = ["bash", "run.sh", "--python", str(installed.python), "--help"]
    done = subprocess.run(words, cwd=installed.folder / "five", env=environment)
    assert done.returncode == 0


@pytest.mark.slow
def test_training_decoding_and_scoring_outside_of_the_repository(installed):
    installed.run("espnet-ext", "new_recipe", "work", "--recipes", "mini_l2")
    installed.run("espnet-ext", "new_corpus", "toy", folder="work")
    recipe = installed.folder / "work/egs2/toy/dual1"
    config = {**tiny_recipe.CONFIG, "max_epoch": 1, "keep_nbest_models": 1}
    (recipe / "conf/tiny.yaml").write_text(yaml.safe_dump(config))
    options = ["--systems", "do", "--asr_config", "tiny.yaml", "--inference_args", "--beam_size 2"]
    installed.run(
        "./run.sh", "--recipe", "egs2/toy/dual1", *options, "--stop_stage", "13", folder="work"
    )
    model = recipe / "exp/en/do_tiny"
    assert (model / "decode/test/score.json").is_file()
    # The verbs and the Python API, in a folder with one recording
    sound = recipe / "sound/toy1.wav"
    data = installed.folder / "elsewhere/data"
    data.mkdir(parents=True)
    rows = {"wav.scp": sound, "utt2spk": "a", "text.surface": "W IY", "text.meaning": "we"}
    for name, value in rows.items():
        (data / name).write_text(f"a-1 {value}\n")
    decode = ["espnet-ext", "decode", "--model_dir", str(model), "--beam_size", "2"]
    installed.run(*decode, "--data", "data", "--output_dir", "decoded", folder="elsewhere")
    score = ["espnet-ext", "score", "--data", "data", "--hypotheses", "decoded"]
    installed.run(*score, "--token_types", "surface=phone meaning=char", folder="elsewhere")
    assert (installed.folder / "elsewhere/decoded/score.json").is_file()
    mdd = ["espnet-ext", "mdd", "--canonical", "data/text.surface"]
    mdd += ["--perceived", "data/text.surface"]
    installed.run(*mdd, "--hypothesis", "decoded/text.surface", folder="elsewhere")
    code = (
        "from espnet_ext.decoding.api import DualSpeech2Text\n"
        f"recognise = DualSpeech2Text.from_pretrained({str(model)!r}, beam_size=2)\n"
        f"print(sorted(recognise({str(sound)!r}).best))"
    )
    assert "['meaning', 'surface']" in installed.run("python", "-c", code, folder="elsewhere")
