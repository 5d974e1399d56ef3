"""The number formats in which a network can run."""

import contextlib
from collections.abc import Callable

import torch

from espnet_ext.errors import UserError

# Context in which the network runs. float32 is exact, the others are approximate.
PRECISIONS: dict[str, Callable[[torch.device], contextlib.AbstractContextManager]] = {
    "float32": lambda device: contextlib.nullcontext(),
    "bfloat16": lambda device: torch.autocast(device.type, torch.bfloat16),
    "float16": lambda device: torch.autocast(device.type, torch.float16),
    "int8": lambda device: contextlib.nullcontext(),  # linear layers are quantised instead
    # The same, but not in the encoder and in CTC, so that posteriors and token times are exact
    "int8_search": lambda device: contextlib.nullcontext(),
}
QUANTISED = ("int8", "int8_search")  # the linear layers of the searches are quantised


def check_precision(precision: str, device: torch.device) -> str:
    """Return `precision`; raise `UserError` if it is unknown, or not possible on the device."""
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r}", f"choose among {', '.join(PRECISIONS)}")
    if device.type == "mps" and precision != "float32":
        raise UserError(f"precision {precision} on mps: only float32 is possible", "use float32")
    required_device = {"int8": "cpu", "int8_search": "cpu", "float16": "cuda"}.get(
        precision, device.type
    )
    if device.type != required_device:
        raise UserError(
            f"precision {precision} on {device.type}: only possible on {required_device}",
            "use bfloat16 or float32",
        )
    return precision
