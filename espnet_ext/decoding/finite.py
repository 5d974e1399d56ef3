"""Check that a network computes numbers. NaN and infinite values make every transcript empty.

They come from a training that diverged, from damaged weights, or from an overflow in half
precision.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.heads.base import Head


class NotFiniteError(UserError):
    """The network's output for an utterance has NaN or infinite values.

    Args:
        where: utterance and part of the network.
        precision: see `precision.PRECISIONS`.
    """

    def __init__(self, where: str, precision: str):
        self.where, self.precision = where, precision
        remedy = "use other weights: the training diverged, or the file is damaged"
        if precision != "float32":
            remedy = f"decode with precision float32, since {precision} may overflow; otherwise "
            remedy += "the training diverged, or the weights are damaged"
        super().__init__(f"{where}: the network's output is not finite (NaN or infinite)", remedy)


def check_encoder_out(name: str, hidden: torch.Tensor, precision: str) -> None:
    """Raise `NotFiniteError` unless the encoder output (B, T, D) for output `name` is finite."""
    if not bool(hidden.isfinite().all()):
        raise NotFiniteError(f"encoder for output '{name}'", precision)


@contextlib.contextmanager
def check_logits(
    heads: Mapping[str, Head], searchers: Mapping[str, Any], precision: str
) -> Iterator[None]:
    """Raise `NotFiniteError` if a head computes NaN or infinity as a logit in this context.

    Layers whose output has the size of the vocabulary are watched, whichever search calls them.
    −inf is allowed: it is the logit of an impossible token.

    Args:
        heads: the heads of the model, by output.
        searchers: output → its search. It may have packed or quantised copies of the layers.
        precision: see `precision.PRECISIONS`.
    """
    watched: dict[torch.nn.Module, str] = {}
    for output, searcher in searchers.items():
        head = heads[output]
        for part in head.parts.values():
            for module in getattr(part, "searched", part).modules():
                if getattr(module, "out_features", None) == len(head.tokens):
                    watched[module] = head.name
        scorers: Mapping[str, Any] = getattr(searcher, "scorers", {})
        copied = getattr(scorers.get("decoder", (None,))[0], "output", None)
        if isinstance(copied, torch.nn.Module):
            watched[copied] = head.name
    hooks = [
        module.register_forward_hook(_hook(name, precision)) for module, name in watched.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(name: str, precision: str):
    def check(module: torch.nn.Module, inputs: object, logits: torch.Tensor) -> None:
        if not bool((logits < torch.inf).all()):  # also false for NaN
            raise NotFiniteError(f"head of output '{name}'", precision)

    return check
