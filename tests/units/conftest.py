"""A small corpus of tones, features of it, and tiny encoders."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import tiny_encoders  # noqa: E402
import tiny_recipe  # noqa: E402
import tiny_whisper  # noqa: E402
import tones  # noqa: E402

TOKENS = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    seconds = [0.7, 0.2, 1.3, 0.5, 0.9, 0.4, 1.1, 0.3]
    return tones.write_corpus(tmp_path_factory.mktemp("units") / "data", seconds)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Family → folder of a tiny checkpoint, for those families that need one."""
    pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("checkpoints")
    folders = {}
    for family in ("wavlm", "hubert", "wav2vec2"):
        changes = {"feat_extract_norm": "group", "conv_bias": False}
        changes = changes if family == "wav2vec2" else {"do_stable_layer_norm": True}
        network = tiny_encoders.build(family, num_hidden_layers=3, **changes)
        folders[family] = tiny_encoders.save(network, root / family)
    folders["whisper"] = root / "whisper"
    tiny_whisper.write(folders["whisper"], encoder_layers=3)
    return folders


@pytest.fixture(scope="session")
def system(tmp_path_factory):
    """The directory of a system with random weights: a Conformer of two blocks."""
    from espnet_ext.model.build import build_model

    folder = tmp_path_factory.mktemp("system")
    output = {"branch": "ctc", "ctc_weight": 1.0, "token_type": "char", "token_list": TOKENS}
    parts = ("frontend", "frontend_conf", "normalize", "encoder", "encoder_conf")
    config = {key: tiny_recipe.CONFIG[key] for key in parts}
    config["encoder_conf"] = {**config["encoder_conf"], "num_blocks": 2}
    config["outputs"] = {"surface": output, "meaning": output}
    torch.manual_seed(0)
    torch.save(build_model(config).state_dict(), folder / "model.pth")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return folder
