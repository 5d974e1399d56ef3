"""Language models are trained with the safeguards of systems."""

import json

import pytest
import torch
import yaml

from espnet_ext.bin import cli, lm_train
from espnet_ext.decoding.scorers import load_lm
from espnet_ext.errors import UserError
from espnet_ext.training import language_model

CONFIG = {
    "lm": "seq_rnn",
    "lm_conf": {"unit": 4, "nlayers": 1},
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "batch_type": "folded",
    "batch_size": 4,
    "max_epoch": 2,
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 1,
    "use_matplotlib": False,
    "use_tensorboard": False,
    "num_workers": 0,
}
TEXTS = {"u1": "a b a", "u2": "b a", "u3": "a a b", "u4": "b"}


@pytest.fixture
def train(tmp_path, monkeypatch):
    """A function that trains with changes of the configuration, and returns the folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokens.txt").write_text("<blank>\n<unk>\na\nb\n<sos/eos>\n")
    (tmp_path / "train.txt").write_text("".join(f"{key} {text}\n" for key, text in TEXTS.items()))
    lengths = "".join(f"{key} {len(text.split())}\n" for key, text in TEXTS.items())
    (tmp_path / "shape").write_text(lengths)

    def run(config=None, options=(), **keywords):
        (tmp_path / "lm.yaml").write_text(yaml.safe_dump({**CONFIG, **(config or {})}))
        arguments = ["--config", "lm.yaml", "--token_type", "word", "--token_list", "tokens.txt"]
        for kind in ("train", "valid"):
            arguments += [f"--{kind}_data_path_and_name_and_type", "train.txt,text,text"]
            arguments += [f"--{kind}_shape_file", "shape"]
        arguments += ["--fold_length", "150", "--output_dir", "lm", *options]
        language_model.train(arguments, **keywords)
        return tmp_path / "lm"

    return run


def test_tf32_with_mixed_precision_raises_user_error(train):
    with pytest.raises(UserError, match="lm.yaml.*: use_tf32 does not work with use_amp"):
        train(options=["--use_tf32", "true", "--use_amp", "true"])


def test_finished_training_is_kept_continued_and_compared(train, tmp_path, capfd):
    folder = train()
    assert json.loads((folder / "train.json").read_text())["epochs"] == 2
    assert (folder / "model.pth").resolve() == (folder / "valid.loss.ave.pth").resolve()
    before = (folder / "checkpoint.pth").read_bytes()
    capfd.readouterr()
    train()
    assert "kept: it was trained for 2 epochs" in capfd.readouterr().err
    assert (folder / "checkpoint.pth").read_bytes() == before
    train({"max_epoch": 3})
    assert json.loads((folder / "train.json").read_text())["epochs"] == 3
    (tmp_path / "train.txt").write_text("u1 b b b\nu2 b b\nu3 a a b\nu4 b\n")
    for record in (True, False):  # without one, config.yaml is compared
        if not record:
            (folder / "trained_with.json").unlink()
        what = "train train.txt: another content" if record else "optim_conf.lr: 0.01, now 0.5"
        config = {"max_epoch": 3} if record else {"max_epoch": 3, "optim_conf": {"lr": 0.5}}
        with pytest.raises(UserError, match=what) as caught:
            train(config)
        assert "--output_dir" in caught.value.remedy
    train({"max_epoch": 3})  # the configuration is the same


def test_damaged_weights_are_not_decoded_with(train, capfd):
    folder = train()
    capfd.readouterr()
    load_lm(folder, "cpu")
    assert "not verified" not in capfd.readouterr().err
    path = (folder / "valid.loss.ave.pth").resolve()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged or changed"):
        load_lm(folder, "cpu")
    with pytest.raises(UserError, match="damaged or changed"):
        train()


def test_diverged_training_does_not_count_as_done(train, tmp_path):
    with pytest.raises(UserError, match=r"a weight of|not finite"):
        train({"optim_conf": {"lr": 1e20}})
    assert not (tmp_path / "lm/model.pth").exists()


def test_mistyped_option_leaves_the_former_folder_in_place(train, tmp_path, capfd):
    folder = train()
    weights = (folder / "model.pth").read_bytes()
    with pytest.raises(Exception, match="uni"):
        train({"lm_conf": {"uni": 8}}, overwrite=True)
    assert (folder / "model.pth").read_bytes() == weights
    assert not list(tmp_path.glob("lm.before-*"))
    assert "the old folder is back" in capfd.readouterr().err
    train({"lm_conf": {"unit": 8, "nlayers": 1}}, overwrite=True)
    assert len(list(tmp_path.glob("lm.before-*"))) == 1
    state = torch.load(folder / "model.pth", weights_only=True)
    assert state["lm.encoder.weight"].shape[1] == 8


def test_training_that_patience_ended_is_kept(train, capfd):
    config = {"max_epoch": 9, "patience": 1, "optim_conf": {"lr": 0.0}}
    folder = train(config)
    epochs = json.loads((folder / "train.json").read_text())["epochs"]
    assert epochs < 9
    for max_epoch in (9, 12):
        train({**config, "max_epoch": max_epoch})
        message = capfd.readouterr().err
        assert f"patience 1 ended it after {epochs} epochs" in message
        assert "training continues" not in message
        assert json.loads((folder / "train.json").read_text())["epochs"] == epochs


def test_selection_that_decoding_lacks_raises_user_error(train):
    with pytest.raises(UserError, match=r"best_model_criterion lacks \['valid', 'loss', 'min'\]"):
        train({"best_model_criterion": [["valid", "acc", "max"]]})


def test_missing_options_are_wrong_usage(capsys):
    with pytest.raises(SystemExit):
        cli.run(lm_train.main, ["--overwrite", "true"])
    assert "write them after --" in capsys.readouterr().err
