"""The whole network: ESPnet's encoder pipeline, then one head per output.

A single-output system is this model with one output: the same class and the same code path.

Symbols: B utterances, S samples, F feature frames, M features, T encoder frames, D encoder size,
L tokens, K tasks (outputs, and the inline tags of a conditioner after them).
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.conditioning.base import Conditioner, Encoded
from espnet_ext.model.conditions import names_of
from espnet_ext.model.config import TEXT_PREFIX, UNLABELLED
from espnet_ext.model.encoding import EncoderOutput, EncoderPass, EncoderRequest
from espnet_ext.model.frames import min_feature_frames, min_samples, pad_short
from espnet_ext.model.heads.base import Head, HeadLosses
from espnet_ext.model.heads.side_input_options import reading_order
from espnet_ext.model.heads.side_inputs import DecoderStates, SideInputs, of_batch, record_states
from espnet_ext.model.layers import encoder_layers, parameter_groups, watch
from espnet_ext.model.losses import Objective, TrainingLosses, weighted_sum
from espnet_ext.model.padding import mirror_ends

AbsESPnetModel: Any = espnet.load("AbsESPnetModel")

# Statistics of a batch
ACCURACY = "acc"  # mean over the outputs; acc_<output> is that of one
LABELLED = "labelled_"  # and the output: its number of labelled utterances


class DualOutputModel(AbsESPnetModel):
    """Encoder with one head per output; `forward` returns ESPnet's (loss, stats, weight).

    Args:
        frontend, specaug, normalize, preencoder, postencoder: ESPnet modules or None.
        encoder: ESPnet encoder. Its third return value may be a mapping of auxiliary losses.
        heads: one per output, in order.
        objective: turns the losses into the scalar that training calls `backward` on; the weighted
            sum unless given.
        autocast_dtype: CPU autocast for encoder and decoders (`torch.bfloat16`), None for off.
            ESPnet's own AMP is CUDA-only.
        conditioning: what tells the encoder which tasks are active, or None.
        divide_by: what an output's losses are divided by: "utterances" (of the batch), or
            "labelled" (those with a transcript for the output).
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
        conditioning: Conditioner | None = None,
        divide_by: str = "utterances",
    ):
        super().__init__()
        self.frontend = frontend
        self.specaug = specaug
        self.normalize = normalize
        self.preencoder = preencoder
        self.encoder = encoder
        self.postencoder = postencoder
        self._heads = dict(heads)
        for name, head in heads.items():
            for part, module in head.parts.items():
                self.add_module(f"{name}_{part}", module)
        self.reading_order = reading_order({name: h.options for name, h in heads.items()})
        self.reads_layers = any(head.ctc_layer is not None for head in heads.values())
        self.read_decoders = {head.reads for head in heads.values()} - {None}
        self.objective = objective
        self.autocast_dtype = autocast_dtype
        self.conditioning = conditioning
        self.divide_by = divide_by
        self.condition_values: Mapping[str, Sequence[str]] = {}  # see `model.conditions`
        self.min_frames = min_feature_frames(preencoder, encoder)
        self.reduce_stats = True  # off while only one rank runs the model
        self.adapters: Any = None  # `pretrained.adapters.Adapters`, if there are any
        # batch normalisation that stays in evaluation mode, because its part of the model is frozen
        self.fixed_statistics: Sequence[torch.nn.Module] = ()
        # Training may pass encoder output as speech (`training.encoder_cache`).
        self.reads_encoder_output = False

    @property
    def heads(self) -> Mapping[str, Head]:
        """Output → its head. The modules of a head are `<output>_<part>` of this model."""
        return self._heads

    @property
    def separates_outputs(self) -> bool:
        """Whether every output reads encoder output of its own, also if all are active."""
        outputs = tuple(self._heads)
        separate = bool(getattr(self.encoder, "needs_pass_per_output", False))
        if self.conditioning is None or separate:
            return separate
        groups = self.conditioning.groups(outputs)
        return self.conditioning.needs_pass_per_output or len(groups) == len(outputs)

    def train(self, mode: bool = True) -> "DualOutputModel":
        """Set training or evaluation mode, except that `fixed_statistics` keep evaluation mode."""
        super().train(mode)
        for module in self.fixed_statistics:
            module.eval()
        return self

    def forward(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, **batch
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Return the objective's scalar, statistics, and the batch size.

        Args:
            speech: (B, S) samples, (B, F, M) features, or (B, T, D) cached encoder output;
                speech_lengths: (B,).
            batch: `text_<output>` (B, L) and `text_<output>_lengths` (B,) for every output, and the
                value ids (B, 1) of every condition.
        """
        labels: Mapping[str, torch.Tensor] = batch
        active = self.labelled(labels)  # (B, K)
        if self.conditioning is not None and self.training:
            labels, active = self.conditioning.drop_tasks_of(labels, active)
        request = EncoderRequest(
            active=active,
            conditions=self.conditions_of(labels),
            keep_layers=self.objective is not None and self.objective.needs_layers,
        )
        encoded = self.encode(speech, speech_lengths, request)
        if self.conditioning is not None:
            auxiliary = {**encoded.auxiliary, **self.conditioning.label_losses(labels)}
            encoded = dataclasses.replace(encoded, auxiliary=auxiliary)
        losses = self.losses(encoded, labels)
        scaled = losses
        if self.divide_by == "labelled":
            scaled = self._per_labelled(losses, speech.size(0))
        combine = weighted_sum if self.objective is None else self.objective
        loss = combine(
            TrainingLosses(
                scaled,
                encoded.auxiliary,
                self._auxiliary_weights(),
                encoded,
                active[:, : len(self._heads)],
                lambda: parameter_groups(self),
            )
        )
        stats = self._stats(losses, speech.size(0))
        stats["loss"] = loss.detach().clone()  # ESPnet's trainer divides `loss` in place
        stats |= {f"loss_aux_{name}": value.detach() for name, value in encoded.auxiliary.items()}
        if self.conditioning is not None:
            stats |= self.conditioning.statistics()
        if self.objective is not None:
            stats |= self.objective.statistics()
        return espnet.load("force_gatherable")((loss, stats, speech.size(0)), loss.device)

    def losses(
        self, encoded: EncoderOutput, batch: Mapping[str, torch.Tensor]
    ) -> dict[str, HeadLosses]:
        """Return every output's losses; `batch` as for `forward`."""
        losses = {}
        decoders: dict[str, DecoderStates] = {}  # of the outputs that others read
        for name in self.reading_order:
            head = self._heads[name]
            states = encoded.hidden[name]
            if states.dtype == torch.bfloat16:
                states = states.float()  # CTC and the losses stay in full precision
            text, lengths = batch[TEXT_PREFIX + name], batch[f"{TEXT_PREFIX}{name}_lengths"]
            side = SideInputs(decoders.get(head.reads or ""), encoded.ctc_layers.get(name))
            inputs = (states, encoded.lengths[name], text, lengths, self._autocast(states), side)
            if name not in self.read_decoders:
                losses[name] = head.losses(*inputs)
                continue
            with record_states(head.decoder) as recorded:
                losses[name] = head.losses(*inputs)
            rows = (text[:, 0] != UNLABELLED).nonzero().squeeze(1)
            decoders[name] = of_batch(recorded, rows, lengths, states)
        return {name: losses[name] for name in self._heads}

    def encode(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        request: EncoderRequest | None = None,
    ) -> EncoderOutput:
        """Encode speech (B, S) for the outputs of a request; for all of them unless given.

        The order is ESPnet's: features, SpecAugment (training only), normalisation, encoder.
        Speech too short for the encoder's subsampling gets frames of zeros at its end, where
        ESPnet's encoders would end the training. Features are made once; the encoder runs once per
        group of outputs that can share a pass.
        """
        request = request or EncoderRequest()
        for name in self.conditions:
            if name not in request.conditions:
                raise UserError(
                    f"no value of the condition '{name}', which the model reads",
                    "this analysis or command has no conditions yet; decode with espnet-ext decode",
                )
        if self.reads_encoder_output and speech.dim() == 3:
            outputs = tuple(self._heads if request.outputs is None else request.outputs)
            states = speech[:, : int(speech_lengths.max())]
            return EncoderOutput(
                dict.fromkeys(outputs, states), dict.fromkeys(outputs, speech_lengths)
            )
        feats, lengths = self.extract_feats(speech, speech_lengths, request.batch_invariant)
        if self.specaug is not None and self.training:
            feats, lengths = self.specaug(feats, lengths)
        if self.normalize is not None:
            feats, lengths = self.normalize(feats, lengths)
        feats, lengths = pad_short(feats, lengths, self.min_frames, self.training)
        results: dict[str, _PassResult] = {}
        auxiliary: dict[str, torch.Tensor] = {}
        with self._autocast(feats):
            if self.preencoder is not None:
                feats, lengths = self.preencoder(feats, lengths)
            passes = self._passes(request)
            for encoder_pass in passes:
                on_device = {n: ids.to(feats.device) for n, ids in encoder_pass.conditions.items()}
                encoder_pass = dataclasses.replace(encoder_pass, conditions=on_device)
                result = self._run(feats, lengths, encoder_pass, request.keep_layers)
                groups = [encoder_pass.outputs]
                if self.conditioning is not None:
                    groups = self.conditioning.groups(encoder_pass.outputs)
                for group, part in zip(groups, result.split(len(groups)), strict=True):
                    results |= dict.fromkeys(group, part)
                for name, loss in result.auxiliary.items():
                    auxiliary[name] = auxiliary.get(name, 0.0) + loss / len(passes)
        kept = results if request.keep_layers else {}
        read_layers = {name: self._layer_of_ctc(name, result) for name, result in results.items()}
        return EncoderOutput(
            {name: result.states for name, result in results.items()},
            {name: result.lengths for name, result in results.items()},
            auxiliary,
            {name: result.layers for name, result in kept.items()},
            {name: result.layer_lengths for name, result in kept.items()},
            {name: states for name, states in read_layers.items() if states is not None},
        )

    def _layer_of_ctc(self, name: str, result: "_PassResult") -> torch.Tensor | None:
        """Return the states (B, T, D) of the encoder layer that the CTC of an output reads."""
        number = self._heads[name].ctc_layer
        if number is None:
            return None
        layer = str(number - 1)
        if layer not in result.layers:
            raise UserError(
                f"outputs.{name}.ctc_layer: encoder layer {number} did not run",
                "switch off layerdrop of the encoder, or remove ctc_layer",
            )
        return result.layers[layer]

    def _passes(self, request: EncoderRequest) -> list[EncoderPass]:
        """Return the runs of the encoder that a request needs."""
        outputs = tuple(self._heads if request.outputs is None else request.outputs)
        separate = getattr(self.encoder, "needs_pass_per_output", False)
        if self.conditioning is not None:
            return self.conditioning.passes(outputs, request, separate)
        groups = [(name,) for name in outputs] if separate else [outputs]
        return [EncoderPass(group, None, request.conditions) for group in groups]

    def _run(
        self,
        feats: torch.Tensor,
        lengths: torch.Tensor,
        encoder_pass: EncoderPass,
        keep_layers: bool,
    ) -> "_PassResult":
        """Run encoder and postencoder once on features (B, F, M) with lengths (B,)."""
        layers = (encoder_layers(self.encoder) or {"encoder": self.encoder}) if keep_layers else {}
        for head in (self._heads[name] for name in encoder_pass.outputs):
            if head.ctc_layer is not None:
                layer = str(head.ctc_layer - 1)
                layers[layer] = encoder_layers(self.encoder)[layer]
        layer_lengths = lengths

        def encode() -> Encoded:
            nonlocal layer_lengths
            states, layer_lengths, third = self.encoder(feats, lengths)
            frames = layer_lengths
            if self.postencoder is not None:
                states, frames = self.postencoder(states, frames)
            # ESPnet's encoders return None or their states there.
            return states, frames, third if isinstance(third, Mapping) else {}

        if hasattr(self.encoder, "begin_pass"):
            self.encoder.begin_pass(encoder_pass)
        with watch(layers, detach=False) as seen:
            if self.conditioning is None:
                states, frames, auxiliary = encode()
            else:
                assert encoder_pass.active is not None
                active = encoder_pass.active.to(feats.device).expand(len(feats), -1)  # (B, K)
                encoder_pass = dataclasses.replace(encoder_pass, active=active)
                states, frames, auxiliary = self.conditioning.encode(
                    self.encoder, encode, encoder_pass
                )
        return _PassResult(states, frames, auxiliary, seen, layer_lengths)

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions (labels of utterances) that the conditioner and the encoder read."""
        return names_of(self.conditioning, self.encoder)

    def conditions_of(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the value ids (B,) of the conditions in a batch."""
        return {name: batch[name][:, 0] for name in self.conditions}

    def _auxiliary_weights(self) -> dict[str, float]:
        """Return the weights that encoder and conditioner give their auxiliary losses."""
        parts = (self.encoder, self.conditioning)
        return {k: v for part in parts for k, v in getattr(part, "auxiliary_weights", {}).items()}

    def extract_feats(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, batch_invariant: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (B, F, M) and lengths (B,) of samples (B, S).

        Without a frontend the input is features, and is returned as it is. `batch_invariant` makes
        the features of an utterance independent of the others, see `model.padding`.
        """
        speech = speech[:, : int(speech_lengths.max())]
        if self.frontend is None:
            return speech, speech_lengths
        missing = min_samples(self.frontend) - speech.size(1)
        if missing > 0:
            speech = torch.nn.functional.pad(speech, (0, missing))
        if not batch_invariant:
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
        """Return which utterances have a transcript for which output: (B, K).

        With a conditioner, the columns of inline tags follow: which transcripts contain them.
        """
        first = [batch[TEXT_PREFIX + name][:, 0] for name in self._heads]
        active = torch.stack(first, 1) != UNLABELLED
        if self.conditioning is None:
            return active
        return torch.cat([active, self.conditioning.tags.present(batch)], 1)

    def _per_labelled(
        self, losses: Mapping[str, HeadLosses], batch_size: int
    ) -> dict[str, HeadLosses]:
        """Return the losses divided by the utterances that are labelled for the output.

        ESPnet averages the ranks' losses, weighted by their batch sizes. To get the sum over all
        ranks' labelled rows divided by their number N, a loss is multiplied by B / N, both summed
        over the ranks.
        """
        counts = torch.stack([loss.labelled.double() for loss in losses.values()])  # (K,)
        counts = torch.cat([counts, counts.new_full((1,), batch_size)])
        if self.reduce_stats and _distributed():
            torch.distributed.all_reduce(counts)
        factors = counts[-1] / counts[:-1].clamp(min=1)
        pairs = zip(losses.items(), factors, strict=True)
        return {name: loss.scaled(factor) for (name, loss), factor in pairs}

    @property
    def counted_by(self) -> dict[str, str]:
        """Statistic of an output → the statistic that counts the labelled utterances of a batch."""
        return {
            f"{key}_{name}": LABELLED + name
            for name, head in self._heads.items()
            for key in head.statistic_names(head.options)
        }

    def _stats(self, losses: Mapping[str, HeadLosses], batch_size: int) -> dict[str, torch.Tensor]:
        """Return the statistics of each head over labelled rows.

        The keys never vary; a value is NaN where no rank has a label. Sums and counts are reduced
        over the ranks in one call, because ESPnet would average the ranks' quotients.
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
        stats: dict[str, torch.Tensor] = {}
        for name, head in self._heads.items():
            values = head.statistics(reduced[name])
            stats |= {f"{key}_{name}": value for key, value in values.items()}
            stats[LABELLED + name] = reduced[name]["labelled"]
        keys = [f"{ACCURACY}_{name}" for name in self._heads]
        accuracies = [stats[key] for key in keys if key in stats]
        if accuracies:
            stats[ACCURACY] = torch.stack(accuracies).nanmean()
        return stats


@dataclasses.dataclass(frozen=True)
class _PassResult:
    """What one run of the encoder returns."""

    states: torch.Tensor  # (B, T, D)
    lengths: torch.Tensor  # (B,)
    auxiliary: Mapping[str, torch.Tensor]  # name → ()
    layers: Mapping[str, torch.Tensor]  # layer → (B, T', D')
    layer_lengths: torch.Tensor  # (B,), before a postencoder

    def split(self, groups: int) -> "list[_PassResult]":
        """Return the rows of each of G groups of outputs, from G·B rows.

        Layers below the one where the groups part have B rows, which all groups share.
        """
        if groups == 1:
            return [self]
        rows = self.states.size(0)

        def part(tensor: torch.Tensor, group: int) -> torch.Tensor:
            return tensor.chunk(groups)[group] if tensor.size(0) == rows else tensor

        return [
            _PassResult(
                part(self.states, group),
                part(self.lengths, group),
                self.auxiliary,
                {name: part(states, group) for name, states in self.layers.items()},
                part(self.layer_lengths, group),
            )
            for group in range(groups)
        ]


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
