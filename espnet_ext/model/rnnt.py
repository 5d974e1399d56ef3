"""The RNN transducer loss (Graves, arXiv 1211.3711), in plain PyTorch, on any device.

Symbols: B utterances, T encoder frames, U labels, V vocabulary with blank, J joint size.

In the lattice, node (t, u) is the state at frame t after u labels. A blank leads to (t + 1, u), the
next label to (t, u + 1). Every path runs from (0, 0) to (T, U) and ends with a blank.
"""

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

BLANK = 0
# Up to MAX_KEPT numbers (joint states and logits of a batch) are kept for the backward pass. If
# there are more, they are recomputed there, at most MAX_CHUNK numbers at a time.
MAX_KEPT = 1 << 26
MAX_CHUNK = 1 << 22


def lattice_loss(
    blank: torch.Tensor, label: torch.Tensor, frames: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return −log P(labels | speech) of each utterance (B,), in float64, differentiable once.

    If no path is possible (a label has the logit −inf at every node), the loss is inf and the
    utterance's gradients are NaN, as with torchaudio and ESPnet's RNNTLossNumba. ESPnet's Trainer
    skips such a step with a warning. Nodes of −inf that other paths avoid do no harm.

    Args:
        blank: (B, T, U+1) log-probabilities of blank at every node.
        label: (B, T, U+1) log-probabilities of the next label; values at u = U are ignored.
        frames: (B,) T of each utterance, at least 1.
        labels: (B,) U of each utterance, 0 or more.

    >>> half = torch.full((1, 2, 2), 0.5).log()
    >>> loss = lattice_loss(half, half, torch.tensor([2]), torch.tensor([1]))
    >>> round(float(loss.exp()), 6)  # two paths of three steps
    4.0
    """
    return _Lattice.apply(blank, label, frames, labels)


class _Lattice(torch.autograd.Function):
    """Compute forward and backward variables in one sweep over the anti-diagonals n = t + u.

    The backward variables of a lattice are the forward variables of the reversed lattice. Both are
    rows of one batch of 2·B, so there are T + U steps instead of 2 · (T + U).
    """

    @staticmethod
    def forward(ctx, blank, label, frames, labels):
        frames, labels = frames.to(blank.device), labels.to(blank.device)
        nodes = _sweep(*_edges(blank, label, frames, labels))  # (2B, T+1, U+1)
        batch = len(blank)
        alpha, beta = nodes[:batch], nodes[batch:]
        total = alpha[torch.arange(batch, device=blank.device), frames, labels]  # (B,)
        ctx.save_for_backward(alpha, beta, total, blank, label, frames, labels)
        return -total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        alpha, beta, total, blank, label, frames, labels = ctx.saved_tensors
        t, u, inside = _grid(blank, frames, labels)
        row = torch.arange(len(blank), device=blank.device)[:, None, None]
        # beta is stored reversed: that of node (t, u) is at (T − t, U − u)
        frames_left, labels_left = frames[:, None, None] - t, labels[:, None, None] - u
        prefix = alpha[:, :-1] - total[:, None, None]  # (B, T, U+1)
        after_blank = beta[row, (frames_left - 1).clamp(min=0), labels_left.clamp(min=0)]
        after_label = beta[row, frames_left.clamp(min=0), (labels_left - 1).clamp(min=0)]
        blank_posterior = (prefix + blank.double() + after_blank).exp()
        label_posterior = (prefix + label.double() + after_label).exp()
        scale = -grad[:, None, None]
        blank_grad = torch.where(inside, blank_posterior * scale, 0.0)
        label_grad = torch.where(inside & (labels_left > 0), label_posterior * scale, 0.0)
        return blank_grad.to(blank.dtype), label_grad.to(label.dtype), None, None


def _grid(blank, frames, labels):
    """Return t (1, T, 1), u (1, 1, U+1), and whether an utterance has the node (B, T, U+1)."""
    t = torch.arange(blank.size(1), device=blank.device)[None, :, None]
    u = torch.arange(blank.size(2), device=blank.device)[None, None, :]
    inside = (t < frames[:, None, None]) & (u <= labels[:, None, None])
    return t, u, inside


def _edges(blank, label, frames, labels):
    """Return log-probabilities of blank and label steps, (2B, T+1, U+1) each, in float64.

    The first B rows are the steps out of every node, the last B rows those of the reversed lattice.
    A step that does not exist is −inf.
    """
    blank, label = blank.double(), label.double()
    t, u, inside = _grid(blank, frames, labels)
    row = torch.arange(len(blank), device=blank.device)[:, None, None]
    num_frames, num_labels = frames[:, None, None], labels[:, None, None]  # (B, 1, 1)
    blank_ahead = blank.masked_fill(~inside, -torch.inf)
    label_ahead = label.masked_fill(~(inside & (u < num_labels)), -torch.inf)
    pad = torch.nn.functional.pad
    blank_ahead = pad(blank_ahead, (0, 0, 0, 1), value=-torch.inf)  # (B, T+1, U+1)
    label_ahead = pad(label_ahead, (0, 0, 0, 1), value=-torch.inf)
    t = torch.arange(blank.size(1) + 1, device=blank.device)[None, :, None]
    # the blank that leads to (T − t, U − u) starts here
    from_t, from_u = num_frames - 1 - t, num_labels - u
    blank_back = blank_ahead[row, from_t.clamp(min=0), from_u.clamp(min=0)]
    blank_back = blank_back.masked_fill((from_t < 0) | (from_u < 0), -torch.inf)
    from_t, from_u = num_frames - t, num_labels - 1 - u
    label_back = label_ahead[row, from_t.clamp(min=0), from_u.clamp(min=0)]
    label_back = label_back.masked_fill((from_t < 0) | (from_u < 0), -torch.inf)
    return torch.cat([blank_ahead, blank_back]), torch.cat([label_ahead, label_back])


def _sweep(blank: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return forward variables (B, T+1, U+1) of lattices with these step log-probabilities."""
    batch, height, width = blank.shape  # B, T+1, U+1
    t = torch.arange(height, device=blank.device)[:, None]
    u = torch.arange(width, device=blank.device)[None, :]
    index = ((t + u) * width + u).flatten()  # position of node (t, u) in the diagonals
    shape = (batch, (height + width - 1) * width)
    diagonals = [
        blank.new_full(shape, -torch.inf)
        .scatter_(1, index.expand(batch, -1), steps.flatten(1))
        .unflatten(1, (-1, width))
        .transpose(0, 1)
        .contiguous()
        for steps in (blank, label)
    ]
    blank_steps, label_steps = diagonals  # (T+U+1, B, U+1) each
    alpha = torch.full_like(blank_steps, -torch.inf)
    alpha[0, :, 0] = 0.0
    for n in range(1, len(alpha)):
        after_blank = alpha[n - 1] + blank_steps[n - 1]
        after_label = alpha[n - 1] + label_steps[n - 1]
        alpha[n, :, 0] = after_blank[:, 0]
        torch.logaddexp(after_blank[:, 1:], after_label[:, :-1], out=alpha[n, :, 1:])
    return (
        alpha.transpose(0, 1)
        .flatten(1)
        .gather(1, index.expand(batch, -1))
        .unflatten(1, (height, width))
    )


def rnnt_loss(
    logits: torch.Tensor, targets: torch.Tensor, frames: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return the loss of each utterance (B,) from all logits at once. Blank is token 0.

    Training uses `joint_loss` instead, which never holds so large a tensor.

    Args:
        logits: (B, T, U+1, V).
        targets: (B, U) label ids, 1 or more; padding is ignored.
        frames: (B,) and labels: (B,), lengths.
    """
    next_labels = _next_labels(targets, logits.size(2))  # (B, U+1)
    blank, label = _node_log_probs(logits, next_labels[:, None])
    return lattice_loss(blank, label, frames, labels)


def joint_loss(
    joint: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    vocab_size: int,
    encoder_out: torch.Tensor,
    prediction_out: torch.Tensor,
    targets: torch.Tensor,
    frames: torch.Tensor,
    labels: torch.Tensor,
    max_kept: int = MAX_KEPT,
    max_chunk: int = MAX_CHUNK,
) -> torch.Tensor:
    """Return the same loss (B,), running the joint network on chunks of one utterance at a time.

    Nothing is computed for padding. If there are more than `max_kept` numbers, the logits are
    recomputed in the backward pass, `max_chunk` numbers at a time.

    Args:
        joint: two projections (1, t, 1, J) and (1, 1, U+1, J) to logits (1, t, U+1, V).
        vocab_size: V.
        encoder_out: (B, T, J), projected.
        prediction_out: (B, U+1, J), projected.
        targets, frames, labels: as in `rnnt_loss`.
    """
    next_labels = _next_labels(targets, prediction_out.size(1))  # (B, U+1)
    sizes = list(zip(frames.tolist(), labels.tolist(), strict=True))
    numbers_per_node = prediction_out.size(2) + vocab_size
    nodes = sum(t * (u + 1) for t, u in sizes)
    recompute = nodes * numbers_per_node > max_kept and torch.is_grad_enabled()

    def log_probs(encoder_chunk, prediction, ids):
        logits = joint(encoder_chunk[None, :, None], prediction[None, None])[0]  # (t, U+1, V)
        return _node_log_probs(logits, ids)

    rows = []
    for row, (t, u) in enumerate(sizes):
        prediction, ids = prediction_out[row, : u + 1], next_labels[row, : u + 1]
        step = max(1, max_chunk // ((u + 1) * numbers_per_node))  # frames per chunk
        chunks = [
            checkpoint(log_probs, chunk, prediction, ids, use_reentrant=False)
            if recompute
            else log_probs(chunk, prediction, ids)
            for chunk in encoder_out[row, :t].split(step)
        ]
        both = torch.stack([torch.cat(kind) for kind in zip(*chunks, strict=True)])  # (2, t, u+1)
        padding = (0, next_labels.size(1) - u - 1, 0, encoder_out.size(1) - t)
        rows.append(torch.nn.functional.pad(both, padding))
    blank, label = torch.stack(rows, 1)  # (B, T, U+1) each
    return lattice_loss(blank, label, frames, labels)


def _next_labels(targets: torch.Tensor, width: int) -> torch.Tensor:
    """Return the label after each u (B, U+1), with a blank after the last one."""
    targets = targets[:, : width - 1].clamp(min=0).long()
    return torch.nn.functional.pad(targets, (0, width - targets.size(1)), value=BLANK)


def _node_log_probs(logits: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities of blank and of `ids` (…, U+1) under logits (…, t, U+1, V)."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    total = logits.logsumexp(-1)
    ids = ids.expand(logits.shape[:-1]).unsqueeze(-1)
    return logits[..., BLANK] - total, logits.gather(-1, ids).squeeze(-1) - total
