"""A network with two encoder layers and linear heads, whose losses are those of a batch of labels.

Symbols: B rows, D width, K outputs.
"""

from types import SimpleNamespace

import torch

from espnet_ext.model.encoding import EncoderOutput
from espnet_ext.model.heads.base import HeadLosses
from espnet_ext.model.layers import parameter_groups
from espnet_ext.model.losses import TrainingLosses, weighted_sum
from espnet_ext.objectives.registry import build_objective

WIDTH = 4
OUTPUTS = ("surface", "meaning")


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        layers = [torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)]
        self.encoders = torch.nn.ModuleList(layers)

    def forward(self, inputs):
        for layer in self.encoders:
            inputs = torch.tanh(layer(inputs))
        return inputs


class ToyModel(torch.nn.Module):
    """As `DualOutputModel`: `forward` returns (loss, statistics, batch size)."""

    def __init__(self, config=None, outputs=OUTPUTS, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = Encoder()
        self.layers = torch.nn.ModuleDict({n: torch.nn.Linear(WIDTH, 1) for n in outputs})
        # Only the first output reaches it.
        self.private = torch.nn.Linear(WIDTH, WIDTH)
        with torch.no_grad():  # equal heads: the gradients conflict if the targets are opposite
            self.private.weight.mul_(0.1)
            for layer in self.layers.values():
                layer.weight.copy_(self.layers[outputs[0]].weight)
        self.heads = {n: SimpleNamespace(parts={"linear": self.layers[n]}) for n in outputs}
        config = {"outputs": dict.fromkeys(outputs, {}), **(config or {})}
        self.objective = build_objective(config)
        self.double()
        self.objective.attach(self)
        self.auxiliary = {}

    def losses(self, inputs, targets):
        """Return the losses; `targets` (B, K), NaN for no label."""
        states = self.encoder(inputs)
        heads, hidden = {}, {}
        for column, (name, layer) in enumerate(self.layers.items()):
            mine = states + (column == 0) * self.private(states)
            hidden[name] = mine
            target = targets[:, column]
            labelled = ~target.isnan()
            errors = (layer(mine).squeeze(1) - target.nan_to_num()).square()
            loss = (errors * labelled).sum() / len(inputs)
            share = labelled.to(loss.dtype).mean()
            weights = {"error": 1.0 - 0.5 * column}
            heads[name] = HeadLosses({"error": loss}, weights, labelled.sum(), share)
        encoded = EncoderOutput(hidden, {})
        groups = lambda: parameter_groups(self)  # noqa: E731
        auxiliary = {name: loss(states) for name, loss in self.auxiliary.items()}
        return TrainingLosses(heads, auxiliary, {}, encoded, ~targets.isnan(), groups)

    def forward(self, inputs, targets):
        loss = self.objective(self.losses(inputs, targets))
        return loss, self.objective.statistics(), torch.tensor(float(len(inputs)))


def batch(rows=6, seed=1, conflict=True, outputs=2):
    """Return inputs (B, D) and targets (B, K); the outputs have opposite targets in a conflict."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, WIDTH, generator=generator, dtype=torch.double)
    target = inputs[:, :1] + 3
    signs = torch.tensor(
        [1.0 if column % 2 == 0 or not conflict else -1.0 for column in range(outputs)]
    )
    return inputs, target * signs + 0.1 * torch.randn(
        rows, outputs, generator=generator, dtype=torch.double
    )


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def task_vectors(model, inputs, targets):
    """Return each output's gradient of the encoder: (K, parameters); by separate forward passes."""
    vectors = []
    for name in model.heads:
        losses = model.losses(inputs, targets)
        loss = losses.heads[name].weighted()[0]
        parts = torch.autograd.grad(loss, list(model.encoder.parameters()))
        vectors.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(vectors)


def encoder_vector(model):
    return torch.cat([p.grad.flatten() for p in model.encoder.parameters()])


def plain_gradients(inputs, targets, outputs=OUTPUTS):
    """Return the gradients of the weighted sum."""
    model = ToyModel(outputs=outputs)
    weighted_sum(model.losses(inputs, targets)).backward()
    return gradients(model)
