"""Configuration mistakes that ESPnet ignores or reports by a stack trace."""

import argparse
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.config import TEXT_PREFIX, OutputConfig, check_conf, suggest
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.frames import EncoderFrames
from espnet_ext.model.heads.registry import head_class
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.progress import say
from espnet_ext.training.config import check_known

# Part of the configuration → ESPnet's table of classes, and the argument that ESPnet sets itself.
_STEPPERS = {"optim": ("optim_classes", "params"), "scheduler": ("scheduler_classes", "optimizer")}


def check_config(config: Mapping[str, Any], parser: argparse.ArgumentParser, source: str) -> None:
    """Raise `UserError` for an unknown key, a value of a wrong type, or an unknown optimizer.

    Args:
        config: merged configuration.
        parser: of the training command.
        source: file name for messages.
    """
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    check_known(config, sorted(actions), source)
    for key, value in config.items():
        if value is not None:
            _check_value(f"{source}: {key}", value, actions[key])
    for part, (table, reserved) in _STEPPERS.items():
        name = config.get(part)
        if name is None:
            continue
        classes = espnet.load(table)
        if not isinstance(name, str) or name not in classes:
            raise UserError(f"{source}: unknown {part} '{name}'", suggest(str(name), list(classes)))
        conf = config.get(f"{part}_conf") or {}
        check_conf(conf, classes[name], f"{source}: {part}_conf", (reserved,))
        for key, value in conf.items():
            if isinstance(value, str) and _is_number(value):
                raise UserError(
                    f"{source}: {part}_conf.{key}: {value!r} is text", "remove the quotes"
                )


def check_criteria(config: Mapping[str, Any], source: str) -> None:
    """Raise `UserError` if the criterion that selects the best weights is not measured."""
    measured = ["loss"]
    with_accuracy = without_accuracy = ""
    for name, output in parse_outputs(config).items():
        statistics = _statistics(output)
        measured += [f"{statistic}_{name}" for statistic in statistics]
        if "acc" in statistics:
            measured.append("acc")
            with_accuracy = name
        else:
            without_accuracy = name
    for criterion in config.get("best_model_criterion") or [["valid", "acc", "max"]]:
        key = criterion[1] if isinstance(criterion, list | tuple) and len(criterion) == 3 else None
        if key not in measured:
            raise UserError(
                f"{source}: best_model_criterion {criterion}: this system measures "
                f"{', '.join(dict.fromkeys(measured))}",
                "write, e.g., best_model_criterion: [[valid, loss, min]]",
            )
        if key == "acc" and without_accuracy:
            raise UserError(
                f"{source}: best_model_criterion {criterion}: acc is the accuracy of attention "
                f"decoders, and '{without_accuracy}' has no decoder: the weights would be the "
                "best for the other outputs",
                "write best_model_criterion: [[valid, loss, min]], or, to select by one output, "
                f"[[valid, acc_{with_accuracy}, max]]",
            )


def check_iterator(config: Mapping[str, Any], source: str) -> None:
    """Raise `UserError` for options that `repeat_power` cannot be combined with.

    Other iterators would ignore the repeats, or put two copies into one batch.
    """
    if not config["repeat_power"]:
        return
    batch_types = ("unsorted", "sorted", "folded", "length", "numel")
    for key, allowed in (
        ("iterator_type", ("sequence",)),
        ("batch_type", batch_types),
        ("shuffle_within_batch", (False,)),
    ):
        if config[key] not in allowed:
            raise UserError(
                f"{source}: repeat_power {config['repeat_power']} with {key}: {config[key]}",
                f"remove {key} or repeat_power",
            )


def check_validated(
    sets: Mapping[tuple[str, ...], int], config: Mapping[str, Any], folder: Path
) -> None:
    """Check that the outputs by which the best weights are selected are labelled for validation.

    A warning names every other output without a label there.

    Args:
        sets: label set → number of utterances of the validation set, see `activation.count_sets`.
        config: of the training.
        folder: the validation set, for messages.
    Raises:
        UserError: if no output that the criterion depends on has a label.
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
                f"{folder}: no utterance has a label for {' or '.join(needed)}, by which "
                f"best_model_criterion {list(criterion)} selects the weights",
                "label some, or select by an output that is labelled there",
            )
    for name in unlabelled:
        say(
            f"warning: {folder / f'text.{name}'}: every utterance is unlabelled: '{name}' has no "
            "influence on the selection of weights"
        )


def _statistics(output: OutputConfig) -> list[str]:
    """Return what is measured of an output, as `<statistic>_<output>`."""
    return head_class(output.branch).statistic_names(output)


def _check_value(where: str, value: Any, action: argparse.Action) -> None:
    # ESPnet converts values of the command line only, and takes those of a YAML file as they are.
    if isinstance(action.default, Mapping):
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: {value!r} is not a mapping", "write key: value below it")
        return
    if action.nargs is not None or action.type is None:
        return
    if isinstance(value, list | Mapping):
        if isinstance(action, argparse._StoreAction):
            raise UserError(f"{where}: {value!r} is not a single value", "write one value")
        return
    if action.choices is not None and value not in action.choices:
        known = [str(choice) for choice in action.choices]
        raise UserError(f"{where}: '{value}'", suggest(str(value), known))
    convert: Any = action.type
    try:
        converted = convert(str(value))
    except (ValueError, TypeError, argparse.ArgumentTypeError):
        raise UserError(
            f"{where}: {value!r} is not a valid value", f"its meaning: {action.help or action.dest}"
        ) from None
    if isinstance(converted, bool | int | float) and converted != value:
        raise UserError(f"{where}: {value!r} is text", "remove the quotes")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_frozen(names: Sequence[str], model: torch.nn.Module) -> None:
    """Raise `UserError` for a `--freeze_param` without such a part, which ESPnet would ignore."""
    for name in names:
        if not any(k == name or k.startswith(name + ".") for k, _ in model.named_parameters()):
            message = f"--freeze_param {name}: the model has no such part"
            raise UserError(message, _parts(name, model))


def check_initial(specifications: Sequence[str], model: torch.nn.Module) -> None:
    """Check the file and the names of each `--init_param FILE[:SOURCE[:TARGET[:EXCLUDED]]]`."""
    for specification in specifications:
        path, source, target = (specification.split(":") + ["", ""])[:3]
        where = f"--init_param {specification}"
        if not Path(path).is_file():
            raise UserError(f"{where}: no such file: {path}", "name the weights of a trained model")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types for a file that is not a checkpoint
            message = f"{where}: not a readable checkpoint: {error}"
            raise UserError(message, "name another file") from error
        if source and not any(key.startswith(source) for key in state):
            tops = sorted({key.partition(".")[0] for key in state})
            raise UserError(f"{where}: '{source}' is not in the file", suggest(source, tops))
        try:
            model.get_submodule(target)
        except AttributeError:
            raise UserError(
                f"{where}: the model has no part '{target}'", _parts(target, model)
            ) from None


def _parts(name: str, model: torch.nn.Module) -> str:
    children = [child for child, _ in model.named_children()]
    near = difflib.get_close_matches(name, children, n=1)
    return f"did you mean '{near[0]}'?" if near else f"parts: {', '.join(children)}"


def warn_too_fast(model: DualOutputModel, shape_files: Sequence[str]) -> dict[str, int]:
    """Warn about utterances with more tokens than encoder frames, for each output with CTC.

    CTC has no alignment for them. Their loss is infinite, and ESPnet silently counts it as zero.
    Repeated tokens need additional frames, so there may be more such utterances.

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
        counts[name] = sum(tokens[utt] > frames(shape[0]) + 1 for utt, shape in speech.items())
        if counts[name]:
            say(
                f"warning: {counts[name]} of {len(speech)} training utterances have more tokens "
                f"of {name} than encoder frames, so CTC learns nothing from them: use larger "
                "tokens (bpe), a shorter hop_length or an input_layer with less subsampling"
            )
    return counts
