"""`compile`: the layers of the encoder run through `torch.compile` while they train.

Each layer (block) is compiled by itself. Equal layers share a compiled function, which is made for
any batch size and length, so few are needed. The class of a layer is replaced by a subclass;
parameters, their names and hooks of the layer stay as they are. In evaluation mode, and so in
validation and decoding, layers run uncompiled.
"""

import os
import shutil
from argparse import Namespace
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.layers import encoder_layers

NONE, ENCODER = "none", "encoder"
# Compiled functions per class of layers. One serves all shapes, except that a batch of one
# utterance has its own, and so have layers that are frozen, or that differ from the others.
MAX_COMPILED = 8


def check(args: Namespace, source: str) -> None:
    """Raise `UserError` for options with which the encoder is not compiled.

    Args:
        args: training arguments.
        source: name of the configuration in messages.
    """
    if args.compile != ENCODER:
        return
    if args.encoder_cache:
        raise UserError(
            f"{source}: compile: encoder, but with encoder_cache the encoder does not run",
            "write compile: none",
        )
    adapter = (args.finetune_conf or {}).get("adapter")
    for option, value in (("conditioning", args.conditioning), ("finetune_conf.adapter", adapter)):
        if value:
            raise UserError(
                f"{source}: compile: encoder was not tested with {option}, which changes layers",
                f"write compile: none, or remove {option}",
            )


def check_compiler(device: str) -> None:
    """Compile a sum.

    Raises:
        UserError: if `torch.compile` does not work on a device, with the reason.
    """
    compiler = os.environ.get("CXX", "g++")
    remedy = "write compile: none, or "
    if device == "cpu" and shutil.which(compiler) is None:
        raise UserError(
            f"compile: there is no C++ compiler '{compiler}' on this machine",
            f"{remedy}install g++ (or set CXX to another compiler)",
        )
    try:
        values = torch.ones(4, device=device)
        torch.compile(lambda x: (x + 1).sum(), dynamic=True)(values)
    except Exception as error:  # torch raises many kinds of errors
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"compile: torch.compile does not work on this machine ({device}): {reason}",
            f"{remedy}install what is missing: a C++ compiler and the header files of Python; for "
            "a GPU also Triton, and a GPU of compute capability 7.0 or higher",
        ) from error


def use_compiled_layers(model: Any, backend: Any = "inductor") -> dict[str, int]:
    """Compile the layers of the encoder of a `DualOutputModel` in training mode.

    Args:
        model: a model that is to be trained. It is changed.
        backend: backend of `torch.compile`.

    Returns:
        Class → number of layers.

    Raises:
        UserError: if the encoder has no list of layers.
    """
    from torch._dynamo import config as dynamo_config
    from torch._functorch import config as functorch_config

    layers = [layer for name, layer in encoder_layers(model.encoder).items() if name != "embed"]
    if not layers:
        raise UserError(
            f"compile: {type(model.encoder).__name__} has no list of layers",
            "write compile: none, or choose another encoder",
        )
    dynamo_config.recompile_limit = MAX_COMPILED
    # Objectives and diagnostics that need gradients per output pass through a layer several times,
    # so what it keeps for its gradient must not be overwritten.
    functorch_config.donated_buffer = False  # type: ignore[attr-defined]
    classes: dict[type, type] = {}
    counts: dict[str, int] = {}
    for layer in layers:
        kind = type(layer)
        if kind not in classes:
            classes[kind] = _compiled_class(kind, backend)
        layer.__class__ = classes[kind]
        counts[kind.__name__] = counts.get(kind.__name__, 0) + 1
    return counts


class _Compiled:
    """Base class of compiled layers."""


def _compiled_class(kind: Any, backend: Any) -> type:
    """Return a subclass of a class of layers whose `forward` is compiled in training mode.

    `forward` is compiled, not the call of the layer: PyTorch does not notice hooks that are added
    to a compiled call, and ours collect the outputs of layers.
    """
    compiled = torch.compile(kind.forward, dynamic=True, backend=backend)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        function = compiled if self.training else kind.forward
        return function(self, *args, **kwargs)

    return type(kind.__name__, (_Compiled, kind), {"forward": forward, "__doc__": kind.__doc__})
