"""Read a model directory of stock ESPnet's ASR task as a system of one output, `text`.

The opposite direction is `export.py`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.files import read_yaml
from espnet_ext.model.archive import CONFIG, META
from espnet_ext.model.config import OutputConfig, places_of
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
    """Return whether a configuration is one of stock ESPnet's ASR task."""
    return "outputs" not in config and "token_list" in config and "encoder" in config


def adopt_config(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration in our terms.

    Raises:
        UserError: if it is not a configuration that one of our heads can represent.
    """
    try:
        return _adopt(config, folder, f"{folder}/config.yaml")
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise UserError(
            f"{folder}/config.yaml: not a configuration of ESPnet's ASR task ({error!r})",
            "give the config.yaml of the weights",
        ) from None


def _adopt(config: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    for key in ("encoder", "frontend"):
        if not isinstance(config.get(key), str | None) or (key == "encoder" and not config[key]):
            raise UserError(f"{where}: {key} is {config.get(key)!r}", f"name a {key}")
    float(str((config.get("frontend_conf") or {}).get("fs", 16000)).removesuffix("k"))
    tokens = list(config["token_list"])
    if tokens[0] != "<blank>" or tokens[-1] != "<sos/eos>":
        raise UserError(
            f"{where}: token_list begins with {tokens[0]} and ends with {tokens[-1]}",
            "only models with <blank> first and <sos/eos> last can be decoded here",
        )
    if config.get("model", "espnet") != "espnet":
        raise UserError(
            f"{where}: unknown model '{config.get('model')}'",
            "only attention/CTC models and transducers can be decoded here",
        )
    kind = config.get("token_type")
    if kind not in _TOKEN_TYPES:
        raise UserError(
            f"{where}: unknown token_type '{kind}'",
            f"only {', '.join(_TOKEN_TYPES)} are supported here",
        )
    branch, options = _head_of(config, where)
    output = {
        "branch": branch,
        **options,
        "token_type": _TOKEN_TYPES[kind],
        "token_list": tokens,
        "search": config.get("search") or {},  # recorded by `export_head`
    }
    config = with_existing_files(config, folder)
    if kind == "bpe":
        output["bpemodel"] = config["bpemodel"]
    shared: dict[str, Any] = {key: config.get(key) for key in _SHARED}
    return {**shared, "outputs": {OUTPUT: output}}


def _head_of(config: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Return the kind of head that a stock configuration has, and its options."""
    for branch, head in HEADS.items():
        options = head.from_stock(config, where)
        if options is not None:
            return branch, options
    raise UserError(
        f"{where}: no head for decoder '{config.get('decoder')}'",
        f"only {', '.join(HEADS)} are supported here",
    )


def _find_file(path: str | None, folder: Path, what: str) -> str:
    """Return a file that a configuration names."""
    name = Path(path or "")
    for candidate in [*(place / name for place in places_of(folder)), folder / name.name]:
        if candidate.is_file():
            return str(candidate.resolve())
    raise UserError(f"{folder}/config.yaml: {path}: no such {what}", f"copy the file into {folder}")


def with_existing_files(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a stock configuration with absolute paths of the files that it names."""
    config = dict(config)
    if config.get("token_type") == "bpe":
        config["bpemodel"] = _find_file(config.get("bpemodel"), folder, "SentencePiece model")
    stats = (config.get("normalize_conf") or {}).get("stats_file")
    if stats:
        path = _find_file(stats, folder, "feature statistics")
        config["normalize_conf"] = {**config["normalize_conf"], "stats_file": path}
    return config


def adopt_state(
    state: Mapping[str, torch.Tensor], options: OutputConfig
) -> dict[str, torch.Tensor]:
    """Return the parameters under our names, without a CTC layer that the loss never reached.

    Args:
        state: parameters by ESPnet's names.
        options: options of the output `OUTPUT`, as `adopt_config` gives it.
    """
    parts = head_class(options.branch).stock_parts(options)
    our_names = {stock: f"{OUTPUT}_{part}" for part, stock in parts.items()}
    renamed = {}
    for key, value in state.items():
        module, _, parameter = key.partition(".")
        if module in our_names:
            renamed[f"{our_names[module]}.{parameter}"] = value
        elif module != "ctc":
            renamed[key] = value
    return renamed


def find_weights(folder: Path, name: str) -> str:
    """Return the file name of the weights.

    If it is our default model.pth and does not exist, return the file that an archive of ESPnet
    names, or the best one that ESPnet wrote.
    """
    if name != "model.pth" or (folder / name).is_file():
        return name
    candidates = [*_packed_weights(folder), *WEIGHTS, *_weights_by_criterion(folder)]
    weights = next((file for file in candidates if (folder / file).is_file()), None)
    if weights is None:
        raise UserError(f"{folder}: neither {name} nor {', '.join(WEIGHTS)}", "name the weights")
    return weights


def _packed_weights(folder: Path) -> Iterator[str]:
    """Yield the weights that the `meta.yaml` of an unpacked archive of ESPnet names."""
    for root in places_of(folder):
        if (root / META).is_file():
            meta = read_yaml(root / META)
            configs, files = meta.get("yaml_files"), meta.get("files")
            if not isinstance(configs, Mapping) or not isinstance(files, Mapping):
                continue
            config, weights = configs.get("asr_train_config"), files.get("asr_model_file")
            if weights and root / str(config) == folder.resolve() / CONFIG:
                yield os.path.relpath(root / weights, folder.resolve())


def _weights_by_criterion(folder: Path) -> Iterator[str]:
    """Yield the best weights by the criteria of the configuration, in their order."""
    if (folder / CONFIG).is_file():
        config = read_yaml(folder / CONFIG, exponents=False)
        for part, key, *_ in config.get("best_model_criterion") or ():
            yield from (f"{part}.{key}.ave.pth", f"{part}.{key}.best.pth")
