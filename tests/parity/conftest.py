"""Small systems with random weights, written as model directories, beside their stock twins."""

from pathlib import Path

import pytest
import torch
import yaml

from espnet_ext.model.build import build_model
from espnet_ext.text.tokenizers import BLANK, SOS_EOS, UNK

SMALL = {
    "frontend": "default",
    "frontend_conf": {
        "fs": 16000,
        "n_fft": 512,
        "win_length": 400,
        "hop_length": 160,
        "n_mels": 20,
    },
    "specaug": "specaug",
    "specaug_conf": {
        "apply_time_warp": False,
        "apply_freq_mask": True,
        "freq_mask_width_range": [0, 4],
        "num_freq_mask": 1,
        "apply_time_mask": False,
    },
    "normalize": "utterance_mvn",
    "encoder": "conformer",
    "encoder_conf": {
        "output_size": 32,
        "attention_heads": 2,
        "linear_units": 48,
        "num_blocks": 2,
        "input_layer": "conv2d",
        "macaron_style": True,
        "rel_pos_type": "latest",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
        "activation_type": "swish",
        "use_cnn_module": True,
        "cnn_module_kernel": 7,
    },
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 2, "linear_units": 48, "num_blocks": 2},
    "model_conf": {"lsm_weight": 0.1, "length_normalized_loss": False},
}
LETTERS = [chr(ord("a") + i) for i in range(12)]
PHONES = ["AA", "B", "CH", "D", "EH", "F", "G"]
JAMO = ["ᄀ", "ᄂ", "ᅡ", "ᅥ", "ᆫ", "<space>"]


def tokens(content: list[str]) -> list[str]:
    return [BLANK, UNK, *content, SOS_EOS]


def output(
    branch="ctc_attention", content=LETTERS, token_type="char", ctc=0.3, attention=0.7, **more
):
    entry = {"branch": branch, "token_type": token_type, "token_list": tokens(content), **more}
    if branch != "attention":
        entry["ctc_weight"] = ctc
    if branch != "ctc":
        entry["attention_weight"] = attention
    return entry


SYSTEMS = {
    "single": {"meaning": output()},
    "normalised": {"meaning": output(ctc=0.2, attention=0.8, length_normalized_loss=True)},
    "ctc": {"surface": output("ctc", PHONES, "phone", ctc=1.0)},
    "attention": {"surface": output("attention", JAMO, "jamo", attention=1.0)},
    "dual": {
        "surface": output(content=PHONES, token_type="phone", ctc=0.2, attention=0.5),
        "meaning": output("attention", JAMO, "jamo", attention=0.3),
    },
}
SYSTEMS["vectors"] = SYSTEMS["dual"]
FURTHER = {
    "vectors": {"conditioning": "vectors", "conditioning_conf": {"where": "both", "init_std": 2.0}}
}


@pytest.fixture
def make_system(tmp_path):
    """Write a system with seeded random weights; returns (model in double, config, folder)."""

    def make(name: str, seed: int = 0):
        config = {**SMALL, "outputs": SYSTEMS[name], **FURTHER.get(name, {})}
        torch.manual_seed(seed)
        model = build_model(config)
        with torch.no_grad():  # sharpen: a flat random model would tie hypotheses
            for parameter in model.parameters():
                parameter.mul_(1.6)
        folder: Path = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(
            yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8"
        )
        torch.save(model.state_dict(), folder / "model.pth")
        return model, config, folder

    return make


@pytest.fixture
def batch():
    """Three utterances of different length; token ids are below every vocabulary's size."""
    generator = torch.Generator().manual_seed(1)
    speech = torch.randn(3, 24000, generator=generator)
    speech_lengths = torch.tensor([24000, 21000, 15000])
    text_lengths = torch.tensor([9, 6, 4])
    text = torch.randint(2, 7, (3, 9), generator=generator)
    for row, length in enumerate(text_lengths):
        speech[row, speech_lengths[row] :] = 0
        text[row, length:] = -1
    return speech, speech_lengths, text, text_lengths
