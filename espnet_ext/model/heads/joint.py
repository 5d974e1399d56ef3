"""What the heads `ctc_attention`, `ctc` and `attention` share: keys, search, stock ESPnet's form.

Kim et al., arXiv 1609.06773 (joint training); Watanabe et al., 2017 (joint search).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model.config import OutputConfig, check_weight
from espnet_ext.model.heads.attention_decoder import (
    AttentionDecoder,
    AttentionOptions,
    loss_options,
)
from espnet_ext.model.heads.base import Head, StockHead
from espnet_ext.model.heads.ctc_layer import CTC, CTCOptions
from espnet_ext.model.heads.search import JointScorers


@dataclass(frozen=True)
class JointOptions(AttentionOptions, CTCOptions, OutputConfig):
    """Keys of the three heads. Each accepts all, so that an output can change its branch."""


class JointHead(Head):
    """A decoder, a CTC layer, or both."""

    Options = JointOptions

    @classmethod
    def check(cls, options: JointOptions, where: str) -> None:
        for criterion in (AttentionDecoder, CTC):
            weight = getattr(options, criterion.weight_key)
            if criterion in cls.criteria_of(options):
                continue
            check_weight(weight, f"{where}.{criterion.weight_key}")
            criterion.check(options, where)
            if weight:
                raise UserError(
                    f"{where}: branch '{options.branch}' does not use {criterion.weight_key}, "
                    f"which is {weight}",
                    f"remove {criterion.weight_key} or choose branch 'ctc_attention'",
                )
        super().check(options, where)

    def searcher(self, options: Any) -> JointScorers:
        return JointScorers(self.decoder, self.ctc)

    @classmethod
    def export(cls, name: str, options: JointOptions, config: Mapping[str, Any]) -> StockHead:
        has_decoder = AttentionDecoder in cls.criteria_of(options)
        decoder_conf = {**(config.get("decoder_conf") or {}), **options.decoder_conf}
        total = options.ctc_weight + options.attention_weight  # ESPnet's weights sum to 1
        search_weight = 0.3 if has_decoder and options.ctc_weight else int(not has_decoder)
        return StockHead(
            {
                "decoder": (options.decoder or config.get("decoder")) if has_decoder else None,
                "decoder_conf": decoder_conf if has_decoder else {},
            },
            {**loss_options(options, config), "ctc_weight": options.ctc_weight / total},
            f"--ctc_weight {search_weight} --ctc_window_margin 0",
        )

    @classmethod
    def from_stock(cls, stock: Mapping[str, Any], where: str) -> dict[str, Any] | None:
        weight = stock_ctc_weight(stock)
        if stock.get("decoder") == "transducer" or cls.criteria_of(None) != _stock_criteria(weight):
            return None
        output: dict[str, Any] = {"ctc_weight": weight, "attention_weight": 1.0 - weight}
        if AttentionDecoder in cls.criteria_of(None):
            output["decoder"] = stock["decoder"]
            output["decoder_conf"] = stock.get("decoder_conf") or {}
        return {**output, "ctc_conf": stock.get("ctc_conf") or {}}


def stock_ctc_weight(stock: Mapping[str, Any]) -> float:
    """Return the CTC weight of a stock configuration, ESPnet's default if it names none."""
    return float((stock.get("model_conf") or {}).get("ctc_weight", 0.5))


def _stock_criteria(ctc_weight: float) -> tuple[type, ...]:
    """Return the criteria of a stock model, which has none of weight 0."""
    if ctc_weight == 0.0:
        return (AttentionDecoder,)
    return (CTC,) if ctc_weight == 1.0 else (AttentionDecoder, CTC)
