"""Any head of any system as a stock ESPnet model directory, which `asr_inference` decodes."""

import inspect
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.files import atomic_path, write_text
from espnet_ext.model import espnet
from espnet_ext.model.conditioning import active_sets
from espnet_ext.model.config import OutputConfig, parse_outputs, suggest
from espnet_ext.model.fold import fold_vectors
from espnet_ext.model.load import load_config, load_model
from espnet_ext.model.prediction import PREDICTIONS, Recurrent
from espnet_ext.model.transducer import PREDICTION
from espnet_ext.text.tokenizers import build_tokenizer

# a part of a branch → its name in ESPnet's model
STOCK_NAMES = {
    "decoder": "decoder",
    "ctc": "ctc",
    "prediction": "decoder",
    "joint": "joint_network",
}
_SHARED = ("frontend", "specaug", "normalize", "preencoder", "encoder", "postencoder")


def export_head(
    model_dir: str | Path,
    output: str,
    target: str | Path,
    weights: str = "model.pth",
    start: str | Path = "",
    active: Sequence[str] | None = None,
) -> Path:
    """Write `config.yaml`, `model.pth` (and bpe.model) of one output, for stock ESPnet's ASR task.

    Paths in the configuration are relative to `start`, where it is given: decode from there.

    Nothing is lost: encoder, decoder and CTC of the output have the same parameters under the
    names `encoder`, `decoder`, `ctc`. Decode it with

        python -m espnet2.bin.asr_inference --asr_train_config TARGET/config.yaml \\
            --asr_model_file TARGET/model.pth --ctc_window_margin 0 …

    (`--ctc_weight 0` for a branch without CTC, `1` for one without decoder). Task vectors become
    biases: those of the outputs `active`, unless given the ones that decoding all would activate.
    (`--ctc_weight 0` for a branch without CTC, `1` for one without decoder). A transducer's head
    needs the package `warprnnt_pytorch` there, which ESPnet's model imports even to decode, and
    must have a prediction network that ESPnet's ASR task knows: lstm or gru.
    """
    config = load_config(model_dir)
    outputs = parse_outputs(config)
    if output not in outputs:
        raise UserError(f"{model_dir}: no output '{output}'", suggest(output, list(outputs)))
    stock = stock_config(config, output, outputs[output])
    model, _ = load_model(model_dir, weights)
    if model.conditioning is not None:
        sets = active_sets(model.conditioning.tasks, model.conditioning.trained)
        fold_vectors(model, output, sets[output] if active is None else active)
    folder = Path(target)
    stats = (stock["normalize_conf"] or {}).get("stats_file")
    for source, name in ((outputs[output].bpemodel, "bpe.model"), (stats, "feats_stats.npz")):
        if source:
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(Path(model_dir) / source, temporary)
    named = folder.relative_to(start) if start else folder
    if outputs[output].bpemodel:
        stock["bpemodel"] = str(named / "bpe.model")
    if stats:
        stats = str(named / "feats_stats.npz")
        stock["normalize_conf"] = {**stock["normalize_conf"], "stats_file": stats}
    write_text(folder / "config.yaml", yaml.safe_dump(stock, allow_unicode=True, sort_keys=False))
    with atomic_path(folder / "model.pth") as temporary:
        torch.save(stock_state(model.state_dict(), output), temporary)
    return folder


def stock_config(config: Mapping[str, Any], name: str, output: OutputConfig) -> dict[str, Any]:
    """The configuration of stock ESPnet's ASR task for one output of `config`."""
    for kind, known in espnet.CHOICES.items():
        if known.get(config.get(kind) or "", "").startswith("espnet_ext."):
            raise UserError(
                f"{kind}: {config[kind]}: ESPnet's ASR task has no such {kind}",
                "decode this system with espnet-ext decode instead",
            )
    if output.has_transducer:
        head = _transducer_head(name, output)
        # ESPnet adds it to the transducer's loss, whose weight is 1, and takes no more than 1.
        weight = min(1.0, output.ctc_weight / output.transducer_weight)
    else:
        weight = output.ctc_weight / (output.ctc_weight + output.attention_weight)
        with_decoder = output.has_attention
        conf = {**(config.get("decoder_conf") or {}), **output.decoder_conf}
        head = {
            "decoder": (output.decoder or config.get("decoder")) if with_decoder else None,
            "decoder_conf": conf if with_decoder else {},
        }
    stock = {key: config.get(key) for key in _SHARED}
    stock |= {f"{key}_conf": dict(config.get(f"{key}_conf") or {}) for key in _SHARED}
    model_conf = {
        key: value
        for key, value in (config.get("model_conf") or {}).items()
        if key in ("lsm_weight", "length_normalized_loss")
    }
    for key in ("lsm_weight", "length_normalized_loss"):
        if getattr(output, key) is not None:
            model_conf[key] = getattr(output, key)
    return {
        **stock,
        "input_size": config.get("input_size"),
        **head,
        "ctc_conf": {**(config.get("ctc_conf") or {}), **output.ctc_conf},
        "model": "espnet",
        "model_conf": {**model_conf, "ctc_weight": weight},
        "init": None,
        "token_list": list(output.token_list or ()),
        "token_type": build_tokenizer_type(output),
        "bpemodel": None,
        "cleaner": None,
        "g2p": None,
        "non_linguistic_symbols": None,
        "preprocessor": "default",
        "preprocessor_conf": {},
        "use_preprocessor": True,
    }


def _transducer_head(name: str, output: OutputConfig) -> dict[str, Any]:
    kind = output.prediction or PREDICTION
    if PREDICTIONS.get(kind) is not Recurrent:
        raise UserError(
            f"outputs.{name}: ESPnet's ASR task has no prediction network '{kind}'",
            "export an output whose prediction is lstm or gru, or decode this one here",
        )
    sizes = {
        key: parameter.default
        for key, parameter in inspect.signature(Recurrent).parameters.items()
        if key not in ("vocab_size", "rnn_type")
    }
    return {
        "decoder": "transducer",
        "decoder_conf": {"rnn_type": kind, **sizes, **output.prediction_conf},
        "joint_net_conf": dict(output.joint_conf),
    }


def build_tokenizer_type(output: OutputConfig) -> str:
    """The stock tokenizer that does what the output's does (jamo → char over NFD text)."""
    if output.token_type == "bpe":
        return "bpe"
    return build_tokenizer(output.token_type).espnet_type


def stock_state(state: Mapping[str, torch.Tensor], output: str) -> dict[str, torch.Tensor]:
    """Parameters of one head under stock names; those of other outputs left out."""
    renamed = {}
    for key, value in state.items():
        top, _, rest = key.partition(".")
        if top in _SHARED:
            renamed[key] = value
        elif top.startswith(f"{output}_") and top.removeprefix(f"{output}_") in STOCK_NAMES:
            renamed[f"{STOCK_NAMES[top.removeprefix(f'{output}_')]}.{rest}"] = value
    return renamed
