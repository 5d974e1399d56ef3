"""Damaged weights are noticed by their SHA-256."""

import pytest
import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.model import checksums
from espnet_ext.model.build import build_model
from espnet_ext.model.load import load_model


def save(path, content):
    temporary = path.with_name("new")
    temporary.write_bytes(content)
    checksums.record(path, temporary)
    temporary.replace(path)


def test_file_matches_until_a_bit_flips(tmp_path):
    path = tmp_path / "1epoch.pth"
    save(path, b"weights")
    assert checksums.matches(path)
    path.write_bytes(b"weightr")
    assert not checksums.matches(path)
    with pytest.raises(UserError, match="1epoch.pth: damaged or changed") as caught:
        checksums.check(path, "train again")
    assert caught.value.remedy.startswith("train again")


def test_links_are_followed_and_unrecorded_files_match(tmp_path):
    save(tmp_path / "1epoch.pth", b"weights")
    (tmp_path / "model.pth").symlink_to("1epoch.pth")
    (tmp_path / "other.pth").write_bytes(b"other")
    assert checksums.matches(tmp_path / "model.pth") and checksums.matches(tmp_path / "other.pth")
    (tmp_path / "1epoch.pth").write_bytes(b"weightr")
    assert not checksums.matches(tmp_path / "model.pth")
    checksums.check(tmp_path / "missing.pth", "")


def test_process_killed_before_or_after_the_rename_leaves_a_valid_file(tmp_path):
    path = tmp_path / "checkpoint.pth"
    save(path, b"one")
    (tmp_path / "new").write_bytes(b"two")
    checksums.record(path, tmp_path / "new")  # killed here
    assert checksums.matches(path)
    save(path, b"three")
    assert checksums.matches(path)


def test_digests_of_removed_files_are_dropped(tmp_path):
    save(tmp_path / "1epoch.pth", b"one")
    (tmp_path / "1epoch.pth").unlink()
    save(tmp_path / "2epoch.pth", b"two")
    assert "1epoch" not in (tmp_path / checksums.FILE).read_text()


def test_damaged_record_raises_user_error(tmp_path):
    save(tmp_path / "1epoch.pth", b"one")
    (tmp_path / checksums.FILE).write_text("[")
    with pytest.raises(UserError, match="checksums.json: not a readable list"):
        checksums.matches(tmp_path / "1epoch.pth")


def save_model(folder, config):
    """Write config.yaml and model.pth, without a record of the weights."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    torch.save(build_model(config).state_dict(), folder / "model.pth")


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_model_with_a_flipped_bit_is_not_loaded(config, tmp_path, capsys):
    save_model(tmp_path, config)
    checksums.record(tmp_path / "model.pth", tmp_path / "model.pth")
    load_model(tmp_path)
    assert "not verified" not in capsys.readouterr().err
    flip_bit(tmp_path / "model.pth")
    with pytest.raises(UserError, match="model.pth: damaged or changed: its SHA-256"):
        load_model(tmp_path)


@pytest.mark.parametrize("record", [None, "{}", '{"1epoch.pth": ["0"]}'])
def test_unrecorded_weights_with_a_flipped_bit_are_not_loaded(config, tmp_path, capsys, record):
    save_model(tmp_path, config)
    (tmp_path / "model.pth").rename(tmp_path / "valid.acc.ave_2best.pth")
    (tmp_path / "valid.acc.best.pth").symlink_to("valid.acc.ave_2best.pth")
    (tmp_path / "model.pth").symlink_to("valid.acc.best.pth")
    if record is not None:
        (tmp_path / checksums.FILE).write_text(record)
    load_model(tmp_path, "valid.acc.best.pth")
    note = "valid.acc.best.pth: not verified: "
    assert capsys.readouterr().err.count(note) == 1
    flip_bit(tmp_path / "valid.acc.ave_2best.pth")
    for name in ("valid.acc.best.pth", "model.pth"):
        with pytest.raises(UserError, match=f"{name}: damaged: the CRC-32"):
            load_model(tmp_path, name)


@pytest.mark.parametrize("former_format", [True, False])
def test_weights_without_any_checksum_are_loaded_with_a_note(
    config, tmp_path, capsys, former_format
):
    save_model(tmp_path, config)
    state = torch.load(tmp_path / "model.pth", weights_only=True)
    torch.serialization.set_crc32_options(former_format)
    try:
        torch.save(state, tmp_path / "model.pth", _use_new_zipfile_serialization=not former_format)
    finally:
        torch.serialization.set_crc32_options(True)
    load_model(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"note: {tmp_path / 'model.pth'}: not verified: {tmp_path / 'checksums.json'} has no "
        "SHA-256 of it"
    ]


def test_digest_beside_a_link_into_a_store_of_blobs_is_used(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    (blobs / "0a1b").write_bytes(b"weights")
    checksums.record(snapshot / "model.pth", blobs / "0a1b")
    (snapshot / "model.pth").symlink_to("../blobs/0a1b")
    assert checksums.check(snapshot / "model.pth", "") == ""
    (blobs / "0a1b").write_bytes(b"weightr")
    with pytest.raises(UserError, match="snapshot/checksums.json"):
        checksums.check(snapshot / "model.pth", "")
