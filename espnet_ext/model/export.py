"""Export one head of a system as a model directory of stock ESPnet's ASR task."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.files import atomic_path, write_text
from espnet_ext.model import espnet
from espnet_ext.model.conditioning.active import active_sets
from espnet_ext.model.config import OutputConfig, suggest
from espnet_ext.model.heads.base import ELSEWHERE
from espnet_ext.model.heads.registry import head_class
from espnet_ext.model.load import load_config, load_model
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.text.tokenizers import build_tokenizer

_SHARED = ("frontend", "specaug", "normalize", "preencoder", "encoder", "postencoder")


def export_head(
    model_dir: str | Path,
    output: str,
    target: str | Path,
    weights: str = "model.pth",
    start: str | Path = "",
    active: Sequence[str] | None = None,
) -> Path:
    """Write one output as a stock ESPnet model directory: config.yaml, model.pth and bpe.model.

    Stock ESPnet decodes it to the same tokens with

        python -m espnet2.bin.asr_inference --asr_train_config TARGET/config.yaml \\
            --asr_model_file TARGET/model.pth --ctc_window_margin 0 …

    and `--ctc_weight 0` for a head without CTC, or `--ctc_weight 1` for one without decoder. The
    parameters are the same, under ESPnet's names. A conditioner becomes biases. A transducer needs
    the package `warprnnt_pytorch`, which ESPnet imports even for decoding, and must have a
    prediction network that ESPnet knows: lstm or gru.

    Args:
        model_dir: directory of a trained system.
        output: the output to export.
        target: directory to write.
        weights: file name of the weights in `model_dir`.
        start: directory that paths in the written configuration are relative to; decode from there.
        active: tasks whose conditioning becomes biases; unless given, those that are active when
            all outputs are decoded.
    Returns:
        `target`.
    Raises:
        UserError: if stock ESPnet has no such head, encoder or frontend.
    """
    config = load_config(model_dir)
    outputs = parse_outputs(config)
    if output not in outputs:
        raise UserError(f"{model_dir}: no output '{output}'", suggest(output, list(outputs)))
    stock = stock_config(config, output, outputs[output])
    model, _ = load_model(model_dir, weights)
    if model.conditioning is not None:
        sets = active_sets(model.conditioning.tasks, model.conditioning.trained)
        model.conditioning.fold(model, output, sets[output] if active is None else active)
    folder = Path(target)
    stats = (stock["normalize_conf"] or {}).get("stats_file")
    for source, name in ((outputs[output].bpemodel, "bpe.model"), (stats, "feats_stats.npz")):
        if source:
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(Path(model_dir) / source, temporary)
    relative = folder.relative_to(start) if start else folder
    if outputs[output].bpemodel:
        stock["bpemodel"] = str(relative / "bpe.model")
    if stats:
        stats = str(relative / "feats_stats.npz")
        stock["normalize_conf"] = {**stock["normalize_conf"], "stats_file": stats}
    write_text(folder / "config.yaml", yaml.safe_dump(stock, allow_unicode=True, sort_keys=False))
    with atomic_path(folder / "model.pth") as temporary:
        torch.save(stock_state(model.state_dict(), output, outputs[output]), temporary)
    return folder


def stock_config(config: Mapping[str, Any], name: str, output: OutputConfig) -> dict[str, Any]:
    """Return the configuration of stock ESPnet's ASR task for one output of `config`.

    Args:
        name: of the output.
        output: its options, from `parse_outputs`.
    """
    for kind, known in espnet.CHOICES.items():
        if known.get(config.get(kind) or "", "").startswith("espnet_ext."):
            raise UserError(
                f"{kind}: {config[kind]}: ESPnet's ASR task has no such {kind}",
                ELSEWHERE,
            )
    head = head_class(output.branch).export(name, output, config)
    stock = {key: config.get(key) for key in _SHARED}
    stock |= {f"{key}_conf": dict(config.get(f"{key}_conf") or {}) for key in _SHARED}
    return {
        **stock,
        "input_size": config.get("input_size"),
        "ctc_conf": {**(config.get("ctc_conf") or {}), **getattr(output, "ctc_conf", {})},
        **head.config,
        "model": "espnet",
        "model_conf": dict(head.model_conf),
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


def build_tokenizer_type(output: OutputConfig) -> str:
    """Return the stock token type with the same tokens (for jamo: char, over NFD text)."""
    if output.token_type == "bpe":
        return "bpe"
    if output.token_type == "hugging_face":
        raise UserError(
            "token type hugging_face: ESPnet's ASR task reads no tokenizer.json", ELSEWHERE
        )
    return build_tokenizer(output.token_type).espnet_type


def stock_state(
    state: Mapping[str, torch.Tensor], name: str, output: OutputConfig
) -> dict[str, torch.Tensor]:
    """Return the parameters of the encoder and of one head under ESPnet's names.

    Args:
        state: parameters by their names in our model.
        name, output: the head's output.
    """
    parts = head_class(output.branch).stock_parts(output)
    stock_names = {f"{name}_{part}": stock for part, stock in parts.items()}
    stock_names |= {part: part for part in _SHARED}
    renamed = {}
    for key, value in state.items():
        module, _, parameter = key.partition(".")
        if module in stock_names:
            renamed[f"{stock_names[module]}.{parameter}"] = value
    return renamed
