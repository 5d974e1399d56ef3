"""local/setup_env.sh with stub interpreters and installers: what is chosen, kept and refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from timing import cpu_seconds

ROOT = Path(__file__).resolve().parents[2]
BASIC = "bash sh env sed awk sort find mktemp mv rm ls cat dirname mkdir sha256sum flock grep touch"


@pytest.fixture
def checkout(tmp_path):
    """A clone's set-up files, and a PATH with the basic tools but no Python."""
    root = tmp_path / "clone"
    shutil.copytree(ROOT / "local", root / "local")
    shutil.copy(ROOT / "setup.py", root / "setup.py")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in BASIC.split():
        if path := shutil.which(name):
            (tools / name).symlink_to(path)
    return root


def set_up(root, *options, **environment):
    bare = {"HOME": str(root), "PATH": str(root.parent / "tools"), **environment}
    return subprocess.run(
        [shutil.which("bash"), str(root / "local/setup_env.sh"), *options],
        cwd=root,
        text=True,
        capture_output=True,
        timeout=60,
        env=bare,
    )


def make_environment(folder: Path, **versions: str) -> Path:
    """An environment of this interpreter that claims to have these distributions."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name, version in versions.items():
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(text)
    return folder


def fake(tools: Path, name: str, script: str):
    path = tools / name
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    path.chmod(0o755)


ALL = (
    "numpy soundfile soxr kaldiio sentencepiece jiwer rapidfuzz scikit_learn PyYAML tqdm "
    "huggingface_hub safetensors Jinja2 matplotlib"
)
EVERYTHING = {name: "1.0" for name in ALL.split()} | {"torchaudio": "2.11.0"}


def test_no_suitable_python_gives_one_message(checkout):
    done = set_up(checkout)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("error:") == 1
    assert "no Python 3.12 or 3.13" in done.stderr and "remedy:" in done.stderr


def test_broken_shims_and_old_interpreters_are_skipped(checkout, tmp_path):
    fake(tmp_path / "tools", "python3.12", "echo 'pyenv: command not found' >&2; exit 127")
    fake(tmp_path / "tools", "python3", "echo python_fits=false; echo version=3.8.1")
    done = set_up(checkout)
    assert done.returncode == 2 and "seen: 3.8.1" in done.stderr


def test_wrong_usage(checkout):
    for options in (["--pyton", "x"], ["--env"], ["--python", "/nowhere/python"]):
        done = set_up(checkout, *options)
        assert done.returncode == 2 and "remedy:" in done.stderr
    done = set_up(checkout, "--python", sys.executable, "--extras", "synth repport")
    assert (
        done.returncode == 2
        and "choose among: browser dev docs hf lhotse onnx pretrained report serve synth tables "
        "translation vad xlsr"
        in done.stderr
    )


def test_folder_that_is_not_an_environment_is_not_changed(checkout, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    done = set_up(checkout, "--env", str(tmp_path / "photos"), "--python", sys.executable)
    assert done.returncode == 2 and (tmp_path / "photos" / "me.jpg").exists()


def test_suitable_active_environment_is_used(checkout, tmp_path):
    env = make_environment(tmp_path / "env", torch="2.13.0+cpu", espnet="202611", **EVERYTHING)
    done = set_up(checkout, "--extras", "", VIRTUAL_ENV=str(env))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(env / "bin/python")
    assert not (checkout / ".venv").exists()


def test_second_call_returns_at_once(checkout, tmp_path):
    env = make_environment(tmp_path / "env", torch="2.13.0", espnet="202611", **EVERYTHING)
    set_up(checkout, "--extras", "", VIRTUAL_ENV=str(env))
    seconds = []
    for _ in range(3):
        started = cpu_seconds()
        done = set_up(checkout, "--extras", "", VIRTUAL_ENV=str(env))
        seconds.append(cpu_seconds() - started)
    assert done.stderr == "" and done.stdout.strip() == str(env / "bin/python")
    assert min(seconds) < 0.3  # 0.02 on an idle machine
    pins = checkout / "local" / "constraints.txt"
    pins.write_text(pins.read_text() + "idna==3.0\n")
    again = set_up(checkout, "--extras", "", VIRTUAL_ENV=str(env))
    assert "environment:" in again.stderr  # probed again, since the pins have changed


@pytest.mark.parametrize("torch", ["2.13.0+cpu", "2.11.0"])
def test_supported_torch_is_kept(checkout, tmp_path, torch):
    env = make_environment(tmp_path / "env", torch=torch)
    fake(
        tmp_path / "tools",
        "uv",
        f'echo "$@" >>{tmp_path}/calls; while (($#)); do\n'
        f'[[ $1 != --constraint ]] || cat "$2" >{tmp_path}/constraints; shift; done',
    )
    done = set_up(checkout, VIRTUAL_ENV=str(env))
    assert done.returncode == 0, done.stderr
    pins = (tmp_path / "constraints").read_text().splitlines()
    assert f"torch=={torch}" in pins and "espnet==202611" in pins
    assert sum(pin.startswith("torch==") for pin in pins) == 1
    assert "[synth,report]" in (tmp_path / "calls").read_text()


@pytest.mark.parametrize(
    "versions",
    [
        {"torch": "2.12.0", "espnet": "202611"},
        {"torch": "2.10.0", "espnet": "202611"},
        {"torch": "2.14.1", "espnet": "202511"},
    ],
)
def test_unsuitable_active_environment_is_not_changed(checkout, tmp_path, versions):
    env = make_environment(tmp_path / "env", **versions)
    before = sorted(env.rglob("*"))
    fake(tmp_path / "tools", "uv", "exit 1")
    done = set_up(checkout, VIRTUAL_ENV=str(env))
    assert done.returncode != 0 and "is not suitable" in done.stderr
    assert sorted(env.rglob("*")) == before


def test_interrupted_installation_continues(checkout, tmp_path):
    fake(
        tmp_path / "tools",
        "uv",
        f"""
case $1 in
    --version) ;;
    venv) {sys.executable} -m venv --without-pip "${{@: -1}}" ;;
    pip) [[ -e {tmp_path}/network ]] ;;
    *) exit 1 ;;
esac""",
    )
    options = ["--python", sys.executable, "--env", str(tmp_path / "env"), "--extras", "dev"]
    broken = set_up(checkout, *options)
    assert broken.returncode == 1 and "it resumes" in broken.stderr and broken.stdout == ""
    (tmp_path / "network").touch()
    done = set_up(checkout, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "env/bin/python")
    assert set_up(checkout, *options).stderr == ""


def test_environment_without_pip_gets_pip_or_a_remedy(checkout, tmp_path):
    env = make_environment(tmp_path / "env", torch="2.13.0", espnet="202611")
    python = env / "bin/python"
    real = python.resolve()
    python.unlink()
    fake(
        env / "bin",
        "python",
        f"""
case "$1 $2" in
    "-m pip") [[ -e {tmp_path}/pip ]] && echo "$@" >>{tmp_path}/pip ;;
    "-m ensurepip") [[ -e {tmp_path}/wheel ]] && touch {tmp_path}/pip ;;
    *) exec {real} "$@" ;;
esac""",
    )
    options = ["--env", str(env), "--extras", ""]
    done = set_up(checkout, *options)
    assert done.returncode == 2 and "has no pip, and there is no uv" in done.stderr
    assert "remedy: install uv" in done.stderr
    (tmp_path / "wheel").touch()
    done = set_up(checkout, *options, ESPNET_EXT_INSTALLER="pip")
    assert done.returncode == 0, done.stderr
    assert "added pip" in done.stderr and "pip install" in (tmp_path / "pip").read_text()


def test_environment_of_another_clone_is_used_unchanged(checkout, tmp_path):
    other = tmp_path / "other clone"
    (other / "espnet_ext").mkdir(parents=True)
    env = make_environment(
        tmp_path / "env", torch="2.13.0", espnet="202611", espnet_ext="0.1.0", **EVERYTHING
    )
    (info,) = env.glob("lib/python*/site-packages/espnet_ext-*")
    origin = {"url": other.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    fake(tmp_path / "tools", "uv", f'[[ $1 != pip ]] || echo "$@" >>{tmp_path}/calls')
    before = sorted(env.rglob("*"))
    options = ["--env", str(env), "--extras", ""]
    done = set_up(checkout, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(env / "bin/python")
    assert f"stays that of {other}" in done.stderr and len(done.stderr.splitlines()) == 1
    assert sorted(env.rglob("*")) == before and not (tmp_path / "calls").exists()
    # To install what is missing, the package of this clone replaces that of the other one.
    done = set_up(checkout, "--env", str(env), "--extras", "synth")
    assert done.returncode == 0, done.stderr
    assert f"was that of {other}, and is now that of {checkout}" in done.stderr
    assert f"{checkout}[synth]" in (tmp_path / "calls").read_text()
    # A clone that was deleted is ignored.
    (env / ".espnet-ext.stamp").unlink()
    shutil.rmtree(other)
    assert "was that of" not in set_up(checkout, *options).stderr


def test_no_package_index_is_named():
    for path in (ROOT / "local").iterdir():
        if path.is_file():
            assert "://" not in path.read_text(encoding="utf-8"), path


def test_pins_satisfy_the_ranges_of_setup():
    packaging = pytest.importorskip("packaging.requirements")
    import ast

    literals = {}
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ("REQUIRES", "EXTRAS"):
            literals[node.targets[0].id] = ast.literal_eval(node.value)
    lines = [*literals["REQUIRES"], *(x for extra in literals["EXTRAS"].values() for x in extra)]
    ranges = {r.name: r.specifier for r in map(packaging.Requirement, lines)}
    for line in (ROOT / "local/constraints.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pin, reason = line.split("#")
        name, version = pin.strip().split("==")
        assert reason.strip(), f"{name} is pinned without a reason"
        assert name not in ranges or version in ranges[name], line


def test_probe_accepts_the_current_environment():
    """The interpreter is suitable, although no environment may be active."""
    done = subprocess.run(
        [sys.executable, ROOT / "local/probe_python.py", ROOT / "setup.py", ""],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
        check=True,
    )
    assert "python_fits=true" in done.stdout and "torch_fits=true" in done.stdout
