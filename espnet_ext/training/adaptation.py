"""Training of LoRA and DoRA adapters: checks of a configuration, and what checkpoints contain."""

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.frames import EncoderFrames
from espnet_ext.model.load import build_with_base
from espnet_ext.model.pretrained.adapters import (
    TRAINED,
    WHERE,
    check_called,
    is_adapter,
    options_of,
    reset_magnitudes,
    summary,
    untrained_modules,
)
from espnet_ext.model.pretrained.base_weights import digest, frozen_weights, saved_without_base
from espnet_ext.progress import say

_LOADS_ITSELF = ("whisper",)  # ESPnet's encoders that load pre-trained weights


def check_adapter_options(args: argparse.Namespace) -> None:
    """Raise `UserError` for options that have no effect, or a wrong one, with our adapters."""
    if getattr(args, "use_adapter", False):
        raise UserError(
            "use_adapter: ESPnet's adapters are not supported",
            f"remove use_adapter, adapter, adapter_conf and save_strategy, and write {WHERE}: "
            "{type: lora}",
        )
    options = options_of(vars(args))
    if options is not None and options.save == TRAINED and args.train_dtype != "float32":
        raise UserError(
            f"{WHERE}.save: {TRAINED} does not work with train_dtype: {args.train_dtype}",
            "write save: all, or train_dtype: float32",
        )


def check_adapters(model: Any, args: argparse.Namespace) -> None:
    """Raise `UserError` if a frozen part has random weights, or an adapter would have no effect."""
    if model.adapters is None:
        return
    for part in dict.fromkeys(name.partition(".")[0] for name in model.adapters.modules):
        network = getattr(model, part)
        is_random = not getattr(network, "has_pretrained_weights", False)
        if part == "frontend" or (part == "encoder" and args.encoder in _LOADS_ITSELF):
            is_random = False
        if is_random and not _is_loaded(part, args.init_param or ()):
            raise UserError(
                f"{WHERE} freezes {part}, whose weights are random",
                f"load weights with --init_param FILE:{part}:{part}, use {part}: pretrained, or "
                f"leave {part} out of {WHERE}.parts",
            )
    with check_called(model):
        EncoderFrames.measure(model, () if args.input_size is None else (args.input_size,))


def _is_loaded(part: str, init_param: Sequence[str]) -> bool:
    """Return whether `--init_param` loads weights into a whole part of the model.

    >>> _is_loaded("encoder", ["x.pth"]), _is_loaded("encoder", ["x.pth:encoder:encoder"])
    (True, True)
    >>> _is_loaded("encoder", ["x.pth:meaning_ctc:meaning_ctc"])
    False
    """
    targets = [(specification.split(":") + ["", ""])[2] for specification in init_param]
    return any(target in ("", part) for target in targets)


def check_adapters_are_trained(model: Any, freeze_param: Sequence[str]) -> None:
    """Raise `UserError` if `--freeze_param` also freezes adapters."""
    for name, parameter in model.named_parameters():
        if is_adapter(name) and not parameter.requires_grad:
            raise UserError(
                f"--freeze_param {' '.join(freeze_param)}: freezes the adapter {name}",
                f"remove it: {WHERE} freezes the weights that it adapts",
            )


@contextlib.contextmanager
def checkpoints(model: Any, config: Mapping[str, Any], is_first: bool) -> Iterator[None]:
    """Print what is trained; while the context is open, save what `adapter.save` says.

    Args:
        config: ESPnet's training arguments.
        is_first: this is the first process of the training, which prints.
    """
    if getattr(model, "adapters", None) is None:
        yield
        return
    reset_magnitudes(model)
    if is_first:
        say(summary(model))
    if model.adapters.options.save != TRAINED:
        yield
        return
    if is_first:
        _check_base(model, config)
    with saved_without_base(model):
        yield


def _check_base(model: Any, config: Mapping[str, Any]) -> None:
    """Raise `UserError` if the frozen weights cannot be read again when the model is loaded."""
    with torch.random.fork_rng():
        base = build_with_base({**config, "init": None, "cpu_autocast": None}, config["output_dir"])
    weights = frozen_weights(base)
    for name, weight in frozen_weights(model).items():
        if not torch.equal(digest({name: weight}), digest({name: weights[name]})):
            raise UserError(
                f"{WHERE}.save: {TRAINED}: {name} is frozen, but is neither in the pre-trained "
                "model nor in an init_param file",
                "write save: all, or load this weight with --init_param",
            )


def warn_untrained(model: Any, epoch: int) -> None:
    """Warn if an adapter that was trained in an epoch is still zero."""
    if getattr(model, "adapters", None) is None or not (names := untrained_modules(model)):
        return
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    say(
        f"warning: epoch {epoch}: the adapters of {', '.join(names[:5])}{more} have learned "
        "nothing: no loss reaches them, or the network reads their weights without calling them"
    )
