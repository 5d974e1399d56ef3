"""The options of training speed reach the model, the loaders and the process."""

import argparse
import logging
import os
import threading

import pytest
import small_models
import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.model import build
from espnet_ext.training import (
    audio_cache,
    fast_layers,
    precision,
    process_settings,
    read_ahead,
    resume,
    speed,
    task,
    trainer,
)

KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
VARIABLES = (KERNELS, "DNNL_PRIMITIVE_CACHE_CAPACITY", *process_settings._MALLOPT)
FAST = {
    fast_layers.FastLinear,
    fast_layers.FastDropout,
    fast_layers.FastConvolution,
    fast_layers.FastRelativeAttention,
    fast_layers.FastAttention,
    fast_layers.FastSubsampling,
}
CONFIG = {
    "fast_layers": True,
    "audio_cache_mb": 1,
    "cpu_autocast": "auto",
    "save_interval_minutes": 1e-6,
    "batch_bins": 20000,  # several batches per epoch
    "max_epoch": 1,
}


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A CPU with bfloat16, a process without settings, and the calls of malloc's function."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")  # restored after the test
        monkeypatch.delenv(variable)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    calls = []
    monkeypatch.setattr(
        process_settings, "_mallopt", lambda: lambda *words: calls.append(words) or True
    )
    return calls


@pytest.fixture
def record(monkeypatch):
    """What a training does, recorded in its only epoch."""
    recorded = {"readers": set(), "saved": [], "autocast": set()}
    build_model, train_one_epoch = task.build_model, trainer.DualOutputTrainer.train_one_epoch
    read, save = audio_cache.AudioCache.__getitem__, resume.ResumableEpoch.save

    def recorded_build(*arguments):
        recorded["kernels when the model is built"] = os.environ.get(KERNELS)
        return build_model(*arguments)

    def recorded_epoch(model, iterator, **arguments):
        def before_encoder(*_):
            kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
            recorded["autocast"].add(kind)

        model.encoder.register_forward_pre_hook(before_encoder)
        recorded["layers"] = {type(module) for module in model.modules()}
        recorded["loader"] = iterator.dataset.loader_dict["speech"]
        return train_one_epoch(model=model, iterator=iterator, **arguments)

    def recorded_read(self, utterance):
        if "train" in utterance:  # validation reads ahead by other code
            recorded["readers"].add(threading.current_thread().name.partition("_0")[0])
        return read(self, utterance)

    def recorded_save(self, **options):
        recorded["saved"].append(self._number)
        save(self, **options)

    monkeypatch.setattr(task, "build_model", recorded_build)
    monkeypatch.setattr(trainer.DualOutputTrainer, "train_one_epoch", recorded_epoch)
    monkeypatch.setattr(audio_cache.AudioCache, "__getitem__", recorded_read)
    monkeypatch.setattr(resume.ResumableEpoch, "save", recorded_save)
    return recorded


def test_a_training_uses_all_options(recipe, environment, record, monkeypatch):
    monkeypatch.setattr(precision, "measure", lambda *_: {"bfloat16": 1.0, "float32": 2.0})
    folder = recipe.train(config=CONFIG)
    assert record["layers"] >= FAST - {fast_layers.FastSubsampling}
    assert isinstance(record["loader"], read_ahead.ReadAhead)
    assert isinstance(record["loader"]._loader, audio_cache.AudioCache)
    assert record["readers"] == {"read_ahead"}  # also the first batch: nothing is drawn
    assert record["autocast"] == {torch.bfloat16}
    assert yaml.safe_load((folder / "config.yaml").read_text())["cpu_autocast"] == "bfloat16"
    assert record["saved"][0] == 1  # the first update took longer than the interval
    assert record["kernels when the model is built"] == "2048"
    assert sorted(environment) == sorted(process_settings._MALLOPT.values())


def test_a_training_without_the_options_uses_none(recipe, environment, record):
    off = {"fast_layers": False, "audio_cache_mb": 0, "cpu_autocast": None}
    recipe.train(config={**CONFIG, **off, "save_interval_minutes": 0})
    assert not record["layers"] & FAST
    assert not isinstance(record["loader"]._loader, audio_cache.AudioCache)
    assert record["autocast"] == {None} and record["saved"] == []


def test_the_slower_format_is_not_used(recipe, environment, record, monkeypatch):
    monkeypatch.setattr(precision, "measure", lambda *_: {"bfloat16": 2.0, "float32": 1.0})
    recipe.train(config=CONFIG)
    assert record["autocast"] == {None}


def test_cpu_settings_are_not_made_for_a_gpu(monkeypatch, caplog):
    monkeypatch.setattr(speed, "prepare_cpu_training", lambda: pytest.fail("prepared"))
    monkeypatch.setattr(speed, "choose_for_all_processes", lambda *_: pytest.fail("measured"))
    args = argparse.Namespace(
        fast_layers=True, chunked_loss="auto", cpu_autocast="auto", ngpu=1, compile="none"
    )
    model = small_models.make()
    kinds = [type(module) for module in model.modules()]
    speed.prepare(args)
    with caplog.at_level(logging.INFO):
        speed.speed_up(model, args)
    assert [type(module) for module in model.modules()] == kinds
    assert "fast_layers: no effect on a GPU" in caplog.text and args.cpu_autocast == "auto"


def test_all_processes_use_the_format_of_the_first(monkeypatch):
    dist = precision.dist
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(precision, "choose_precision", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(
        dist, "broadcast_object_list", lambda choices: choices.__setitem__(0, "bfloat16")
    )
    assert precision.choose_for_all_processes(None, None) == "bfloat16"


def test_native_bfloat16_is_that_of_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for is_native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda n=is_native: n)
        assert (build.autocast_dtype("auto") is torch.bfloat16) == is_native


def test_tf32_with_mixed_precision_raises_user_error(recipe):
    with pytest.raises(UserError, match="base.yaml: use_tf32 does not work with use_amp") as caught:
        recipe.train(config={"use_tf32": True, "use_amp": True})
    assert caught.value.remedy == "write use_amp: false, or remove use_tf32"
    assert not (recipe.root / "exp").exists()
