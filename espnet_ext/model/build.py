"""Build a model from a configuration (a mapping, as in config.yaml).

Paths in a configuration may be relative to its folder, so a model directory can be moved.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.conditioning.base import ConditionerContext
from espnet_ext.model.conditioning.layers import blocks_of
from espnet_ext.model.conditioning.registry import build_conditioner
from espnet_ext.model.conditions import configured_names, values_of
from espnet_ext.model.config import (
    OutputConfig,
    check_keys,
    check_smoothing,
    construct,
    suggest,
)
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.heads.base import Head
from espnet_ext.model.heads.registry import build_head
from espnet_ext.model.heads.shared_decoder import MODULE as SHARED_DECODER
from espnet_ext.model.heads.shared_decoder import SHARED, build_shared_decoder
from espnet_ext.model.heads.side_input_options import ATTENTION
from espnet_ext.model.heads.side_inputs import check_decoder
from espnet_ext.model.losses import Objective
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.model.pretrained import adapters
from espnet_ext.model.pretrained.base_weights import source_of

MODEL_CONF = ("lsm_weight", "length_normalized_loss", "scale_embeddings", "divide_by")
DIVISORS = ("utterances", "labelled")  # values of `divide_by`, see DualOutputModel


def build_model(
    config: Mapping[str, Any], folder: str | Path = ".", objective: Objective | None = None
) -> DualOutputModel:
    """Build an untrained model.

    Args:
        config: ESPnet-like keys (`frontend`, `frontend_conf`, `encoder`, …) and `outputs`, whose
            `token_list` are lists of tokens.
        folder: what relative paths in `config` are relative to.
        objective: turns the losses into one scalar in training (`objectives.registry`); the
            weighted sum unless given.
    """
    outputs = parse_outputs(config)
    model_conf = config.get("model_conf") or {}
    if "ctc_weight" in model_conf:  # as in configurations of stock ESPnet
        raise UserError(
            "model_conf: unknown key 'ctc_weight'",
            "remove it; weights belong to outputs: the system sets outputs.<name>.ctc_weight",
        )
    check_keys(model_conf, MODEL_CONF, "model_conf")
    if model_conf.get("lsm_weight") is not None:
        check_smoothing(model_conf["lsm_weight"], "model_conf.lsm_weight")
    size = config.get("input_size")
    frontend = _part(config, "frontend") if size is None else None
    size = frontend.output_size() if frontend is not None else size
    normalize = _part(_with_stats_file(config, Path(folder)), "normalize")
    preencoder = _part(config, "preencoder")
    size = preencoder.output_size() if preencoder is not None else size
    if (config.get("encoder_conf") or {}).get("interctc_layer_idx"):
        raise UserError(
            "encoder_conf.interctc_layer_idx: intermediate CTC is not supported",
            "remove interctc_* from encoder_conf",
        )
    encoder = _part(config, "encoder", input_size=size)
    size = encoder.output_size()
    postencoder = _part(config, "postencoder", input_size=size)
    size = postencoder.output_size() if postencoder is not None else size
    tokens = {name: _tokens(name, options) for name, options in outputs.items()}
    sharing = {
        name: tokens[name]
        for name, options in outputs.items()
        if options.branch in ATTENTION and getattr(options, "decoder", None) == SHARED
    }
    shared_decoder = build_shared_decoder(sharing, size, config) if sharing else None
    heads = {
        name: build_head(name, options, tokens[name], size, config, shared_decoder)
        for name, options in outputs.items()
    }
    _check_side_inputs(heads, encoder, postencoder, size)
    model = DualOutputModel(
        frontend=frontend,
        specaug=_part(config, "specaug"),
        normalize=normalize,
        preencoder=preencoder,
        encoder=encoder,
        postencoder=postencoder,
        heads=heads,
        objective=objective,
        autocast_dtype=autocast_dtype(config.get("cpu_autocast")),
        divide_by=_divisor(config),
    )
    if shared_decoder is not None:
        model.add_module(SHARED_DECODER, shared_decoder)
    if config.get("init"):
        _check_init(config)
        espnet.load("initialize")(model, config["init"])
    if (config.get("model_conf") or {}).get("scale_embeddings"):
        _scale_embeddings(model)
    # Built last, so that the other weights are those of the same system without a conditioner.
    model.condition_values = values_of(config, configured_names(config))
    context = ConditionerContext(
        tokens, encoder, size, model.condition_values, shared_decoder, frontend
    )
    model.conditioning = build_conditioner(config, context)
    adapter = adapters.options_of(config)
    if adapter is not None:
        adapters.add_adapters(model, adapter, source_of(config))
    if objective is not None:
        objective.attach(model)
    return model


def _check_init(config: Mapping[str, Any]) -> None:
    """Refuse `init`, which replaces all weights, for parts that are pre-trained."""
    outputs = config["outputs"].values()
    kinds = [config.get(part) for part in ("frontend", "encoder", "decoder")]
    if "pretrained" in kinds or any(o.get("decoder") == "pretrained" for o in outputs):
        raise UserError(
            f"init: {config['init']} would replace the pre-trained weights", "remove init"
        )


def _divisor(config: Mapping[str, Any]) -> str:
    divisor = (config.get("model_conf") or {}).get("divide_by") or DIVISORS[0]
    if divisor not in DIVISORS:
        raise UserError(
            f"model_conf.divide_by: unknown '{divisor}'", suggest(str(divisor), DIVISORS)
        )
    return divisor


def _scale_embeddings(model: torch.nn.Module) -> None:
    """Initialise decoder embeddings with standard deviation 1/√d (Vaswani et al., 2017, sec. 3.4).

    The decoder multiplies them by √d before it adds positions. With PyTorch's standard deviation of
    1 they are √d times as large as the positions, and attention aligns many epochs later.
    """
    for name, module in model.named_modules():
        is_pretrained = getattr(module, "pretrained", False)
        if isinstance(module, torch.nn.Embedding) and "_decoder." in name and not is_pretrained:
            torch.nn.init.normal_(module.weight, std=module.weight.size(1) ** -0.5)


def autocast_dtype(choice: str | None) -> torch.dtype | None:
    """Return the CPU autocast type of a configuration's `cpu_autocast`; None for off.

    "auto" is bfloat16 if the CPU computes in it natively (AMX or AVX512-BF16). Emulated bfloat16 is
    not faster. Training then measures whether native bfloat16 is (`training.precision`).

    Args:
        choice: "bfloat16", "auto" or None.
    """
    if choice == "auto":
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if native else None
    return torch.bfloat16 if choice == "bfloat16" else None


def _part(config: Mapping[str, Any], kind: str, **arguments) -> Any:
    """Build one of ESPnet's parts (`kind`: frontend, encoder, …); None if there is none."""
    name = config.get(kind)
    if name is None:
        return None
    build = espnet.resolve(kind, name)
    conf = config.get(f"{kind}_conf") or {}
    return construct(build, conf, f"{kind}_conf", arguments)


def _check_side_inputs(heads: Mapping[str, Head], encoder: Any, postencoder: Any, size: int):
    """Raise `UserError` if a head cannot read a decoder or an encoder layer that it names."""
    for name, head in heads.items():
        if head.reads is not None:
            check_decoder(f"outputs.{name}.reads", heads[head.reads].decoder, size)
        if head.ctc_layer is None:
            continue
        where = f"outputs.{name}.ctc_layer"
        count = len(blocks_of(encoder, where))
        if head.ctc_layer >= count:
            raise UserError(
                f"{where}: {head.ctc_layer}, but the encoder has {count} layers",
                f"write at most {count - 1}; without ctc_layer, CTC reads the encoder output",
            )
        if postencoder is not None or encoder.output_size() != size:
            raise UserError(f"{where}: not possible with a postencoder", "remove one of them")


def _tokens(name: str, output: OutputConfig) -> list[str]:
    if output.token_list is None or isinstance(output.token_list, str):
        raise UserError(f"outputs.{name}.token_list: not a list of tokens", "run stages 5 and 11")
    return list(output.token_list)


def _with_stats_file(config: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Return the configuration with the path of feature statistics relative to `folder`."""
    conf = dict(config.get("normalize_conf") or {})
    if "stats_file" in conf:
        conf["stats_file"] = str(folder / conf["stats_file"])
        if not Path(conf["stats_file"]).is_file():
            raise UserError(f"{conf['stats_file']}: no such file", "run stage 10")
    return {**config, "normalize_conf": conf}
