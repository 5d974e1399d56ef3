"""The whole network: ESPnet's encoder pipeline, then one branch an output.

A single-output system is this model with one output: same class, same code path.
Symbols: B utterances, S samples, F feature frames, M features, T encoder frames, D encoder size.
"""

import contextlib
from collections.abc import Callable, Mapping

import torch

from espnet_ext.model import espnet
from espnet_ext.model.conditioning import TaskVectors
from espnet_ext.model.config import TEXT_PREFIX, UNLABELLED
from espnet_ext.model.frames import min_feature_frames, min_samples, pad_short
from espnet_ext.model.heads.base import Head, HeadLosses
from espnet_ext.model.padding import mirror_ends

Objective = Callable[[Mapping[str, HeadLosses]], torch.Tensor]


class DualOutputModel(espnet.load("AbsESPnetModel")):
    """Encoder with one branch an output; `forward` returns ESPnet's (loss, stats, weight).

    Args:
        frontend, specaug, normalize, preencoder, postencoder: ESPnet modules or None.
        encoder: ESPnet encoder.
        heads: one per output, in order.
        objective: losses by output → one scalar; the weighted sum unless given.
        autocast_dtype: CPU autocast for encoder and decoders (`torch.bfloat16`), None for off.
            ESPnet's own AMP is CUDA-only.
        conditioning: vectors that tell the encoder which outputs are active, or None.
        divide_by: "utterances", or "labelled": see `_per_labelled`.
    """

    def __init__(
        self,
        frontend,
        specaug,
        normalize,
        preencoder,
        encoder,
        postencoder,
        heads: Mapping[str, Head],
        objective: Objective | None = None,
        autocast_dtype: torch.dtype | None = None,
        conditioning: TaskVectors | None = None,
        divide_by: str = "utterances",
    ):
        super().__init__()
        self.frontend = frontend
        self.specaug = specaug
        self.normalize = normalize
        self.preencoder = preencoder
        self.encoder = encoder
        self.postencoder = postencoder
        self._heads = dict(heads)  # their parts stand flat in this module, see below
        for name, head in heads.items():
            for part, module in head.parts.items():
                self.add_module(f"{name}_{part}", module)
        self.objective = objective or weighted_sum
        self.autocast_dtype = autocast_dtype
        self.conditioning = conditioning
        self.divide_by = divide_by
        self.min_frames = min_feature_frames(preencoder, encoder)
        self.reduce_stats = True  # off while only one rank runs the model

    @property
    def heads(self) -> Mapping[str, Head]:
        return self._heads

    def forward(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, **batch
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Loss over all outputs.

        Args:
            speech: (B, S) samples, or (B, F, M) features; speech_lengths: (B,).
            batch: `text_<output>` (B, L) and `text_<output>_lengths` (B,) for every output.
        """
        active = self.labelled(batch)
        if self.conditioning is not None and self.conditioning.drop_tasks and self.training:
            kept = self.conditioning.sample(active)
            batch, active = self.conditioning.tags.restrict(batch, active, kept)
        states, lengths = self.encode(speech, speech_lengths, active=active)
        losses = self.losses(states, lengths, batch)
        shares = losses
        if self.divide_by == "labelled":
            shares = self._per_labelled(losses, speech.size(0))
        loss = self.objective(shares)
        stats = self._stats(losses, speech.size(0))
        stats["loss"] = loss.detach()
        if self.conditioning is not None:
            stats |= self.conditioning.norms()
        return espnet.load("force_gatherable")((loss, stats, speech.size(0)), loss.device)

    def losses(
        self, states: torch.Tensor, lengths: torch.Tensor, batch: Mapping[str, torch.Tensor]
    ) -> dict[str, HeadLosses]:
        """Every output's losses for encoder states (B, T, D); `batch` as for `forward`."""
        if states.dtype == torch.bfloat16:
            states = states.float()  # CTC and the losses stay in full precision
        return {
            name: head.losses(
                states,
                lengths,
                batch[TEXT_PREFIX + name],
                batch[f"{TEXT_PREFIX}{name}_lengths"],
                self._autocast(states),
            )
            for name, head in self._heads.items()
        }

    def encode(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        alike: bool = False,
        active: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Speech (B, S) to encoder states (B, T, D) and their lengths (B,).

        `alike` makes them those of each utterance alone, see `padding`; ESPnet's own are not.
        `active` (B, K) or (K,) says which tasks (outputs, and inline tags after them) are asked
        for, all unless given; it matters to a model with conditioning alone.

        The order is ESPnet's: features, SpecAugment (training only), normalisation, encoder.
        Speech too short for the encoder's subsampling is lengthened by frames of zeros, where
        ESPnet's encoders would end the training.
        """
        feats, lengths = self.extract_feats(speech, speech_lengths, alike)
        if self.specaug is not None and self.training:
            feats, lengths = self.specaug(feats, lengths)
        if self.normalize is not None:
            feats, lengths = self.normalize(feats, lengths)
        feats, lengths = pad_short(feats, lengths, self.min_frames, self.training)
        with self._autocast(feats):
            if self.preencoder is not None:
                feats, lengths = self.preencoder(feats, lengths)
            if self.conditioning is None:
                return self._encoded(feats, lengths)
            if active is None:
                active = torch.ones(len(self.conditioning.tasks), dtype=torch.bool)
            active = active.to(feats.device).expand(len(feats), -1)
            with self.conditioning.at_features(self.encoder, active):
                states, lengths = self._encoded(feats, lengths)
            return self.conditioning.at_end(states, active), lengths

    def _encoded(
        self, feats: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        states, lengths, _ = self.encoder(feats, lengths)
        if self.postencoder is not None:
            states, lengths = self.postencoder(states, lengths)
        return states, lengths

    def extract_feats(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, alike: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples (B, S) to features (B, F, M); features pass through without a frontend."""
        speech = speech[:, : int(speech_lengths.max())]
        if self.frontend is None:
            return speech, speech_lengths
        missing = min_samples(self.frontend) - speech.size(1)
        if missing > 0:
            speech = torch.nn.functional.pad(speech, (0, missing))
        if not alike:
            return self.frontend(speech, speech_lengths)
        feats, lengths = self.frontend(
            mirror_ends(speech, speech_lengths, self.frontend), speech_lengths
        )
        return feats[:, : int(lengths.max())], lengths

    def collect_feats(self, speech, speech_lengths, **_batch) -> dict[str, torch.Tensor]:
        feats, lengths = self.extract_feats(speech, speech_lengths)
        return {"feats": feats, "feats_lengths": lengths}

    def _autocast(self, tensor: torch.Tensor):
        if self.autocast_dtype is None or tensor.device.type != "cpu":
            return contextlib.nullcontext()
        return torch.autocast("cpu", dtype=self.autocast_dtype)

    def labelled(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Which utterances have a transcript for which output: (B, K).

        With conditioning, K are all its tasks: which transcripts bear which tags comes after.
        """
        first = [batch[TEXT_PREFIX + name][:, 0] for name in self._heads]
        active = torch.stack(first, 1) != UNLABELLED
        if self.conditioning is None:
            return active
        return torch.cat([active, self.conditioning.tags.present(batch)], 1)

    def _per_labelled(
        self, losses: Mapping[str, HeadLosses], batch_size: int
    ) -> dict[str, HeadLosses]:
        """Losses divided by the utterances that are labelled for the output, not by all.

        ESPnet averages the ranks' losses weighted by their utterances, so that a sum over all
        ranks' labelled rows, divided by their number N, comes from a loss multiplied by B / N of
        all ranks together. (With one rank alone, its own: the weighted average is the same.)
        """
        counts = torch.stack([loss.labelled.double() for loss in losses.values()])  # (K,)
        counts = torch.cat([counts, counts.new_full((1,), batch_size)])
        if self.reduce_stats and _distributed():
            torch.distributed.all_reduce(counts)
        factors = counts[-1] / counts[:-1].clamp(min=1)
        pairs = zip(losses.items(), factors, strict=True)
        return {name: loss.scaled(factor) for (name, loss), factor in pairs}

    def _stats(self, losses: Mapping[str, HeadLosses], batch_size: int) -> dict[str, torch.Tensor]:
        """Per-utterance losses and token accuracies of each output over labelled rows.

        The keys are always the same; a value is NaN where no rank has a label. Sums and counts
        are reduced in one call, because ESPnet would average the ranks' quotients.
        """
        sums = {
            (name, key): value.double()
            for name, head in self._heads.items()
            for key, value in head.statistic_sums(losses[name], batch_size).items()
        }
        table = torch.stack(list(sums.values()))
        if self.reduce_stats and _distributed():
            torch.distributed.all_reduce(table)
        reduced: dict[str, dict[str, torch.Tensor]] = {name: {} for name in self._heads}
        for (name, key), value in zip(sums, table, strict=True):
            reduced[name][key] = value
        stats = {}
        for name, head in self._heads.items():
            values = head.statistics(reduced[name])
            stats |= {f"{key}_{name}": value for key, value in values.items()}
            stats[f"labelled_{name}"] = reduced[name]["labelled"]
        accuracies = [stats[f"acc_{name}"] for name in self._heads if f"acc_{name}" in stats]
        if accuracies:
            stats["acc"] = torch.stack(accuracies).nanmean()
        return stats


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def weighted_sum(losses: Mapping[str, HeadLosses]) -> torch.Tensor:
    """Return Σ_o Σ_i weight_oi · loss_oi over outputs o and losses i; weights are absolute.

    Cho & Kim, arXiv 2606.06065: α·CTC + β·surface + γ·meaning.
    """
    terms = [term for loss in losses.values() for term in loss.weighted()]
    return sum(terms[1:], terms[0])
