"""Pickled checkpoints become safetensors, and code in them is not run."""

import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.bin import cli, convert_checkpoint
from espnet_ext.errors import UserError
from espnet_ext.model.pretrained import checkpoint
from espnet_ext.model.pretrained.registry import FAMILIES

transformers = pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_encoders  # noqa: E402
import tiny_whisper  # noqa: E402


def pickled(folder, state=None):
    """Replace the safetensors of a checkpoint by a pickled file, and return its tensors."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights if state is None else state, folder / "pytorch_model.bin")
    return weights


def run(model, output, *options):
    return cli.run(convert_checkpoint.main, ["--model", str(model), "--output", output, *options])


def read(folder):
    return checkpoint.Source.read(str(folder), None, None, tuple(FAMILIES), "encoder_conf")


@pytest.mark.parametrize("family", ["wavlm", "hubert", "whisper"])
def test_converted_checkpoint_has_the_same_weights(family, tmp_path, capsys):
    source = tmp_path / "source"
    if family == "whisper":
        tiny_whisper.write(source)
    else:
        tiny_encoders.save(tiny_encoders.build(family), source)
    weights = pickled(source)
    with pytest.raises(UserError) as caught:
        read(source)
    command = f"espnet-ext convert_checkpoint --model {source} --output source-safetensors"
    assert command in caught.value.remedy
    output = str(tmp_path / "converted")
    for _ in range(2):  # its own files are replaced
        assert run(source, output) == 0
    assert f"give --pretrained {output}" in capsys.readouterr().out
    name = {"wavlm": "WavLMModel", "hubert": "HubertModel", "whisper": "WhisperModel"}[family]
    converted = read(output)
    network = converted.network(name)
    assert converted.architecture["model_type"] == family
    values = {key.removeprefix("model."): value for key, value in weights.items()}
    for key, value in network.state_dict().items():
        assert torch.equal(value, values[key]), key
    assert (tmp_path / "converted/tokenizer.json").exists() == (source / "tokenizer.json").exists()


class _Code:
    """Runs code when it is unpickled by pickle."""

    def __reduce__(self):
        return Path.touch, (Path("was_run"),)


def test_code_in_pickled_weights_is_not_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = tiny_encoders.save(tiny_encoders.build("wavlm"), tmp_path / "source")
    weights = pickled(source, {})
    torch.save({**weights, "code": _Code()}, source / "pytorch_model.bin")
    assert run(source, "converted") == 1
    assert "not readable without running code" in capsys.readouterr().err
    assert not Path("was_run").exists() and not Path("converted").exists()


def test_incomplete_weights_and_files_of_others_are_refused(tmp_path, capsys):
    source = tiny_encoders.save(tiny_encoders.build("wavlm"), tmp_path / "source")
    weights = pickled(source)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text("{}")
    assert run(source, str(tmp_path / "other")) == 1
    assert "config.json would be overwritten" in capsys.readouterr().err
    weights.pop("encoder.layers.1.final_layer_norm.bias")
    torch.save(weights, source / "pytorch_model.bin")
    assert run(source, str(tmp_path / "converted")) == 1
    assert "1 weights are missing" in capsys.readouterr().err
    assert run(source, str(source)) == 1
    assert "is both input and output" in capsys.readouterr().err


def test_repository_with_pickled_weights_names_the_command(tmp_path, monkeypatch):
    import huggingface_hub

    files = ["config.json", "pytorch_model.bin"]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_, **__: files)
    architecture = dict(
        read(tiny_encoders.save(tiny_encoders.build("wavlm"), tmp_path)).architecture
    )
    source = checkpoint.Source(architecture, "user/wavlm", "abc", "encoder_conf")

    def fail(*_, **__):
        raise OSError("user/wavlm does not appear to have a file named model.safetensors")

    monkeypatch.setattr(transformers.WavLMModel, "from_pretrained", fail)
    with pytest.raises(UserError, match="has pickled weights only") as caught:
        source.network("WavLMModel")
    command = "convert_checkpoint --model user/wavlm --revision abc --output wavlm-safetensors"
    assert command in caught.value.remedy
    files.append("model.safetensors")
    with pytest.raises(UserError, match="does not appear to have"):
        source.network("WavLMModel")
