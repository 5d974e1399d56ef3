"""An unpacked archive is a model directory that works anywhere, also for stock ESPnet."""

import json
import shutil
import zipfile

import pytest
import torch
import yaml

from espnet_ext.bin import pack, upload
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.options import ESPNET
from espnet_ext.errors import UserError
from espnet_ext.files import sha256_of
from espnet_ext.model import safe_weights
from espnet_ext.model.archive import find_model_dir
from espnet_ext.model.load import load_model

SPEECH = torch.randn(8000, generator=torch.Generator().manual_seed(0))


def packed(trained, archive, *options):
    folder = str(trained.root / "exp")
    assert pack.main(["--model_dir", folder, "--archive", str(archive), *options]) == 0
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(archive.parent / "unpacked")
    return archive.parent / "unpacked" / archive.stem


def test_unpacked_folder_decodes_to_the_same_result(trained, tmp_path):
    folder = packed(trained, tmp_path / "do_small.zip")
    options = {"beam_size": 3, "maxlenratio": -5}
    before = DualSpeech2Text.from_pretrained(trained.root / "exp", **options)(SPEECH)
    after = DualSpeech2Text.from_pretrained(folder, **options)(SPEECH)
    assert after == before
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "config.yaml",
        "model.safetensors",
        "manifest.json",
        "checksums.json",
        "meaning_bpe.model",
        "feats_stats.npz",
        "train.json",
        "README.md",
    }
    before, after = (load_model(place)[0].state_dict() for place in (trained.root / "exp", folder))
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert str(trained.root) not in (folder / "config.yaml").read_text()


def test_archives_of_one_model_are_identical(trained, tmp_path):
    (tmp_path / "b").mkdir()
    packed(trained, tmp_path / "a.zip")
    packed(trained, tmp_path / "b/a.zip")
    assert sha256_of(tmp_path / "a.zip") == sha256_of(tmp_path / "b/a.zip")
    assert not list(tmp_path.glob(".tmp-*"))


def test_card_has_outputs_scores_and_usage(trained, tmp_path):
    run = trained.root / "exp/decode/test"
    run.mkdir(parents=True, exist_ok=True)
    cell = {
        "hypothesis": "surface",
        "reference": "meaning",
        "metric": "per",
        "metrics": {"per": {"rate": 12.345}},
    }
    (run / "score.json").write_text(json.dumps({"cells": [cell]}))
    (run / "decode.json").write_text("{}")
    options = ("--license", "CC BY 4.0", "--export", "surface meaning")
    folder = packed(trained, tmp_path / "do.zip", *options)
    card = (folder / "README.md").read_text()
    assert "| meaning | attention | bpe |" in card
    assert "| decode/test | surface | meaning | PER | 12.35 % |" in card or "12.34 %" in card
    assert 'from_pretrained("do.zip")' in card
    assert "CC BY 4.0" in card
    assert "stock_surface/config.yaml" in card and "…" not in card
    for name, ctc_weight in (("surface", 0.3), ("meaning", 0.0)):
        assert f"asr_inference --config stock_{name}/inference.yaml" in card
        assert f"--asr_model_file stock_{name}/model.pth" in card
        inference = yaml.safe_load((folder / f"stock_{name}/inference.yaml").read_text())
        assert (inference["ctc_weight"], inference["ctc_window_margin"]) == (ctc_weight, 0)
    assert (folder / "decode/test/decode.json").exists()


def test_stock_espnet_decodes_the_exported_head(trained, tmp_path, monkeypatch):
    stock = pytest.importorskip("espnet2.bin.asr_inference").Speech2Text
    folder = packed(trained, tmp_path / "do.zip", "--export", "surface meaning")
    config = yaml.safe_load((folder / "stock_meaning/config.yaml").read_text())
    assert config["bpemodel"] == "stock_meaning/bpe.model"
    assert config["normalize_conf"]["stats_file"] == "stock_meaning/feats_stats.npz"
    monkeypatch.chdir(folder)
    peer = stock(
        "stock_meaning/config.yaml",
        "stock_meaning/model.pth",
        ctc_weight=0.0,
        beam_size=3,
        lm_weight=0.0,
        maxlenratio=-5,
    )
    options = {**ESPNET, "beam_size": 3, "maxlenratio": -5}
    ours = DualSpeech2Text.from_pretrained(".", **options)(SPEECH)
    text, _, ids, _ = peer(SPEECH)[0]
    assert ours.best["meaning"].token_ids == tuple(ids)
    assert ours.best["meaning"].text == text


def test_weights_that_do_not_fit_are_not_packed(trained, tmp_path):
    import shutil

    from espnet_ext.bin import cli

    broken = tmp_path / "broken"
    shutil.copytree(trained.root / "exp", broken, symlinks=True)
    state = load_model(broken)[0].state_dict()
    state.pop("surface_ctc.ctc_lo.bias")
    torch.save(state, broken / "other.pth")
    archive = tmp_path / "a.zip"
    arguments = ["--model_dir", str(broken), "--archive", str(archive), "--weights", "other.pth"]
    assert cli.run(pack.main, arguments) == 1
    assert not archive.exists()


def test_shared_tensors_are_written_once(tmp_path):
    table = torch.randn(4, 3)
    state = {"a": table, "b": table, "c": table.t(), "d": table.clone()}
    safe_weights.write(state, tmp_path / "m.safetensors")
    read = safe_weights.read(tmp_path / "m.safetensors", "")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], value) for name, value in state.items())
    assert read["a"].data_ptr() == read["b"].data_ptr()
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        safe_weights.read(tmp_path / "bad.safetensors", "")


def test_calibration_and_data_are_packed_without_local_paths(trained, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(trained.root / "exp", source, symlinks=True)
    function = {"threshold": 0.6, "facts": {"ece": 0.043}}
    facts = {"data": "/secret/dump/valid", "model": "/secret/exp", "utterances": 12, "speakers": 3}
    facts["provenance"] = {"command": "/secret"}
    calibration = {"sources": {"prompt": function}, "facts": facts}
    (source / "calibration.json").write_text(json.dumps(calibration))
    options = ["--model_dir", str(source), "--data", "Corpus A (CC BY 4.0)"]
    assert pack.main([*options, "--archive", str(tmp_path / "m.zip")]) == 0
    folder = find_model_dir(tmp_path / "m.zip")
    packed_facts = json.loads((folder / "calibration.json").read_text())
    assert packed_facts["sources"] == {"prompt": function}
    assert packed_facts["facts"] == {"data": "valid", "utterances": 12, "speakers": 3}
    card = (folder / "README.md").read_text()
    assert "Corpus A (CC BY 4.0)" in card and "12 recordings of 3 speakers" in card
    assert "4.3 %" in card and "/secret" not in card
    facts["model_sha256"] = "0" * 64
    (source / "calibration.json").write_text(json.dumps(calibration))
    with pytest.raises(UserError, match="learnt with other weights than"):
        pack.main([*options, "--archive", str(tmp_path / "n.zip")])
    assert not (tmp_path / "n.zip").exists()


def test_dry_run_of_upload_writes_a_card_with_the_packed_sections(trained, tmp_path, capsys):
    archive = tmp_path / "m.zip"
    options = ["--model_dir", str(trained.root / "exp"), "--data", "Corpus A (CC BY 4.0)"]
    assert pack.main([*options, "--archive", str(archive), "--license", "MIT"]) == 0
    arguments = ["--archive", str(archive), "--repo", "user/name", "--language", "en"]
    assert upload.main(arguments) == 0
    assert "nothing was sent" in capsys.readouterr().out
    card = (tmp_path / "m.README.md").read_text()
    assert card.startswith("---\nlibrary_name: espnet") and "language: en" in card
    assert 'from_pretrained("user/name")' in card and card.count("## Use") == 0
    for text in ("| surface | ctc_attention |", "Corpus A (CC BY 4.0)", "MIT", "normalised by"):
        assert text in card


def test_upload_sends_archive_and_card(trained, tmp_path, monkeypatch, capsys):
    calls = []

    class Api:
        def create_repo(self, name, **options):
            calls.append((name, options["private"]))

        def upload_file(self, path_or_fileobj, path_in_repo, repo_id):
            calls.append((path_in_repo, repo_id))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    (tmp_path / "m.zip").write_bytes(b"no archive of pack")
    arguments = ["--archive", str(tmp_path / "m.zip"), "--repo", "user/name", "--folder", "en"]
    assert upload.main([*arguments, "--send", "true"]) == 0
    assert calls == [
        ("user/name", True),
        ("en/m.zip", "user/name"),
        ("en/README.md", "user/name"),
    ]
