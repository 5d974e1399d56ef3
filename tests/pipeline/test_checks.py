"""Checks of configurations before any stage."""

import sys

import pytest

from espnet_ext.errors import UserError
from espnet_ext.pipeline import checks


@pytest.mark.parametrize(
    ("stages", "options", "outputs", "code"),
    [
        (["11"], ["--train_baseline", "true"], "{meaning: {}}", 2),
        (["11"], ["--train_baseline", "true"], "{meaning: {}}\nbatch_bins: 5", 0),
        (["11"], ["--train_baseline", "true"], "{meaning: {}, surface: {}}", 0),
        (["12"], ["--train_baseline", "true"], "{meaning: {}}", 0),
        (["11"], [], "{meaning: {}}", 0),
    ],
)
def test_stock_models_need_a_number_of_bins(tmp_path, capsys, stages, options, outputs, code):
    config, system = tmp_path / "train.yaml", tmp_path / "so.yaml"
    config.write_text("encoder: conformer\nbatch_bins: auto\n")
    system.write_text(f"outputs: {outputs}\n")
    words = ["--asr_config", str(config), "--system_configs", f"so={system}", "--fs", "16000"]
    types = ["--token_types", "en surface=char meaning=char"]
    assert checks.main([*words, *types, "--stages", *stages, *options]) == code
    assert ("system so has batch_bins: auto" in capsys.readouterr().err) == (code == 2)


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Return a function that checks a system by a stub python, and the file with its calls."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text("encoder: conformer\n")
    stub, calls = tmp_path / "python", tmp_path / "calls"
    stub.write_text(
        f'#!/bin/sh\nshift 2\necho "$@" >>{calls}\n'
        "if grep -q typo so.yaml; then echo 'error: so.yaml: a typo' >&2; exit 1; fi\necho 0\n"
    )
    stub.chmod(0o755)

    def run(content, *stages):
        (tmp_path / "so.yaml").write_text(content)
        words = ["--asr_config", "train.yaml", "--system_configs", "so=so.yaml", "--fs", "16000"]
        words += ["--token_types", "en meaning=char", "--stages", *stages]
        return checks.main([*words, "--python", str(stub), "--log_dir", "exp/log"])

    return run, lambda: calls.read_text().splitlines() if calls.exists() else []


def test_systems_are_checked_before_the_first_stage_unless_nothing_changed(checked, capsys):
    run, calls = checked
    assert run("outputs: {meaning: {}}\ntypo: 1\n", "1", "11") == 1
    shown = capsys.readouterr()
    assert "error: so.yaml: a typo" in shown.err and "no stage was run" in shown.err
    assert run("outputs: {meaning: {}}\n", "1", "11") == 0
    assert capsys.readouterr().out.startswith("variants=")  # bash reads it: not what the check says
    assert run("outputs: {meaning: {}}\n", "1", "11") == 0
    assert calls() == ["train.yaml so.yaml"] * 2
    assert run("outputs: {meaning: {}}\nseed: 1\n", "5", "11") == 0
    assert len(calls()) == 3


@pytest.mark.parametrize("stages", [["1"], ["11"], ["1", "12"]])
def test_systems_are_not_checked_without_training_or_if_it_is_first(checked, stages):
    run, calls = checked
    assert run("outputs: {meaning: {}}\ntypo: 1\n", *stages) == 0
    assert calls() == []


def test_options_of_trainings_are_checked_with_the_systems(tmp_path, monkeypatch):
    """A stub python records its arguments: an unchanged call is not repeated."""
    monkeypatch.chdir(tmp_path)
    stub, calls = tmp_path / "python", tmp_path / "calls"
    stub.write_text(f'#!/bin/sh\nshift 2\necho "$@" >>{calls}\n')
    stub.chmod(0o755)
    for name in ("train.yaml", "so.yaml"):
        (tmp_path / name).write_text("encoder: conformer\n")
    for options in (["--seed", "1"], ["--seed", "1"], ["--seed", "2"]):
        checks.check_systems(
            str(stub), "train.yaml", ["so.yaml"], "log", pretrained="m", options=options
        )
    words = "train.yaml so.yaml --pretrained m -- --seed"
    assert calls.read_text().splitlines() == [f"{words} 1", f"{words} 2"]


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        ("beam_size: 2", ["--beam_size", "3", "--weights", "1epoch.pth"], ""),
        (
            "beam_size: 2",
            ["--beam", "3"],
            "unknown option --beam\n  remedy: did you mean '--beam_s",
        ),
        ("beam_size: 2", ["--beam_size", "x"], "argument --beam_size: invalid int value: 'x'"),
        ("beam_size: 2", ["--coupling_weight", "1"], "--coupling_weight needs --coupling"),
        ("beam_siez: 2", [], "unknown key 'beam_siez'"),
        ("outputs: {surface: {beam_siez: 2}}", [], "outputs.surface: unknown key 'beam_siez'"),
        ("beam_size: two", [], "beam_size"),
    ],
)
def test_options_of_the_decoding_are_checked(tmp_path, config, words, message):
    path = tmp_path / "decode.yaml"
    path.write_text(config + "\n")
    if not message:
        checks.check_decoding(sys.executable, str(path), ["surface"], words)
        return
    with pytest.raises(UserError, match="cannot be decoded") as caught:
        checks.check_decoding(sys.executable, str(path), ["surface"], words)
    assert message in str(caught.value)
    assert words or str(path) in str(caught.value)
