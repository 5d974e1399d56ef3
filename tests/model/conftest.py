"""Tiny systems as configurations, and one that was trained."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import tiny_recipe  # noqa: E402

PHONES = ["<blank>", "<unk>", "K", "AE", "T", "<sos/eos>"]
LETTERS = ["<blank>", "<unk>", "a", "b", "c", "<space>", "d", "<sos/eos>"]


@pytest.fixture
def config():
    """A dual-output configuration with token lists, free to be changed."""
    outputs = {
        "surface": {**tiny_recipe.OUTPUTS["surface"], "token_type": "phone", "token_list": PHONES},
        "meaning": {**tiny_recipe.OUTPUTS["meaning"], "token_type": "char", "token_list": LETTERS},
    }
    kept = ("frontend", "normalize", "encoder", "decoder")
    parts = {k: v for k, v in tiny_recipe.CONFIG.items() if k.startswith(kept)}
    return {**parts, "encoder_conf": dict(parts["encoder_conf"]), "outputs": outputs}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    recipe = tiny_recipe.make(
        tmp_path_factory.mktemp("trained"), {"surface": "phone", "meaning": "bpe"}
    )
    config = {"normalize": "global_mvn"}
    recipe.collect(config)
    recipe.train(config=config, options=["--max_epoch", "1"])
    return recipe
