"""Experts: one feed-forward part per output and per band, chosen by labels instead of a gate.

S-MoE, supervised mixture of experts (arXiv 2508.10009, sec. 3): guiding tokens name the task and
the bandwidth of the audio. Each of them has its own feed-forward network in every layer, and shares
the rest. Here the guiding tokens are the output that is read and the label in `utt2band`. In the
decoder, the guiding token is the first input token (`heads.shared_decoder`).

Experts start as copies of the part that they replace. For a pre-trained encoder this is the
pre-trained part.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import Conditioner, ConditionerContext
from espnet_ext.model.conditioning.layers import (
    BOTH,
    SECOND,
    blocks_of,
    feed_forward_names,
    last_layers,
)
from espnet_ext.model.conditioning.routing import (
    BAND,
    TASK,
    Routed,
    Routing,
    child_of,
    replace,
    unroute,
)
from espnet_ext.model.config import check_keys, suggest
from espnet_ext.model.heads.base import ELSEWHERE

WHERE = "conditioning_conf"
HALVES = (BOTH, SECOND)


class RoutedConditioner(Conditioner):
    """A conditioner that replaces modules of the encoder by one per task or band.

    Args:
        outputs: names, in the model's order.
        bands: the values of the condition `band`; none if nothing depends on it.
        by_task: whether a module of the encoder depends on the output that is read.
    """

    uses_active = False  # what counts is the output that is read

    def __init__(self, outputs: Sequence[str], bands: Sequence[str] = (), by_task: bool = False):
        super().__init__(outputs)
        self.bands, self.by_task = tuple(bands), by_task
        self.routing = Routing()

    def route(self, parent: Any, name: str, axes: Sequence[str]) -> None:
        """Replace a module by one per value of the axes."""
        values = {TASK: self.outputs, BAND: self.bands}
        chosen = {axis: values[axis] for axis in axes}
        replace(parent, name, Routed(child_of(parent, name), self.routing, chosen))

    def repeat_rows_before(self, encoder: torch.nn.Module, layers: Sequence[Any]) -> None:
        """Run the encoder once per task from the first of these layers."""
        for layer in layers:
            layer.register_forward_pre_hook(self.routing.before_layer, with_kwargs=True)
        encoder.register_forward_hook(self.routing.after_encoder)

    def separate_batch_norms(self, layers: Sequence[torch.nn.Module]) -> None:
        """Give each output its own batch normalisation in these layers.

        The statistics of one output's rows are not those of another's.
        """
        for parent in [module for layer in layers for module in layer.modules()]:
            for name, child in list(parent.named_children()):
                if isinstance(child, _BatchNorm):
                    self.route(parent, name, (TASK,))

    def groups(self, outputs):
        return [(name,) for name in outputs] if self.by_task else super().groups(outputs)

    def encode(self, encoder, run, encoder_pass):
        tasks = encoder_pass.outputs if self.by_task else ()
        bands = {name: encoder_pass.conditions[name] for name in self.conditions}
        self.routing.begin(tasks, bands, {BAND: self.bands})
        return run()

    def fold(self, model, output, active):
        if self.bands:
            raise UserError(
                f"{type(self).__name__}: a stock ESPnet model has no experts per band", ELSEWHERE
            )
        unroute(model.encoder, {TASK: output})
        self.routing.begin((), {}, {})  # repeats no rows from now on
        model.conditioning = None


class Experts(RoutedConditioner):
    """Replace feed-forward parts of the encoder by experts.

    Args:
        outputs: names, in the model's order.
        bands: the values of the condition `band`; none unless `encoder_band` is given.
        encoder_task: layers with an expert per output: "all", or how many of the last. The encoder
            runs once per output from the first of them. From there, each output also has its own
            batch normalisation: the statistics of one output's rows are not those of another's.
        encoder_band: layers with an expert per band. A layer in both has one expert per combination
            of output and band.
        decoder_task: layers of the decoder that the outputs share (`decoder: shared`) with an
            expert per output.
        halves: "both" feed-forward halves of a block with macaron style, or the "second" only.
    """

    def __init__(
        self,
        outputs: Sequence[str],
        bands: Sequence[str] = (),
        encoder_task: int | str = 0,
        encoder_band: int | str = 0,
        decoder_task: int | str = 0,
        halves: str = BOTH,
    ):
        super().__init__(outputs, bands, by_task=encoder_task != 0)
        self.layers = {TASK: encoder_task, BAND: encoder_band}
        self.decoder_task, self.halves = decoder_task, halves
        self.conditions = (BAND,) if bands else ()

    @classmethod
    def conditions_of(cls, conf: Mapping[str, Any]) -> Sequence[str]:
        return (BAND,) if conf.get("encoder_band") else ()

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "Experts":
        known = list(inspect.signature(cls).parameters)[2:]
        check_keys(conf, known, WHERE)
        chosen = [key for key in known if key != "halves" and conf.get(key)]
        if not chosen:
            raise UserError(
                f"{WHERE}: conditioning: experts without a layer that has any",
                "give encoder_task, encoder_band or decoder_task: all, or a number of last layers",
            )
        if conf.get("halves", BOTH) not in HALVES:
            value = str(conf["halves"])
            raise UserError(f"{WHERE}.halves: unknown '{value}'", suggest(value, HALVES))
        if conf.get("encoder_task") and len(context.tokens) < 2:
            raise UserError(
                f"{WHERE}.encoder_task: experts per output, but this system has one output",
                "remove it, or add an output",
            )
        if conf.get("decoder_task") and context.shared_decoder is None:
            raise UserError(
                f"{WHERE}.decoder_task: no outputs share a decoder, so each already has its own "
                "feed-forward parts",
                "remove it, or write decoder: shared for the outputs",
            )
        bands = context.conditions[BAND] if conf.get("encoder_band") else ()
        for band in bands:
            if "." in band:
                raise UserError(
                    f"conditions.band: '{band}': the name of an expert has no dot",
                    "write another label into utt2band",
                )
        experts = cls(list(context.tokens), bands, **conf)
        experts.replaced(context.encoder)  # raises errors
        if context.shared_decoder is not None:
            experts.decoder_layers(context.shared_decoder)
        return experts

    def replaced(self, encoder: torch.nn.Module) -> dict[int, tuple[str, ...]]:
        """Return layer number → what its experts depend on."""
        axes: dict[int, tuple[str, ...]] = {}
        for axis, value in self.layers.items():
            where = f"{WHERE}.encoder_{axis}"
            if value == 0 and not isinstance(value, bool):
                continue
            blocks = blocks_of(encoder, where)
            for number in last_layers(value, len(blocks), where):
                feed_forward_names(blocks[number], self.halves, where)
                axes[number] = (*axes.get(number, ()), axis)
        return axes

    def decoder_layers(self, decoder: Any) -> list[Any]:
        """Return the layers of the shared decoder that have experts."""
        layers = list(decoder.decoders)
        return [
            layers[i] for i in last_layers(self.decoder_task, len(layers), f"{WHERE}.decoder_task")
        ]

    def attach_decoder(self, decoder: Any) -> None:
        for layer in self.decoder_layers(decoder):
            values = {TASK: decoder.outputs}
            replace(layer, "feed_forward", Routed(layer.feed_forward, decoder.routing, values))

    def attach(self, encoder: torch.nn.Module) -> None:
        axes = self.replaced(encoder)
        blocks = blocks_of(encoder, WHERE) if axes else []
        for number, of_layer in axes.items():
            for name in feed_forward_names(blocks[number], self.halves, WHERE):
                self.route(blocks[number], name, of_layer)
        if self.by_task:
            first = min(number for number, of_layer in axes.items() if TASK in of_layer)
            repeated = list(blocks)[first:]
            self.separate_batch_norms(repeated)
            self.repeat_rows_before(encoder, repeated)
