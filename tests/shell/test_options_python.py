"""run.sh reads its options with whichever Python 3.9 or later is there, before any environment."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = "bash env dirname mktemp rm nproc"


@pytest.fixture
def run(tmp_path):
    """Run run.sh of a copy without `.venv`, with basic tools and these programs on PATH."""
    root = tmp_path / "clone"
    for name in ("local", "conf", "egs2/mini_l2/dual1/conf"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "run.sh", root / "run.sh")
    (root / "espnet_ext").symlink_to(ROOT / "espnet_ext")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS.split():
        (tools / name).symlink_to(shutil.which(name))

    def call(*options: str, programs=None, home: Path = tmp_path / "nowhere"):
        for name, script in (programs or {}).items():
            (tools / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
            (tools / name).chmod(0o755)
        return subprocess.run(
            [shutil.which("bash"), str(root / "run.sh"), *options],
            cwd=tmp_path,
            env={"PATH": str(tools), "HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


WORKS = f'exec {sys.executable} "$@"'
TOO_OLD = f'[[ $1 != -c ]] || exit 1; exec {sys.executable} "$@"'
SHIM = "echo 'pyenv: python3: command not found' >&2; exit 127"


def reads_options(run, **arguments) -> bool:
    """Whether help and usage errors work."""
    helped = run("--help", **arguments)
    wrong = run("--stop_stag", "3", **arguments)
    return (
        helped.returncode == 0
        and "--asr_config (--train_config)" in helped.stdout
        and wrong.returncode == 2
        and "did you mean --stop_stage?" in wrong.stderr
    )


def test_python3_on_path(run):
    assert reads_options(run, programs={"python3": WORKS})


def test_old_and_broken_interpreters_are_skipped(run):
    programs = {"python3": TOO_OLD, "python3.12": SHIM, "python3.13": WORKS}
    assert reads_options(run, programs=programs)


def test_only_pyenv_has_an_interpreter(run, tmp_path):
    for version, script in (("3.8.1", TOO_OLD), ("3.12.1", WORKS)):
        python = tmp_path / f"home/.pyenv/versions/{version}/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        python.chmod(0o755)
    assert reads_options(run, programs={"python3": SHIM}, home=tmp_path / "home")


def test_only_uv_has_an_interpreter(run, tmp_path):
    python = tmp_path / "managed/python"
    python.parent.mkdir()
    python.write_text(f"#!{shutil.which('bash')}\n{WORKS}\n")
    python.chmod(0o755)
    assert reads_options(run, programs={"uv": f"echo {python}"})


def test_without_a_python_there_is_one_message(run):
    done = run("--help")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("error:") == 1 and "no Python 3.9 or later" in done.stderr
    assert "remedy:" in done.stderr
