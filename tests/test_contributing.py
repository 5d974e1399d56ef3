"""Execute the worked examples of CONTRIBUTING.md: files, registration and use, in a copy."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from documents import FENCE, ROOT, read  # noqa: E402

COPIED = ("espnet_ext", "conf", "local", "run.sh", "setup.py", "egs2/TEMPLATE")
SECTIONS = dict(
    re.findall(r"^## (Add .*?)\n(.*?)(?=^## |\Z)", read("CONTRIBUTING.md"), re.M | re.S)
)


class Example:
    """One section of CONTRIBUTING.md, applied to a copy of the repository.

    A code block that begins with `# <path>` is the content of that file. A `diff` block with such a
    line changes the file: its lines begin with a space (context), `-` or `+`.
    """

    def __init__(self, heading: str, root: Path):
        self.root = root
        self.commands: list[str] = []
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / name)
        for language, code in FENCE.findall(SECTIONS[heading]):
            first, _, body = code.partition("\n")
            if language == "sh":
                self.commands.append(code)
            elif language == "diff":
                self._change(root / first.removeprefix("# "), body)
            elif first.startswith("# ") and "/" in first:
                path = root / first.removeprefix("# ").split(",")[0]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(body, encoding="utf-8")
            else:
                self.commands.append(f"python - <<'PYTHON'\n{code}PYTHON\n")

    def _change(self, path: Path, diff: str) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        position = 0
        for line in diff.splitlines():
            sign, text = line[:1], line[1:]
            if sign == "+":
                lines.insert(position, text)
                position += 1
                continue
            assert text in lines[position:], f"{path.relative_to(self.root)} lacks: {text}"
            position = lines.index(text, position)
            if sign == "-":
                del lines[position]
            else:
                position += 1
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def run(self, command: str, folder: str | Path = "") -> str:
        """Run a shell command in the copy; return what it prints."""
        bin_dir = self.root / "bin"
        bin_dir.mkdir(exist_ok=True)
        script = bin_dir / "espnet-ext"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m espnet_ext.bin.main "$@"\n')
        script.chmod(0o755)
        path = f"{bin_dir}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PYTHONPATH": str(self.root), "PATH": path}
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.root / folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def example(tmp_path, request):
    return Example(request.param, tmp_path)


def test_every_extension_has_an_example():
    assert {"Add a corpus", "Add an analysis"} <= set(SECTIONS)


@pytest.mark.parametrize("example", ["Add an analysis"], indirect=True)
def test_analysis_is_registered_and_runs(example):
    utterances = [
        {"texts": {"surface": "abcd", "meaning": "ab"}, "hypotheses": {"surface": "ab"}},
        {"texts": {"meaning": "abcd"}, "hypotheses": {"surface": "abc", "meaning": "abc"}},
    ]
    decoding = example.root / "exp/en/do_small/decode/test"
    decoding.mkdir(parents=True)
    (decoding / "utterances.json").write_text(json.dumps({"utterances": utterances}))
    (command,) = example.commands
    printed = example.run(command)
    assert "| do | surface | 0.50 |" in printed and "| do | meaning | 0.75 |" in printed
    result = json.loads((example.root / "lengths.json").read_text(encoding="utf-8"))
    assert result["kind"] == "lengths" and result["section"]["items"]
