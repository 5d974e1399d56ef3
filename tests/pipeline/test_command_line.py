"""Options of run.sh: values arrive unchanged, mistakes exit with code 2, nothing is executed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import espnet_ext
from espnet_ext.pipeline import names

ROOT = Path(__file__).resolve().parents[2]
PRINT = '. "$1"; shift; for name in "$@"; do printf "%s\\n" "${!name}"; done'


@pytest.fixture
def checkout(tmp_path):
    """A repository with one recipe, whose conf/recipe.conf is empty."""
    recipe = tmp_path / "egs2/mini_l2/dual1"
    (recipe / "conf").mkdir(parents=True)
    (recipe / "conf/recipe.conf").write_text("")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path


@pytest.fixture
def settings(checkout):
    """Call `settings.py` and let bash print some variables; returns (process, lines)."""

    def run(*words: str, conf: str = "", show: str = "", python: str = sys.executable):
        (checkout / "egs2/mini_l2/dual1/conf/recipe.conf").write_text(conf)
        target = checkout / "options"
        command = [python, "-m", "espnet_ext.pipeline.settings", checkout, checkout, target]
        done = subprocess.run(
            [*map(str, command), *words],
            cwd=checkout,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode or not show:
            return done, []
        shell = ["bash", "-euc", PRINT, "bash", str(target), *show.split()]
        printed = subprocess.run(shell, cwd=checkout, capture_output=True, text=True, check=True)
        return done, printed.stdout.split("\n")

    return run


def test_setting_that_resembles_an_option_has_a_note(settings):
    done, _ = settings(conf="langz=ko\nmy_corpus=x\n")
    assert done.returncode == 0
    assert "recipe.conf:1: 'langz' is not an option of run.sh" in done.stderr
    assert "did you mean langs?" in done.stderr and "my_corpus" not in done.stderr


@pytest.mark.parametrize(
    "value",
    [
        "two words",
        "it's",
        'say "x"',
        "$(touch hacked)",
        "`touch hacked`",
        "a;touch hacked",
        "a[$(touch hacked)]",
        "*",
        "--not_an_option",
        "a=b",
        "한국어",
        "back\\slash",
    ],
)
def test_values_arrive_unchanged(settings, checkout, value):
    for words in (["--title", value], [f"--title={value}"]):
        done, lines = settings(*words, show="title")
        assert done.returncode == 0, done.stderr
        assert lines[0] == value
    assert not (checkout / "hacked").exists()


@pytest.mark.parametrize("option", ["nj", "stage", "stress_trainings", "max_broken", "nbpe"])
def test_numbers_are_never_evaluated(settings, checkout, option):
    for value in ("a[$(touch hacked)]", "1+1", "$x", "-1", "1e3", ""):
        done, _ = settings(f"--{option}", value)
        assert done.returncode == 2 and "remedy:" in done.stderr, value
        conf = f"{option}='{value}'"
        assert settings(conf=conf)[0].returncode == 2
    assert not (checkout / "hacked").exists()


def test_dashes_equals_signs_and_the_last_value(settings):
    _, lines = settings("--use-lm", "true", "--nj=8", "--nj", "08", show="use_lm nj")
    assert lines[:2] == ["true", "8"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--use_ml", "true"], "did you mean --use_lm?"),
        (["--nj"], "--nj needs a value"),
        (["--nj", "many"], "not a whole number"),
        (["--nj", "-1"], "not a whole number"),
        (["--use_lm", "yes"], "neither true nor false"),
        (["loose"], "unexpected argument 'loose'"),
        (["--stage", "5", "--", "--foo"], "unexpected argument '--foo' after --"),
        (["--x[$(touch hacked)]", "1"], "unknown option"),
        (["--run_dir", "/"], "unknown option"),
        (["--PATH", "/"], "unknown option"),
        (["--token_type", "bpe"], "ESPnet has it, this pipeline does not: use --token_types"),
        (["--oov", "<unk>"], "ESPnet has it, this pipeline does not: unknown tokens are <unk>"),
        (["--zzz", "1"], "see --help for all options"),
        (["--audio_format", "mp3"], "choose one of: wav, flac, wav.ark, flac.ark"),
        (["--cmd", "pbs"], "choose one of: local, slurm"),
        (["--token_types", "surface=phones"], "did you mean surface=phone?"),
        (["--token_types", "surface=tree"], "there is no token type 'tree'"),
        (["--token_types", "surface"], "not OUTPUT=TYPE"),
        (["--langs", "../x"], "not a name"),
        (["--lang", "en", "--asr_args", "'open"], "close every quote"),
        (["--asr_exp", "x"], "--asr_exp with several languages"),
        (["--asr_exp", "x", "--lang", "en"], "the folder of one model"),
        (["--asr_stats_dir", "x"], "--asr_stats_dir with several languages"),
    ],
)
def test_wrong_usage_exits_2(settings, checkout, words, message):
    done, _ = settings(*words)
    assert done.returncode == 2 and message in done.stderr and "remedy:" in done.stderr
    assert "Traceback" not in done.stderr and not (checkout / "hacked").exists()


def test_languages_are_codes(settings, checkout):
    done, lines = settings("--langs", "English 한국어", show="langs")
    assert lines[0] == "en ko" and "note: --langs English: read as en" in done.stderr
    (checkout / "egs2/mini_l2/dual1/data/en-US").mkdir(parents=True)
    done, lines = settings("--langs", "en-US", show="langs")
    assert lines[0] == "en-US" and "data/en-US: rules of pronunciation need" in done.stderr
    done, _ = settings("--langs", "en English")
    assert done.returncode == 2 and "duplicate en" in done.stderr


def test_all_systems_are_those_that_fit_the_recipe(settings):
    done, lines = settings("--systems", "all do_experts_band", show="systems")
    assert lines[0].split() == [*names.ALL_SYSTEMS, "do_experts_band"] and not done.stderr
    done, lines = settings("--systems", "all", "--token_types", "meaning=char", show="systems")
    assert lines[0].split() == ["so_meaning", "so_meaning_attention"]
    assert "without so_surface do " in done.stderr and "no token type for surface" in done.stderr
    words = ["--systems", "all", "--asr_config", "train_whisper_base.yaml"]
    done, lines = settings(*words, show="systems")
    assert "do_tops" in lines[0] and "do_wide" not in lines[0]
    assert "without do_wide (its encoder cannot be pre-trained)" in done.stderr
    assert "do_experts_decoder (its decoder cannot be pre-trained)" in done.stderr


def test_all_systems_of_the_list_have_an_overlay_with_outputs_that_can_be_read():
    for system in names.ALL_SYSTEMS:
        text = (ROOT / f"conf/systems/{system}.yaml").read_text()
        assert names.outputs_of_overlay(text) == list(yaml.safe_load(text)["outputs"]), system


def test_unknown_option_without_a_similar_one(settings):
    done, _ = settings("--qqqqqq", "1")
    assert done.returncode == 2 and "did you mean" not in done.stderr


def test_names_of_espnet_and_their_aliases_are_the_same_option(settings):
    pairs = {
        "train_config": "asr_config",
        "train_tag": "asr_tag",
        "decode_config": "inference_config",
        "decode_tag": "inference_tag",
        "lang": "langs",
    }
    values = {
        "asr_config": "train.yaml",
        "asr_tag": "x",
        "inference_config": "decode_lm.yaml",
        "inference_tag": "y",
        "langs": "en",
    }
    for alias, name in pairs.items():
        by_name = settings(f"--{name}", values[name], show=name)[1]
        assert by_name == settings(f"--{alias}", values[name], show=name)[1]
        assert by_name == settings(conf=f"{alias}={values[name]}", show=name)[1]
        assert values[name] in by_name[0]


def test_options_for_other_commands_become_words(settings):
    _, lines = settings(
        "--train_args", "--max_epoch 3 --init_param 'a b.pth'", show="asr_args[1] asr_args[3]"
    )
    assert lines[:2] == ["3", "a b.pth"]


def test_version_is_that_of_the_package(settings):
    done, _ = settings("--version")
    assert done.returncode == 0 and done.stdout.startswith(f"espnet-ext {espnet_ext.__version__} ")


def test_help_has_groups_names_aliases_and_defaults(settings):
    done, _ = settings("--help", conf="# folder of it\ncorpus_x=\nnj=9\n")
    assert done.returncode == 0
    for text in ("# General", "--asr_config (--train_config)", "(default: 9)", "folder of it"):
        assert text in done.stdout
    assert settings("--nj", "x", "--help")[0].returncode == 0


def test_recipe_conf_sets_defaults_and_adds_options(settings):
    conf = "nj=9 # many\n\n# folder of it\nmy_corpus=''\ntitle=\"a b\"\r\nmy_last=1"
    done, lines = settings("--my_corpus", "/x y", conf=conf, show="nj title corpus_options[1]")
    assert done.returncode == 0, done.stderr
    assert lines[:3] == ["9", "a b", "/x y"]


@pytest.mark.parametrize(
    "line", ["a=$(id)", 'a="$HOME"', "a=`id`", "rm x", "a=1; id", "A=1", "a=b c", "a[0]=1"]
)
def test_recipe_conf_holds_plain_assignments(settings, line):
    done, _ = settings(conf=f"nj=1\n{line}\n")
    assert done.returncode == 2 and "recipe.conf:2: not a plain assignment" in done.stderr


def test_recipe_conf_cannot_change_internal_variables(settings):
    """An own option of a recipe is only passed to local/data.sh; it is not a variable of run.sh."""
    conf = "root=/tmp/x\nrun_dir=/\nrunner=1\nlog_dir=/y\n"
    done, _ = settings(conf=conf)
    assert done.returncode == 0, done.stderr
    show = "log_dir corpus_options[0]"
    assert settings(conf=conf, show=show)[1][:2] == ["exp/log", "--root"]


def test_recipe_with_a_corpus_has_its_options_and_no_others(settings):
    conf = "corpus=l2arctic\nlangs=en\n"
    done, _ = settings(conf=conf + "splitt=auto\n")
    assert done.returncode == 2 and "did you mean split?" in done.stderr
    done, _ = settings("--split", "standart", conf=conf)
    assert done.returncode == 2 and "choose one of: auto, standard" in done.stderr
    done, _ = settings(conf="corpus=l2artic\n")
    assert done.returncode == 2 and "did you mean l2arctic?" in done.stderr
    done, _ = settings(conf=conf)
    assert done.returncode == 2 and "--l2arctic is not given" in done.stderr
    done, _ = settings("--lang", "ko", "--l2arctic", "/", conf=conf)
    assert done.returncode == 2 and "has no ko" in done.stderr
    show = "corpus_module corpus_options[0] corpus_options[1] published"
    _, lines = settings("--l2arctic", ".", conf=conf, show=show)
    assert lines[0] == "espnet_ext.corpora.l2arctic" and lines[1] == "--l2arctic"
    assert Path(lines[2]).is_absolute() and lines[3] == "false"
    assert settings(conf="corpus=mini_l2\n", show="published")[1][0] == "true"
    # Nothing of the corpus is needed after stage 1
    assert settings("--stage", "2", conf=conf)[0].returncode == 0


def interpreters() -> list[str]:
    """Return a Python 3.9, the oldest that must be able to read options, if there is one."""
    paths = [Path("/usr/bin/python3.9"), *Path.home().glob(".pyenv/versions/3.9*/bin/python")]
    return [str(path) for path in paths if path.exists()][:1]


def test_options_are_read_by_python_3_9(settings):
    for python in interpreters() or pytest.skip("there is no Python 3.9"):
        done, lines = settings("--nj", "3", show="nj", python=python)
        assert done.returncode == 0, done.stderr
        assert lines[0] == "3"
        done, _ = settings("--njj", "3", python=python)
        assert done.returncode == 2 and "did you mean --nj?" in done.stderr
