"""Training on cached encoder output, compared with training on audio."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from espnet_ext.errors import UserError
from espnet_ext.training import encoder_cache

pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402
import tiny_whisper  # noqa: E402


def configuration(folder, **more):
    part = {"model": str(folder)}
    return {
        "frontend": "pretrained",
        "frontend_conf": part,
        "normalize": None,
        "encoder": "pretrained",
        "encoder_conf": part,
        "decoder_conf": {
            "attention_heads": 2,
            "linear_units": 16,
            "num_blocks": 1,
            "dropout_rate": 0.0,
            "positional_dropout_rate": 0.0,
        },
        "freeze_param": ["encoder"],
        "max_epoch": 2,
        **more,
    }


def losses(exp):
    stats = torch.load(exp / "checkpoint.pth", weights_only=False)["reporter"]["stats"]
    return [stats[epoch][kind]["loss"] for epoch in (1, 2) for kind in ("train", "valid")]


def test_cached_training_equals_training_on_audio(tmp_path, capsys):
    tiny_whisper.write(tmp_path / "whisper")
    recipe = tiny_recipe.make(tmp_path / "recipe")
    plain = recipe.train("plain", configuration(tmp_path / "whisper"))
    config = configuration(tmp_path / "whisper", encoder_cache=str(tmp_path / "cache"))
    cached = recipe.train("cached", config)
    assert capsys.readouterr().err.count("wrote the encoder output of") == 2
    assert losses(cached) == pytest.approx(losses(plain), rel=1e-4)
    weights = [torch.load(exp / "2epoch.pth", weights_only=True) for exp in (plain, cached)]
    for name, value in weights[0].items():
        assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4)
    # another system with the same encoder reads the same files
    one = {"meaning": tiny_recipe.OUTPUTS["meaning"]}
    recipe.train("meaning", {**config, "max_epoch": 1}, one)
    assert capsys.readouterr().err.count("is used again") == 2
    assert len(list((tmp_path / "cache").glob("*/*.ark"))) == 2
    # a changed recording is encoded again
    wave = recipe.root / "wav/train0.wav"
    wave.write_bytes((recipe.root / "wav/train1.wav").read_bytes())
    recipe.train("changed", {**config, "max_epoch": 1}, one)
    error = capsys.readouterr().err
    assert error.count("wrote the encoder") == 1 and error.count("is used again") == 1
    # the encoder must be frozen in every epoch
    with pytest.raises(UserError, match=r"encoder_cache: encoder\.\S+ and \d+ more would be train"):
        recipe.train("trained", {**config, "freeze_param": []})


class _Model(torch.nn.Module):
    """The attributes of a model that the cache checks."""

    def __init__(self, **changes):
        super().__init__()
        self.encoder = torch.nn.Linear(2, 2)
        self.heads = torch.nn.Linear(2, 2)
        settings = {"specaug": None, "conditioning": None, "conditions": (), "objective": None}
        for name, value in (settings | changes).items():
            setattr(self, name, value)


def factory(**changes):
    preprocess = SimpleNamespace(speech=changes.pop("augmentation", None))
    return SimpleNamespace(dataset=SimpleNamespace(preprocess=preprocess))


@pytest.mark.parametrize(
    ("model", "factories", "message"),
    [
        (_Model(specaug="specaug"), [factory()], "specaug changes the encoder's input"),
        (_Model(conditioning="vectors"), [factory()], "conditioning changes"),
        (_Model(conditions=("band",)), [factory()], "reads labels"),
        (_Model(objective=SimpleNamespace(needs_layers=True)), [factory()], "objective reads"),
        (_Model(), [factory(), factory(augmentation="noise")], "audio is augmented"),
        (_Model(), [SimpleNamespace()], "iterator_type"),
    ],
)
def test_changing_encoder_output_is_refused(model, factories, message, tmp_path):
    with pytest.raises(UserError, match=f"encoder_cache: .*{message}") as caught:
        encoder_cache.use_cache(tmp_path, model, factories, {})
    assert "remove encoder_cache" in caught.value.remedy


def test_digest_reads_the_encoder_alone():
    model = _Model()
    before = encoder_cache.encoder_digest(model)
    with torch.no_grad():
        model.heads.weight.add_(1)
        assert encoder_cache.encoder_digest(model) == before
        model.encoder.weight[0, 0] += 1e-3
    assert encoder_cache.encoder_digest(model) != before


def test_precision_of_cached_encoder_output():
    model = _Model(autocast_dtype=torch.bfloat16)
    assert encoder_cache.precision_of(model) == "cpu torch.bfloat16"
    model.autocast_dtype = None
    assert encoder_cache.precision_of(model) == "cpu torch.float32"
    model.autocast_dtype = torch.bfloat16
    on_other_device = encoder_cache.precision_of(model.to("meta"))  # instead of a GPU
    assert on_other_device.startswith("meta torch.float32") and "bfloat16" not in on_other_device


def test_encoder_output_of_another_precision_is_not_used(tmp_path, capsys):
    tiny_whisper.write(tmp_path / "whisper")
    recipe = tiny_recipe.make(tmp_path / "recipe")
    one = {"meaning": tiny_recipe.OUTPUTS["meaning"]}
    cache = tmp_path / "cache"
    config = configuration(tmp_path / "whisper", encoder_cache=str(cache), max_epoch=1)
    recipe.train("bfloat16", {**config, "cpu_autocast": "bfloat16"}, one)
    recipe.train("float32", config, one)
    assert capsys.readouterr().err.count("wrote the encoder output of") == 4
    assert len(list(cache.iterdir())) == 2


def test_frozen_parameters_are_checked_by_name():
    model = _Model()
    model.encoder.requires_grad_(False)
    encoder_cache.check_frozen(model)
    model.encoder.bias.requires_grad_(True)
    with pytest.raises(UserError, match=r"encoder_cache: encoder\.bias would be trained"):
        encoder_cache.check_frozen(model)
