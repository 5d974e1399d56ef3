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
from espnet_ext.model.heads.base import ELSEWHERE, Head, StockHead, StockSearch
from espnet_ext.model.heads.ctc_layer import CTC, CTCOptions
from espnet_ext.model.heads.search import JointScorers
from espnet_ext.model.heads.shared_decoder import SHARED
from espnet_ext.model.heads.side_input_options import side_inputs_of

_LENGTH_OPTIONS = ("penalty", "maxlenratio", "minlenratio", "end_detect", "normalize_length")


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
        if options.ctc_layer is not None and CTC not in cls.criteria_of(options):
            raise UserError(
                f"{where}: branch '{options.branch}' does not use ctc_layer, which is "
                f"{options.ctc_layer}",
                "remove ctc_layer or choose branch 'ctc_attention'",
            )
        super().check(options, where)

    @classmethod
    def part_names(cls, options: JointOptions) -> list[str]:
        names = super().part_names(options)
        names += ["reader"] if options.reads is not None else []
        return names + (["layer_norm"] if options.ctc_layer is not None else [])

    def searcher(self, options: Any) -> JointScorers:
        return JointScorers(self.decoder, self.ctc)

    def search_option_names(self, options: Any) -> list[str]:
        if options.greedy:
            return ["greedy"]
        has_both = self.ctc is not None and self.decoder is not None
        return ["beam_size", *(["ctc_weight"] if has_both else []), *_LENGTH_OPTIONS, "nbest"]

    def stock_search(self, options: Any) -> StockSearch:
        values = {name: getattr(options, name) for name in ("beam_size", *_LENGTH_OPTIONS, "nbest")}
        values["ctc_weight"] = options.ctc_weight
        if self.ctc is None or self.decoder is None:
            values["ctc_weight"] = 0.0 if self.ctc is None else 1.0
        differences = []
        if options.greedy:
            values["beam_size"] = 1
            if self.ctc is not None:
                differences.append("It has no greedy search for CTC; beam_size is 1.")
        # ESPnet fails with a beam wider than the vocabulary; with CTC, one of that size makes all
        # hypotheses empty.
        widest = max(1, len(self.tokens) - (1 if values["ctc_weight"] else 0))
        if values["beam_size"] > widest:
            differences.append(
                f"With {len(self.tokens)} tokens, its beam_size is at most {widest}, instead of "
                f"{values['beam_size']}."
            )
            values["beam_size"] = widest
        if options.end_detect and options.maxlenratio != 0:
            differences.append(
                "It detects the end of an utterance with maxlenratio 0 only, instead of "
                f"{options.maxlenratio:g}. This matters if a hypothesis has about as many tokens "
                "as the utterance has encoder frames."
            )
            values["maxlenratio"] = 0.0
        del values["end_detect"]
        ours = {"greedy": False, **values}
        return StockSearch({**values, "ctc_window_margin": 0}, ours, differences)

    @classmethod
    def export(cls, name: str, options: JointOptions, config: Mapping[str, Any]) -> StockHead:
        if reason := side_inputs_of({"outputs": {name: vars(options)}}):
            raise UserError(f"{reason}, which ESPnet's ASR task cannot express", ELSEWHERE)
        has_decoder = AttentionDecoder in cls.criteria_of(options)
        decoder_conf = {**(config.get("decoder_conf") or {}), **options.decoder_conf}
        decoder = (
            options.decoder if options.decoder not in (None, SHARED) else config.get("decoder")
        )
        total = options.ctc_weight + options.attention_weight  # ESPnet's weights sum to 1
        return StockHead(
            {
                "decoder": decoder if has_decoder else None,
                "decoder_conf": decoder_conf if has_decoder else {},
            },
            {**loss_options(options, config), "ctc_weight": options.ctc_weight / total},
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
