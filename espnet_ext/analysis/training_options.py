"""Whether two systems were trained with equal options, apart from their outputs and heads.

A difference between a single-output system and one with further outputs measures joint training
only if nothing else differs. The options are those of `config.yaml` in the model folders, or of
`training_options.yaml`, if the decodings of several models are pooled.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.files import flat_items, read_yaml

CONFIGS = ("config.yaml", "training_options.yaml")
_NOT_SET = "not set"
_MOST_STEPS = 1.1  # ratio of the numbers of updates up to which they count as equal
_MAX_DEPTH = 3  # trainings whose weights initialise each other

# Options without an effect on the result, or that differ by chance (`seed`) or by path
_IGNORED = {
    *("config", "print_config", "log_level", "log_interval", "dry_run", "resume", "output_dir"),
    *("use_matplotlib", "use_tensorboard", "create_graph_in_tensorboard", "num_att_plot"),
    *("diagnose_every", "detect_anomaly", "use_wandb", "ngpu", "num_workers", "local_rank"),
    *("multiprocessing_distributed", "unused_parameters", "gradient_as_bucket_view"),
    *("distributed", "max_cache_size", "valid_max_cache_size", "encoder_cache", "max_cache_fd"),
    *("use_tf32", "cudnn_enabled", "cudnn_benchmark", "cudnn_deterministic", "version", "seed"),
    *("train_shape_file", "valid_shape_file", "optim_conf.fused", "max_invalid_steps"),
    *("save_interval_minutes", "save_interval_steps"),
    *("fast_layers", "audio_cache_mb", "compile", "fsdp"),
    "frontend_conf.layout.text_input",  # earlier versions did not record these two
    "frontend_conf.layout.text_output",
}
_IGNORED_PREFIXES = ("dist_", "wandb_")
_OF_INITIAL = " of the initial weights"
_STEPS = "scheduler_conf.total_steps"
_DATA = {
    "train_data_path_and_name_and_type": "training set",
    "valid_data_path_and_name_and_type": "validation set",
}

Difference = tuple[str, str, str]  # option, its value in the first and in the second training


def training_differences(first: Path, second: Path, output: str) -> list[Difference] | None:
    """Return the options that differ between two trainings, as far as they affect one output.

    Weights of the losses, kinds of heads and further outputs are left out: they are what joint
    training changes. The trainings of the initial weights (`init_param`) are compared too.

    Args:
        first, second: model folders.
        output: the output that both systems have.

    Returns:
        One item per option; None if a folder has no such file.
    """
    a, b = _options(first, output), _options(second, output)
    if a is None or b is None:
        return None
    return [
        (name, str(a.get(name, _NOT_SET)), str(b.get(name, _NOT_SET)))
        for name in sorted(a.keys() | b.keys(), key=lambda name: (name.count(_OF_INITIAL), name))
        if not _is_equal(name, a.get(name), b.get(name))
    ]


def shortened(differences: Sequence[Difference], a: str, b: str, most: int = 4) -> str:
    """Return differences as text.

    >>> shortened([("max_epoch", "4", "5")], "so_surface", "do")
    'max_epoch (so_surface 4, do 5)'
    """
    texts = [f"{name} ({a} {first}, {b} {second})" for name, first, second in differences[:most]]
    if more := len(differences) - most:
        texts += [f"{more} further options"] if more > 0 else []
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last


def _options(folder: Path, output: str, depth: int = 0) -> dict[str, Any] | None:
    """Return the options that are compared, with dotted names; None if they are not known."""
    path = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    if path is None:
        return None
    config = read_yaml(path)
    options = dict(flat_items({key: value for key, value in config.items() if key != "outputs"}))
    for option, name in _DATA.items():
        options[name] = _sets(options.pop(option, None))
    options |= _of_output(config, output)
    for number, specification in enumerate(options.pop("init_param", None) or ()):
        source = Path(str(specification).partition(":")[0])
        of_source = _options(source.parent, output, depth + 1) if depth < _MAX_DEPTH else None
        if of_source is None:
            options[f"init_param {number + 1}"] = specification
        else:
            options |= {f"{name}{_OF_INITIAL}": value for name, value in of_source.items()}
    if isinstance(options.get("scheduler_conf.max_lr"), list):  # by group: see finetune_conf
        options["scheduler_conf.max_lr"] = max(options["scheduler_conf.max_lr"])
    return {
        name: value
        for name, value in options.items()
        if name not in _IGNORED and not name.startswith(_IGNORED_PREFIXES) and value is not None
    }


def _of_output(config: Mapping[str, Any], output: str) -> dict[str, Any]:
    outputs = config.get("outputs")
    options = (outputs.get(output) if isinstance(outputs, Mapping) else None) or {}
    result = {}
    for name, value in flat_items(options):
        if name == "token_list":
            digest = hashlib.sha256("\n".join(map(str, value)).encode()).hexdigest()
            value = f"{len(value)} tokens, SHA-256 {digest[:8]}"
        if name != "branch" and not name.endswith("_weight"):
            result[f"outputs.{output}.{name}"] = value
    return result


def _sets(entries: Any) -> str | None:
    """Return the folders of the audio in `train_data_path_and_name_and_type`."""
    paths = [Path(str(path)).parent for path, name, *_ in entries or () if name == "speech"]
    return ", ".join(map(str, paths)) or None


def _is_equal(name: str, a: Any, b: Any) -> bool:
    """Return whether two values are equal; numbers of updates, whether they are similar.

    The number of batches also depends on the transcripts, so on the number of outputs.
    """
    if name.startswith(_STEPS) and isinstance(a, int) and isinstance(b, int) and min(a, b) > 0:
        return max(a, b) / min(a, b) <= _MOST_STEPS
    return a == b
