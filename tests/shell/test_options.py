"""local/parse_options.sh: values as they are, mistakes named, nothing ever evaluated."""

import pytest

SCRIPT = """
. "$LOCAL/parse_options.sh"
option nj 4 "parallel jobs"
option use_lm false "language model"
option text "" "any text"
[[ -z ${SETTINGS:-} ]] || read_settings "$SETTINGS"
parse_options "$@"
printf '%s\\n' "$nj" "$use_lm" "$text" "given:${option_given[*]+${!option_given[*]}}"
printf '<%s>\\n' "${arguments[@]}"
[[ -z ${OWN:-} ]] || echo "${!OWN}"
"""


@pytest.mark.parametrize(
    "value",
    [
        "two words",
        "it's",
        'say "x"',
        "$(touch hacked)",
        "`touch hacked`",
        "a;touch hacked",
        "*",
        "--not_an_option",
        "",
        "a=b",
        "한국어",
        "back\\slash",
    ],
)
def test_values_arrive_as_they_are(bash, tmp_path, value):
    for given in (["--text", value], [f"--text={value}"]):
        done = bash(SCRIPT, *given)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[2] == value
    assert not (tmp_path / "hacked").exists()


def test_dashes_and_what_follows_a_lone_one(bash):
    done = bash(SCRIPT, "--use-lm", "true", "--nj=8", "--", "--text", "x y")
    assert done.stdout.splitlines()[:2] == ["8", "true"]
    assert done.stdout.splitlines()[-2:] == ["<--text>", "<x y>"]


@pytest.mark.parametrize(
    "given, said",
    [
        (["--use_ml", "true"], "did you mean --use_lm?"),
        (["--nj"], "--nj needs a value"),
        (["--nj", "many"], "not a whole number"),
        (["--nj", "-1"], "not a whole number"),
        (["--use_lm", "yes"], "neither true nor false"),
        (["loose"], "unexpected argument 'loose'"),
        (["--x[$(touch hacked)]", "1"], "unknown option"),
    ],
)
def test_wrong_usage_exits_2(bash, tmp_path, given, said):
    done = bash(SCRIPT, *given)
    assert done.returncode == 2 and said in done.stderr and "remedy:" in done.stderr
    assert not (tmp_path / "hacked").exists()


def test_leading_zeros_are_not_octal(bash):
    assert bash(SCRIPT, "--nj", "08").stdout.splitlines()[0] == "8"


def test_help_has_names_defaults_and_meanings(bash):
    done = bash(SCRIPT, "--help")
    assert done.returncode == 0 and "--nj" in done.stdout and "parallel jobs (4)" in done.stdout


def test_settings_give_defaults_and_options(bash, tmp_path):
    conf = tmp_path / "recipe.conf"
    conf.write_text("nj=9 # many\n\n# folder of it\ncorpus=''\ntext=\"a b\"\r\nlast=1")
    done = bash(SCRIPT, "--corpus", "/x y", SETTINGS=str(conf), OWN="corpus")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "9" and lines[2] == "a b" and lines[-1] == "/x y"
    assert "folder of it" in bash(SCRIPT, "--help", SETTINGS=str(conf)).stdout


@pytest.mark.parametrize(
    "line", ["a=$(id)", 'a="$HOME"', "a=`id`", "rm x", "a=1; id", "A=1", "a=b c"]
)
def test_settings_are_plain_assignments(bash, tmp_path, line):
    conf = tmp_path / "recipe.conf"
    conf.write_text(f"ok=1\n{line}\n")
    done = bash(SCRIPT, SETTINGS=str(conf))
    assert done.returncode == 2 and "recipe.conf:2: not a plain assignment" in done.stderr
