"""Output layer and label-smoothed cross-entropy in chunks of tokens, without all logits in memory.

With a vocabulary of 51,865 tokens, ESPnet's loss keeps several arrays of logits (N·L, V). Here, the
gradients are computed with the loss, chunk by chunk, so that memory holds the logits of a chunk.

Symbols: M tokens of a batch, without padding; D size of the decoder; V vocabulary.
"""

import math
from typing import Any

import torch
from torch.nn import functional

CHUNK_VALUES = 1 << 23  # logits of a chunk


def chunked_loss(
    hidden: torch.Tensor,
    layer: torch.nn.Linear,
    target: torch.Tensor,
    smoothing: float,
    *,
    chunk_values: int = CHUNK_VALUES,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of the loss over tokens, and the number of tokens that have the best logit.

    The loss is the Kullback-Leibler divergence of ESPnet's LabelSmoothingLoss (Szegedy et al., CVPR
    2016, section 7). Gradients of gradients are not available.

    Args:
        hidden: (M, D) what the output layer reads.
        layer: the output layer, D → V.
        target: (M,) token ids.
        smoothing: share of the probability that the other tokens get.
    """
    # Inside `forward`, torch.is_grad_enabled() is always False
    options = (smoothing, chunk_values, torch.is_grad_enabled())
    return _ChunkedLoss.apply(hidden, layer.weight, layer.bias, target, *options)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden, weight, bias, target, smoothing, chunk_values, with_grad):
        vocabulary = weight.size(0)
        needs = [with_grad and needed for needed in ctx.needs_input_grad[:3]]
        grads = [
            torch.zeros_like(tensor) if needed else None
            for tensor, needed in zip((hidden, weight, bias), needs, strict=True)
        ]
        on, off = 1.0 - smoothing, smoothing / (vocabulary - 1)
        entropy = (on * math.log(on) if on else 0.0) + (smoothing * math.log(off) if off else 0.0)
        loss = torch.zeros((), device=hidden.device)
        correct = torch.zeros((), dtype=torch.long, device=hidden.device)
        rows = max(1, chunk_values // vocabulary)
        for start in range(0, len(hidden), rows):
            part, ids = hidden[start : start + rows], target[start : start + rows, None]
            logits = functional.linear(part, weight, bias)  # (m, V)
            dtype = logits.dtype
            logits = logits if dtype == torch.float64 else logits.float()
            correct += (logits.argmax(1) == ids[:, 0]).sum()
            log_probs = torch.log_softmax(logits, dim=1)
            chosen = log_probs.gather(1, ids).sum()
            loss = loss + len(part) * entropy - off * log_probs.sum() - (on - off) * chosen
            if not any(needs):
                continue
            grad = log_probs.exp_().sub_(off)  # probabilities minus targets
            grad.scatter_add_(1, ids, grad.new_full((len(part), 1), off - on))
            grad = grad.to(dtype)
            if grads[0] is not None:
                grads[0][start : start + rows] = grad @ weight.to(dtype)
            if grads[1] is not None:
                grads[1] += grad.T @ part.to(dtype)
            if grads[2] is not None:
                grads[2] += grad.sum(0)
        ctx.save_for_backward(*grads)
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *outputs):  # type: ignore[override]
        grads = (None if grad is None else grad * outputs[0] for grad in ctx.saved_tensors)
        return *grads, None, None, None, None
