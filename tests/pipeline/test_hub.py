"""Names of models on the Hugging Face hub are checked before any work."""

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
    """Return the repositories that the hub is asked for; it has user/model only."""
    repositories = []

    def model_info(_, repo, **options):
        assert options["timeout"] <= 10
        repositories.append(repo)
        if repo == "user/model":
            return
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
