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


def test_model_with_a_flipped_bit_is_not_loaded(config, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    path = tmp_path / "model.pth"
    torch.save(build_model(config).state_dict(), tmp_path / "new")
    checksums.record(path, tmp_path / "new")
    (tmp_path / "new").replace(path)
    load_model(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="model.pth: damaged"):
        load_model(tmp_path)
