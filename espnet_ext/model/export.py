"""Export one head of a system as a model directory of stock ESPnet's ASR task."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.files import atomic_path, write_text
from espnet_ext.model import checksums, espnet
from espnet_ext.model.conditioning.active import active_sets
from espnet_ext.model.config import OutputConfig, suggest
from espnet_ext.model.heads.base import ELSEWHERE, StockSearch
from espnet_ext.model.heads.registry import head_class
from espnet_ext.model.heads.search_options import SearchOptions, checked, fill_in
from espnet_ext.model.heads.shared_decoder import own_decoder
from espnet_ext.model.load import load_config, load_model
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.text.tokenizers import build_tokenizer

_SHARED = ("frontend", "specaug", "normalize", "preencoder", "encoder", "postencoder")
# Search options that config.yaml records; the others depend on the machine or on other models.
_RECORDED = (
    "beam_size",
    "greedy",
    "ctc_weight",
    "penalty",
    "maxlenratio",
    "end_detect",
    "minlenratio",
    "normalize_length",
    "nbest",
    "max_symbols",
    "expansion_gamma",
)
FILES = (
    r"config\.yaml|model\.pth|checksums\.json|bpe\.model|feats_stats\.npz|"
    r"inference\.yaml|decode\.yaml|README\.md"
)


def export_head(
    model_dir: str | Path,
    output: str,
    target: str | Path,
    weights: str = "model.pth",
    start: str | Path = "",
    active: Sequence[str] | None = None,
    search: Mapping[str, Any] | None = None,
) -> Path:
    """Write one output as a model directory of stock ESPnet: config.yaml, model.pth and bpe.model.

    The parameters are the same, under ESPnet's names. A conditioner becomes biases. A transducer
    needs the package `warprnnt_pytorch`, which ESPnet imports even for decoding, and must have a
    prediction network that ESPnet knows: lstm or gru.

    config.yaml also records the search options of the head (`search`), so that `espnet-ext decode`
    decodes the directory as it decodes the system. inference.yaml has these options for ESPnet's
    `asr_inference`, README.md the commands (`stock_command`), and decode.yaml the options with
    which `espnet-ext decode` gives the tokens of `asr_inference`, which lacks some of our options.

    Args:
        model_dir: directory of a trained system.
        output: the output to export.
        target: directory to write.
        weights: file name of the weights in `model_dir`.
        start: directory that paths in the written configuration are relative to; decode from there.
        active: tasks whose conditioning becomes biases; unless given, those that are active when
            all outputs are decoded.
        search: search options to record instead of the head's defaults.
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
    own_decoder(model.heads[output], model)
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
    head = model.heads[output]
    search = fill_in(search or {}, head.default_search(), (search or {}).keys())
    options = checked(output, SearchOptions(**search))
    stock["search"] = {name: getattr(options, name) for name in _RECORDED}
    _write_yaml(folder / "config.yaml", stock)
    stock_search = head.stock_search(options)
    _write_yaml(folder / "inference.yaml", stock_search.inference)
    _write_yaml(folder / "decode.yaml", stock_search.options)
    exported = head_class(outputs[output].branch).export(output, outputs[output], config)
    readme = _readme(output, relative, stock_search, exported.requirement)
    write_text(folder / "README.md", readme)
    with atomic_path(folder / "model.pth") as temporary:
        torch.save(stock_state(model.state_dict(), output, outputs[output]), temporary)
        checksums.record(folder / "model.pth", temporary)
    return folder


def stock_command(folder: str | Path) -> str:
    """Return the `asr_inference` command for a directory that `export_head` wrote.

    Args:
        folder: the directory, as seen from where the command is run.
    """
    search, config, weights = (
        _quoted(folder, name) for name in ("inference.yaml", "config.yaml", "model.pth")
    )
    return (
        f"python -m espnet2.bin.asr_inference --config {search} \\\n"
        f"    --asr_train_config {config} --asr_model_file {weights} \\\n"
        "    --data_path_and_name_and_type DATA/wav.scp,speech,sound --output_dir DECODED"
    )


def _quoted(folder: str | Path, name: str = "") -> str:
    """Return a path for a shell."""
    return shlex.quote(str(Path(folder) / name))


def _readme(output: str, folder: Path, search: StockSearch, requirement: str) -> str:
    """Return the README of an exported directory: the commands, and how they differ."""
    needs = f" It needs {requirement}." if requirement else ""
    lines = [
        f"# {folder.name}",
        "",
        f"The output `{output}` of a system of espnet-ext as a model of ESPnet's ASR task.",
        "",
        f"Decode with ESPnet: replace DATA and DECODED.{needs}",
        "",
        "```sh",
        stock_command(folder),
        "```",
        "",
        "Decode with espnet-ext. Without `--config`, the search options are those of the system:",
        "they are recorded under `search` in config.yaml.",
        "",
        "```sh",
        f"espnet-ext decode --model_dir {_quoted(folder)} --data DATA --output_dir DECODED",
        "```",
        "",
    ]
    if search.differences:
        lines += [
            "ESPnet's `asr_inference` cannot use all of these options:",
            "",
            *(f"- {difference}" for difference in search.differences),
            "",
            f"With `--config {_quoted(folder, 'decode.yaml')}`, espnet-ext gives the same tokens "
            "as ESPnet.",
        ]
    else:
        lines.append("Both give the same tokens.")
    lines += [
        "",
        "One difference remains: `asr_inference` writes a further token `<sos/eos>` if a",
        "hypothesis ends exactly at the maximum length.",
    ]
    return "\n".join([*lines, ""])


def _write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(values), allow_unicode=True, sort_keys=False)
    write_text(path, text)


def stock_config(config: Mapping[str, Any], name: str, output: OutputConfig) -> dict[str, Any]:
    """Return the configuration of stock ESPnet's ASR task for one output of `config`.

    Args:
        name: name of the output.
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
