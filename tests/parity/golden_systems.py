"""Tiny versions of every system in conf/systems, trained for 20 steps in float64, then decoded.

The result is compared with the committed file `golden/systems.json` by `test_golden.py`. To write
the file again after an intended change of numbers, or only what it has of the named systems:

    python tests/parity/golden_systems.py [NAME ...]
"""

import json
import sys
from pathlib import Path

import torch
import yaml

from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.model.build import build_model
from espnet_ext.model.conditions import configured_names
from espnet_ext.objectives.registry import build_objective

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden/systems.json"
STEPS = 20
TOKENS = {
    "surface": ["<blank>", "<unk>", "K", "AE", "T", "D", "AO", "<sos/eos>"],
    "meaning": ["<blank>", "<unk>", "a", "b", "c", "<space>", "d", "<l1:Hindi>", "<sos/eos>"],
}
TYPES = {"surface": "phone", "meaning": "char"}
CONFIG = {
    "frontend": "default",
    "frontend_conf": {
        "fs": 16000,
        "n_fft": 512,
        "win_length": 400,
        "hop_length": 160,
        "n_mels": 16,
    },
    "normalize": "utterance_mvn",
    "encoder": "conformer",
    "encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 16,
        "num_blocks": 2,
        "input_layer": "conv2d",
        "rel_pos_type": "latest",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
        "use_cnn_module": True,
        "cnn_module_kernel": 3,
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
    },
    "decoder": "transformer",
    "decoder_conf": {
        "attention_heads": 2,
        "linear_units": 16,
        "num_blocks": 1,
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "self_attention_dropout_rate": 0.0,
        "src_attention_dropout_rate": 0.0,
    },
}
LABELS = {"band": ["narrow", "wide"], "l1": ["Hindi", "Korean"]}  # condition → values
LABEL_IDS = [0, 1, 1, 0]  # of the four utterances
# Variants of systems that conf/systems has no file for.
VARIANTS = {
    "do_ctc": {
        "outputs": {
            "surface": {"branch": "ctc", "ctc_weight": 1.0},
            "meaning": {"branch": "ctc", "ctc_weight": 0.5},
        }
    },
    "do_lstm_transducer": {
        "outputs": {
            "surface": {"branch": "transducer", "transducer_weight": 1.0, "prediction": "lstm"},
            "meaning": {"branch": "attention", "attention_weight": 0.3},
        }
    },
    "do_divide_by_labelled": {
        "outputs": {
            "surface": {"branch": "ctc_attention", "ctc_weight": 0.2, "attention_weight": 0.5},
            "meaning": {"branch": "attention", "attention_weight": 0.3},
        },
        "model_conf": {"divide_by": "labelled", "lsm_weight": 0.1},
    },
    "do_vectors_end": {
        "outputs": {
            "surface": {"branch": "ctc_attention", "ctc_weight": 0.2, "attention_weight": 0.5},
            "meaning": {"branch": "ctc_attention", "ctc_weight": 0.2, "attention_weight": 0.3},
        },
        "conditioning": "vectors",
        "conditioning_conf": {
            "mode": "per_combination",
            "where": "both",
            "normalize": "clip",
            "drop_tasks": 0.3,
        },
    },
}


def systems() -> dict[str, dict]:
    """Name → overlay: every file of conf/systems, then the variants."""
    files = sorted((ROOT / "conf/systems").glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text()) for path in files} | VARIANTS


def build(overlay: dict) -> tuple[torch.nn.Module, dict]:
    """The tiny model of a system in float64, with the same weights on every machine."""
    outputs = {
        name: {**output, "token_type": TYPES[name], "token_list": TOKENS[name]}
        for name, output in overlay["outputs"].items()
    }
    config = {**CONFIG, **overlay, "outputs": outputs}
    if names := configured_names(config):
        config["conditions"] = {name: LABELS[name] for name in names}
    model = build_model(config, objective=build_objective(config)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            noise = torch.rand(parameter.shape, generator=generator, dtype=torch.double) - 0.5
            scale = 2 * parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.2
            parameter.copy_(noise * scale)
            if parameter.dim() == 1:
                parameter.add_(0.5)
    return model, config


def batch(outputs, number: int) -> dict[str, torch.Tensor]:
    """Four utterances of different lengths; some lack a transcript, some have a tag."""
    generator = torch.Generator().manual_seed(100 + number)
    lengths = torch.tensor([12000, 9000, 8000, 6400])
    speech = torch.rand(4, 12000, generator=generator, dtype=torch.double) - 0.5
    made = {"speech": speech, "speech_lengths": lengths}
    made |= {name: torch.tensor(LABEL_IDS)[:, None] for name in LABELS}
    for place, name in enumerate(outputs):
        high = len(TOKENS[name]) - 1
        text = torch.randint(2, high, (4, 5), generator=generator)
        counts = torch.tensor([5, 4, 3, 2])
        for row, count in enumerate(counts.tolist()):
            text[row, count:] = -1
        if len(outputs) > 1:
            row = (number + place) % 4  # this utterance is unlabelled for this output
            text[row], counts[row] = torch.tensor([-2, -1, -1, -1, -1]), 1
        made[f"text_{name}"], made[f"text_{name}_lengths"] = text, counts
    return made


def run(overlay: dict, device: str = "cpu") -> dict:
    """Losses and gradient norms of 20 steps, and the n-best lists that the result finds."""
    torch.manual_seed(0)
    model, config = build(overlay)
    model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses, norms, stats = [], [], {}
    for step in range(STEPS):
        optimizer.zero_grad()
        made = batch(list(config["outputs"]), step)
        loss, stats, _ = model(**{key: value.to(device) for key, value in made.items()})
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)))
        losses.append(float(loss.detach()))
        optimizer.step()
    return {
        "loss": losses,
        "gradient_norm": norms,
        "stats": {key: float(value) for key, value in sorted(stats.items())},
        "nbest": decode(model.eval(), config),
    }


def decode(model: torch.nn.Module, config: dict) -> list[dict]:
    """The three best hypotheses of each output for four utterances, decoded in one batch."""
    generator = torch.Generator().manual_seed(1)
    waves = [torch.rand(n, generator=generator).numpy() - 0.5 for n in (12000, 9000, 8000, 6400)]
    recognise = DualSpeech2Text(model, config, {"beam_size": 4, "nbest": 3})
    known = config.get("conditions") or {}
    conditions = {name: [values[i] for i in LABEL_IDS] for name, values in known.items()}
    return [
        {
            name: [{"tokens": list(h.tokens), "score": h.score} for h in nbest]
            for name, nbest in result.nbest.items()
        }
        for result in recognise.batch(waves, conditions=conditions)
    ]


def main() -> None:
    torch.set_num_threads(1)
    named = sys.argv[1:] or list(systems())
    results = json.loads(GOLDEN.read_text()) if sys.argv[1:] else {}
    results |= {name: run(systems()[name]) for name in named}
    results = {name: results[name] for name in systems()}
    GOLDEN.parent.mkdir(exist_ok=True)
    target = GOLDEN
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{target}: {len(results)} systems")


if __name__ == "__main__":
    main()
