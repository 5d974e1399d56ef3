"""The attention criterion: one of ESPnet's decoders, with label-smoothed cross-entropy.

Symbols: N labelled utterances, T encoder frames, L tokens, D encoder size, V vocabulary.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.config import check_mapping, check_smoothing, construct
from espnet_ext.model.heads.base import ELSEWHERE, IGNORE, Criterion, HeadContext, teacher_forced
from espnet_ext.model.heads.chunked_loss import chunked_loss
from espnet_ext.model.heads.shared_decoder import SHARED, GuidedDecoder
from espnet_ext.model.heads.side_inputs import StateReader

_LOSS_KEYS = ("lsm_weight", "length_normalized_loss")  # in an output, or in `model_conf` for all


@dataclass(frozen=True)
class AttentionOptions:
    """Configuration keys of an attention decoder. None takes the value that all outputs share."""

    attention_weight: float = 0.0  # absolute weight of the decoder's cross-entropy
    # a name of ESPnet's decoders; "shared": one decoder for all outputs that say so
    decoder: str | None = None
    decoder_conf: Mapping[str, Any] = field(default_factory=dict)  # merged over the shared one
    lsm_weight: float | None = None  # label smoothing
    length_normalized_loss: bool | None = None  # loss per token instead of per utterance
    # another output: the decoder also attends to the hidden states of its decoder
    reads: str | None = None


class AttentionDecoder(Criterion):
    """A decoder that reads the encoder output and the tokens so far."""

    term = "att"
    weight_key = "attention_weight"
    stock_parts = {"decoder": "decoder"}
    ratios = ("acc",)  # teacher-forced token accuracy

    def __init__(self, context: HeadContext):
        options = context.options
        if options.decoder == SHARED:
            self.module: torch.nn.Module = GuidedDecoder(
                context.shared_decoder, context.name, context.tokens
            )
        else:
            self.module = self._build(context)
        self.parts = {"decoder": self.module}
        self.reader = StateReader(context.encoder_size) if options.reads is not None else None
        if self.reader is not None:
            self.parts["reader"] = self.reader
        self.eos = context.eos
        self.chunks = False  # set by training: compute the loss in chunks of tokens
        loss_conf = loss_options(options, context.config)
        self.loss = espnet.load("LabelSmoothingLoss")(
            size=context.vocabulary,
            padding_idx=IGNORE,
            smoothing=loss_conf.get("lsm_weight", 0.0),
            normalize_length=loss_conf.get("length_normalized_loss", False),
        )

    def _build(self, context: HeadContext) -> torch.nn.Module:
        """Build the decoder of this output."""
        options = context.options
        build = espnet.resolve("decoder", options.decoder or context.config.get("decoder"))
        conf = {**(context.config.get("decoder_conf") or {}), **options.decoder_conf}
        sizes: dict[str, Any] = {
            "vocab_size": context.vocabulary,
            "encoder_output_size": context.encoder_size,
        }
        about_tokens = {"tokens": context.tokens, "token_type": options.token_type}
        accepted = inspect.signature(build).parameters
        sizes |= {key: value for key, value in about_tokens.items() if key in accepted}
        return construct(build, conf, f"{context.where}.decoder_conf", sizes)

    def inputs(self, states, lengths, side):
        if self.reader is None:
            return states, lengths
        assert side.decoder is not None
        return self.reader(states, lengths, side.decoder)

    def __call__(self, states, lengths, text, text_lengths, autocast):
        if self.chunks:
            return self._chunked(states, lengths, text, text_lengths, autocast)
        with autocast:
            logits, target = teacher_forced(
                self.module, self.eos, states, lengths, text, text_lengths
            )  # (N, L+1, V), (N, L+1)
        logits = logits.float() if logits.dtype != torch.float64 else logits
        is_token = target != IGNORE
        correct = ((logits.argmax(-1) == target) & is_token).sum().to(states.dtype)
        counts = {"acc": (correct, is_token.sum().to(states.dtype))}
        return self.loss(logits, target), counts

    @property
    def can_chunk(self) -> bool:
        """Whether the decoder ends with a linear layer, whose loss can be computed in chunks."""
        return isinstance(getattr(self.module, "output_layer", None), torch.nn.Linear)

    def _chunked(self, states, lengths, text, text_lengths, autocast):
        """Return the same as `__call__`, see `chunked_loss`."""
        layer: Any = self.module.output_layer
        layer.forward = lambda hidden: hidden  # hooks of the layer still see what it reads
        try:
            with autocast:
                hidden, target = teacher_forced(
                    self.module, self.eos, states, lengths, text, text_lengths
                )  # (N, L+1, D), (N, L+1)
        finally:
            del layer.forward
        is_token = target != IGNORE
        with autocast:
            loss, correct = chunked_loss(
                hidden[is_token], layer, target[is_token], self.loss.smoothing
            )
        tokens = is_token.sum().to(states.dtype)
        divisor = tokens if self.loss.normalize_length else len(target)
        return loss / divisor, {"acc": (correct.to(states.dtype), tokens)}

    def absorb_constant(self, vector: torch.Tensor) -> None:
        if not hasattr(self.module, "decoders") or isinstance(self.module, GuidedDecoder):
            kind = type(self.module).__name__
            raise UserError(f"task vectors cannot be added to the biases of {kind}", ELSEWHERE)
        decoder: Any = self.module
        for layer in decoder.decoders:
            for linear in (layer.src_attn.linear_k, layer.src_attn.linear_v):
                linear.bias += linear.weight @ vector

    @classmethod
    def check(cls, options: AttentionOptions, where: str) -> None:
        check_mapping(options.decoder_conf, f"{where}.decoder_conf")
        if options.decoder == SHARED and options.decoder_conf:
            raise UserError(
                f"{where}.decoder_conf: this output shares its decoder with others",
                "set decoder_conf of the training configuration, or remove decoder: shared",
            )
        if options.reads is not None and not isinstance(options.reads, str):
            raise UserError(f"{where}.reads: {options.reads!r}", "write the name of an output")
        if options.lsm_weight is not None:
            check_smoothing(options.lsm_weight, f"{where}.lsm_weight")


def loss_options(options: AttentionOptions, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `lsm_weight` and `length_normalized_loss` if the output or `model_conf` sets them."""
    shared = config.get("model_conf") or {}
    values = {key: getattr(options, key) for key in _LOSS_KEYS}
    values = {key: shared.get(key) if value is None else value for key, value in values.items()}
    return {key: value for key, value in values.items() if value is not None}
