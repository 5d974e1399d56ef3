"""A conditioner that adds a learned vector of the output that is read: one pass per output."""

import torch

from espnet_ext.model.conditioning.base import Conditioner


class OutputBias(Conditioner):
    auxiliary_weights = {"size": 0.5}

    def __init__(self, outputs, size, start=1.0):
        super().__init__(outputs)
        self.bias = torch.nn.Parameter(torch.full((len(outputs), size), float(start)))
        self.passes_run = 0

    @classmethod
    def build(cls, conf, context):
        return cls(list(context.tokens), context.output_size, **conf)

    @classmethod
    def with_label_sets(cls, conf, sets):
        return dict(conf)

    @property
    def needs_pass_per_output(self):
        return True

    def encode(self, encoder, run, encoder_pass):
        self.passes_run += 1
        (output,) = encoder_pass.outputs
        states, lengths, _ = run()
        bias = self.bias[self.outputs.index(output)]
        return states * bias, lengths, {"size": bias.square().mean()}

    def statistics(self):
        return {"bias_mean": self.bias.detach().mean()}
