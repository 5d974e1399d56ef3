"""Tests of the recipes of corpora and of the template: stage 1, options, README."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/corpora"))

from published import (  # noqa: E402
    word,
    write_commonvoice,
    write_epadb,
    write_l2arctic,
    write_sound,
    write_speakandimprove,
    write_speechocean762,
)
from published_korean import (  # noqa: E402
    encoded,
    label505,
    label_l2,
    write_aihub,
    write_aihub_zips,
    write_ksponspeech,
)

from espnet_ext.data.directory import read_directory  # noqa: E402
from espnet_ext.data.validate import validate_directory  # noqa: E402
from espnet_ext.pipeline.recipe import read_recipe  # noqa: E402

RECIPES = (
    "l2arctic",
    "l2english",
    "speechocean762",
    "aihub505",
    "aihub_l2",
    "ksponspeech",
    "commonvoice",
    "epadb",
    "speakandimprove",
    "TEMPLATE",
)
CORPORA = {
    name: os.environ.get(name.upper(), "")
    for name in RECIPES
    if name not in ("TEMPLATE", "l2english")
}


@pytest.fixture
def tree(tmp_path):
    """A copy of all that stage 1 of a recipe needs, so that the repository is not written to."""
    shutil.copytree(ROOT / "local", tmp_path / "tree/local")
    shutil.copytree(ROOT / "conf", tmp_path / "tree/conf")
    shutil.copy(ROOT / "run.sh", tmp_path / "tree/run.sh")
    ignored = shutil.ignore_patterns("data", "dump", "exp", "downloads")
    for name in RECIPES:
        shutil.copytree(ROOT / "egs2" / name, tmp_path / "tree/egs2" / name, ignore=ignored)
    return tmp_path / "tree"


def shell(script, cwd, *arguments):
    """Run a shell script with this interpreter as `python`, as run.sh does, and `espnet-ext`."""
    programs = Path(cwd) / ".programs"
    programs.mkdir(exist_ok=True)
    program = programs / "espnet-ext"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m espnet_ext.bin.main "$@"\n')
    program.chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", script, "bash", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def data(tree, recipe, *arguments):
    return shell('bash local/data.sh "$@"', tree / "egs2" / recipe / "dual1", *arguments)


def is_valid(folder, sets=("train", "valid", "test")):
    for name in sets:
        findings = validate_directory(folder / name)
        assert not [finding for finding in findings if finding.severity == "error"], findings


def test_l2arctic_stage_1(tree, tmp_path):
    stem = {f"a{i}": (f"Hi {'there' * i}", ["HH", "AY1,AA,s"]) for i in range(3)}
    write_l2arctic(tmp_path / "corpus", {speaker: stem for speaker in ("ABA", "NCC", "TLV")})
    done = data(tree, "l2arctic", "--l2arctic", tmp_path / "corpus", "--nj", "2")
    assert done.returncode == 0, done.stderr
    is_valid(tree / "egs2/l2arctic/dual1/data/en")
    done = data(tree, "l2arctic", "--l2arctic", tmp_path / "corpus", "--split", "sentences")
    assert "split by sentences" in done.stderr
    assert len(read_directory(tree / "egs2/l2arctic/dual1/data/en/test")) == 3


def test_speechocean762_stage_1(tree, tmp_path):
    def part(numbers):
        return {f"{n:04}": [(f"{n:04}1", [word("RED", "R EH1 D")])] for n in numbers}

    root = write_speechocean762(tmp_path / "c", {"train": part(range(1, 30)), "test": part([99])})
    done = data(tree, "speechocean762", "--speechocean762", root, "--data_dir", "data/quick")
    assert done.returncode == 0, done.stderr
    is_valid(tree / "egs2/speechocean762/dual1/data/quick/en")


def test_l2english_stage_1_combines_two_corpora(tree, tmp_path):
    def part(numbers):
        return {f"{n:04}": [(f"{n:04}1", [word("RED", "R EH1 D")])] for n in numbers}

    parts = {"train": part(range(1, 30)), "test": part([99])}
    speechocean762 = write_speechocean762(tmp_path / "c", parts)
    stems = {f"a{i}": (f"Hi {'there ' * i}", ["HH", "AY1,AA,s"]) for i in range(40)}
    write_l2arctic(tmp_path / "l", dict.fromkeys(("TLV", "TNI", "TXHC"), stems))
    options = ["--speechocean762", speechocean762, "--l2arctic", tmp_path / "l", "--langs", "en"]
    done = data(tree, "l2english", *options, "--l2arctic_speakers", "TNI", "--nj", "2")
    assert done.returncode == 0, done.stderr
    folder = tree / "egs2/l2english/dual1/data"
    is_valid(folder / "en")
    speakers = {
        name: {utterance.speaker for utterance in read_directory(folder / "en" / name)}
        for name in ("train", "valid", "test")
    }
    assert speakers["test"] == {"0099", "TNI"}
    assert {"TLV", "TXHC"} <= speakers["train"] and "TNI" not in speakers["train"]
    assert not speakers["test"] & (speakers["train"] | speakers["valid"])
    tested, trained = (
        {utterance.texts["meaning"] for utterance in read_directory(folder / "l2arctic/en" / name)}
        for name in ("test", "train")
    )
    assert tested and not tested & trained


def test_aihub505_stage_1(tree, tmp_path):
    stems = [f"EN10QC{number:03}_EN{number:04}_20210801" for number in range(30)]
    labels = {stem: encoded(label505(stem, stem.split("_")[1], "가", "나")) for stem in stems}
    write_aihub_zips(tmp_path / "corpus", {"train": labels}, names="cp949")
    done = data(
        tree, "aihub505", "--aihub505", tmp_path / "corpus", "--nj", "2", "--personal", "true"
    )
    assert done.returncode == 0, done.stderr
    folder = tree / "egs2/aihub505/dual1/data/ko"
    is_valid(folder)
    assert len(read_directory(folder / "train")) == 24 and (folder / "train/utt2topik").is_file()


def test_aihub_l2_stage_1(tree, tmp_path):
    labels = {
        f"{number:05}-F-91-KR-A-LAR010-{number:07}": encoded(label_l2(f"{number:05}", "A b", "a"))
        for number in range(30)
    }
    write_aihub(tmp_path / "corpus", {"train": labels})
    done = data(
        tree,
        "aihub_l2",
        "--aihub_l2",
        tmp_path / "corpus",
        "--langs",
        "en",
        "--nj",
        "2",
        "--read_tasks",
        "LAR XYZ",
    )
    assert done.returncode == 0, done.stderr
    is_valid(tree / "egs2/aihub_l2/dual1/data/en")


def test_ksponspeech_stage_1(tree, tmp_path):
    sets = {
        "train": {"KsponSpeech_000001": "(3개)/(세 개) 아/ 네"},
        "dev": {"KsponSpeech_620001": "네"},
        "eval_clean": {"KsponSpeech_E00001": "네"},
        "eval_other": {"KsponSpeech_E00016": "네"},
    }
    write_ksponspeech(tmp_path / "corpus", sets)
    done = data(
        tree,
        "ksponspeech",
        "--ksponspeech",
        tmp_path / "corpus",
        "--nj",
        "2",
        "--disfluencies",
        "surface",
    )
    assert done.returncode == 0, done.stderr
    folder = tree / "egs2/ksponspeech/dual1/data/ko"
    is_valid(folder, sets)
    (utterance,) = read_directory(folder / "train")
    assert utterance.texts == {"surface": "세 개 아 네", "meaning": "3개 네"}


def test_commonvoice_stage_1(tree, tmp_path):
    sets = {
        name: [(f"{name}{n}", f"{name}{n}", f"Word {n}.", "") for n in range(3)]
        for name in ("train", "dev", "test", "validated")
    }
    root = write_commonvoice(write_commonvoice(tmp_path / "cv", sets), sets, "ko")
    done = data(tree, "commonvoice", "--commonvoice", root, "--langs", "en ko", "--nj", "3")
    assert done.returncode == 0, done.stderr
    for lang in ("en", "ko"):
        is_valid(tree / "egs2/commonvoice/dual1/data" / lang)
    arguments = ["--commonvoice", root, "--train_clips", "validated", "--text", "raw"]
    done = data(tree, "commonvoice", *arguments, "--quick", "true", "--data_dir", "data/quick")
    assert done.returncode == 0, done.stderr
    train = read_directory(tree / "egs2/commonvoice/dual1/data/quick/en/train")
    assert {one.texts["meaning"] for one in train} == {"Word 0.", "Word 1.", "Word 2."}


def test_epadb_stage_1(tree, tmp_path):
    sentences = {"1": ("Our toy", ["AW", "ER", "Th", "OY"])}
    parts = {"train": {"spkr1": sentences, "spkr2": sentences}, "test": {"spkr3": sentences}}
    root = write_epadb(tmp_path / "epadb", parts)
    done = data(tree, "epadb", "--epadb", root, "--allophones", "keep", "--nj", "2")
    assert done.returncode == 0, done.stderr
    is_valid(tree / "egs2/epadb/dual1/data/en")
    (utterance,) = read_directory(tree / "egs2/epadb/dual1/data/en/test")
    assert utterance.texts["surface"] == "AW ER Th OY"


def test_speakandimprove_stage_1(tree, tmp_path):
    recording = {
        "seconds": 2.0,
        "phrases": [(0.0, 2.0, "so (%hesitation%) i go", "so i go", "i went")],
    }
    train = {f"SI-{n:05}-P10005": recording for n in range(4)}
    sets = {"train": train, "dev": {"SI-00009-P10005": recording}}
    root = write_speakandimprove(tmp_path / "si", sets)
    for hesitation, surface in (("none", "so i go"), ("er", "so er i go")):
        done = data(
            tree,
            "speakandimprove",
            "--speakandimprove",
            root,
            "--hesitation",
            hesitation,
            "--quick",
            "true",
        )
        assert done.returncode == 0, done.stderr
        is_valid(tree / "egs2/speakandimprove/dual1/data/en")
        (utterance,) = read_directory(tree / "egs2/speakandimprove/dual1/data/en/test")
        assert utterance.texts == {"surface": surface, "fluent": "so i go", "meaning": "i went"}


@pytest.mark.parametrize(
    ("recipe", "arguments", "code", "message"),
    [
        ("l2arctic", [], 2, "--l2arctic is not given"),
        ("l2arctic", ["--l2arctic", "/no/such"], 1, "/no/such: no such folder"),
        ("l2arctic", ["--l2arctik", "/no/such"], 2, "did you mean --l2arctic?"),
        ("l2arctic", ["--l2arctic", "/", "--split", "x"], 2, "--split"),
        ("l2arctic", ["--l2arctic", "/", "--langs", "ko"], 2, "has no ko, only en"),
        ("l2arctic", ["--archive", "no.zip"], 1, "no.zip: no such archive"),
        ("l2english", [], 2, "--speechocean762 is not given"),
        ("l2english", ["--speechocean762", "/no"], 2, "--l2arctic is not given"),
        ("l2english", ["--speechocean762", "/no", "--l2arctic", "/"], 1, "/no: no such folder"),
        ("l2english", ["--langs", "ko"], 2, "both corpora have only en"),
        ("l2english", ["--split", "x"], 2, "unknown option --split"),
        ("l2english", ["--l2arctic"], 2, "--l2arctic needs a value"),
        ("speechocean762", [], 2, "--speechocean762 is not given"),
        ("speechocean762", ["--speechocean762", "/no/such"], 1, "/no/such: no such folder"),
        ("aihub505", [], 2, "--aihub505 is not given"),
        ("aihub505", ["--aihub505", "/no/such"], 1, "/no/such: no such folder"),
        ("aihub505", ["--aihub505", "/", "--langs", "en"], 2, "has no en, only ko"),
        ("aihub_l2", [], 2, "--aihub_l2 is not given"),
        ("aihub_l2", ["--aihub_l2", "/no/such.zip"], 1, "/no/such.zip: No such file"),
        ("aihub_l2", ["--aihub_l2", "/", "--langs", "ko en"], 2, "prepared one language at a time"),
        ("ksponspeech", [], 2, "--ksponspeech is not given"),
        ("ksponspeech", ["--ksponspeech", "/no/such"], 1, "/no/such: no such folder"),
        ("ksponspeech", ["--ksponspeech", "/", "--labels", "x"], 2, "--labels"),
        ("commonvoice", [], 2, "--commonvoice is not given"),
        ("commonvoice", ["--commonvoice", "/no/such"], 1, "/no/such: no such folder"),
        ("commonvoice", ["--commonvoice", "/tmp", "--langs", "xx"], 1, "has no xx/train.tsv"),
        ("commonvoice", ["--commonvoice", "/tmp", "--text", "x"], 2, "--text"),
        ("epadb", [], 2, "--epadb is not given"),
        ("epadb", ["--epadb", "/no/such"], 1, "/no/such: no such folder"),
        ("epadb", ["--epadb", "/", "--langs", "ko"], 2, "has no ko, only en"),
        ("speakandimprove", [], 2, "--speakandimprove is not given"),
        ("speakandimprove", ["--speakandimprove", "/no"], 1, "/no: no such folder"),
        ("speakandimprove", ["--speakandimprove", "/", "--nj", "x"], 2, "--nj"),
        ("TEMPLATE", [], 2, "--manifest is not given"),
        ("TEMPLATE", ["--manifest", "no.tsv"], 1, "no.tsv: no such manifest"),
    ],
)
def test_wrong_usage_of_stage_1(tree, recipe, arguments, code, message):
    done = data(tree, recipe, *arguments)
    assert done.returncode == code
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_of_run_sh_lists_the_options_of_the_recipe(tree, recipe):
    options = read_recipe(ROOT / "egs2" / recipe / "dual1").corpus_options
    done = shell('bash run.sh "$@"', tree / "egs2" / recipe / "dual1", "--help")
    assert done.returncode == 0, done.stderr
    general, _, recipe_part = done.stdout.partition("# This recipe")
    assert "--overwrite" in general  # an option of the stages too
    shown = set(re.findall(r"--([a-z0-9_]+)", recipe_part))
    assert options and set(options) - {"overwrite"} <= shown


def test_data_sh_outside_an_environment_says_what_to_do(tree, tmp_path):
    """With an old `python`, or none, stage 1 by hand must not end in a SyntaxError."""
    script = tree / "egs2/l2arctic/dual1/local/data.sh"
    (tmp_path / "python").write_text("#!/bin/sh\necho SyntaxError >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    for path in (f"{tmp_path}:/usr/bin:/bin", "/usr/bin:/bin"):
        done = subprocess.run(
            ["bash", script], env={"PATH": path}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2 and "SyntaxError" not in done.stderr
        assert "no environment of this project found" in done.stderr


def test_commands_in_the_readme_of_the_template_run(tree):
    """Run all its commands except those of the whole experiment and of its model."""
    readme = (tree / "egs2/TEMPLATE/dual1/README.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    script = "set -e\n" + "".join(
        block for block in blocks if not re.search(r"\./run\.sh|/exp/", block)
    )
    assert "new_corpus my_corpus" in script
    done = shell(script, tree)
    assert done.returncode == 0, done.stderr
    assert "unlabelled surface: 10 × empty cell in the manifest" in done.stderr
    folder = tree / "egs2/my_corpus/dual1/data/en"
    is_valid(folder)
    sets = {name: read_directory(folder / name) for name in ("train", "valid", "test")}
    assert [len(part) for part in sets.values()] == [24, 3, 3]
    assert sum("surface" in one.texts for part in sets.values() for one in part) == 20
    assert sets["train"][0].texts["meaning"] == "we see"
    documented = re.findall(r"`([a-z0-9_]+)`", readme.split("| column |")[1].split("\n\n")[0])
    from espnet_ext.corpora import plain

    assert set(documented) >= {*plain.REQUIRED, *plain.OUTPUTS, *plain.LABELS, "set"}


def test_template_reports_errors_of_the_manifest(tree, tmp_path):
    write_sound(tmp_path / "a.wav")
    (tmp_path / "m.tsv").write_text("utt_id\tspeaker\taudio\tmeaning\nu1\ts1\tb.wav\thi\n")
    done = data(tree, "TEMPLATE", "--manifest", tmp_path / "m.tsv")
    assert done.returncode == 1 and "b.wav" in done.stderr and "remedy:" in done.stderr


@pytest.mark.parametrize("recipe", CORPORA)
def test_stage_1_of_the_published_corpus(tree, recipe):
    path = CORPORA[recipe]
    if not path:
        pytest.skip(f"{recipe.upper()} does not name the corpus")
    done = data(tree, recipe, f"--{recipe}", Path(path).absolute())
    assert done.returncode == 0, done.stderr
    for folder in (tree / "egs2" / recipe / "dual1/data").iterdir():
        is_valid(folder, [path.name for path in folder.iterdir() if path.is_dir()])
