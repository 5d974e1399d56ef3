"""A copy of the shell parts beside a stub package: the pipeline runs in seconds, without models."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A `python` whose every command writes what the real one would, and notes that it was called.
STUB = r"""#!/usr/bin/env bash
set -euo pipefail
if [[ $1 == -c ]]; then echo "${STUB_GPUS:-0}" && exit; fi # only GPUs are asked for in this way
verb=${2##*.}
shift 2
echo "$verb $*" >>"$STUB_CALLS"
if [[ $verb == "${STUB_FAIL:-}" ]]; then echo "error: $verb: a made-up mistake" >&2 && exit 1; fi
if [[ $verb == "${STUB_SLEEP:-}" ]]; then sleep 60; fi
if [[ $verb == "${STUB_SAYS:-}" ]]; then printf '%b' "$STUB_TEXT"; fi
declare -A given=()
previous=""
for word in "$@"; do
    [[ $previous != --?* ]] || given[${previous#--}]=$word
    previous=$word
done
put() {
    mkdir -p "$1"
    for name in "${@:2}"; do echo "u1 x" >"$1/$name"; done
}
case $verb in
    perturb | format_audio | filter | combine | drop_labels)
        put "${given[output]}" wav.scp text.surface text.meaning
        ;;
    tokens) put "${given[token_dir]}" tokens.txt ;;
    ngram) put "$(dirname "${given[output]}")" "$(basename "${given[output]}")" ;;
    train)
        if [[ ${given[collect_stats]:-} == true ]]; then
            put "${given[stats_dir]}/train" speech_shape
        else
            put "${given[exp_dir]}" config.yaml model.pth
        fi
        ;;
    decode) put "${given[output_dir]}" text.surface text.meaning decode.json ;;
    score) put "${given[hypotheses]}" score.json utterances.json ;;
    mdd) put "$(dirname "${given[json]}")" "$(basename "${given[json]}")" ;;
    pack) echo zip >"${given[archive]}" ;;
    analyze | cross) put "$(dirname "${given[output]}")" "$(basename "${given[output]}")" ;;
    report)
        printf '# Results\n\n| cell | CER |\n|---|---|\n| ko do | 1.0 |\n\n' >"${given[results]}"
        printf 'more\n\n| other |\n' >>"${given[results]}"
        echo "<html>" >"${given[html]}"
        ;;
esac
"""
DATA = """
set -euo pipefail
printf '%s\\n' "$@" >data_options
for lang in ko en; do
    for set in train valid test; do
        mkdir -p data/$lang/$set
        for table in wav.scp text.surface text.meaning; do echo "u1 x" >data/$lang/$set/$table; done
    done
done
"""


@dataclass
class Project:
    """A temporary checkout; `run` starts its run.sh and returns the finished process."""

    root: Path
    calls_file: Path

    @property
    def recipe(self) -> Path:
        return self.root / "egs2" / "mini_l2" / "dual1"

    def environment(self, **extra: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return {**clean, "STUB_CALLS": str(self.calls_file), **extra}

    def run(self, *options: str, timeout: float = 120, **environment: str):
        return subprocess.run(
            ["bash", str(self.root / "run.sh"), *options],
            cwd=self.root,
            text=True,
            capture_output=True,
            timeout=timeout,
            env=self.environment(**environment),
        )

    def calls(self) -> list[str]:
        """What was called since the last look."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.write_text("")
        return lines


@pytest.fixture
def project(tmp_path) -> Project:
    root = tmp_path / "checkout"
    recipe = root / "egs2" / "mini_l2" / "dual1"
    (recipe / "local").mkdir(parents=True)
    shutil.copytree(ROOT / "egs2/mini_l2/dual1/conf", recipe / "conf")
    shutil.copytree(ROOT / "conf", root / "conf")
    shutil.copytree(ROOT / "local", root / "local")
    shutil.copy(ROOT / "run.sh", root / "run.sh")
    stub = root / "environment" / "python"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    (root / "local" / "setup_env.sh").write_text(f"echo '{stub}'\n")
    (recipe / "local" / "data.sh").write_text(DATA)
    return Project(root, tmp_path / "calls")


@pytest.fixture
def bash(tmp_path):
    """Run a piece of bash with the project's shell parts at $LOCAL, in a temporary folder."""

    def run(script: str, *arguments: str, timeout: float = 60, **environment: str):
        path = tmp_path / "script.sh"
        path.write_text("set -euo pipefail\n" + script)
        return subprocess.run(
            ["bash", str(path), *arguments],
            cwd=tmp_path,
            text=True,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, "LOCAL": str(ROOT / "local"), **environment},
        )

    return run
