"""Pack a model directory into a zip: files for decoding, scores, and a model card."""

import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.files import atomic_path, read_json, sha256_of, write_json
from espnet_ext.model import checksums, manifest, safe_weights
from espnet_ext.model.config import OutputConfig, suggest
from espnet_ext.model.export import export_head, stock_command
from espnet_ext.model.heads.base import StockHead
from espnet_ext.model.heads.registry import head_class
from espnet_ext.model.load import load_config, load_model
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.model.pretrained import adapters
from espnet_ext.model.unit_frontend import unit_files
from espnet_ext.text import unicode

# Configuration keys that name places on this machine: suffixes, and whole names.
_LOCAL_SUFFIXES = ("_shape_file", "_data_path_and_name_and_type", "_data_dir")
_LOCAL_KEYS = ("output_dir", "config", "init_param", "dist_init_method", "rir_scp", "noise_scp")
_CONFIG = "config.yaml"
_WEIGHTS = (safe_weights.FILE, safe_weights.DEFAULT)  # the second one in older archives
_CALIBRATION = "calibration.json"  # of `feedback`
# What a calibration says about this machine
_LOCAL_FACTS = ("data", "model", "provenance", "evaluated")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # one date for all files: same content, same archive


def pack_model(
    model_dir: str | Path,
    archive: str | Path,
    weights: str = "model.pth",
    export: Sequence[str] = (),
    licence: str = "",
    data: str = "",
) -> list[str]:
    """Write a zip with one folder of the archive's name. `unzip` unpacks it to a model directory.

    Args:
        model_dir: directory of a trained system.
        archive: the zip to write.
        weights: file name of the weights; they are loaded strictly, and packed as safetensors.
        export: outputs to export for stock ESPnet too, as `stock_<output>/`.
        licence: licence of the weights, for the card.
        data: which corpora the model was trained on, and their licences, for the card.
    Returns:
        The names in the archive.
    """
    source = Path(model_dir)
    config = load_config(source)
    outputs = parse_outputs(config)
    for name in export:
        if name not in outputs:
            raise UserError(f"{source}: no output '{name}'", suggest(name, list(outputs)))
    model, _ = load_model(source, weights)
    parameters = sum(p.numel() for p in model.parameters())
    with tempfile.TemporaryDirectory(dir=Path(archive).absolute().parent, prefix=".tmp-") as root:
        folder = Path(root) / Path(archive).stem
        folder.mkdir()
        _copy_model(source, weights, model, config, outputs, folder)
        scores = _copy_results(source, folder)
        for name in export:
            export_head(source, name, folder / f"stock_{name}", weights, start=folder)
        exported = {
            name: head_class(outputs[name].branch).export(name, outputs[name], config)
            for name in export
        }
        card = model_card(folder.name, outputs, parameters, scores, exported, licence)
        notes = data_notes(source, folder, data)
        (folder / "README.md").write_text("\n".join([card, *notes]), encoding="utf-8")
        manifest.write(folder)
        return _write_zip(Path(root), Path(archive))


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip that `pack_model` wrote."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as packed:
        names = set(packed.namelist())
    folders = {name.partition("/")[0] for name in names}
    if len(folders) != 1:
        return False
    top = min(folders)
    return f"{top}/{_CONFIG}" in names and any(f"{top}/{name}" in names for name in _WEIGHTS)


def _copy_model(
    source: Path,
    weights: str,
    model: torch.nn.Module,
    config: Mapping[str, Any],
    outputs: Mapping[str, OutputConfig],
    folder: Path,
) -> None:
    """Copy what decoding reads. Adapters are merged: the copy needs neither base nor `peft`."""
    has_adapter = adapters.options_of(config) is not None
    if has_adapter:
        config = adapters.without_adapter(config)
    portable = {
        key: value
        for key, value in config.items()
        if key not in _LOCAL_KEYS and not key.endswith(_LOCAL_SUFFIXES)
    }
    (folder / "config.yaml").write_text(
        yaml.safe_dump(portable, allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    path = folder / safe_weights.FILE
    if config.get("stock"):  # the names of ESPnet are those of its format
        path = folder / safe_weights.DEFAULT
        shutil.copyfile(source / weights, path)  # follows the link
    else:
        safe_weights.write(model.state_dict(), path)
    checksums.record(path, path)
    needed = [output.bpemodel for output in outputs.values() if output.bpemodel]
    stats = (config.get("normalize_conf") or {}).get("stats_file")
    for name in [*needed, *([stats] if stats else []), *unit_files(config, source)]:
        if Path(name).name != name:
            message = f"{source / 'config.yaml'}: '{name}' is not in that folder"
            raise UserError(message, "train again")
        shutil.copyfile(source / name, folder / name)
    if (source / "train.json").is_file():
        shutil.copyfile(source / "train.json", folder / "train.json")
    if (source / _CALIBRATION).is_file():
        calibration = _portable_calibration(source / _CALIBRATION, source / weights)
        write_json(folder / _CALIBRATION, calibration)


def _portable_calibration(path: Path, weights: Path) -> dict[str, Any]:
    """Return a calibration without paths of this machine; sets are named by their folders.

    Raises:
        UserError: it was learnt with other weights.
    """
    content = read_json(path)
    facts = content.get("facts")
    if isinstance(facts, dict):
        digest = facts.get("model_sha256")
        # A packed model has weights in another format
        if digest and weights.is_file() and digest != sha256_of(weights):
            raise UserError(
                f"{path}: learnt with other weights than {weights}",
                "write it again with espnet-ext calibrate, or remove it",
            )
        kept = {key: value for key, value in facts.items() if key not in _LOCAL_FACTS}
        if isinstance(facts.get("data"), str):
            kept["data"] = Path(facts["data"]).name
        if isinstance(facts.get("evaluated"), dict):
            kept["evaluated"] = {Path(k).name: value for k, value in facts["evaluated"].items()}
        content["facts"] = kept
    return content


def _copy_results(source: Path, folder: Path) -> dict[str, Any]:
    """Copy decode.json and score.json; return scores by `<decode tag>/<set>`."""
    scores = {}
    for kind in ("decode.json", "score.json"):
        for path in sorted(source.glob(f"*/*/{kind}")):
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            if kind == "score.json":
                scores[path.parent.relative_to(source).as_posix()] = read_json(path)
    return scores


def model_card(
    name: str,
    outputs: Mapping[str, OutputConfig],
    parameters: int,
    scores: Mapping[str, Any],
    exported: Mapping[str, StockHead],
    licence: str,
) -> str:
    """Return the model card (Markdown): outputs, scores, how to load the model, licence."""
    lines = [
        f"# {name}",
        "",
        f"A speech recogniser with {len(outputs)} output{'s' * (len(outputs) > 1)} and "
        f"{parameters / 1e6:.1f} million parameters, trained with espnet-ext on ESPnet.",
        "",
        "| output | head | token type | tokens |",
        "|---|---|---|---|",
        *(
            f"| {key} | {o.branch} | {o.token_type} | {len(o.token_list or ())} |"
            for key, o in outputs.items()
        ),
        "",
        *_score_table(scores),
        "## Use",
        "",
        "```python",
        "from espnet_ext.decoding.api import DualSpeech2Text",
        "",
        f'recognise = DualSpeech2Text.from_pretrained("{name}.zip")  # or the unpacked folder',
        'for output, hypothesis in recognise("utterance.wav").best.items():',
        "    print(output, hypothesis.text)",
        "```",
        "",
    ]
    for output, head in exported.items():
        requirement = f" (with {head.requirement})" if head.requirement else ""
        lines += [
            f"Stock ESPnet decodes `{output}` too{requirement}, from within this folder; "
            f"stock_{output}/README.md compares the results:",
            "",
            "```sh",
            stock_command(f"stock_{output}"),
            "```",
            "",
        ]
    lines += [
        "## Licence",
        "",
        licence
        or (
            "The code is under Apache-2.0. The licence of the weights is not stated: it depends "
            "on the corpora that they were trained on."
        ),
        "",
    ]
    return "\n".join(lines)


def data_notes(source: Path, folder: Path, data: str) -> list[str]:
    """Return the lines of the card about training data, text normalisation and calibration.

    Args:
        source: the model directory.
        folder: the packed one.
        data: what the user says about the data.
    """
    lines = [
        "## Data",
        "",
        data or "The training data is not stated. Its licence may restrict the use of the weights.",
        "",
        f"Transcripts are normalised by version {unicode.NORMAL_FORM} of the text normalisation of "
        "espnet-ext.",
        "",
    ]
    if not (folder / _CALIBRATION).is_file():
        return lines
    facts = read_json(folder / _CALIBRATION)
    lines += ["## Calibration of judge", ""]
    known = facts.get("facts") or {}
    lines += [
        f"Learnt from {known.get('utterances', 'an unknown number of')} recordings of "
        f"{known.get('speakers', 'an unknown number of')} speakers.",
        "",
    ]
    for name, function in (facts.get("sources") or {}).items():
        details = function.get("facts") or {}
        if "ece" in details:
            lines.append(
                f"- expected pronunciation from the {name}: calibration error (ECE) "
                f"{100 * details['ece']:.1f} % on held-out speakers; deviations are reported from "
                f"the probability {function['threshold']:.2f} on"
            )
    return [*lines, ""]


def _score_table(scores: Mapping[str, Any]) -> list[str]:
    rows = []
    for where, score in scores.items():
        for cell in score.get("cells", ()):
            metric = cell["metric"]
            rate = (cell["metrics"].get(metric) or {}).get("rate")
            if rate is not None:
                rows.append(
                    f"| {where} | {cell['hypothesis']} | {cell['reference']} "
                    f"| {metric.upper()} | {rate:.2f} % |"
                )
    if not rows:
        return []
    head = [
        "| decoding and set | hypothesis | reference | metric | error rate |",
        "|---|---|---|---|---|",
    ]
    return ["## Scores", "", *head, *rows, ""]


def _write_zip(root: Path, archive: Path) -> list[str]:
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    with (
        atomic_path(archive) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
    ):
        for name in names:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            entry.file_size = (root / name).stat().st_size
            with open(root / name, "rb") as source, packed.open(entry, "w") as target:
                shutil.copyfileobj(source, target)
    return names
