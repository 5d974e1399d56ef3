"""Random models with two encoder layers and several outputs, and batches for them."""

import tiny_recipe
import torch

from espnet_ext.model.build import build_model

TOKENS = ["<blank>", "<unk>", "a", "b", "c", "d", "<sos/eos>"]


def output(branch="ctc_attention", ctc=0.2, attention=0.5):
    entry = {"branch": branch, "token_type": "char", "token_list": TOKENS}
    if branch != "attention":
        entry["ctc_weight"] = ctc
    if branch != "ctc":
        entry["attention_weight"] = attention
    return entry


OUTPUTS = {
    "surface": output(),
    "meaning": output("attention", attention=0.3),
    "third": output("ctc", ctc=0.7),
}


def make(outputs=OUTPUTS, seed=0, conditioning=None, **encoder):
    kept = ("frontend", "normalize", "encoder", "decoder")
    config = {k: v for k, v in tiny_recipe.CONFIG.items() if k.startswith(kept)}
    config["encoder_conf"] = {
        **config["encoder_conf"],
        "num_blocks": 2,
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
        **encoder,
    }
    decoder = {
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "self_attention_dropout_rate": 0.0,
        "src_attention_dropout_rate": 0.0,
    }
    config["decoder_conf"] = {**config["decoder_conf"], **decoder}
    torch.manual_seed(seed)
    return build_model({**config, "outputs": outputs, "conditioning": conditioning})


def batch(names, unlabelled=(), rows=3):
    generator = torch.Generator().manual_seed(2)
    data = {
        "speech": torch.randn(rows, 8000, generator=generator),
        "speech_lengths": torch.full((rows,), 8000),
    }
    for name in names:
        text = torch.randint(2, 6, (rows, 4), generator=generator)
        lengths = torch.full((rows,), 4)
        if name in unlabelled:
            text, lengths = torch.full((rows, 1), -2), torch.ones(rows, dtype=torch.long)
        data[f"text_{name}"], data[f"text_{name}_lengths"] = text, lengths
    return data
