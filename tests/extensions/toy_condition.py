"""A conditioner that scales the encoder output by a gate of the utterance's band."""

import torch

from espnet_ext.model.conditioning.base import Conditioner


class BandGate(Conditioner):
    conditions = ("band",)

    def __init__(self, outputs, values, size):
        super().__init__(outputs)
        # Far apart, so that another band is another result
        start = 1.0 + 2.0 * torch.arange(len(values))[:, None].expand(-1, size)
        self.gates = torch.nn.Parameter(start.clone())  # (values, D)
        self.bands_seen = []

    @classmethod
    def build(cls, conf, context):
        return cls(list(context.tokens), context.conditions["band"], context.output_size)

    @classmethod
    def with_label_sets(cls, conf, sets):
        return dict(conf)

    def encode(self, encoder, run, encoder_pass):
        bands = encoder_pass.conditions["band"]  # (B,)
        self.bands_seen.append(bands.tolist())
        states, lengths, auxiliary = run()
        return states * self.gates[bands][:, None], lengths, auxiliary
