"""Models are found by directory, by archive and by hub repository; archives are not trusted."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from espnet_ext.bin import decode, pack
from espnet_ext.data.table import read_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.errors import UserError
from espnet_ext.model import stock
from espnet_ext.model.archive import find_model_dir

SPEECH = torch.randn(8000, generator=torch.Generator().manual_seed(0))
OPTIONS = {"beam_size": 3, "maxlenratio": -5}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def archive(trained, tmp_path):
    path = tmp_path / "do_small.zip"
    assert pack.main(["--model_dir", str(trained.root / "exp"), "--archive", str(path)]) == 0
    return path


def test_archive_decodes_to_the_same_result(trained, archive, cache):
    expected = DualSpeech2Text.from_pretrained(trained.root / "exp", **OPTIONS)(SPEECH)
    assert DualSpeech2Text.from_pretrained(archive, **OPTIONS)(SPEECH) == expected
    (folder,) = cache.glob("espnet-ext/models/*/do_small")
    before = (folder / "model.safetensors").stat().st_ino
    assert find_model_dir(archive) == folder  # not unpacked again
    assert (folder / "model.safetensors").stat().st_ino == before


def test_command_decodes_with_an_archive(trained, archive, tmp_path):
    data = trained.root / "dump/valid"
    arguments = ["--data", str(data), "--beam_size", "2", "--model_dir"]
    for model, name in ((trained.root / "exp", "a"), (archive, "b")):
        out = str(tmp_path / name)
        assert decode.main([*arguments, str(model), "--output_dir", out]) == 0
    assert (tmp_path / "a/text.surface").read_text() == (tmp_path / "b/text.surface").read_text()
    assert len(read_table(tmp_path / "b/text.surface", empty_ok=True)) == 4


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub's cache with the repository user/models; return its snapshot."""
    constants = pytest.importorskip("huggingface_hub.constants")
    root = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = root / "models--user--models"
    commit = "a" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def test_repository_that_upload_has_filled(trained, archive, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = hub / "en/do_small"
    folder.mkdir(parents=True)
    shutil.copy(archive, folder)
    (folder / "README.md").write_text("card")
    expected = DualSpeech2Text.from_pretrained(trained.root / "exp", **OPTIONS)(SPEECH)
    for name in ("user/models", "user/models/en/do_small", str(hub)):
        assert DualSpeech2Text.from_pretrained(name, **OPTIONS)(SPEECH) == expected
    shutil.copytree(hub / "en", hub / "ko")
    with pytest.raises(UserError, match="contains 2 models") as caught:
        find_model_dir("user/models")
    assert "en/do_small/do_small.zip, ko/do_small/do_small.zip" in caught.value.remedy
    with pytest.raises(UserError, match="no such folder in the repository"):
        find_model_dir("user/models/fr")


def test_unknown_models_raise_user_errors(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="hub gave no such repository"):
        find_model_dir("user/nothing")
    (tmp_path / "exp").mkdir()
    for name in ("exp/do_small", "do_small", "/exp/do_small", "exp/a.zip"):
        with pytest.raises(UserError, match="no such model directory or archive"):
            find_model_dir(name)


def write_zip(path, names, attributes=0):
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.external_attr = attributes << 16
            packed.writestr(member, "x: 1\n")
    return path


@pytest.mark.parametrize(
    "names, message",
    [
        (["m/config.yaml", "m/../../evil"], "unsafe name"),
        (["m/config.yaml", "/etc/evil"], "unsafe name"),
        (["m/config.yaml", "other/file"], "not one folder"),
        (["m/sub/config.yaml"], "not one folder"),
        (["config.yaml"], "not one folder"),
    ],
)
def test_unsafe_or_other_archives_are_refused(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        find_model_dir(write_zip(tmp_path / "m.zip", names))
    assert not (tmp_path / "cache").exists()


def test_links_in_archives_are_refused(tmp_path):
    with pytest.raises(UserError, match="'m/config.yaml' is not a regular file"):
        find_model_dir(write_zip(tmp_path / "m.zip", ["m/config.yaml"], attributes=0o120777))


def test_damaged_archives_are_refused(archive, tmp_path, cache):
    content = archive.read_bytes()
    damaged = bytearray(content)
    for i in range(len(content) // 2, len(content) // 2 + 40):
        damaged[i] ^= 0xFF
    for name, data in (
        ("cut", content[: len(content) // 2]),
        ("flipped", bytes(damaged)),
        ("text", b"no archive"),
        ("empty", b""),
    ):
        path = tmp_path / f"{name}.zip"
        path.write_bytes(data)
        with pytest.raises(UserError, match=f"{name}.zip: not a readable zip archive"):
            find_model_dir(path)
    assert not list(cache.rglob("config.yaml"))


def repacked(archive, path, change):
    """Write an archive whose files `change` (name, content) returns; None leaves a file out."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        for name in [*source.namelist(), "m/new.txt"]:
            content = source.read(name) if name in source.namelist() else None
            content = change(name.partition("/")[2], content)
            if content is not None:
                top = source.namelist()[0].partition("/")[0]
                target.writestr(f"{top}/{name.partition('/')[2]}", content)
    return path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda n, c: c + b"\n" if n == "config.yaml" else c, "config.yaml was changed"),
        (lambda n, c: None if n == "train.json" else c, "train.json is missing"),
        (lambda n, c: b"x" if n == "new.txt" else c, "new.txt was added"),
        (lambda n, c: b"{}" if n == "manifest.json" else c, "is not a manifest"),
    ],
)
def test_tampered_archives_are_refused(archive, tmp_path, cache, change, problem):
    with pytest.raises(UserError, match=problem):
        find_model_dir(repacked(archive, tmp_path / "t.zip", change))
    assert not list(cache.rglob("config.yaml"))


def test_archive_without_a_manifest_has_a_note(archive, tmp_path, cache, capsys):
    path = repacked(archive, tmp_path / "t.zip", lambda n, c: None if n == "manifest.json" else c)
    assert find_model_dir(path).is_dir()
    assert "not verified: it has no manifest.json" in capsys.readouterr().err


def espnet_pack(path, meta, config="exp/asr/config.yaml"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.yaml", yaml.safe_dump(meta))
        archive.writestr(config, "token_list: [a]\nencoder: conformer\n")
        archive.writestr("exp/asr/12epoch.pth", "weights")
        archive.writestr("exp/lm/config.yaml", "lm: seq_rnn\n")
    return path


META = {
    "yaml_files": {"asr_train_config": "exp/asr/config.yaml"},
    "files": {"asr_model_file": "exp/asr/12epoch.pth"},
}


def test_pack_of_espnet_is_found_with_its_weights(tmp_path, hub, monkeypatch):
    path = espnet_pack(tmp_path / "asr.zip", META)
    folder = find_model_dir(path)
    assert (folder / "config.yaml").is_file() and folder.name == "asr"
    assert stock.find_weights(folder, "model.pth") == "12epoch.pth"
    assert find_model_dir(path) == folder  # not unpacked again
    zipfile.ZipFile(path).extractall(hub)  # ESPnet's repositories are unpacked
    monkeypatch.chdir(tmp_path)
    assert find_model_dir("user/models") == hub / "exp/asr"


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz"])
def test_tar_pack_of_espnet(tmp_path, suffix, cache, hub, monkeypatch):
    from espnet2.main_funcs import pack_funcs

    monkeypatch.chdir(tmp_path)
    model = tmp_path / "exp/quick/en/asr"  # deep in the archive
    model.mkdir(parents=True)
    (model / "config.yaml").write_text("token_list: [a]\nencoder: conformer\n")
    (model / "12epoch.pth").write_text("weights" * 100)
    (tmp_path / "exp/stats").mkdir()
    (tmp_path / "exp/stats/feats_stats.npz").touch()
    pack_funcs.pack(
        files={"asr_model_file": "exp/quick/en/asr/12epoch.pth"},
        yaml_files={"asr_train_config": "exp/quick/en/asr/config.yaml"},
        option=["exp/stats/feats_stats.npz"],
        outpath=f"asr{suffix}",
    )
    folder = find_model_dir(f"asr{suffix}")
    assert folder.is_relative_to(cache) and (folder / "12epoch.pth").is_file()
    assert stock.find_weights(folder, "model.pth") == "12epoch.pth"
    config = {"normalize_conf": {"stats_file": "exp/stats/feats_stats.npz"}}
    shutil.rmtree(tmp_path / "exp")
    stats_file = stock.with_existing_files(config, folder)["normalize_conf"]["stats_file"]
    assert Path(stats_file).is_relative_to(cache)
    (tmp_path / "folder").mkdir()
    (tmp_path / f"asr{suffix}").rename(tmp_path / f"folder/asr{suffix}")
    assert find_model_dir("folder") == folder
    content = (tmp_path / f"folder/asr{suffix}").read_bytes()
    for name, data in (("cut", content[: len(content) // 2]), ("text", b"no archive"), ("no", b"")):
        (tmp_path / f"{name}{suffix}").write_bytes(data)
        with pytest.raises(UserError, match=f"{name}{suffix}: not a readable tar archive"):
            find_model_dir(f"{name}{suffix}")


def test_tar_with_one_folder_is_a_model(tmp_path, cache):
    with tarfile.open(tmp_path / "m.tgz", "w:gz") as packed:
        folder = tarfile.TarInfo(".")
        folder.type = tarfile.DIRTYPE
        packed.addfile(folder, None)
        for name in ("./m/config.yaml", "./m/model.pth"):
            packed.addfile(tarfile.TarInfo(name), None)
    assert (find_model_dir(tmp_path / "m.tgz") / "model.pth").is_file()


@pytest.mark.parametrize(
    ("name", "kind", "size", "message"),
    [
        ("../evil", tarfile.REGTYPE, 0, "unsafe name in it: '../evil'"),
        ("/etc/evil", tarfile.REGTYPE, 0, "unsafe name"),
        ("m/link", tarfile.SYMTYPE, 0, "'m/link' is not a regular file"),
        ("m/link", tarfile.LNKTYPE, 0, "'m/link' is not a regular file"),
        ("m/pipe", tarfile.FIFOTYPE, 0, "'m/pipe' is not a regular file"),
        ("m/large", tarfile.REGTYPE, 60 * 2**30, "larger than 50 GiB"),
        ("other/file", tarfile.REGTYPE, 0, "not one folder"),
    ],
)
def test_unsafe_tar_is_refused(tmp_path, cache, name, kind, size, message):
    path = tmp_path / "m.tar"
    with tarfile.open(path, "w") as packed:
        packed.addfile(tarfile.TarInfo("m/config.yaml"), None)
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, "config.yaml", size
        packed.addfile(member, None)
    with pytest.raises(UserError, match=message):
        find_model_dir(path)
    assert not list(cache.rglob("config.yaml"))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"yaml_files": {"tts_train_config": "exp/asr/config.yaml"}}, "names no asr_train_config"),
        ({"yaml_files": {"asr_train_config": "../x/config.yaml"}}, "not in the pack"),
        ({"yaml_files": {"asr_train_config": "/etc/config.yaml"}}, "not in the pack"),
        ({"yaml_files": {"asr_train_config": "exp/gone/config.yaml"}}, "no such config.yaml"),
    ],
)
def test_unusable_pack_of_espnet_raises_user_error(tmp_path, meta, message):
    with pytest.raises(UserError, match=message):
        find_model_dir(espnet_pack(tmp_path / "asr.zip", meta))


def test_weights_of_stock_models_by_their_criterion(tmp_path):
    (tmp_path / "config.yaml").write_text("best_model_criterion: [[valid, cer_ctc, min]]\n")
    with pytest.raises(UserError, match="neither model.pth nor valid.acc.ave.pth"):
        stock.find_weights(tmp_path, "model.pth")
    (tmp_path / "valid.cer_ctc.best.pth").touch()
    assert stock.find_weights(tmp_path, "model.pth") == "valid.cer_ctc.best.pth"
