"""Weights and networks whose values are not finite are errors, not empty transcripts."""

import pytest
import tiny_recipe  # noqa: F401
import torch

from espnet_ext.bin import cli, decode
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.finite import NotFiniteError
from espnet_ext.errors import UserError
from espnet_ext.model.load import load_model

WAVES = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (8000, 9000, 7000)]


def copy_with(trained, folder, name, change):
    """Write a copy of the model directory with one parameter changed."""
    import shutil

    shutil.copytree(trained.root / "exp", folder, ignore=shutil.ignore_patterns("*.pth", "*.json"))
    state = torch.load(trained.root / "exp/model.pth", weights_only=True)
    (key,) = [key for key in state if key.endswith(name)]
    change(state[key])
    torch.save(state, folder / "model.pth")
    return folder, key


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_weights_that_are_not_finite_are_refused_at_load(trained, tmp_path, value):
    def change(parameter):
        parameter.view(-1)[0] = value

    folder, key = copy_with(trained, tmp_path / "m", "surface_ctc.ctc_lo.bias", change)
    with pytest.raises(UserError) as caught:
        load_model(folder)
    assert str(folder / "model.pth") in caught.value.message and key in caught.value.message


@pytest.mark.parametrize(
    "name, where, greedy",
    [
        ("encoder.after_norm.weight", "encoder for output 'surface'", False),
        ("surface_ctc.ctc_lo.weight", "head of output 'surface'", False),
        ("surface_ctc.ctc_lo.weight", "head of output 'surface'", True),
        ("meaning_decoder.output_layer.weight", "head of output 'meaning'", False),
        ("meaning_decoder.output_layer.weight", "head of output 'meaning'", True),
    ],
)
def test_network_that_computes_no_numbers_is_an_error(trained, name, where, greedy):
    recogniser = DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2, greedy=greedy)
    with torch.no_grad():
        dict(recogniser.model.named_parameters())[name].fill_(float("nan"))
    with pytest.raises(NotFiniteError, match=f"audio 2 of 3: {where}: .* not finite"):
        recogniser.batch(WAVES)


def test_only_the_utterance_that_is_not_finite_is_named(trained, tmp_path):
    recogniser = DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2)
    encode = recogniser.model.encode

    def fail_for_one(speech, lengths, *args):
        encoded = encode(speech, lengths, *args)
        for hidden in encoded.hidden.values():
            hidden[lengths == 7000] = float("nan")
        return encoded

    recogniser.model.encode = fail_for_one
    with pytest.raises(NotFiniteError, match="audio 3 of 3"):
        recogniser.batch(WAVES)


def test_command_stops_if_the_network_computes_no_numbers(trained, tmp_path, monkeypatch, capsys):
    """Weights that are finite, and overflow."""

    def change(parameter):
        parameter.fill_(1e14)

    folder, _ = copy_with(trained, tmp_path / "m", "encoder.after_norm.weight", change)
    state = torch.load(folder / "model.pth", weights_only=True)
    state["surface_ctc.ctc_lo.weight"].fill_(1e14)
    state["surface_decoder.output_layer.weight"].fill_(1e14)
    state["surface_decoder.after_norm.weight"].fill_(1e14)
    for key in state:
        if "encoders.0" in key and key.endswith("weight"):
            state[key].fill_(1e14)
    torch.save(state, folder / "model.pth")
    out = tmp_path / "out"
    arguments = ["--model_dir", str(folder), "--data", str(trained.root / "dump/valid")]
    assert cli.run(decode.main, [*arguments, "--output_dir", str(out), "--beam_size", "2"]) == 1
    message = capsys.readouterr().err
    assert f"error: {folder}/model.pth: s" in message and "not finite" in message
    assert not out.exists()
