"""Tests of the provenance of numbers."""

import shlex

from espnet_ext import provenance


def test_paths_in_the_clone_are_relative_to_the_working_directory(monkeypatch, tmp_path):
    """Results are committed: their commands must not name the folder of the clone."""
    recipe = provenance.ROOT / "egs2/mini_l2/dual1"
    monkeypatch.chdir(recipe)
    config = provenance.ROOT / "conf/decode.yaml"
    argv = ["--config", str(config), "--model_dir", "exp/en/do", "--data", str(tmp_path)]
    command = shlex.split(provenance.provenance("decode", argv)["command"])
    assert command[3:] == [
        "--config",
        "../../../conf/decode.yaml",
        "--model_dir",
        "exp/en/do",
        "--data",
        str(tmp_path),
    ]
