"""Stability of sparse features over seeds."""

import pytest
import torch

from espnet_ext.analysis.features import ANALYSIS
from espnet_ext.errors import UserError


def model(folder, directions):
    folder.mkdir()
    torch.save({"conditioning.directions": directions}, folder / "model.pth")
    return str(folder)


def test_share_of_features_that_another_seed_finds(tmp_path):
    torch.manual_seed(5)
    features = torch.randn(40, 64)
    twin = torch.cat([2 * features[:10], torch.randn(30, 64)])[torch.randperm(40)]
    models = {"do_sparse": model(tmp_path / "a", features), "other": model(tmp_path / "b", twin)}
    result = ANALYSIS.result(models=models, twins={"do_sparse": model(tmp_path / "c", twin)})
    (row,) = result["rows"]
    assert row["stable"] == 0.25 and row["random_stable"] == 0
    assert row["random_mean"] < row["mean"] < 1
    (table,) = result["section"]["items"]
    assert table["rows"][0][:2] == ["do_sparse", "40"]
    assert "other" in result["section"]["notes"][0]


def test_model_without_a_sparse_autoencoder_is_a_user_error(tmp_path):
    (tmp_path / "do").mkdir()
    torch.save({"encoder.weight": torch.zeros(1)}, tmp_path / "do/model.pth")
    with pytest.raises(UserError, match="no sparse autoencoder"):
        ANALYSIS.run(models={"do": str(tmp_path / "do")})


def test_twin_of_another_width_is_a_user_error(tmp_path):
    models = {"do": model(tmp_path / "a", torch.randn(4, 8))}
    with pytest.raises(UserError, match="features of width 6"):
        ANALYSIS.run(models=models, twins={"do": model(tmp_path / "b", torch.randn(4, 6))})
