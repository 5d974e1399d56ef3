"""The CTC criterion (Graves et al., 2006): ESPnet's CTC module and its loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from espnet_ext.model import espnet
from espnet_ext.model.config import check_count, check_mapping, construct
from espnet_ext.model.heads.base import Criterion, HeadContext


@dataclass(frozen=True)
class CTCOptions:
    """Configuration keys of CTC."""

    ctc_weight: float = 0.0  # absolute weight of the CTC loss
    ctc_conf: Mapping[str, Any] = field(default_factory=dict)  # options of ESPnet's CTC
    # CTC reads the output of this encoder layer, from 1, in place of the encoder output
    ctc_layer: int | None = None


class CTC(Criterion):
    """A projection to the vocabulary and the CTC loss."""

    term = "ctc"
    weight_key = "ctc_weight"
    stock_parts = {"ctc": "ctc"}

    def __init__(self, context: HeadContext):
        conf = {**(context.config.get("ctc_conf") or {}), **context.options.ctc_conf}
        sizes = {"odim": context.vocabulary, "encoder_output_size": context.encoder_size}
        build = espnet.resolve("ctc", "ctc")
        self.module = construct(build, conf, f"{context.where}.ctc_conf", sizes)
        self.parts = {"ctc": self.module}
        self.norm: torch.nn.Module | None = None
        if context.options.ctc_layer is not None:
            self.norm = torch.nn.LayerNorm(context.encoder_size)
            self.parts["layer_norm"] = self.norm

    def inputs(self, states, lengths, side):
        if self.norm is None:
            return states, lengths
        assert side.layer is not None
        return self.norm(side.layer.to(states.dtype)), lengths

    def __call__(self, states, lengths, text, text_lengths, autocast):
        return self.module(states, lengths, text, text_lengths), {}

    def absorb_constant(self, vector: torch.Tensor) -> None:
        linear = self.module.ctc_lo
        linear.bias += linear.weight @ vector

    @classmethod
    def check(cls, options: CTCOptions, where: str) -> None:
        check_mapping(options.ctc_conf, f"{where}.ctc_conf")
        if options.ctc_layer is not None:
            check_count(options.ctc_layer, f"{where}.ctc_layer", 1)
