"""A model directory of stock ESPnet's ASR task as one of ours: a system of one output, `text`.

The other way round is `export.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import OutputConfig
from espnet_ext.model.heads.registry import HEADS, head_class

OUTPUT = "text"
WEIGHTS = ("valid.acc.ave.pth", "valid.acc.best.pth", "valid.loss.ave.pth", "valid.loss.best.pth")
_TOKEN_TYPES = {"bpe": "bpe", "char": "char", "word": "word", "phn": "phone"}
_SHARED = (
    "input_size",
    "frontend",
    "frontend_conf",
    "specaug",
    "specaug_conf",
    "normalize",
    "normalize_conf",
    "preencoder",
    "preencoder_conf",
    "encoder",
    "encoder_conf",
    "postencoder",
    "postencoder_conf",
)


def is_stock(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is of stock ESPnet's ASR task."""
    return "outputs" not in config and "token_list" in config and "encoder" in config


def adopt_config(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration in our terms; what is not of an attention/CTC model is a `UserError`."""
    try:
        return _adopt(config, folder, f"{folder}/config.yaml")
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise UserError(
            f"{folder}/config.yaml: not as ESPnet's ASR task writes it ({error!r})",
            "give the config.yaml that lies beside the weights",
        ) from None


def _adopt(config: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    for key in ("encoder", "frontend"):
        if not isinstance(config.get(key), str | None) or (key == "encoder" and not config[key]):
            raise UserError(f"{where}: {key} is {config.get(key)!r}", "write the name of one")
    float(str((config.get("frontend_conf") or {}).get("fs", 16000)).removesuffix("k"))
    tokens = list(config["token_list"])
    if tokens[0] != "<blank>" or tokens[-1] != "<sos/eos>":
        raise UserError(
            f"{where}: token_list runs from {tokens[0]} to {tokens[-1]}",
            "only models with <blank> first and <sos/eos> last can be decoded here",
        )
    if config.get("model", "espnet") != "espnet":
        raise UserError(
            f"{where}: model '{config.get('model')}'",
            "only attention/CTC models and transducers can be decoded here",
        )
    kind = config.get("token_type")
    if kind not in _TOKEN_TYPES:
        raise UserError(
            f"{where}: token_type '{kind}'", f"only {', '.join(_TOKEN_TYPES)} are known here"
        )
    forms = ((branch, head.from_stock(config, where)) for branch, head in HEADS.items())
    branch, head = next((form for form in forms if form[1] is not None), ("", None))
    if head is None:
        raise UserError(
            f"{where}: decoder '{config.get('decoder')}'", f"only {', '.join(HEADS)} are known here"
        )
    output = {
        "branch": branch,
        **head,
        "token_type": _TOKEN_TYPES[kind],
        "token_list": tokens,
    }
    if kind == "bpe":
        output["bpemodel"] = _found(config.get("bpemodel"), folder, "SentencePiece model")
    shared = {key: config.get(key) for key in _SHARED}
    stats = (shared["normalize_conf"] or {}).get("stats_file")
    if stats:
        path = _found(stats, folder, "feature statistics")
        shared["normalize_conf"] = {**shared["normalize_conf"], "stats_file": path}
    return {**shared, "outputs": {OUTPUT: output}}


def _found(path: str | None, folder: Path, what: str) -> str:
    """A path of a stock configuration, which is relative to where training was started."""
    for candidate in (Path(path or ""), folder / (path or ""), folder / Path(path or "").name):
        if candidate.is_file():
            return str(candidate.resolve())
    raise UserError(
        f"{folder}/config.yaml: {path}: no such {what}", f"put it into {folder}, by its name"
    )


def adopt_state(
    state: Mapping[str, torch.Tensor], options: OutputConfig
) -> dict[str, torch.Tensor]:
    """Return the parameters under our names, without a CTC layer that the loss never reached.

    Args:
        state: parameters by ESPnet's names.
        options: of the output `OUTPUT`, as `adopt_config` gives it.
    """
    parts = head_class(options.branch).stock_parts(options)
    our_names = {stock: f"{OUTPUT}_{part}" for part, stock in parts.items()}
    renamed = {}
    for key, value in state.items():
        module, _, rest = key.partition(".")
        if module in our_names:
            renamed[f"{our_names[module]}.{rest}"] = value
        elif module != "ctc":
            renamed[key] = value
    return renamed


def find_weights(folder: Path, wanted: str) -> str:
    """The weights asked for; for our default name, which ESPnet has not, those it leaves behind."""
    if wanted != "model.pth" or (folder / wanted).is_file():
        return wanted
    left = next((name for name in WEIGHTS if (folder / name).is_file()), None)
    if left is None:
        raise UserError(
            f"{folder}: neither {wanted} nor {', '.join(WEIGHTS)}", "name the weights there"
        )
    return left
