"""Wrong paths are reported before PyTorch is imported."""

import json
import os
import subprocess
import sys

import pytest

DECODE = ["decode", "--model_dir", "empty", "--output_dir"]
SWAPS = ["analyze", "swaps", "--models", "a=empty", "b=empty", "--output", "o.json", "--train"]
CASES = {  # command → message
    (*DECODE, "out", "--data", "nope"): "nope/wav.scp: cannot read: No such file or directory",
    (*DECODE, "out", "--data", "a.wav"): "a.wav: not a data directory (a folder with wav.scp",
    (*DECODE, "out", "--data", "sound"): "recordings: espnet-ext transcribe empty sound",
    (*DECODE, "out", "--data", "https://a.org/a.wav"): "remedy: download it; for recordings: ",
    (*DECODE, "set", "--data", "set"): "set: is both input and output",
    (*DECODE, "out", "--data", "set"): "empty/config.yaml: no such file",
    ("pack", "--model_dir", "empty", "--archive", "a.zip"): "empty/config.yaml: no such file",
    ("judge", "empty", "a.wav"): "empty/config.yaml: no such file",
    ("judge", "empty", "none.wav"): "none.wav: no such audio file or folder",
    ("transcribe", "empty", "a.wav"): "empty/config.yaml: no such file",
    ("transcribe", "empty", "~/none.wav"): "remedy: ~ is not expanded here: write /",
    ("calibrate", "empty", "nope"): "nope: no such data directory",
    ("calibrate", "empty", "set"): "empty/config.yaml: no such file",
    (*SWAPS, "set", "--data", "nope"): "nope: no such data directory",
    (*SWAPS, "nope", "--data", "set"): "nope: no such data directory",
    (*SWAPS, "set", "--data", "set"): "empty/config.yaml: no such file",
    ("convert_checkpoint", "--model", "empty", "--output", "o"): "empty/config.json: no such file",
    ("convert_checkpoint", "--model", "empty", "--output", "empty"): "is both input and output",
    ("export", "--to", "onnx", "empty", "--output", "o"): "empty/config.yaml: no such file",
    ("export", "--to", "onnx", "empty", "--output", "empty"): "is both input and output",
    ("upload", "--archive", "a.zip", "--repo", "a/b"): "a.zip: no such archive",
}
PROGRAM = """
import json, sys
from espnet_ext.bin import cli, main
for command in json.load(sys.stdin):
    print("#", flush=True)
    cli.run(main.main, command)
"""


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    """What each command prints in one process that has no PyTorch."""
    folder = tmp_path_factory.mktemp("early")
    for name, text in {
        "without_torch/torch.py": 'raise AssertionError("torch is imported")',
        "set/wav.scp": "u a.wav\n",
        "set/utt2spk": "u s\n",
        "a.wav": "",
        "sound/a.wav": "",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "empty").mkdir()
    paths = [str(folder / "without_torch"), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        input=json.dumps(list(CASES)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return dict(zip(CASES, done.stdout.split("#\n")[1:], strict=False))


@pytest.mark.parametrize("command", CASES, ids=" ".join)
def test_wrong_path_is_reported_before_torch_is_imported(command, messages):
    assert CASES[command] in messages.get(command, "not run: torch is imported")
