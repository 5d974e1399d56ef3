"""Mistakes in a configuration that ESPnet would pass over, or answer with a stack trace."""

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
from espnet_ext.model.frames import EncoderFrames
from espnet_ext.model.heads.registry import head_class
from espnet_ext.model.outputs import parse_outputs
from espnet_ext.progress import say
from espnet_ext.training.config import check_known

# A part of the configuration and what its classes are given besides `<part>_conf`.
_STEPPERS = {"optim": ("optim_classes", "params"), "scheduler": ("scheduler_classes", "optimizer")}


def check_config(config: Mapping[str, Any], parser: argparse.ArgumentParser, source: str) -> None:
    """Raise `UserError` for the first unknown key, value of a wrong kind, optimizer or scheduler.

    Args:
        config: merged configuration; parser: of the training command; source: named in messages.
    """
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    check_known(config, sorted(actions), source)
    for key, value in config.items():
        if value is not None:
            _check_value(f"{source}: {key}", value, actions[key])
    for part, (table, given) in _STEPPERS.items():
        name = config.get(part)
        if name is None:
            continue
        classes = espnet.load(table)
        if not isinstance(name, str) or name not in classes:
            raise UserError(f"{source}: unknown {part} '{name}'", suggest(str(name), list(classes)))
        conf = config.get(f"{part}_conf") or {}
        check_conf(conf, classes[name], f"{source}: {part}_conf", (given,))
        for key, value in conf.items():
            if isinstance(value, str) and _is_number(value):
                raise UserError(
                    f"{source}: {part}_conf.{key}: {value!r} is a text", "remove the quotes"
                )


def check_criteria(config: Mapping[str, Any], source: str) -> None:
    """What picks the best weights must be measured; else hours of training end without any."""
    measured, unheard, some = ["loss"], "", ""
    for name, output in parse_outputs(config).items():
        statistics = _statistics(output)
        measured += [f"{statistic}_{name}" for statistic in statistics]
        if "acc" in statistics:
            measured.append("acc")
            some = name
        else:
            unheard = name
    for criterion in config.get("best_model_criterion") or [["valid", "acc", "max"]]:
        key = criterion[1] if isinstance(criterion, list | tuple) and len(criterion) == 3 else None
        if key not in measured:
            raise UserError(
                f"{source}: best_model_criterion {criterion}: this system measures "
                f"{', '.join(dict.fromkeys(measured))}",
                "write, e.g., best_model_criterion: [[valid, loss, min]]",
            )
        if key == "acc" and unheard:
            raise UserError(
                f"{source}: best_model_criterion {criterion}: acc is of attention decoders alone, "
                f"and '{unheard}' has none: its weights would be those best for the others",
                "write best_model_criterion: [[valid, loss, min]], or, to choose by one output, "
                f"[[valid, acc_{some}, max]]",
            )


def check_iterator(config: Mapping[str, Any], source: str) -> None:
    """What repeats cannot be had with: another would pass over them, or put copies together."""
    if not config["repeat_power"]:
        return
    known = ("unsorted", "sorted", "folded", "length", "numel")
    for key, allowed in (
        ("iterator_type", ("sequence",)),
        ("batch_type", known),
        ("shuffle_within_batch", (False,)),
    ):
        if config[key] not in allowed:
            raise UserError(
                f"{source}: repeat_power {config['repeat_power']} with {key}: {config[key]}",
                f"leave {key} out, or repeat_power",
            )


def check_validated(
    sets: Mapping[tuple[str, ...], int], config: Mapping[str, Any], folder: Path
) -> None:
    """What picks the best weights must have labels in the validation set; others are told.

    Args:
        sets: how many utterances of that set are labelled for exactly which outputs.
        config: of the training; folder: the set's, named in messages.
    """
    outputs = parse_outputs(config)
    absent = [name for name in outputs if not any(name in one for one in sets)]
    for criterion in config.get("best_model_criterion") or [["valid", "acc", "max"]]:
        key = str(criterion[1])
        needed = [
            name
            for name, output in outputs.items()
            if key == "loss"
            or (key == "acc" and "acc" in _statistics(output))
            or key.removesuffix(f"_{name}") in _statistics(output)
        ]
        if criterion[0] == "valid" and needed and set(needed) <= set(absent):
            raise UserError(
                f"{folder}: no utterance has a label for {' or '.join(needed)}, by which "
                f"best_model_criterion {list(criterion)} chooses the weights",
                "label some, or choose by an output that is labelled there",
            )
    for name in absent:
        say(
            f"warning: {folder / f'text.{name}'}: every utterance is unlabelled: the weights are "
            f"chosen without a look at '{name}'"
        )


def _statistics(output: OutputConfig) -> list[str]:
    """Return what is measured of an output, as `<statistic>_<output>`."""
    return head_class(output.branch).statistic_names(output)


def _check_value(where: str, value: Any, action: argparse.Action) -> None:
    # ESPnet takes values of a YAML file as they are; only the command line's are converted.
    if isinstance(action.default, Mapping):
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: {value!r} is not a mapping", "write key: value below it")
        return
    if action.nargs is not None or action.type is None:
        return
    if isinstance(value, list | Mapping):
        if isinstance(action, argparse._StoreAction):
            raise UserError(f"{where}: {value!r} is not a single value", "write one")
        return
    if action.choices is not None and value not in action.choices:
        known = [str(choice) for choice in action.choices]
        raise UserError(f"{where}: '{value}'", suggest(str(value), known))
    try:
        meant = action.type(str(value))
    except (ValueError, TypeError, argparse.ArgumentTypeError):
        raise UserError(
            f"{where}: {value!r} does not fit", f"it is for: {action.help or action.dest}"
        ) from None
    if isinstance(meant, bool | int | float) and meant != value:
        raise UserError(f"{where}: {value!r} is a text", "remove the quotes")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_frozen(names: Sequence[str], model: torch.nn.Module) -> None:
    """Every `--freeze_param` must name a part of the model: ESPnet passes over one that doesn't."""
    for name in names:
        if not any(k == name or k.startswith(name + ".") for k, _ in model.named_parameters()):
            message = f"--freeze_param {name}: the model has no such part"
            raise UserError(message, _parts(name, model))


def check_initial(specifications: Sequence[str], model: torch.nn.Module) -> None:
    """Check `--init_param FILE[:SOURCE[:TARGET[:EXCLUDED]]]`: the file, and the names in it."""
    for specification in specifications:
        path, source, target = (specification.split(":") + ["", ""])[:3]
        where = f"--init_param {specification}"
        if not Path(path).is_file():
            raise UserError(f"{where}: no such file: {path}", "name a trained model's weights")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a file that is no checkpoint
            message = f"{where}: not a readable checkpoint: {error}"
            raise UserError(message, "name another") from error
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


def warn_too_fast(model: torch.nn.Module, shape_files: Sequence[str]) -> dict[str, int]:
    """Say how many utterances have more tokens than frames, for each output that has CTC.

    CTC has no alignment for them: their CTC loss is infinite, and ESPnet counts it as zero without
    a word. Repeated tokens need frames besides, so there may be some more.

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
                f"of {name} than encoder frames, so that CTC learns nothing from them: give it "
                "larger tokens (bpe), a shorter hop_length or an input_layer that joins less"
            )
    return counts
