"""Loading is strict: a difference between weights and configuration is an error."""

import shutil

import pytest
import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.model.build import build_model
from espnet_ext.model.load import load_config, load_model


@pytest.fixture
def folder(config, tmp_path):
    model = build_model(config)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    torch.save(model.state_dict(), tmp_path / "model.pth")
    return tmp_path


def change(folder, how):
    state = torch.load(folder / "model.pth", weights_only=True)
    how(state)
    torch.save(state, folder / "model.pth")


def test_loaded_model_has_the_saved_weights_in_evaluation_mode(folder, config):
    model, loaded = load_model(folder)
    assert loaded == config
    assert not model.training
    state = torch.load(folder / "model.pth", weights_only=True)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_moved_folder_can_be_loaded(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("elsewhere") / "m"
    shutil.move(folder, target)
    load_model(target)


def test_missing_and_unexpected_parameters_are_named(folder):
    change(folder, lambda s: s.update(other=s.pop("surface_ctc.ctc_lo.bias")))
    with pytest.raises(UserError) as caught:
        load_model(folder)
    assert "missing: surface_ctc.ctc_lo.bias" in caught.value.message
    assert "unexpected: other" in caught.value.message


def test_parameters_with_different_sizes_are_named(folder):
    change(folder, lambda s: s.update({"surface_ctc.ctc_lo.bias": torch.zeros(3)}))
    with pytest.raises(UserError, match="surface_ctc.ctc_lo.bias"):
        load_model(folder)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_damaged_weights_are_a_user_error(folder, content):
    path = folder / "model.pth"
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    with pytest.raises(UserError, match=r"not a readable checkpoint: \d+ bytes") as caught:
        load_model(folder)
    assert "restore the file" in caught.value.remedy and "weights_only" not in str(caught.value)


def test_checkpoint_that_would_run_code_is_refused(folder):
    class Command:
        def __reduce__(self):
            import pathlib

            return pathlib.Path.touch, (folder / "ran",)

    torch.save({"a": Command()}, folder / "model.pth")
    with pytest.raises(UserError, match="more than tensors .*could run code"):
        load_model(folder)
    assert not (folder / "ran").exists()


def test_invalid_configuration_is_a_user_error(folder):
    for content, named in (("a: [", "not valid YAML"), ("a: 1", "outputs"), ("- a", "mapping")):
        (folder / "config.yaml").write_text(content)
        with pytest.raises(UserError, match=named):
            load_config(folder)
    (folder / "config.yaml").unlink()
    with pytest.raises(UserError, match="no such file"):
        load_config(folder)


def test_token_that_looks_like_a_number_stays_text(folder, config):
    config["outputs"]["meaning"]["token_list"][2] = "1e5"
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert "- 1e5" in (folder / "config.yaml").read_text()
    assert load_config(folder)["outputs"]["meaning"]["token_list"][2] == "1e5"


def test_model_is_built_without_random_initialisation(trained, monkeypatch):
    """Every parameter comes from the file, so nothing depends on what was in memory."""
    from espnet_ext.model import load

    expected = load_model(trained.root / "exp")[0].state_dict()
    build = load.build_model

    def poisoned(*arguments):
        model = build(*arguments)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float("nan"))
        return model

    monkeypatch.setattr(load, "build_model", poisoned)
    state = load_model(trained.root / "exp")[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in expected.items())
