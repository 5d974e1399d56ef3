"""The head `transducer`: an RNN transducer (Graves, arXiv 1211.3711), with CTC beside it or not.

Symbols: N labelled utterances, T encoder frames, U labels, D encoder size, V vocabulary, J joint
size.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.config import OutputConfig, check_keys, check_mapping, construct
from espnet_ext.model.heads.base import Criterion, Head, HeadContext, StockHead, StockSearch
from espnet_ext.model.heads.ctc_layer import CTC, CTCOptions
from espnet_ext.model.heads.joint import stock_ctc_weight
from espnet_ext.model.heads.search import TransducerScorers
from espnet_ext.model.prediction import PREDICTIONS, Recurrent, build_prediction
from espnet_ext.model.rnnt import joint_loss

DEFAULT_PREDICTION = "stateless"
# Search options that ESPnet's search of transducers lacks, with the values that turn them off.
_NOT_IN_ESPNET = {"ctc_weight": 0.0, "expansion_gamma": 0.0, "penalty": 0.0}


@dataclass(frozen=True)
class TransducerOptions(CTCOptions, OutputConfig):
    """One output with the head `transducer`."""

    transducer_weight: float = 0.0  # absolute weight of the RNN transducer loss
    prediction: str | None = None  # prediction network: stateless (if not given), lstm, gru
    prediction_conf: Mapping[str, Any] = field(default_factory=dict)
    joint_conf: Mapping[str, Any] = field(default_factory=dict)  # options of ESPnet's JointNetwork


class Transducer(Criterion):
    """A prediction network, ESPnet's joint network, and the loss over their lattice."""

    term = "transducer"
    weight_key = "transducer_weight"
    stock_parts = {"prediction": "decoder", "joint": "joint_network"}

    def __init__(self, context: HeadContext):
        options = context.options
        kind = options.prediction or DEFAULT_PREDICTION
        self.prediction = build_prediction(
            kind, options.prediction_conf, context.vocabulary, context.where
        )
        self.vocabulary = context.vocabulary
        build = espnet.load("JointNetwork")
        sizes = {
            "output_size": context.vocabulary,
            "encoder_size": context.encoder_size,
            "decoder_size": self.prediction.output_size,
        }
        # It takes any key, for parameters of the activation; only its named ones can be checked.
        known = [
            key
            for key, parameter in inspect.signature(build).parameters.items()
            if key not in sizes and parameter.kind is not parameter.VAR_KEYWORD
        ]
        where = f"{context.where}.joint_conf"
        check_keys(options.joint_conf, known, where)
        self.joint = construct(build, options.joint_conf, where, sizes)
        self.parts = {"prediction": self.prediction, "joint": self.joint}

    def __call__(self, states, lengths, text, text_lengths, autocast):
        with autocast:
            losses = self.utterance_losses(states, lengths, text, text_lengths)  # (N,)
        return losses.mean().to(states.dtype), {}

    def utterance_losses(
        self,
        states: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Return −log P(text) of each utterance (N,), in float64.

        Args:
            states: (N, T, D) encoder output; lengths: (N,) frames.
            text: (N, U) token ids, padded with −1; text_lengths: (N,), 0 for an empty text.
        """
        labels = text.clamp(min=0)
        blank_first = torch.nn.functional.pad(labels, (1, 0))  # (N, U+1)
        predictions = self.prediction(blank_first)  # (N, U+1, H)

        def logits(encoder_part: torch.Tensor, label_part: torch.Tensor) -> torch.Tensor:
            return self.joint(encoder_part, label_part, no_projection=True)

        return joint_loss(
            logits,
            self.vocabulary,
            self.joint.lin_enc(states),  # (N, T, J)
            self.joint.lin_dec(predictions),  # (N, U+1, J)
            labels,
            lengths,
            text_lengths,
        )

    def absorb_constant(self, vector: torch.Tensor) -> None:
        linear = self.joint.lin_enc
        linear.bias += linear.weight @ vector

    @classmethod
    def check(cls, options: TransducerOptions, where: str) -> None:
        for key in ("prediction_conf", "joint_conf"):
            check_mapping(getattr(options, key), f"{where}.{key}")


class TransducerHead(Head):
    """A transducer, searched frame by frame; CTC beside it re-ranks the last beam."""

    Options = TransducerOptions

    @classmethod
    def criteria_of(cls, options):
        return (Transducer, CTC) if options.ctc_weight != 0 else (Transducer,)

    @classmethod
    def check(cls, options: TransducerOptions, where: str) -> None:
        super().check(options, where)
        CTC.check(options, where)  # also without CTC
        if options.ctc_layer is not None:
            raise UserError(
                f"{where}.ctc_layer: branch 'transducer' has CTC at the encoder output only",
                "remove it, or choose branch ctc_attention",
            )

    def searcher(self, options) -> TransducerScorers:
        return TransducerScorers(self.parts["prediction"], self.parts["joint"], self.ctc)

    def stock_search_defaults(self) -> dict[str, Any]:
        return {"beam_size": 20, "ctc_weight": 0.0}  # ESPnet's search makes no use of CTC

    def search_defaults(self) -> dict[str, Any]:
        return {}  # its score does not prefer short transcripts

    def search_option_names(self, options: Any) -> list[str]:
        if options.greedy:
            return ["greedy", "max_symbols"]
        names = ["beam_size", "max_symbols", "expansion_gamma", "penalty", "normalize_length"]
        return [*names, *(["ctc_weight"] if self.ctc is not None else []), "nbest"]

    def stock_search(self, options: Any) -> StockSearch:
        values = {
            "greedy": False,
            "beam_size": 1 if options.greedy else options.beam_size,
            "nbest": options.nbest,
            "normalize_length": options.normalize_length,
            "max_symbols": options.max_symbols,
            **_NOT_IN_ESPNET,
        }
        differences = [
            f"It has no {name}, instead of {getattr(options, name):g}."
            for name in _NOT_IN_ESPNET
            if getattr(options, name) and (name != "ctc_weight" or self.ctc is not None)
        ]
        if options.greedy:
            differences = ["It has no greedy search with several labels per frame."]
        inference = {
            "beam_size": values["beam_size"],
            "nbest": options.nbest,
            "transducer_conf": {
                "search_type": "tsd",
                "max_sym_exp": options.max_symbols + 1,  # ESPnet counts the blank
                "score_norm": options.normalize_length,
                "nbest": options.nbest,
            },
        }
        return StockSearch(inference, values, differences)

    @classmethod
    def export(cls, name: str, options: TransducerOptions, config: Mapping[str, Any]) -> StockHead:
        kind = options.prediction or DEFAULT_PREDICTION
        if PREDICTIONS.get(kind) is not Recurrent:
            raise UserError(
                f"outputs.{name}: ESPnet's ASR task has no prediction network '{kind}'",
                "export an output whose prediction is lstm or gru, or decode this one here",
            )
        defaults = {
            key: parameter.default
            for key, parameter in inspect.signature(Recurrent).parameters.items()
            if key not in ("vocab_size", "rnn_type")
        }
        return StockHead(
            {
                "decoder": "transducer",
                "decoder_conf": {"rnn_type": kind, **defaults, **options.prediction_conf},
                "joint_net_conf": dict(options.joint_conf),
            },
            # ESPnet adds CTC to the transducer's loss, whose weight is 1, and takes at most 1.
            {
                **_shared_loss_options(config),
                "ctc_weight": min(1.0, options.ctc_weight / options.transducer_weight),
            },
            "the package `warprnnt_pytorch`",
        )

    @classmethod
    def from_stock(cls, stock: Mapping[str, Any], where: str) -> dict[str, Any] | None:
        if stock.get("decoder") != "transducer":
            return None
        if (stock.get("model_conf") or {}).get("transducer_multi_blank_durations"):
            raise UserError(
                f"{where}: a transducer with several blanks",
                "only those with one can be decoded here",
            )
        conf = {"rnn_type": "lstm", "hidden_size": 320, **(stock.get("decoder_conf") or {})}
        if conf.pop("embed_pad", 0) != 0:
            raise UserError(f"{where}: decoder_conf.embed_pad is not 0", "blank must be token 0")
        return {
            "transducer_weight": 1.0,
            "ctc_weight": stock_ctc_weight(stock),
            "ctc_conf": stock.get("ctc_conf") or {},
            "prediction": conf.pop("rnn_type"),
            "prediction_conf": conf,
            "joint_conf": stock.get("joint_net_conf") or {},
        }


def _shared_loss_options(config: Mapping[str, Any]) -> dict[str, Any]:
    shared = config.get("model_conf") or {}
    return {k: v for k, v in shared.items() if k in ("lsm_weight", "length_normalized_loss")}
