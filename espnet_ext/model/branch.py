"""A branch turns encoder states into one output: its token list, decoder, CTC and their losses.

Symbols: B utterances in the batch, N labelled ones among them, T encoder frames, L tokens,
D encoder size, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from espnet_ext.model import espnet
from espnet_ext.model.config import UNLABELLED, OutputConfig, construct
from espnet_ext.model.transducer import build_transducer, transducer_loss

IGNORE = -1  # padding of token ids


@dataclass
class BranchLoss:
    """Losses of one output over a batch; sums over labelled rows divided by B.

    Dividing by B (not N) makes the loss linear in the utterances: two workers with different
    labels have together the gradient of one worker with all of them.
    """

    ctc: torch.Tensor | None  # () or None without CTC
    attention: torch.Tensor | None  # () or None without decoder
    labelled: torch.Tensor  # (), N
    correct: torch.Tensor  # (), teacher-forced tokens that the decoder got right
    tokens: torch.Tensor  # (), tokens that it should have got right
    transducer: torch.Tensor | None = None  # () or None without prediction network


class Branch:
    """One output. Not a module itself: the model registers its `parts` under flat names."""

    def __init__(
        self,
        name: str,
        output: OutputConfig,
        tokens: Sequence[str],
        encoder_size: int,
        defaults: Mapping,
    ):
        self.name = name
        self.output = output
        self.tokens = list(tokens)
        self.blank = 0
        self.sos = self.eos = len(self.tokens) - 1
        self.parts: dict[str, torch.nn.Module] = {}
        if output.has_attention:
            self.parts["decoder"] = self._build_decoder(encoder_size, defaults)
            conf = defaults.get("model_conf") or {}
            self.criterion = espnet.load("LabelSmoothingLoss")(
                size=len(self.tokens),
                padding_idx=IGNORE,
                smoothing=_first(output.lsm_weight, conf.get("lsm_weight"), 0.0),
                normalize_length=_first(
                    output.length_normalized_loss, conf.get("length_normalized_loss"), False
                ),
            )
        if output.has_transducer:
            self.parts |= build_transducer(name, output, len(self.tokens), encoder_size)
        if output.has_ctc:
            build = espnet.resolve("ctc", "ctc")
            conf = {**(defaults.get("ctc_conf") or {}), **output.ctc_conf}
            given = {"odim": len(self.tokens), "encoder_output_size": encoder_size}
            self.parts["ctc"] = construct(build, conf, f"outputs.{name}.ctc_conf", given)

    def _build_decoder(self, encoder_size: int, defaults: Mapping) -> torch.nn.Module:
        build = espnet.resolve("decoder", self.output.decoder or defaults.get("decoder"))
        conf = {**(defaults.get("decoder_conf") or {}), **self.output.decoder_conf}
        given = {"vocab_size": len(self.tokens), "encoder_output_size": encoder_size}
        return construct(build, conf, f"outputs.{self.name}.decoder_conf", given)

    def losses(
        self,
        states: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        autocast: torch.autocast,
    ) -> BranchLoss:
        """Losses over the labelled rows.

        Args:
            states: (B, T, D) encoder states; lengths: (B,) their frames.
            text: (B, L) token ids, padded with −1; an unlabelled row begins with −2.
            text_lengths: (B,).
            autocast: context in which the decoder runs; losses are always float32 or better.
        """
        rows = (text[:, 0] != UNLABELLED).nonzero().squeeze(1)  # (N,)
        labelled = rows.numel()
        share = labelled / text.size(0)
        zero = states.new_zeros(())
        if labelled == 0:
            # Keep every parameter in the graph: ranks whose backward graphs differ hang under DDP.
            held = sum((p.sum() * 0 for part in self.parts.values() for p in part.parameters()), 0)
            held = held + states.sum() * 0
            return BranchLoss(
                held if "ctc" in self.parts else None,
                held if "decoder" in self.parts else None,
                zero,
                zero,
                zero,
                held if "joint" in self.parts else None,
            )
        if labelled < text.size(0):
            states, lengths = states[rows], lengths[rows]
            text, text_lengths = text[rows], text_lengths[rows]
        text = text[:, : int(text_lengths.max())]
        text = text.masked_fill(text < 0, IGNORE)
        ctc = attention = transducer = None
        correct = tokens = zero
        if "ctc" in self.parts:
            ctc = self.parts["ctc"](states, lengths, text, text_lengths) * share
        if "decoder" in self.parts:
            with autocast:
                logits, target = self.teacher_forced(states, lengths, text, text_lengths)
            logits = logits.float() if logits.dtype != torch.float64 else logits
            attention = self.criterion(logits, target) * share
            real = target != IGNORE
            correct = ((logits.argmax(-1) == target) & real).sum().to(zero.dtype)
            tokens = real.sum().to(zero.dtype)
        if "joint" in self.parts:
            with autocast:
                costs = transducer_loss(self.parts, states, lengths, text, text_lengths)
            transducer = costs.mean().to(zero.dtype) * share
        return BranchLoss(ctc, attention, zero + labelled, correct, tokens, transducer)

    def teacher_forced(
        self,
        states: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoder logits (N, L+1, V) for the given transcripts, and the targets (N, L+1)."""
        inputs, target = espnet.load("add_sos_eos")(text, self.sos, self.eos, IGNORE)
        logits, _ = self.parts["decoder"](states, lengths, inputs, text_lengths + 1)
        return logits, target


def _first(*values):
    return next(value for value in values if value is not None)
