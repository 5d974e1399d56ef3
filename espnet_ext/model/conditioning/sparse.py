"""A sparse autoencoder between the encoder and the heads.

With encoder output h, latents z and unit vectors d_m, the columns of the decoder:

    z = sparse(ReLU(W (h − b) + c))        ĥ = b + Σ_m z_m d_m

`sparse` keeps the k largest latents of a frame (Gao et al., arXiv 2406.04093, eqs. 2 and 3), or all
of them, with the penalty Σ_m z_m (L1; Cunningham et al., arXiv 2309.08600, eqs. 1–4). All heads
read ĥ. The reconstruction error ‖h − ĥ‖² / ‖h − mean of h‖² of an utterance is an auxiliary loss.
It is 0 if all frames are equal, as in an utterance of one frame. A CTC at h and another at z may be
auxiliary losses too. They are trained with the transcripts of one output.

All auxiliary losses are means over utterances, so that two processes have together the gradient of
one with all utterances.

Symbols: B utterances, T frames, D encoder size, M latents.
"""

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import Conditioner, ConditionerContext
from espnet_ext.model.config import (
    TEXT_PREFIX,
    check_count,
    check_keys,
    check_weight,
    suggest,
)
from espnet_ext.model.heads.base import HeadContext
from espnet_ext.model.heads.ctc import CTCHead

WHERE = "conditioning_conf"
PLACES = ("encoder", "latent")  # of the auxiliary CTC losses
LEAST_SPREAD = 1e-4  # ‖h − mean of h‖² / ‖h‖² up to which the frames of an utterance are equal


class Sparse(Conditioner):
    """Replace the encoder output by its reconstruction from sparse latents.

    Args:
        outputs: names, in the model's order.
        size: D.
        tokens: output → its token list.
        latents: M.
        k: latents per frame that are not zero; 0 keeps all, and needs `l1`.
        l1: weight of the sum of the latents.
        reconstruction: weight of the reconstruction error.
        ctc_output: output whose transcripts the auxiliary CTC losses read.
        ctc_encoder, ctc_latent: weights of the CTC at the encoder output and at the latents.
    """

    uses_active = False

    def __init__(
        self,
        outputs: Sequence[str],
        size: int,
        tokens: Mapping[str, Sequence[str]],
        latents: int = 2048,
        k: int = 32,
        l1: float = 0.0,
        reconstruction: float = 1.0,
        ctc_output: str | None = None,
        ctc_encoder: float = 0.0,
        ctc_latent: float = 0.0,
    ):
        super().__init__(outputs)
        for key, number, least in (("latents", latents, 1), ("k", k, 0)):
            check_count(number, f"{WHERE}.{key}", least)
        weights = {
            "l1": l1,
            "reconstruction": reconstruction,
            "ctc_encoder": ctc_encoder,
            "ctc_latent": ctc_latent,
        }
        for key, weight in weights.items():
            check_weight(weight, f"{WHERE}.{key}")
        if k == 0 and l1 == 0:
            raise UserError(
                f"{WHERE}: k: 0 and l1: 0: nothing makes the latents sparse",
                "give k, the latents per frame, or l1, the weight of their sum",
            )
        if k > latents:
            raise UserError(f"{WHERE}.k: {k} of {latents} latents", f"write at most {latents}")
        if (ctc_encoder or ctc_latent) and ctc_output not in self.outputs:
            raise UserError(
                f"{WHERE}.ctc_output: {'not given' if ctc_output is None else ctc_output}",
                suggest(str(ctc_output), self.outputs),
            )
        self.k = k
        self.auxiliary_weights = {"reconstruction": reconstruction, "sparsity": l1}
        directions = torch.nn.functional.normalize(torch.randn(latents, size), dim=1)
        self.directions = torch.nn.Parameter(directions)  # (M, D), scaled to length 1 when used
        self.projection = torch.nn.Linear(size, latents)
        with torch.no_grad():  # as in Gao et al., appendix A.1
            self.projection.weight.copy_(directions)
            self.projection.bias.zero_()
        self.offset = torch.nn.Parameter(torch.zeros(size))  # b
        self.ctc_output = ctc_output
        self.ctc = torch.nn.ModuleDict()  # place → CTC layer
        self._ctc_heads: dict[str, CTCHead] = {}
        for place, width in zip(PLACES, (size, latents), strict=True):
            weight = weights[f"ctc_{place}"]
            if weight:
                assert ctc_output is not None
                self._add_ctc(place, width, tokens[ctc_output])
                self.auxiliary_weights[f"ctc_{place}"] = weight
        # encoder output and latents (B, T, D and M) of the last pass, with lengths (B,)
        self._states: dict[str, torch.Tensor] = {}
        self._lengths = torch.zeros(0)
        self._statistics = dict.fromkeys(
            ("latents_used", "latents_per_frame"), torch.tensor(torch.nan)
        )

    def _add_ctc(self, place: str, size: int, tokens: Sequence[str]) -> None:
        assert self.ctc_output is not None
        options = CTCHead.Options(branch="ctc", ctc_weight=1.0)
        head = CTCHead(HeadContext(self.ctc_output, options, len(tokens), size, {}, tokens), tokens)
        self._ctc_heads[place] = head
        self.ctc[place] = head.parts["ctc"]

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "Sparse":
        known = list(inspect.signature(cls).parameters)[3:]
        check_keys(conf, known, WHERE)
        return cls(list(context.tokens), context.output_size, context.tokens, **conf)

    def latents_of(self, states: torch.Tensor) -> torch.Tensor:
        """Return the latents (B, T, M) of encoder output (B, T, D)."""
        latents = self.projection(states - self.offset).relu()
        if not self.k:
            return latents
        kept, positions = latents.topk(self.k, dim=-1)
        return torch.zeros_like(latents).scatter(-1, positions, kept)

    def reconstruct(self, latents: torch.Tensor) -> torch.Tensor:
        """Return encoder output (B, T, D) from latents (B, T, M)."""
        directions = torch.nn.functional.normalize(self.directions, dim=1)
        return latents @ directions + self.offset

    def encode(self, encoder, run, encoder_pass):
        states, lengths, auxiliary = run()
        with torch.autocast(states.device.type, enabled=False):
            exact = states.float() if states.dtype in (torch.bfloat16, torch.float16) else states
            latents = self.latents_of(exact)
            result = self.reconstruct(latents)
            mask = torch.arange(exact.size(1), device=exact.device) < lengths[:, None]  # (B, T)
            losses = self._losses(exact, latents, result, mask)
        self._states, self._lengths = {"encoder": exact, "latent": latents}, lengths
        return result.to(states.dtype), lengths, {**auxiliary, **losses}

    def _losses(self, states, latents, result, mask) -> dict[str, torch.Tensor]:
        """Return reconstruction error and sum of latents, and set the statistics."""
        weights = mask.to(states.dtype)[..., None]  # (B, T, 1)
        frames = weights.sum(1).clamp(min=1)  # (B, 1)
        means = (states * weights).sum(1) / frames  # (B, D)
        spread = ((states - means[:, None]).square() * weights).sum((1, 2))
        errors = ((states - result).square() * weights).sum((1, 2))
        sums = (latents * weights).sum((1, 2)) / frames.squeeze(1)
        active = (latents.detach() > 0) & mask[..., None]  # (B, T, M)
        self._statistics = {
            "latents_used": active.any(1).any(0).to(states.dtype).mean(),
            "latents_per_frame": active.sum().to(states.dtype) / mask.sum().clamp(min=1),
        }
        varies = spread > LEAST_SPREAD * (states.square() * weights).sum((1, 2))
        # (B,), independent of the scale of the states
        relative = torch.where(varies, errors / torch.where(varies, spread, 1.0), 0.0)
        return {"reconstruction": relative.mean(), "sparsity": sums.mean()}

    def label_losses(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        losses = {}
        for place, head in self._ctc_heads.items():
            text = batch[TEXT_PREFIX + head.name]
            lengths = batch[f"{TEXT_PREFIX}{head.name}_lengths"]
            context = contextlib.nullcontext()
            states = self._states[place]
            result = head.losses(states, self._lengths, text, lengths, context)
            losses[f"ctc_{place}"] = result.terms["ctc"]
        self._states = {}
        return losses

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return the share of the latents that the last batch used, and their number per frame."""
        return dict(self._statistics)


def feature_stability(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Compare the features of two autoencoders that were trained from different seeds.

    Sharkey, Braun & Millidge 2022 ("mean max cosine similarity"); cf. arXiv 2602.05027.

    Args:
        first: (M, D), directions of one; second: (N, D), of the other.

    Returns:
        The largest cosine of each of the first directions with any of the second (M,), and their
        mean.

    >>> directions = torch.eye(3)
    >>> feature_stability(directions, directions.flip(0))[1]
    1.0
    """
    cosines = (
        torch.nn.functional.normalize(first, dim=1) @ torch.nn.functional.normalize(second, dim=1).T
    )
    best = cosines.max(1).values
    return best, float(best.mean())
