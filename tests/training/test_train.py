"""Training from dumped files to model.pth: resuming, freezing, initialisation, moving a model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny_recipe
import torch
from timing import cpu_seconds

from espnet_ext.bin import cli, train
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.model.load import load_config, load_model
from espnet_ext.training import run


def facts(folder):
    return json.loads((folder / "train.json").read_text())


def test_training_and_repeating_a_finished_training(recipe, capfd):
    folder = recipe.train()
    first = facts(folder)
    assert first["epochs"] == 2
    assert first["outputs"] == ["surface", "meaning"]
    assert first["seconds"] > 0
    model, config = load_model(folder)
    assert first["parameters"] == sum(p.numel() for p in model.parameters())
    assert (folder / "model.pth").resolve() == (folder / "valid.acc.ave.pth").resolve()
    progress = capfd.readouterr().err
    assert "epoch 2/2: valid" in progress
    assert "Flash Attention" not in progress

    started = cpu_seconds()
    recipe.train()
    assert cpu_seconds() - started < 5
    again = facts(folder)
    assert (again["seconds"], again["epochs"]) == (first["seconds"], 2)
    assert again["restarts"] == []
    assert train.main([*recipe.arguments(), "--", "--max_epoch", "3"]) == 0
    assert facts(folder)["epochs"] == 3
    (made,) = facts(folder)["restarts"]
    assert made["command"].startswith("python -m espnet_ext.bin.train --config ")
    assert {"commit", "date", "machine", "versions"} <= set(made)
    assert facts(folder)["seconds"] >= first["seconds"]


def test_missing_gpus_raise_user_error(recipe, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert cli.run(train.main, [*recipe.arguments(), "--ngpu", "2"]) == 1
    error = capsys.readouterr().err
    assert "--ngpu 2, but PyTorch sees 1 GPU" in error and "use --ngpu 1" in error
    assert not (recipe.root / "exp").exists()


@pytest.mark.slow
def test_killed_training_resumes_from_its_checkpoint(recipe):
    recipe.write_yaml("base", {**tiny_recipe.CONFIG, "max_epoch": 40, "keep_nbest_models": 1})
    recipe.write_yaml("system", {"outputs": tiny_recipe.OUTPUTS})
    command = [sys.executable, "-m", "espnet_ext.bin.train", *recipe.arguments()]
    checkpoint = recipe.root / "exp/checkpoint.pth"
    with open(recipe.root / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, (recipe.root / "log").read_text()
    made = len(torch.load(checkpoint, weights_only=True)["reporter"]["stats"])
    assert 1 <= made < 40
    assert not (recipe.root / "exp/train.json").exists()

    before = os.stat(checkpoint).st_mtime_ns
    folder = recipe.train(config={"max_epoch": made + 2, "keep_nbest_models": 1})
    assert os.stat(checkpoint).st_mtime_ns > before
    assert facts(folder)["epochs"] == made + 2
    log = torch.load(checkpoint, weights_only=True)["reporter"]["stats"]
    assert sorted(log) == list(range(1, made + 3))


def test_training_killed_between_checkpoint_and_weights_resumes(recipe):
    folder = recipe.train(options=["--max_epoch", "1"])
    (folder / "1epoch.pth").unlink()  # the checkpoint is written first
    recipe.train(options=["--max_epoch", "2"])
    assert (folder / "1epoch.pth").exists()
    assert facts(folder)["epochs"] == 2
    load_model(folder)


def test_checkpoint_of_another_configuration_raises_user_error(recipe):
    recipe.train()
    smaller = {**tiny_recipe.CONFIG["encoder_conf"], "linear_units": 8}
    config = {"encoder_conf": smaller, "max_epoch": 3}
    with pytest.raises(UserError, match="encoder_conf.linear_units: 16, now 8") as caught:
        recipe.train(config=config)
    assert "--overwrite true" in caught.value.remedy
    with pytest.raises(UserError, match="checkpoint.pth: cannot resume") as caught:
        recipe.train(config=config, resume_changed=True)
    assert "rename the folder" in caught.value.remedy


def test_parts_are_initialised_from_another_model_and_frozen(recipe):
    whole = load_model(recipe.train("first"))[0].state_dict()
    first = recipe.root / "first/model.pth"
    options = [
        "--init_param",
        f"{first}:encoder:encoder",
        f"{first}:meaning_decoder:meaning_decoder",
        "--freeze_param",
        "encoder",
        "meaning_decoder",
    ]
    second, _ = load_model(recipe.train("second", {"seed": 5}, options=options))
    new = dict(second.named_parameters())
    for key, value in new.items():
        kept = key.startswith(("encoder.", "meaning_decoder."))
        if kept:
            assert torch.equal(value, whole[key]), key
    moved = [k for k in new if k.startswith("surface_") and not torch.equal(new[k], whole[k])]
    assert moved


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--freeze_param", "encodr"], "encoder"),
        (["--init_param", "no/such.pth"], "no/such.pth"),
        (["--init_param", "{first}:encodr:encoder"], "encoder"),
        (["--init_param", "{first}:encoder:decoder"], "decoder"),
    ],
)
def test_wrong_names_of_parts_raise_user_error(recipe, options, named):
    state = recipe.root / "first.pth"
    torch.save({"encoder.embed.weight": torch.zeros(1)}, state)
    with pytest.raises(UserError, match=options[0]) as caught:
        recipe.train(options=[option.format(first=state) for option in options])
    assert named in str(caught.value)


def test_training_works_with_unlabelled_and_very_short_utterances(tmp_path):
    recipe = tiny_recipe.make(tmp_path, seconds=0.01)  # one frame: ESPnet's encoder needs seven
    folder = recipe.train(config={"batch_bins": 200}, options=["--max_epoch", "1"])
    state = torch.load(folder / "model.pth", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state.values())


def test_model_with_global_mvn_can_be_moved(recipe):
    config = {"normalize": "global_mvn"}
    recipe.collect(config)
    folder = recipe.train(config=config, options=["--max_epoch", "1"])
    assert load_config(folder)["normalize_conf"] == {"stats_file": "feats_stats.npz"}
    moved = recipe.root / "elsewhere/model"
    shutil.copytree(folder, moved, symlinks=True)
    before, _ = load_model(folder)
    speech, lengths = torch.randn(1, 8000), torch.tensor([8000])
    expected = before.encode(speech, lengths).shared()[0]
    shutil.rmtree(folder)
    shutil.rmtree(recipe.root / "stats")
    after, _ = load_model(moved)
    assert torch.equal(after.encode(speech, lengths).shared()[0], expected)
    (moved / "feats_stats.npz").unlink()
    with pytest.raises(UserError, match="feats_stats.npz"):
        load_model(moved)


def test_normalization_can_be_replaced():
    config = {"normalize": "global_mvn", "normalize_conf": {"norm_vars": False}, "seed": 1}
    assert run.with_normalization(config, "") == config
    assert run.with_normalization(config, "global_mvn") == config
    other = run.with_normalization(config, "utterance_mvn")
    assert other == {"normalize": "utterance_mvn", "normalize_conf": {}, "seed": 1}
    assert run.with_normalization(config, "none")["normalize"] is None


def test_feats_normalize_replaces_the_configuration_in_statistics_and_training(recipe):
    config = recipe.write_yaml("base", {**tiny_recipe.CONFIG, "normalize": "utterance_mvn"})
    run.collect_stats(config, recipe.data, [], "global_mvn")
    assert (recipe.root / "stats/train/feats_stats.npz").is_file()
    overlay = recipe.write_yaml("system", {"outputs": tiny_recipe.OUTPUTS})
    folder, options = recipe.root / "exp", ["--max_epoch", "1"]
    run.train(config, [overlay], recipe.data, folder, options, feats_normalize="global_mvn")
    assert load_config(folder)["normalize"] == "global_mvn"


def test_bpe_model_is_copied_and_used_in_decoding(tmp_path):
    recipe = tiny_recipe.make(tmp_path, {"surface": "phone", "meaning": "bpe"})
    folder = recipe.train(options=["--max_epoch", "1"])
    assert load_config(folder)["outputs"]["meaning"]["bpemodel"] == "meaning_bpe.model"
    shutil.rmtree(recipe.root / "tokens")
    recognise = DualSpeech2Text.from_pretrained(folder, beam_size=2, maxlenratio=-3)
    best = recognise(torch.randn(8000)).best["meaning"]
    assert best.text == recognise.tokenizers["meaning"].decode(best.tokens)


def test_training_in_bfloat16_on_cpu(recipe):
    folder = recipe.train(config={"cpu_autocast": "bfloat16"}, options=["--max_epoch", "1"])
    model, _ = load_model(folder)
    assert model.autocast_dtype is None  # decoding is float32
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in model.parameters())


def test_overlays_are_merged_in_order(recipe):
    from espnet_ext.training.run import merged_config

    base = recipe.write_yaml("a", tiny_recipe.CONFIG)
    one = recipe.write_yaml("b", {"outputs": tiny_recipe.OUTPUTS, "optim_conf": {"lr": 1.0}})
    two = recipe.write_yaml("c", {"outputs": {"meaning": {"attention_weight": 0.9}}})
    merged = merged_config(base, [one, two])
    assert merged["outputs"]["meaning"] == {"branch": "attention", "attention_weight": 0.9}
    assert merged["outputs"]["surface"] == tiny_recipe.OUTPUTS["surface"]
    assert merged["optim_conf"] == {"lr": 1.0}
    assert merged["encoder_conf"] == tiny_recipe.CONFIG["encoder_conf"]


def test_training_with_only_ctc(recipe):
    outputs = {"surface": {"branch": "ctc", "ctc_weight": 1.0}}
    config = {"best_model_criterion": [["valid", "loss", "min"]]}
    folder = recipe.train(config=config, outputs=outputs, options=["--max_epoch", "1"])
    assert facts(folder)["weights"].startswith("valid.loss")


def test_best_model_criterion_as_an_option(recipe):
    options = ["--max_epoch", "1", "--best_model_criterion", "valid,loss,min"]
    assert facts(recipe.train(options=options))["weights"].startswith("valid.loss")


def test_unknown_criterion_raises_user_error_before_training(recipe):
    with pytest.raises(UserError, match="best_model_criterion .*acc_words"):
        recipe.train(options=["--best_model_criterion", "valid,acc_words,max"])
    assert not (recipe.root / "exp/checkpoint.pth").exists()


def test_token_type_other_than_that_of_the_recipe_raises_user_error(recipe):
    outputs = {"surface": {**tiny_recipe.OUTPUTS["surface"], "token_type": "char"}}
    with pytest.raises(UserError, match="'surface' has token_type char in the system but phone in"):
        recipe.train(outputs=outputs)
