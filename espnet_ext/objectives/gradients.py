"""Turn explicitly computed gradients into a scalar to call `backward` on.

ESPnet's Trainer divides the loss by the steps of gradient accumulation, averages it over ranks,
scales it for mixed precision and calls `backward`. An objective that computes gradients itself
(gradient surgery, for example) returns a surrogate loss with these gradients. All of the above then
works as usual, and DistributedDataParallel averages the gradients over ranks.

With several ranks, each computes the gradients of its own batch, and the update is their average. A
nonlinear operation on gradients (a projection, for example) needs the average before:
`average_over_ranks`.
"""

from collections.abc import Sequence

import torch


def surrogate_loss(
    value: torch.Tensor,
    parameters: Sequence[torch.nn.Parameter],
    gradients: Sequence[torch.Tensor | None],
) -> torch.Tensor:
    """Return a scalar that has a given value, and given gradients with respect to parameters.

    The scalar is Σ_p ⟨p, g_p⟩ with constant g_p, plus a constant so that it equals `value`.

    Args:
        value: (), the loss to log. No gradients are computed through it.
        parameters: all trainable parameters of the model. With DistributedDataParallel, ranks wait
            indefinitely if a parameter is missing.
        gradients: one per parameter, with the parameter's shape; None means zero.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> loss = surrogate_loss(torch.tensor(5.0), [weight], [torch.tensor([1.0, -2.0])])
    >>> loss.backward()
    >>> loss.item(), weight.grad.tolist()
    (5.0, [1.0, -2.0])
    """
    if not torch.is_grad_enabled():
        return value.detach()
    with torch.autocast(value.device.type, enabled=False):
        terms = [
            (parameter * (0.0 if gradient is None else gradient.detach())).sum()
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
        inner_products = torch.stack(terms).sum()
    return value.detach() + (inner_products - inner_products.detach()).to(value.dtype)


def gradients_of(
    losses: Sequence[torch.Tensor],
    parameters: Sequence[torch.nn.Parameter],
    scale: float = 1.0,
    keep_graph: bool = False,
) -> list[list[torch.Tensor]]:
    """Return the gradients of several losses: for each loss, one tensor per parameter.

    Nothing is written to `.grad`. A parameter that a loss does not reach has a gradient of zeros.

    Args:
        losses: () each, of the same graph.
        scale: factor of the losses in the backward pass, so that small gradients survive half
            precision. The gradients are divided by it.
        keep_graph: whether to keep the graph for another backward pass.
    """
    by_loss = []
    for number, loss in enumerate(losses):
        keep = keep_graph or number < len(losses) - 1
        gradients = torch.autograd.grad(
            loss * scale, parameters, retain_graph=keep, allow_unused=True
        )
        pairs = zip(gradients, parameters, strict=True)
        by_loss.append([torch.zeros_like(p) if g is None else g / scale for g, p in pairs])
    return by_loss


def average_over_ranks(tensors: Sequence[torch.Tensor], weight: float) -> list[torch.Tensor]:
    """Return the mean of each tensor over all ranks, weighted as ESPnet's Trainer weights losses.

    All ranks must call it with tensors of the same shapes and one dtype and device. Without
    distributed training, return the tensors.

    Args:
        weight: weight of this rank: the size of its batch.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return list(tensors)
    parts = [tensor.reshape(-1) * weight for tensor in tensors]
    flat = torch.cat([*parts, parts[0].new_tensor([weight])])
    torch.distributed.all_reduce(flat)
    means = (flat[:-1] / flat[-1]).split([tensor.numel() for tensor in tensors])
    return [mean.view_as(tensor) for mean, tensor in zip(means, tensors, strict=True)]
