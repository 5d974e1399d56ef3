"""One objective reads hidden states and has a parameter; another owns the backward pass."""

import torch

from espnet_ext.model.losses import weighted_head_loss
from espnet_ext.objectives.base import Objective
from espnet_ext.objectives.gradients import gradients_of, surrogate_loss


class SmallStates(Objective):
    """Learned weights of the outputs, and a penalty on the hidden states of all layers."""

    needs_layers = True

    def __init__(self, outputs, strength=0.1, **shared):
        super().__init__(outputs, **shared)
        self.strength = strength
        self.log_weights = torch.nn.Parameter(torch.zeros(len(self.outputs)))

    def forward(self, losses):
        heads = torch.stack([weighted_head_loss(losses.heads[name]) for name in self.outputs])
        first = self.outputs[0]
        layers = losses.encoded.layers[first].values()
        penalty = sum(layer.square().mean() for layer in layers)
        penalty = penalty + losses.encoded.hidden[first].square().mean()
        return (heads * self.log_weights.exp()).sum() + self.strength * penalty

    def statistics(self):
        weights = self.log_weights.detach().exp()
        return {f"weight_{name}": w for name, w in zip(self.outputs, weights, strict=True)}


class EqualGradients(Objective):
    """Every output's gradient of the shared parameters is scaled to length 1 before they add up."""

    def forward(self, losses):
        groups = losses.parameters()
        heads = [weighted_head_loss(losses.heads[name]) for name in self.outputs]
        total = torch.stack(heads).sum()
        if not torch.is_grad_enabled():
            return total
        shared = groups.shared["all"]
        head_parameters = [p for parameters in groups.heads.values() for p in parameters]
        (of_heads,) = gradients_of([total], head_parameters, keep_graph=True)
        summed = [torch.zeros_like(p) for p in shared]
        for gradients in gradients_of(heads, shared):
            norm = torch.stack([g.norm() for g in gradients]).norm().clamp(min=1e-12)
            summed = [s + g / norm for s, g in zip(summed, gradients, strict=True)]
        return surrogate_loss(total, [*shared, *head_parameters], [*summed, *of_heads])
