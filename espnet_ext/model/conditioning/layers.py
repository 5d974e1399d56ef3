"""Where experts and private layers can be put: the blocks of encoders and their feed-forward parts.

Symbols: N layers.
"""

from collections.abc import Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError

ALL = "all"
BOTH, SECOND = "both", "second"  # feed-forward halves of a block with macaron style
_FIRST_HALF = "feed_forward_macaron"
# Names of the feed-forward parts of a block: ESPnet's, wav2vec 2.0's; Whisper's two linear layers
_FEED_FORWARD = ((_FIRST_HALF, "feed_forward"), ("fc1", "fc2"))
_FINAL_NORMS = ("after_norm", "layer_norm")  # after the last block


def blocks_of(network: Any, where: str) -> Any:
    """Return the list of an encoder's blocks.

    Raises:
        UserError: if it has none, as an RNN.
    """
    blocks = getattr(network, "encoders", None)
    if not isinstance(blocks, torch.nn.ModuleList | torch.nn.Sequential) or not len(blocks):
        raise UserError(
            f"{where}: the {type(network).__name__} has no list of layers",
            "use encoder: conformer, transformer, e_branchformer or pretrained",
        )
    return blocks


def feed_forward_names(block: torch.nn.Module, halves: str, where: str) -> list[str]:
    """Return the attributes of a block that are its feed-forward parts, in their order.

    Args:
        halves: "second" leaves out the first of two macaron halves.

    Raises:
        UserError: if the block has no feed-forward part.
    """
    for names in _FEED_FORWARD:
        present = [n for n in names if isinstance(getattr(block, n, None), torch.nn.Module)]
        if present and halves == SECOND and present[0] == _FIRST_HALF:
            present = present[1:]
        if present:
            return present
    raise UserError(
        f"{where}: {type(block).__name__} has no feed-forward part, which experts would replace",
        "use encoder: conformer, transformer, e_branchformer or pretrained",
    )


def final_norm(encoder: Any) -> str | None:
    """Return the attribute that normalises the last block's output; None if there is none."""
    for name in _FINAL_NORMS:
        if isinstance(getattr(encoder, name, None), torch.nn.Module):
            return name
    return None


def last_layers(value: object, count: int, where: str) -> Sequence[int]:
    """Return the numbers (from 0) of the last layers that a configuration selects.

    Args:
        value: how many, or "all".
        count: N.

    >>> list(last_layers(2, 6, "x")), list(last_layers("all", 2, "x"))
    ([4, 5], [0, 1])
    """
    if value == ALL:
        return range(count)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"{where}: {value!r}", "write all, or the number of last layers")
    if value > count:
        raise UserError(f"{where}: {value}, but there are {count} layers", f"write at most {count}")
    return range(count - value, count)
