"""What a model is trained with: recorded in its folder, and compared when training continues.

The record has the configuration, and digests of token lists, transcripts, audio and its lengths,
and initial weights. Without it, the weights of one configuration could be continued, or used as
they are, under another one.
"""

import contextlib
import hashlib
import json
import shutil
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext.data.audio_digest import read_digest
from espnet_ext.data.shards import MANIFEST
from espnet_ext.errors import UserError
from espnet_ext.files import flat_items, read_json, read_yaml, sha256_of, write_json
from espnet_ext.model.unit_frontend import TEXT_INPUT, TEXT_OUTPUT
from espnet_ext.progress import say

FILE = "trained_with.json"
VERSION = 1
AUDIO = "audio"
_SHOWN = 8  # differences in a message

# Options that may change when a training continues: how long it lasts, which epochs are selected,
# what is reported, on which machine it runs, and where the files are.
_MAY_CHANGE = {
    *("max_epoch", "patience", "early_stopping_criterion", "max_invalid_steps"),
    *("keep_nbest_models", "best_model_criterion", "nbest_averaging_interval"),
    *("config", "print_config", "log_level", "log_interval", "dry_run", "resume", "output_dir"),
    *("use_matplotlib", "use_tensorboard", "create_graph_in_tensorboard", "num_att_plot"),
    *("diagnose_every", "detect_anomaly", "use_wandb"),
    *("save_interval_minutes", "save_interval_steps"),
    *("ngpu", "num_workers", "multiprocessing_distributed", "unused_parameters", "local_rank"),
    *("gradient_as_bucket_view", "distributed", "max_cache_size", "valid_max_cache_size"),
    *("encoder_cache", "max_cache_fd", "use_amp", "use_tf32", "cudnn_enabled", "cudnn_benchmark"),
    *("cudnn_deterministic", "version", "fast_layers", "chunked_loss", "audio_cache_mb"),
    *("scan_largest_batch", "compile", "fsdp", "cpu_autocast"),
    # compared by content
    *("train_data_path_and_name_and_type", "valid_data_path_and_name_and_type"),
    *("train_shape_file", "valid_shape_file", "train_shards", "init_param"),
}
_MAY_CHANGE_PREFIXES = ("dist_", "wandb_")
_PARTS = ("frontend_conf", "encoder_conf", "decoder_conf")  # that can name a pretrained model
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def describe(args: Namespace, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return what a training uses.

    Args:
        args: ESPnet's training arguments.
        files: further files, such as a SentencePiece model, by the name to report.
    """
    data = {}
    for kind in ("train", "valid"):
        for path, _, form in getattr(args, f"{kind}_data_path_and_name_and_type"):
            if form in ("text", "text_int"):
                data[f"{kind} {Path(path).name}"] = sha256_of(path)
            digest = read_digest(Path(path).parent) if form == "sound" else None
            if digest is not None:
                data[f"{kind} {AUDIO}"] = digest
        for path in getattr(args, f"{kind}_shape_file"):
            data[f"{kind} {Path(path).name}"] = sha256_of(path)
    if getattr(args, "train_shards", None):
        data["train shards"] = sha256_of(Path(args.train_shards) / MANIFEST)
    return {
        "version": VERSION,
        "configuration": _configuration(vars(args)),
        "data": data,
        "files": {name: sha256_of(path) for name, path in files.items()},
        "initial weights": dict(_initial_weights(args)),
    }


def _configuration(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that must not change, as JSON values; token lists as digests."""
    options = {
        key: value
        for key, value in args.items()
        if key not in _MAY_CHANGE and not key.startswith(_MAY_CHANGE_PREFIXES)
    }
    if not args.get("train_shards"):
        options.pop("shard_buffer", None)  # has no effect
    outputs = {name: dict(output) for name, output in (options.get("outputs") or {}).items()}
    options = {**options, "outputs": outputs}
    frontend = options.get("frontend_conf") or {}
    if isinstance(frontend.get("layout"), Mapping):  # the data show whether there is text
        recorded = frontend["layout"].items()
        layout = {key: value for key, value in recorded if key not in (TEXT_INPUT, TEXT_OUTPUT)}
        options["frontend_conf"] = {**frontend, "layout": layout}
    for part in (options, *outputs.values()):
        if part.get("token_list"):
            part["token_list"] = _digest_of_tokens(part["token_list"])
    return json.loads(json.dumps(options, default=str))


def _digest_of_tokens(token_list: Any) -> Any:
    """Return the digest of a token list, which ESPnet's language models also name by its file."""
    if isinstance(token_list, str) and Path(token_list).is_file():
        lines = Path(token_list).read_text(encoding="utf-8").splitlines()
        token_list = [line.rstrip() for line in lines]
    if not isinstance(token_list, list | tuple):
        return token_list
    return hashlib.sha256("\n".join(map(str, token_list)).encode()).hexdigest()


def _initial_weights(args: Namespace) -> Iterator[tuple[str, str]]:
    """Yield (option, digests) of the files that parameters are initialised from."""
    for specification in args.init_param or ():
        path, _, parts = specification.partition(":")
        if Path(path).is_file():
            yield f"init_param :{parts}", sha256_of(path)
    parts = {part: getattr(args, part, None) for part in _PARTS}
    outputs = getattr(args, "outputs", None) or {}
    parts |= {f"{name}.decoder_conf": o.get("decoder_conf") for name, o in outputs.items()}
    for part, conf in parts.items():
        folder = (conf or {}).get("model")
        if isinstance(folder, str) and Path(folder).is_dir():
            for path in sorted(Path(folder).iterdir()):
                if path.suffix in _WEIGHTS:
                    yield f"{part}.model {path.name}", sha256_of(path)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two descriptions: `<key>: <before>, now <now>`.

    >>> differences({"configuration": {"a": {"b": 1}}}, {"configuration": {"a": {"b": 2}}})
    ['a.b: 1, now 2']
    >>> differences({"configuration": {}}, {"configuration": {"option_of_today": None}})
    []
    """
    changes = []
    if reordered := _reordered_outputs(before, now):
        changes.append(reordered)
    for part in ("configuration", "data", "files", "initial weights"):
        if part not in before or part not in now:
            continue
        old, new = dict(flat_items(before[part])), dict(flat_items(now[part]))
        for key in sorted(old.keys() | new.keys()):
            if old.get(key, "not set") == new.get(key, "not set"):
                continue
            if part == "configuration" and old.get(key) is None and new.get(key) is None:
                continue  # an option that did not exist when the training began
            if part == "data" and key.endswith(f" {AUDIO}") and not (key in old and key in new):
                continue  # not recorded by an earlier version, or without stage 4
            if part == "configuration" and key.rpartition(".")[2] != "token_list":
                values = f"{old.get(key, 'not set')}, now {new.get(key, 'not set')}"
                changes.append(f"{key}: {values}")
            elif key not in old or key not in new:
                changes.append(f"{key}: {'new' if key in new else 'not used any more'}")
            else:
                changes.append(f"{key}: another content")
    return changes


def _reordered_outputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return how the order of the same outputs differs between two descriptions; empty if equal.

    Parameters such as task vectors and the weights of some objectives are stored in this order.
    """
    old, new = (list(one.get("configuration", {}).get("outputs") or {}) for one in (before, now))
    if old == new or sorted(old) != sorted(new):
        return ""
    return f"order of outputs: {', '.join(old)}, now {', '.join(new)}"


@dataclass
class TrainingStart:
    """How a training begins in a folder."""

    folder: Path
    is_continued: bool  # otherwise it starts from scratch
    renamed: Path | None = None  # the folder of another training, under its new name

    @contextlib.contextmanager
    def folder_restored_on_failure(self) -> Iterator[None]:
        """Give a renamed folder its name back if an error ends the context before any epoch.

        A mistyped option is often noticed only when the model is built.
        """
        try:
            yield
        except BaseException:
            if self.renamed is not None and not has_weights(self.folder):
                with contextlib.suppress(OSError):
                    real = self.folder.resolve()
                    shutil.rmtree(real, ignore_errors=True)
                    self.renamed.rename(real)
                    say(f"note: {self.folder}: the old folder is back, as no epoch was trained")
            raise


def continue_or_start(
    folder: Path,
    now: Mapping[str, Any],
    *,
    elsewhere: str,
    resume_changed: bool = False,
    overwrite: bool = False,
    is_first: bool = True,
) -> TrainingStart:
    """Decide whether a training continues the one in the folder, or starts from scratch.

    With `overwrite`, the folder of another training is renamed.

    Args:
        folder: model directory.
        now: description of the training that starts.
        resume_changed: continue although something differs.
        overwrite: if something differs, start from scratch in a new folder.
        is_first: this is the first process of the training; only this one prints and renames.
        elsewhere: options that select another folder, for the remedy.

    Raises:
        UserError: if something differs, and neither is set; if only the order of the outputs
            differs, `resume_changed` does not help.
    """
    if not has_weights(folder):
        return TrainingStart(folder, is_continued=False)
    before = _read(folder, now)
    if before is None:
        changes = [f"it has neither {FILE} nor config.yaml"]
    else:
        changes = differences(before, now)
        if is_first and "data" not in before:
            say(f"note: {folder}: no {FILE}; only the configuration is compared, not the data")
    if not changes:
        return TrainingStart(folder, is_continued=True)
    listed = "; ".join(changes[:_SHOWN])
    listed += f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    reordered = "" if before is None else _reordered_outputs(before, now)
    if reordered and not overwrite:
        raise UserError(
            f"{folder}: {reordered}: parameters are stored in the order of the outputs",
            f"write the outputs in the old order, or train in another folder ({elsewhere})",
        )
    if resume_changed and not reordered:
        if is_first:
            say(f"note: {folder}: training continues, although it began differently: {listed}")
        return TrainingStart(folder, is_continued=True)
    if overwrite:
        aside = None
        if is_first:
            aside = _rename(folder)
            say(f"note: {folder}: starting again, since it was trained differently: {listed}")
            say(f"note: the old folder is {aside}")
        return TrainingStart(folder, is_continued=False, renamed=aside)
    raise UserError(
        f"{folder}: contains a model that was trained differently: {listed}",
        f"train in another folder ({elsewhere}). --overwrite true renames this folder and trains "
        "from scratch; --resume_changed true continues this training",
    )


def has_weights(folder: Path) -> bool:
    """Return whether a training wrote weights or a checkpoint in a folder."""
    names = {path.name for path in folder.glob("*.pth")}
    return bool(names - {"diagnostics_start.pth"})  # written before the first epoch


def write(folder: Path, description: Mapping[str, Any]) -> None:
    """Record what a training uses, and what it used before if that was something else."""
    earlier: list[Any] = []
    if (folder / FILE).is_file():
        before = read_json(folder / FILE)
        earlier = before.pop("earlier", [])
        if has_weights(folder) and differences(before, description):
            earlier.append(before)
    write_json(folder / FILE, {**description, **({"earlier": earlier} if earlier else {})})


def _read(folder: Path, now: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the description in a folder; without one, the configuration in config.yaml.

    Args:
        now: description of the training that starts.
    """
    if (folder / FILE).is_file():
        return read_json(folder / FILE)
    if not (folder / "config.yaml").is_file():
        return None
    configuration = _configuration(read_yaml(folder / "config.yaml", exponents=False))
    # config.yaml also has values that were computed when the training started. `finetune_conf`
    # makes a list of the maximum of a one-cycle schedule; the first value is that of the heads.
    rates = (configuration.get("scheduler_conf") or {}).get("max_lr")
    if isinstance(rates, list) and rates:
        configuration["scheduler_conf"]["max_lr"] = rates[0]
    computed = (
        ("scheduler_conf", "total_steps"),
        ("frontend_conf", "architecture"),
        ("encoder_conf", "architecture"),
    )
    for part, key in computed:
        if key not in (now["configuration"].get(part) or {}):
            (configuration.get(part) or {}).pop(key, None)
    for name, output in configuration["outputs"].items():
        expected = now["configuration"]["outputs"].get(name, {}).get("decoder_conf") or {}
        if "architecture" not in expected:
            (output.get("decoder_conf") or {}).pop("architecture", None)
    return {"configuration": configuration}


def _rename(folder: Path) -> Path:
    """Rename a folder to `<folder>.before-<date>`, and return the new name.

    A link to a folder stays: the folder that it leads to is renamed, and created again, empty.
    """
    real = folder.resolve()
    name = f"{real}.before-{time.strftime('%Y%m%d-%H%M%S')}"
    aside = Path(name)
    number = 0
    while aside.exists():
        number += 1
        aside = Path(f"{name}-{number}")
    try:
        real.rename(aside)
        real.mkdir()
    except OSError as error:
        message = f"{real}: cannot rename: {error.strerror}"
        raise UserError(message, "check the permissions of its parent folder") from error
    return aside
