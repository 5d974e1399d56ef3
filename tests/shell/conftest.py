"""A copy of run.sh and its parts with a stub python: stages run in seconds, without models."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from espnet_ext.pipeline.code import Code
from espnet_ext.pipeline.digests import Digests

ROOT = Path(__file__).resolve().parents[2]

# A `python` whose commands write the files that the real ones would, and record that they were
# called. The pipeline's own modules run under the real python.
STUB = r"""#!/usr/bin/env bash
set -euo pipefail
if [[ $1 == -c ]]; then echo "${STUB_GPUS:-0}" && exit; fi # it asks for the number of GPUs
if [[ $2 == espnet_ext.pipeline.* ]]; then exec "$REAL_PYTHON" "$@"; fi
verb=${2##*.}
shift 2
echo "$verb $*" >>"$STUB_CALLS"
if [[ $verb == "${STUB_SAYS:-}" ]]; then printf '%b' "$STUB_TEXT"; fi
if [[ $verb == "${STUB_FAIL:-}" ]]; then echo "error: $verb: a made-up mistake" >&2 && exit 1; fi
if [[ $verb == "${STUB_SLEEP:-}" ]]; then sleep 60; fi
declare -A given=()
previous=""
for word in "$@"; do
    [[ $previous != --?* ]] || given[${previous#--}]=$word
    previous=$word
done
put() {
    mkdir -p "$1"
    for name in "${@:2}"; do
        if [[ $name == *.yaml ]]; then echo "key: value"; else echo "u1 x"; fi >"$1/$name"
    done
}
case $verb in
    perturb | format_audio | filter | combine | drop_labels)
        put "${given[output]}" wav.scp text.surface text.meaning
        ;;
    tokens) put "${given[token_dir]}" tokens.txt ;;
    learn_kmeans)
        put "${given[output]}" units.json
        echo "$*" >"${given[output]}/kmeans.npz"
        ;;
    dump_units)
        put "${given[output]}" text.rm.units
        cp "${given[units]}/kmeans.npz" "${given[output]}/text.rm.units"
        ;;
    unit_tokens)
        put "${given[token_dir]}" tokens.txt vocabulary.json
        cp "${given[unit_text]}" "${given[token_dir]}/vocabulary.json"
        ;;
    unit_inputs)
        put "${given[output]}" input_ids text.surface text.meaning
        cp "${given[joint_token_dir]}/vocabulary.json" "${given[output]}/input_ids"
        ;;
    unit_embeddings)
        put "$(dirname "${given[output]}")" "$(basename "${given[output]}")"
        cp "${given[joint_token_dir]}/vocabulary.json" "${given[output]}"
        ;;
    ngram) put "$(dirname "${given[output]}")" "$(basename "${given[output]}")" ;;
    train)
        if [[ ${given[collect_stats]:-} == true ]]; then
            put "${given[stats_dir]}/train" speech_shape
        else
            put "${given[exp_dir]}" config.yaml model.pth
        fi
        ;;
    decode) put "${given[output_dir]}" text.surface text.meaning decode.json ;;
    train_stock) put "${given[exp_dir]}" config.yaml model.pth train.json ;;
    decode_stock) put "${given[output_dir]}" text.text decode.json ;;
    baseline) put "${given[output_dir]}" text.meaning baseline.json ;;
    score) put "${given[hypotheses]}" score.json utterances.json ;;
    pack) echo zip >"${given[archive]}" ;;
    analyze | cross | mdd) put "$(dirname "${given[output]}")" "$(basename "${given[output]}")" ;;
    report)
        printf '# Results\n\n| cell | CER |\n|---|---|\n| ko do | 1.0 |\n\n' >"${given[results]}"
        printf 'more\n\n| other |\n' >>"${given[results]}"
        echo "# Details" >"${given[details]}"
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
        for table in wav.scp text.{surface,meaning,canonical}; do
            echo "u1 x" >data/$lang/$set/$table
        done
    done
done
"""


@dataclass
class Project:
    """A temporary copy of the repository; `run` runs its run.sh and returns the process."""

    root: Path
    calls_file: Path

    @property
    def recipe(self) -> Path:
        return self.root / "egs2" / "mini_l2" / "dual1"

    def environment(self, **extra: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        stub = {"STUB_CALLS": str(self.calls_file), "REAL_PYTHON": sys.executable}
        return {**clean, **stub, **extra}

    def run(self, *options: str, timeout: float = 600, **environment: str):
        return subprocess.run(
            ["bash", str(self.root / "run.sh"), *options],
            cwd=self.root,
            text=True,
            capture_output=True,
            timeout=timeout,
            env=self.environment(**environment),
        )

    def copy_package(self) -> Path:
        """Replace the link to the package by a copy that a test may change; return its folder."""
        package = self.root / "espnet_ext"
        package.unlink()
        ignored = shutil.ignore_patterns("__pycache__", "*.xz", "*.npz")
        shutil.copytree(ROOT / "espnet_ext", package, ignore=ignored)
        return package

    def calls(self) -> list[str]:
        """Return the calls of the stub since the last time, without `python -m espnet_ext.bin.`."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.write_text("")
        return lines


@pytest.fixture(scope="session")
def code_digests(tmp_path_factory) -> Path:
    """Return a file with the digests of the package's modules, which take seconds to compute."""
    memory = tmp_path_factory.mktemp("digests") / "digests.json"
    digests = Digests(memory)
    code = Code(ROOT, digests)
    for name in code.module_files:
        code.module(name)
    digests.save()
    return memory


@pytest.fixture
def project(tmp_path, code_digests) -> Project:
    root = tmp_path / "checkout"
    recipe = root / "egs2" / "mini_l2" / "dual1"
    (recipe / "local").mkdir(parents=True)
    shutil.copytree(ROOT / "egs2/mini_l2/dual1/conf", recipe / "conf")
    shutil.copytree(ROOT / "conf", root / "conf")
    shutil.copytree(ROOT / "local", root / "local")
    shutil.copy(ROOT / "run.sh", root / "run.sh")
    (root / "espnet_ext").symlink_to(ROOT / "espnet_ext")
    stub = root / "environment" / "python"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    (root / "local" / "setup_env.sh").write_text(f"echo '{stub}'\n")
    (recipe / "local" / "data.sh").write_text(DATA)
    (recipe / "exp/log").mkdir(parents=True)
    shutil.copy(code_digests, recipe / "exp/log/digests.json")
    return Project(root, tmp_path / "calls")
