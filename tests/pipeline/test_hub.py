"""Names of models on the Hugging Face hub are checked before any work."""

import json
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from espnet_ext.pipeline import checks, hub
from espnet_ext.pipeline.usage import UsageError


class Response:
    """What an error of the hub's client reads of an HTTP response."""

    headers: dict[str, str] = {}
    request = None
    status_code = 404


@pytest.fixture
def asked(monkeypatch):
    """Return the repositories that the hub is asked for; it has two models only."""
    repositories = []
    models = {
        "user/model": ["config.json", "model.safetensors", "pytorch_model.bin"],
        "user/pickled": ["config.json", "pytorch_model.bin"],
    }

    def model_info(_, repo, **options):
        assert options["timeout"] <= 10
        repositories.append(repo)
        if repo in models:
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=f) for f in models[repo]])
        if repo == "no/network":
            raise OSError("no route to host")
        raise RepositoryNotFoundError("not found", response=Response())

    def snapshot_download(repo, **options):
        assert options["local_files_only"]
        if repo != "user/downloaded":
            raise LocalEntryNotFoundError("not downloaded")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return repositories


def test_model_of_the_hub_or_its_cache_is_accepted(asked, capsys):
    hub.check_model("--baselines", "user/model/en/do_small")
    hub.check_model("--baselines", "user/downloaded")
    assert asked == ["user/model"] and not capsys.readouterr().err
    hub.check_model("--baselines", "no/network")
    assert "note: --baselines no/network: no such file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["exp/foo", "exp/foo/bar", "./exp/foo", "/exp/foo", "exp//foo"])
def test_mistyped_path_raises_usage_error(asked, name):
    with pytest.raises(UsageError, match=f"--baselines {name}: no such file or folder"):
        hub.check_model("--baselines", name)


@pytest.mark.parametrize(
    ("stages", "options", "code"),
    [
        (["12"], ["--baselines_on_hub", "exp/foo"], 2),
        (["13"], ["--baselines_on_hub", "exp/foo"], 0),
        (["5"], ["--pretrained", "openai/whisper-bas"], 2),
        (["12"], ["--pretrained", "openai/whisper-bas"], 0),
        (["11"], ["--pretrained", "."], 0),
        (["11"], ["--pretrained", "", "--baselines_on_hub"], 0),
    ],
)
def test_only_models_that_a_stage_needs_are_checked(asked, tmp_path, capsys, stages, options, code):
    config = tmp_path / "train.yaml"
    config.write_text("encoder: conformer\n")
    required = ["--asr_config", str(config), "--system_configs", f"do={config}", "--fs", "16000"]
    assert checks.main([*required, "--stages", *stages, *options]) == code
    assert ("no such file or folder, and the Hugging Face hub" in capsys.readouterr().err) == (
        code == 2
    )


@pytest.mark.parametrize("option", ["kmeans_feature", "unit_embeddings"])
@pytest.mark.parametrize(
    ("stages", "model", "message"),
    [
        (["1", "5"], "user/typo", "no such file or folder, and the Hugging Face hub has no"),
        (["1", "5"], "user/pickled", "user/pickled: the repository has pickled weights only"),
        (["1", "5"], "user/model", ""),
        (["1", "5"], ".", ""),
        (["12"], "user/typo", ""),
    ],
)
def test_models_of_units_are_checked_before_stage_5(
    asked, tmp_path, capsys, option, stages, model, message
):
    config, variables = tmp_path / "train.yaml", tmp_path / "options.json"
    config.write_text("frontend: units\n")
    words = {
        "inference_config": "decode.yaml",
        "inference_args": [],
        "unit_models": {option: model},
    }
    variables.write_text(json.dumps(words))
    required = ["--asr_config", str(config), "--system_configs", f"do={config}", "--fs", "16000"]
    required += ["--options", str(variables), "--kmeans_feature", "x", "--stages", *stages]
    assert checks.main(required) == (2 if message else 0)
    error = capsys.readouterr().err
    assert message in error and (f"--{option} {model}" in error) == bool(message)


def test_pickled_weights_are_an_error_only_where_they_are_read(asked):
    hub.check_model("--baselines", "user/pickled")
    with pytest.raises(UsageError, match="pickled weights only") as caught:
        hub.check_model("--pretrained", "user/pickled", with_safetensors=True)
    assert "--model user/pickled --output pickled-safetensors" in caught.value.remedy
