"""Check configurations for mistakes that ESPnet ignores or answers with a stack trace."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError, did_you_mean
from espnet_ext.files import read_yaml
from espnet_ext.model import checksums, espnet
from espnet_ext.model.conditioning.routing import TASK, Routed, dense_name
from espnet_ext.model.config import TEXT_PREFIX, OutputConfig, check_conf, suggest
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.frames import EncoderFrames
from espnet_ext.model.heads.registry import head_class
from espnet_ext.model.heads.shared_decoder import MODULE
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.model.pretrained.adapters import is_adapter
from espnet_ext.model.pretrained.base_weights import BASE
from espnet_ext.model.unit_frontend import UnitEmbedding
from espnet_ext.progress import say
from espnet_ext.training.config import check_known
from espnet_ext.training.finetune import FineTuning

# Option → ESPnet's table of classes, and the constructor argument that is not in `<option>_conf`.
_OPTIMIZATION = {
    "optim": ("optim_classes", "params"),
    "scheduler": ("scheduler_classes", "optimizer"),
}

# Option → its smallest value
_LEAST = {
    **dict.fromkeys(("accum_grad", "batch_bins", "batch_size", "log_interval", "max_epoch"), 1),
    **{"keep_nbest_models": 1, "num_workers": 0, "seed": 0},
}

# Parameters and buffers in the order of the outputs; the rows of a shared decoder's vocabulary too
_IN_ORDER = ("conditioning.", "objective.", f"{MODULE}.embed.", f"{MODULE}.output_layer.")

_NAMED = 5  # utterances in a message


def check_config(config: Mapping[str, Any], parser: argparse.ArgumentParser, source: str) -> None:
    """Raise `UserError` for unknown keys, values of a wrong type, and unknown optimizers.

    Args:
        config: merged configuration.
        parser: parser of the training command.
        source: name of the configuration in messages.
    """
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    check_known(config, sorted(actions), source)
    for key, value in config.items():
        if value is not None:
            _check_value(f"{source}: {key}", value, actions[key])
    check_optimization(config, source)


def check_optimization(config: Mapping[str, Any], source: str) -> None:
    """Raise `UserError` for numbers that are too small, and unknown optimizers and their options.

    Args:
        config: merged configuration, or all arguments of the training command.
        source: name of the configuration in messages.
    """
    for key, least in _LEAST.items():
        values = config.get(key)
        for value in values if isinstance(values, list | tuple) else [values]:
            if isinstance(value, int) and value < least:
                raise UserError(f"{source}: {key}: {value}", f"write a number from {least}")
    for part, (table, argument) in _OPTIMIZATION.items():
        name = config.get(part)
        if name is None:
            continue
        classes = espnet.load(table)
        if not isinstance(name, str) or name not in classes:
            raise UserError(f"{source}: unknown {part} '{name}'", suggest(str(name), list(classes)))
        conf = config.get(f"{part}_conf") or {}
        check_conf(conf, classes[name], f"{source}: {part}_conf", (argument,))
        for key, value in conf.items():
            if isinstance(value, str) and _is_number(value):
                raise UserError(
                    f"{source}: {part}_conf.{key}: {value!r} is a string, not a number",
                    "remove the quotes",
                )


def check_best_model_criterion(config: Mapping[str, Any], source: str) -> None:
    """Raise `UserError` if `best_model_criterion` names a statistic that is not computed.

    Training would otherwise end without best weights.
    """
    computed, without_accuracy, with_accuracy = ["loss"], "", ""
    for name, output in parse_outputs(config).items():
        statistics = _statistics(output)
        computed += [f"{statistic}_{name}" for statistic in statistics]
        if "acc" in statistics:
            computed.append("acc")
            with_accuracy = name
        else:
            without_accuracy = name
    for criterion in config.get("best_model_criterion") or [["valid", "acc", "max"]]:
        key = criterion[1] if isinstance(criterion, list | tuple) and len(criterion) == 3 else None
        if key not in computed:
            raise UserError(
                f"{source}: best_model_criterion {criterion}: unknown statistic; this system "
                f"computes {', '.join(dict.fromkeys(computed))}",
                "write, e.g., best_model_criterion: [[valid, loss, min]]",
            )
        if key == "acc" and without_accuracy:
            raise UserError(
                f"{source}: best_model_criterion {criterion}: acc measures attention decoders "
                f"only, but output '{without_accuracy}' has none, so the selection would ignore it",
                "write best_model_criterion: [[valid, loss, min]]; to select by a single output, "
                f"write [[valid, acc_{with_accuracy}, max]]",
            )


def check_repeat_options(config: Mapping[str, Any], source: str) -> None:
    """Raise `UserError` for options that do not work with the choice of what an epoch draws.

    They would ignore the repetitions or put two copies of an utterance into one batch.
    """
    switches = {
        "repeat_power": bool(config["repeat_power"]),
        "text_ratio": config["text_ratio"] is not None,
        "balance": bool(config.get("balance")),
    }
    active = [name for name, is_on in switches.items() if is_on]
    if len(active) > 1:
        message = f"{source}: {' and '.join(active)} both choose what an epoch draws"
        raise UserError(message, "remove one of them")
    if not active:
        return
    option = active[0]
    batch_types = ("unsorted", "sorted", "folded", "length", "numel")
    for key, allowed in (
        ("iterator_type", ("sequence",)),
        ("batch_type", batch_types),
        ("shuffle_within_batch", (False,)),
    ):
        if config[key] not in allowed:
            raise UserError(
                f"{source}: {option} {config[option]} does not work with {key}: {config[key]}",
                f"remove {key} or {option}",
            )


def check_validation_labels(
    sets: Mapping[tuple[str, ...], int], config: Mapping[str, Any], folder: Path
) -> None:
    """Raise `UserError` if no validation utterance has the labels that the selection needs.

    The selection of the best weights needs labels for the outputs that `best_model_criterion` uses.
    For other outputs without validation labels, print a warning.

    Args:
        sets: label set → number of validation utterances.
        config: training configuration.
        folder: folder of the validation set, for messages.
    """
    outputs = parse_outputs(config)
    unlabelled = [name for name in outputs if not any(name in labels for labels in sets)]
    for criterion in config.get("best_model_criterion") or [["valid", "acc", "max"]]:
        key = str(criterion[1])
        needed = [
            name
            for name, output in outputs.items()
            if key == "loss"
            or (key == "acc" and "acc" in _statistics(output))
            or key.removesuffix(f"_{name}") in _statistics(output)
        ]
        if criterion[0] == "valid" and needed and set(needed) <= set(unlabelled):
            raise UserError(
                f"{folder}: no utterance has a label for {' or '.join(needed)}, but "
                f"best_model_criterion {list(criterion)} needs such labels",
                "label some validation utterances, or choose another best_model_criterion",
            )
    for name in unlabelled:
        say(
            f"warning: {folder / f'text.{name}'}: every utterance is unlabelled, so output "
            f"'{name}' does not influence which weights are selected"
        )


def _statistics(output: OutputConfig) -> list[str]:
    """Return the names of an output's statistics, without the suffix `_<output>`."""
    return head_class(output.branch).statistic_names(output)


def _check_value(where: str, value: Any, action: argparse.Action) -> None:
    # ESPnet converts values of the command line to the type of an option, but not values of YAML.
    if isinstance(action.default, Mapping):
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: {value!r} is not a mapping", "write key: value below it")
        return
    if action.nargs is not None or action.type is None:
        return
    if isinstance(value, list | Mapping):
        if isinstance(action, argparse._StoreAction):
            raise UserError(f"{where}: {value!r} is not a single value", "write a single value")
        return
    if action.choices is not None and value not in action.choices:
        known = [str(choice) for choice in action.choices]
        raise UserError(f"{where}: unknown value '{value}'", suggest(str(value), known))
    parse: Any = action.type
    try:
        parsed = parse(str(value))
    except (ValueError, TypeError, argparse.ArgumentTypeError):
        raise UserError(
            f"{where}: invalid value {value!r}",
            f"meaning of this option: {action.help or action.dest}",
        ) from None
    if isinstance(parsed, bool | int | float) and parsed != value:
        message = f"{where}: {value!r} is a string, not a {type(parsed).__name__}"
        raise UserError(message, "remove the quotes")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_freeze_param(names: Sequence[str], model: torch.nn.Module) -> None:
    """Raise `UserError` if a `--freeze_param` names no part of the model; ESPnet ignores it."""
    for name in names:
        if not any(k == name or k.startswith(name + ".") for k, _ in model.named_parameters()):
            message = f"--freeze_param {name}: the model has no such part"
            raise UserError(message, _parts(name, model))


def check_experts_are_trained(model: torch.nn.Module, args: argparse.Namespace) -> None:
    """Raise `UserError` if all experts, private layers or adapters of the outputs are frozen.

    They start as equal copies, so they would have no effect. With `--init_param`, they may have
    been trained before.
    """
    is_encoder_frozen = FineTuning.parse(args.finetune_conf).freeze_epochs >= args.max_epoch
    is_trained = [
        any(p.requires_grad for p in part.parameters())
        and not (is_encoder_frozen and name.startswith("encoder."))
        for name, part in model.named_modules()
        if isinstance(part, Routed)
    ]
    if is_trained and not any(is_trained) and not args.init_param:
        raise UserError(
            "conditioning: all that it adds is frozen in this training, so it would have no effect "
            "(freeze_param, or freeze_epochs or adapter of finetune_conf)",
            "remove conditioning, or freeze less; for an adapter, name the feed-forward parts in "
            "target_modules or modules_to_save, for example fc1 and fc2 of Whisper",
        )


def check_init_param(
    specifications: Sequence[str], model: torch.nn.Module, ignore_mismatch: bool = False
) -> None:
    """Raise `UserError` for an `--init_param` with an unreadable file or unknown names.

    Args:
        specifications: values of the form `FILE[:SOURCE[:TARGET[:EXCLUDED]]]`.
        ignore_mismatch: accept parameters of the file that the model lacks or has in another size.
    """
    for specification in specifications:
        path, source, target, excluded = (specification.split(":") + ["", "", ""])[:4]
        where = f"--init_param {specification}"
        if not Path(path).is_file():
            raise UserError(f"{where}: no such file: {path}", "give the weights file of a model")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds of errors for an invalid file
            message = f"{where}: not a readable checkpoint"
            raise UserError(message, "give another file") from error
        checksums.check(path, "restore the file, or give another one")
        if source and not any(key.startswith(source) for key in state):
            tops = sorted({key.partition(".")[0] for key in state})
            raise UserError(f"{where}: '{source}' is not in the file", suggest(source, tops))
        if getattr(model, "adapters", None) is None and any(map(is_adapter, state)):
            raise UserError(
                f"{where}: the file has LoRA or DoRA adapters, but the configuration has none",
                "merge them with espnet-ext pack and use model.pth of the archive, or set "
                "finetune_conf.adapter",
            )
        try:
            part = model.get_submodule(target)
        except AttributeError:
            raise UserError(
                f"{where}: the model has no part '{target}'", _parts(target, model)
            ) from None
        prefixes = tuple(filter(None, excluded.split(",")))
        loaded = {key: value for key, value in state.items() if not key.startswith(prefixes)}
        loaded.pop(BASE, None)  # read by the model when the weights are loaded
        _check_order(where, specification, loaded, model)
        if not ignore_mismatch:
            _check_names(where, path, loaded, source, part)


def _check_order(
    where: str, specification: str, state: Mapping[str, Any], model: torch.nn.Module
) -> None:
    """Raise `UserError` if the file has parameters in the order of other outputs than the model's.

    Those of conditioners and objectives are in this order, unless their names have the output's.
    Parameters that the model lacks or has in another size are not loaded, so they do not matter.
    """
    path, source, target, excluded = (specification.split(":") + ["", "", ""])[:4]
    config = Path(path).parent / "config.yaml"
    if not config.is_file():
        return
    before = list((read_yaml(config, exponents=False) or {}).get("outputs") or {})
    now = list(getattr(model, "heads", before))
    if before == now:
        return
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    start, place = f"{source}." if source else "", f"{target}." if target else ""
    ordered = {}  # parameter of the file → the part that it belongs to
    for key, value in state.items():
        name = place + key.removeprefix(start)
        parts = [part.rstrip(".") for part in _IN_ORDER if name.startswith(part)]
        is_loaded = key.startswith(start) and shapes.get(name) == value.shape
        if parts and is_loaded and f".{TASK}-" not in name:
            ordered[key] = parts[0]
    if not ordered:
        return
    left_out = ",".join(dict.fromkeys([*filter(None, excluded.split(",")), *ordered.values()]))
    remedy = f"leave these parts out: --init_param {path}:::{left_out}"
    raise UserError(
        f"{where}: {next(iter(ordered))} is stored in the order of the outputs, which is "
        f"{', '.join(before)} in {config} and {', '.join(now)} here",
        "write the outputs in that order, or "
        + ("remove this --init_param" if source or target else remedy),
    )


def _check_names(
    where: str, path: str, state: Mapping[str, Any], source: str, part: torch.nn.Module
) -> None:
    """Raise `UserError` for loaded parameters that a part of the model has no place for.

    Experts and private layers have place for those of the module that they replace.
    """
    shapes = {name: value.shape for name, value in part.state_dict().items()}
    shapes = {dense_name(name): shape for name, shape in shapes.items()} | shapes
    start = f"{source}." if source else ""
    wrong = {
        key: "has no" if shapes.get(key.removeprefix(start)) is None else "has another size of"
        for key, value in state.items()
        if key.startswith(start) and shapes.get(key.removeprefix(start)) != value.shape
    }
    if not wrong:
        return
    name, problem = next(iter(wrong.items()))
    more = f" and of {len(wrong) - 1} more parameters" if len(wrong) > 1 else ""
    tops = ",".join(dict.fromkeys(key.partition(".")[0] for key in wrong))
    raise UserError(
        f"{where}: the model {problem} {name} of the file{more}",
        f"leave out these parts: --init_param {path}:{source}::{tops}, or all such parameters: "
        "--ignore_init_mismatch true; those of the model then remain random",
    )


def _parts(name: str, model: torch.nn.Module) -> str:
    children = [child for child, _ in model.named_children()]
    return did_you_mean(name, children, f"parts: {', '.join(children)}")


def warn_unalignable(model: DualOutputModel, shape_files: Sequence[str]) -> dict[str, int]:
    """Warn about utterances with more tokens than encoder frames, for each output with CTC.

    CTC cannot align them: their CTC loss is infinite, and ESPnet replaces it by zero without a
    message. Repeated tokens need additional frames, so more utterances may be affected.

    Args:
        shape_files: `speech_shape` and `text_<output>_shape` files of the training set.
    Returns:
        Output → number of such utterances.
    """
    paths = {Path(path).name: path for path in shape_files}
    counts: dict[str, int] = {}
    if "speech_shape" not in paths:
        return counts
    speech = {
        utt: [int(size) for size in shape.split(",")]
        for utt, shape in read_table(paths["speech_shape"]).items()
    }
    frames = EncoderFrames.measure(model, next(iter(speech.values()))[1:])
    for name, head in model.heads.items():
        shapes = paths.get(f"{TEXT_PREFIX}{name}_shape")
        if shapes is None or head.ctc is None:
            continue
        tokens = {utt: int(shape.split(",")[0]) for utt, shape in read_table(shapes).items()}
        too_long = [utt for utt, shape in speech.items() if tokens[utt] > frames(shape[0]) + 1]
        counts[name] = len(too_long)
        if too_long:
            more_frames = "a shorter hop_length, or an input_layer with less subsampling"
            if isinstance(model.frontend, UnitEmbedding):
                more_frames = "smaller tokens of units, or espnet-ext unit_inputs --upsample 6"
            more = " and others" if len(too_long) > _NAMED else ""
            say(
                f"warning: {shapes}: {len(too_long)} of {len(speech)} training utterances have "
                f"more tokens of {name} than encoder frames, so CTC learns nothing from them: "
                f"{', '.join(too_long[:_NAMED])}{more}. Use larger tokens (bpe), {more_frames}"
            )
    return counts
