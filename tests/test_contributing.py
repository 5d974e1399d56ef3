"""Execute the worked examples of CONTRIBUTING.md: files, registration and use, in a copy."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

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


# Build a system in the copy, train it for one step and decode with it.
CHECK_SYSTEM = """
import json, sys
import torch
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.model.build import build_model
from espnet_ext.objectives.registry import build_objective
from espnet_ext.training.run import merged_config

torch.manual_seed(0)
config = merged_config("conf/train_small.yaml", [f"conf/systems/{sys.argv[1]}.yaml"])
batch = {"speech": torch.randn(2, 16000), "speech_lengths": torch.tensor([16000, 12000])}
for name, output in config["outputs"].items():
    output["token_list"] = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]
    batch[f"text_{name}"] = torch.tensor([[2, 3], [4, -1]])
    batch[f"text_{name}_lengths"] = torch.tensor([2, 1])
model = build_model(config, ".", build_objective(config))
loss, stats, _ = model(**batch)
loss.backward()
without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
result = DualSpeech2Text(model.eval(), config, {"beam_size": 2})(torch.randn(16000) / 10)
texts = {name: hypothesis.text for name, hypothesis in result.best.items()}
stats = {name: float(value) for name, value in stats.items()}
print(json.dumps({"loss": float(loss), "stats": stats, "without": without, "texts": texts}))
"""


def check_system(example: Example, system: str) -> dict:
    """Return loss, statistics, parameters without gradient, and texts of an untrained system."""
    printed = example.run(f"python - {system} <<'PYTHON'\n{CHECK_SYSTEM}\nPYTHON\n")
    return json.loads(printed.splitlines()[-1])


def test_every_extension_has_an_example():
    kinds = ("a corpus", "a head", "a conditioner", "an objective", "an analysis")
    assert {f"Add {kind}" for kind in kinds} <= set(SECTIONS)


@pytest.mark.parametrize("example", ["Add a corpus"], indirect=True)
def test_corpus_is_registered_and_prepared(example):
    for number in range(10):
        folder = example.root / f"corpus/s{number}"
        folder.mkdir(parents=True)
        samples = np.random.default_rng(number).uniform(-0.1, 0.1, 16000)
        soundfile.write(folder / "u1.wav", samples, 16000)
        phones = "\nW IY S IY" if number else ""
        (folder / "u1.txt").write_text(f"We see{phones}\n", encoding="utf-8")
    prepare, create_recipe = example.commands
    example.run(prepare)
    example.run(create_recipe)
    for folder in (example.root, example.root / "egs2/twolines/dual1"):
        text = (folder / "data/en/train/text.surface").read_text(encoding="utf-8")
        assert text.splitlines()[0] == "s1-u1 W IY S IY"
        report = json.loads((folder / "data/en/prepare.json").read_text(encoding="utf-8"))
        assert report["unlabelled"] == {"s0-u1": {"surface": "no second line"}}


@pytest.mark.parametrize("example", ["Add a head"], indirect=True)
def test_head_is_registered_trained_and_decoded(example):
    result = check_system(example, "do_l1_classifier")
    assert result["without"] == [] and result["texts"]["l1"]
    assert "loss_classifier_l1" in result["stats"] and "acc_l1" in result["stats"]


@pytest.mark.parametrize("example", ["Add a conditioner"], indirect=True)
def test_conditioner_is_registered_trained_and_decoded(example):
    result = check_system(example, "do_gates")
    assert result["without"] == [] and set(result["texts"]) == {"surface", "meaning"}
    assert result["stats"]["gate_surface"] == 0.0


@pytest.mark.parametrize("example", ["Add an objective"], indirect=True)
def test_objective_is_registered_and_trained(example):
    result = check_system(example, "do_smooth_maximum")
    stats = result["stats"]
    surface = 0.2 * stats["loss_ctc_surface"] + 0.5 * stats["loss_att_surface"]
    meaning = 0.3 * stats["loss_att_meaning"]
    expected = 0.5 * np.logaddexp(surface / 0.5, meaning / 0.5)
    assert result["loss"] == pytest.approx(expected, rel=1e-5)
    assert result["without"] == []


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
