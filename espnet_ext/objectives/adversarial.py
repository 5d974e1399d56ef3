"""The objective `adversarial`: a classifier must not recognise which output a stream belongs to.

Ganin & Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", arXiv 1409.7495, eqs. 1–4. A
classifier of frames learns to tell the streams of the outputs apart. Its gradient is multiplied by
−strength before it reaches the encoder, so the encoder removes what the classifier uses.

Symbols: B utterances, T encoder frames, D encoder size, K outputs, H hidden units.
"""

from typing import Any

import torch

from espnet_ext.model.config import check_count
from espnet_ext.objectives.penalty import StreamPenalty


class Adversarial(StreamPenalty):
    """Gradient reversal.

    Args:
        strength: factor of the reversed gradient. The classifier learns at the full rate.
        hidden: H, units of the classifier's hidden layer.
    """

    name = "adversarial"
    classifier: torch.nn.Sequential

    def __init__(self, outputs, strength: float = 0.1, hidden: int = 128, **shared):
        super().__init__(outputs, strength=strength, **shared)
        check_count(hidden, "objective_conf.hidden", 1)
        self.hidden = hidden
        self._accuracy = torch.tensor(torch.nan)  # of the last batch

    def attach(self, model: Any) -> None:
        super().attach(model)
        last = model.postencoder or model.encoder
        self.classifier = torch.nn.Sequential(
            torch.nn.Linear(last.output_size(), self.hidden),
            torch.nn.ReLU(),
            torch.nn.Linear(self.hidden, len(self.outputs)),
        )

    def penalty(self, streams, valid):
        """Return the cross-entropy of the classifier: mean over streams, utterances and frames."""
        reversed_streams = ReverseGradient.apply(streams, self.strength)
        log_probs = self.classifier(reversed_streams).log_softmax(-1)  # (K, B, T, K)
        count = len(streams)
        correct = torch.stack([log_probs[k, ..., k] for k in range(count)])  # (K, B, T)
        frames = valid.sum(1).clamp(min=1)  # (B,)
        best = log_probs.detach().argmax(-1)  # (K, B, T)
        is_correct = best == torch.arange(count, device=best.device)[:, None, None]
        self._accuracy = ((is_correct & valid).sum(2) / frames).mean()
        return -((correct * valid).sum(2) / frames).mean()

    def add(self, total, penalty):
        return total + penalty

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return cross-entropy and accuracy of the classifier; chance is 1 / K."""
        return super().statistics() | {"acc_classifier_of_outputs": self._accuracy}


class ReverseGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by −factor."""

    @staticmethod
    def forward(ctx, values, factor):
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.factor * gradient, None
