"""The conditioner `input_tokens`: a guiding token at the start of discrete input names the task.

It is for systems that read discrete units (arXiv 2309.15826). All tasks of a batch run in one pass
of the encoder: the rows are repeated once per output, and each repetition begins with the guiding
token of its output. These tokens (`<to:meaning>`) are symbols of the joint vocabulary: their ids
are neither those of units nor those of text.

Symbols: B utterances, G outputs of the pass, L input ids, M embedding size.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import Conditioner, ConditionerContext
from espnet_ext.model.config import check_keys
from espnet_ext.model.unit_frontend import UnitEmbedding, input_guide


class InputTokens(Conditioner):
    """Prepends the guiding token of each output to the embedded input.

    Args:
        outputs: names, in the model's order.
        frontend: the embedding of the joint vocabulary, which has the guiding tokens.
    """

    uses_active = False

    def __init__(self, outputs: Sequence[str], frontend: UnitEmbedding):
        super().__init__(outputs)
        # In a tuple, so that its parameters are not parameters of this module too.
        self._frontend = (frontend,)
        self._read: tuple[str, ...] = ()  # outputs of the pass that runs

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "InputTokens":
        check_keys(conf, [], "conditioning_conf")
        outputs = list(context.tokens)
        if len(outputs) < 2:
            raise UserError(
                "conditioning: input_tokens needs at least two outputs, and this system has one",
                "remove conditioning, or add an output",
            )
        frontend = context.frontend
        if not isinstance(frontend, UnitEmbedding):
            raise UserError(
                "conditioning: input_tokens is for systems that read discrete units",
                "write frontend: units, or choose another conditioner, such as vectors",
            )
        if missing := [name for name in outputs if name not in frontend.layout.guides]:
            raise UserError(
                "conditioning: input_tokens: frontend_conf.layout has no guiding token of "
                f"{' and '.join(missing)}",
                "train again with a joint vocabulary that has them: espnet-ext unit_tokens "
                f'--symbols "{" ".join(map(input_guide, outputs))}"',
            )
        return cls(outputs, frontend)

    def attach(self, encoder):
        encoder.register_forward_pre_hook(self._prepend)

    def groups(self, outputs):
        return [(name,) for name in outputs]

    def encode(self, encoder, run, encoder_pass):
        self._read = encoder_pass.outputs
        return run()

    def _prepend(self, _encoder: torch.nn.Module, args: tuple) -> tuple:
        """Return the encoder's arguments for the outputs of the pass: features and lengths.

        Features (B, L, M) become (G·B, L + 1, M), and lengths (B,) become (G·B,).
        """
        feats, lengths, *others = args
        (frontend,) = self._frontend
        ids = torch.tensor(
            [frontend.layout.guides[name] for name in self._read], device=feats.device
        )
        guides = frontend.dropout(frontend.embed(ids)).to(feats.dtype)  # (G, M)
        rows = guides.repeat_interleave(len(feats), 0).unsqueeze(1)  # (G·B, 1, M)
        repeated = feats.repeat(len(self._read), 1, 1)  # (G·B, L, M)
        return torch.cat([rows, repeated], 1), lengths.repeat(len(self._read)) + 1, *others
