"""Every kind of head, by the name that a configuration gives as `branch`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest
from espnet_ext.model.heads.attention import AttentionHead
from espnet_ext.model.heads.base import Head, HeadContext
from espnet_ext.model.heads.ctc import CTCHead
from espnet_ext.model.heads.ctc_attention import CTCAttentionHead
from espnet_ext.model.heads.transducer import TransducerHead

HEADS: dict[str, type[Head]] = {
    "ctc_attention": CTCAttentionHead,
    "ctc": CTCHead,
    "attention": AttentionHead,
    "transducer": TransducerHead,
}


def head_class(branch: object, where: str = "branch") -> type[Head]:
    """Return the class of a kind of head; `UserError` for an unknown one."""
    if not isinstance(branch, str) or branch not in HEADS:
        raise UserError(
            f"{where}: unknown kind of head '{branch}'", suggest(str(branch), list(HEADS))
        )
    return HEADS[branch]


def build_head(
    name: str,
    options: Any,
    tokens: Sequence[str],
    encoder_size: int,
    config: Mapping[str, Any],
    shared_decoder: torch.nn.Module | None = None,
) -> Head:
    """Build one output's head.

    Args:
        name: name of the output.
        options: options of the head, from `model.outputs.parse_outputs`.
        tokens: V tokens.
        encoder_size: D.
        config: the whole configuration, for defaults that all outputs share.
        shared_decoder: shared decoder of all outputs with `decoder: shared`.
    """
    context = HeadContext(name, options, len(tokens), encoder_size, config, tokens, shared_decoder)
    return head_class(options.branch)(context, tokens)
