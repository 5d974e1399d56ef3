"""Linear layers whose weights oneDNN has packed, for the few rows of a beam search on a CPU.

A search multiplies large matrices by as many rows as it has hypotheses. PyTorch's default library
is slow for so few rows: with packed weights, 5 rows take less than half of the time
(`docs/decoding.md`). Results differ by rounding only.

Symbols: N rows, I input features, O output features.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional

MIN_WEIGHTS = 200_000  # of a layer; smaller ones stay in the cache of the CPU and gain nothing


class PackedLinear(nn.Module):
    """A linear layer with the weights of another one, packed at its first use.

    Packed weights need as much memory as the weights themselves. On other devices, in other number
    formats and without oneDNN, it computes what the other layer does.

    Args:
        linear: the other layer; later changes of its weights have no effect.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias  # (O, I), (O,)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed: torch.Tensor | None = None
        self.is_supported = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (…, O) for inputs (…, I)."""
        if self.packed is None and self.is_supported:
            self._pack()
        is_usable = x.device.type == "cpu" and x.dtype == torch.float32
        if self.packed is None or not is_usable or torch.is_autocast_enabled("cpu"):
            return functional.linear(x, self.weight, self.bias)
        multiply: Any = torch.ops.mkldnn._linear_pointwise
        return multiply(x, self.packed, self.bias, "none", [], "")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without packed weights, which can neither be copied nor pickled."""
        return {**self.__dict__, "packed": None}

    def _pack(self) -> None:
        weight = self.weight.detach()
        self.is_supported = weight.device.type == "cpu" and weight.dtype == torch.float32
        if not self.is_supported:
            return
        try:
            reorder: Any = torch.ops.mkldnn._reorder_linear_weight
            self.packed = reorder(weight.contiguous())
        except (AttributeError, NotImplementedError, RuntimeError):  # other builds of PyTorch
            self.is_supported = False


def pack_linears[Module: nn.Module](module: Module) -> Module:
    """Replace the large linear layers of a module in place, and return it.

    Modules that contain one are copied before, as other modules may share them.
    """
    if not torch.backends.mkldnn.is_available():
        return module
    for name, child in module.named_children():
        if type(child) is nn.Linear and child.weight.numel() >= MIN_WEIGHTS:
            setattr(module, name, PackedLinear(child))
        elif any(type(m) is nn.Linear for m in child.modules()):
            setattr(module, name, pack_linears(_shallow_copy(child)))
    return module


def _shallow_copy[Module: nn.Module](module: Module) -> Module:
    """Return a module with the same parameters and children, which can be replaced separately."""
    clone = copy.copy(module)
    clone._modules = dict(module._modules)
    return clone
