"""A device "mps" on a machine without one: its tensors are kept and computed on the CPU.

Like the real device, it has no 64-bit floating point, and its tensors cannot be combined with those
of the CPU. It shows that the code respects these two limits, not that Metal has every operation.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("mps", 0)
NOT_SUPPORTED = (torch.float64, torch.complex128)
MOVES = (torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.copy_)
PARSERS = (torch.device, torch._C._nn._parse_to)  # of names of devices
# A tensor of the CPU may be an index, and the shape of one may be used
MIXED = (
    *MOVES,
    torch.Tensor.expand_as,
    torch.Tensor.view_as,
    torch._has_compatible_shallow_copy_type,
    torch.Tensor.__getitem__,
    torch.Tensor.__setitem__,
)


class MpsTensor(torch.Tensor):
    """A tensor that claims to be on "mps"; `value` has its content, on the CPU."""

    value: torch.Tensor

    @staticmethod
    def __new__(cls, value: torch.Tensor) -> "MpsTensor":
        if value.dtype in NOT_SUPPORTED:
            raise TypeError(f"the MPS framework doesn't support {value.dtype}")
        return torch.Tensor._make_wrapper_subclass(
            cls, value.size(), strides=value.stride(), dtype=value.dtype, device=DEVICE
        )

    def __init__(self, value: torch.Tensor):
        self.value = value

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function}: outside of fake_mps()")


@contextlib.contextmanager
def fake_mps() -> Iterator[None]:
    """While it is active, tensors can be created on and moved to the device "mps"."""
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a Parameter has no `value`
    try:
        with _FakeMps():
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)


class _FakeMps(TorchFunctionMode):
    """Runs functions on the CPU. Their results are where they would really be."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in PARSERS:
            return function(*args, **kwargs)
        if getattr(getattr(function, "__self__", None), "__name__", "") == "device":
            return DEVICE if isinstance(args[0], MpsTensor) else function(*args, **kwargs)
        leaves = tree_flatten((args, kwargs))[0]
        on_mps = [x for x in leaves if isinstance(x, MpsTensor)]
        devices = [torch.device(x) for x in leaves if _is_device(x)]
        is_mps = devices[-1].type == "mps" if devices else bool(on_mps)
        if function is torch.Tensor.cpu:
            is_mps = False
        elif function in (torch.Tensor.copy_, torch.Tensor.expand_as, torch.Tensor.view_as):
            is_mps = isinstance(args[0], MpsTensor)
        if on_mps and function not in MIXED:
            others = [x for x in leaves if isinstance(x, torch.Tensor) and x.dim()]
            if any(not isinstance(x, MpsTensor) for x in others):
                raise RuntimeError(f"{function}: tensors on mps and on cpu")
        wrapper_of = {id(x.value): x for x in on_mps}  # operations in place return their input
        args, kwargs = tree_map(_on_cpu, (args, kwargs))
        result = function(*args, **kwargs)

        def wrapped(x: Any) -> Any:
            if not isinstance(x, torch.Tensor) or not is_mps:
                return x
            return wrapper_of[id(x)] if id(x) in wrapper_of else MpsTensor(x)

        return tree_map(wrapped, result)


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value in ("mps", "cpu"))


def _on_cpu(value: Any) -> Any:
    if isinstance(value, MpsTensor):
        return value.value
    if isinstance(value, slice):
        return slice(*map(_on_cpu, (value.start, value.stop, value.step)))
    return "cpu" if _is_device(value) else value
