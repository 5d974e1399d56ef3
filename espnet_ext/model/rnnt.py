"""The RNN transducer loss (Graves, arXiv 1211.3711), in PyTorch alone, on any device.

Symbols: B utterances, T encoder frames, U labels, V vocabulary with blank, J joint size.
A node (t, u) stands for: u labels said, frame t being heard. Blank leads to (t + 1, u), the next
label to (t, u + 1); all paths run from (0, 0) to (T, U), the last step of each being a blank.
"""

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

BLANK = 0
# Numbers of the joint network's states and logits: up to KEPT they are held for the backward pass,
# and beyond it no more than PIECE at a time.
KEPT, PIECE = 1 << 26, 1 << 22


def lattice_loss(
    blank: torch.Tensor, label: torch.Tensor, frames: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """−log P(labels | speech) of each utterance (B,), in float64, differentiable once.

    Where no path is possible, as with a label whose logit is −inf at every node, the loss is inf
    and that utterance's gradients are NaN, as are those of torchaudio and of ESPnet's RNNTLossNumba
    (torch's ctc_loss has zeros for them only if told to): ESPnet's trainer leaves out such a step
    and says so. Nodes of −inf that other paths go round do no harm.

    Args:
        blank: (B, T, U+1) log probabilities of blank at every node.
        label: (B, T, U+1) those of the next label; what stands at u = U is not looked at.
        frames: (B,) T of each utterance, at least 1; labels: (B,) its U, 0 or more.

    >>> half = torch.full((1, 2, 2), 0.5).log()
    >>> loss = lattice_loss(half, half, torch.tensor([2]), torch.tensor([1]))
    >>> round(float(loss.exp()), 6)  # two paths of three steps
    4.0
    """
    return _Lattice.apply(blank, label, frames, labels)


class _Lattice(torch.autograd.Function):
    """Forward and backward variables in one sweep over the anti-diagonals n = t + u.

    The backward variables of a lattice are the forward variables of the same lattice walked from
    its end, so both are rows of one batch of 2·B, and there are T + U steps instead of twice that.
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
        # beta of a node lies where its mirror image is: (T − t, U − u) of the utterance
        later, further = frames[:, None, None] - t, labels[:, None, None] - u
        at = alpha[:, :-1] - total[:, None, None]
        after_blank = beta[row, (later - 1).clamp(min=0), further.clamp(min=0)]
        after_label = beta[row, later.clamp(min=0), (further - 1).clamp(min=0)]
        by_blank = (at + blank.double() + after_blank).exp()
        by_label = (at + label.double() + after_label).exp()
        scale = -grad[:, None, None]
        by_blank = torch.where(inside, by_blank * scale, 0.0)
        by_label = torch.where(inside & (further > 0), by_label * scale, 0.0)
        return by_blank.to(blank.dtype), by_label.to(label.dtype), None, None


def _grid(blank, frames, labels):
    """Indices t (1, T, 1), u (1, 1, U+1), and which nodes an utterance has (B, T, U+1)."""
    t = torch.arange(blank.size(1), device=blank.device)[None, :, None]
    u = torch.arange(blank.size(2), device=blank.device)[None, None, :]
    inside = (t < frames[:, None, None]) & (u <= labels[:, None, None])
    return t, u, inside


def _edges(blank, label, frames, labels):
    """Log probabilities of the steps out of every node, (2B, T+1, U+1): as they are, then mirrored.

    Float64; −inf where there is no step.
    """
    blank, label = blank.double(), label.double()
    t, u, inside = _grid(blank, frames, labels)
    row = torch.arange(len(blank), device=blank.device)[:, None, None]
    last, most = frames[:, None, None], labels[:, None, None]
    blank_ahead = blank.masked_fill(~inside, -torch.inf)
    label_ahead = label.masked_fill(~(inside & (u < most)), -torch.inf)
    pad = torch.nn.functional.pad
    blank_ahead = pad(blank_ahead, (0, 0, 0, 1), value=-torch.inf)  # (B, T+1, U+1)
    label_ahead = pad(label_ahead, (0, 0, 0, 1), value=-torch.inf)
    t = torch.arange(blank.size(1) + 1, device=blank.device)[None, :, None]
    from_t, from_u = last - 1 - t, most - u  # of the blank that leads to (T − t, U − u)
    blank_back = blank_ahead[row, from_t.clamp(min=0), from_u.clamp(min=0)]
    blank_back = blank_back.masked_fill((from_t < 0) | (from_u < 0), -torch.inf)
    from_t, from_u = last - t, most - 1 - u
    label_back = label_ahead[row, from_t.clamp(min=0), from_u.clamp(min=0)]
    label_back = label_back.masked_fill((from_t < 0) | (from_u < 0), -torch.inf)
    return torch.cat([blank_ahead, blank_back]), torch.cat([label_ahead, label_back])


def _sweep(blank: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Forward variables (B, T+1, U+1) of lattices whose steps weigh (B, T+1, U+1)."""
    batch, high, wide = blank.shape
    t = torch.arange(high, device=blank.device)[:, None]
    u = torch.arange(wide, device=blank.device)[None, :]
    where = ((t + u) * wide + u).flatten()  # of node (t, u) among the diagonals
    shape = (batch, (high + wide - 1) * wide)
    skewed = [
        blank.new_full(shape, -torch.inf)
        .scatter_(1, where.expand(batch, -1), edges.flatten(1))
        .unflatten(1, (-1, wide))
        .transpose(0, 1)
        .contiguous()
        for edges in (blank, label)
    ]  # (T+U+1, B, U+1) each
    by_blank, by_label = skewed
    alpha = torch.full_like(by_blank, -torch.inf)
    alpha[0, :, 0] = 0.0
    for n in range(1, len(alpha)):
        stay = alpha[n - 1] + by_blank[n - 1]
        move = alpha[n - 1] + by_label[n - 1]
        alpha[n, :, 0] = stay[:, 0]
        torch.logaddexp(stay[:, 1:], move[:, :-1], out=alpha[n, :, 1:])
    return (
        alpha.transpose(0, 1)
        .flatten(1)
        .gather(1, where.expand(batch, -1))
        .unflatten(1, (high, wide))
    )


def rnnt_loss(
    logits: torch.Tensor, targets: torch.Tensor, frames: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The loss of each utterance (B,) from all logits (B, T, U+1, V) at once; blank is 0.

    What training uses instead is `joint_loss`, which never holds so large a tensor.

    Args:
        targets: (B, U) label ids, from 1 upwards; what pads them is not looked at.
        frames: (B,), labels: (B,) lengths.
    """
    blank, label = _of_nodes(logits, _next_labels(targets, logits.size(2))[:, None])
    return lattice_loss(blank, label, frames, labels)


def joint_loss(
    joint: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    vocabulary: int,
    heard: torch.Tensor,
    said: torch.Tensor,
    targets: torch.Tensor,
    frames: torch.Tensor,
    labels: torch.Tensor,
    kept: int = KEPT,
    piece: int = PIECE,
) -> torch.Tensor:
    """The same loss (B,) with the joint network run a piece of one utterance at a time.

    Nothing is computed for padding, and where there are more than `kept` numbers, no logits are
    held: the backward pass computes them anew, `piece` numbers at a time.

    Args:
        joint: two projections (1, t, 1, J) and (1, 1, U+1, J) to logits (1, t, U+1, V).
        vocabulary: V.
        heard: (B, T, J) of the encoder; said: (B, U+1, J) of the prediction network.
        targets, frames, labels: as in `rnnt_loss`.
    """
    following = _next_labels(targets, said.size(1))
    counts = list(zip(frames.tolist(), labels.tolist(), strict=True))
    size = said.size(2) + vocabulary
    nodes = sum(t * (u + 1) for t, u in counts)
    again = nodes * size > kept and torch.is_grad_enabled()

    def log_probs(part, rest, ids):
        return _of_nodes(joint(part[None, :, None], rest[None, None])[0], ids)

    whole = []
    for row, (t, u) in enumerate(counts):
        rest, ids = said[row, : u + 1], following[row, : u + 1]
        step = max(1, piece // ((u + 1) * size))
        pieces = [
            checkpoint(log_probs, part, rest, ids, use_reentrant=False)
            if again
            else log_probs(part, rest, ids)
            for part in heard[row, :t].split(step)
        ]
        both = torch.stack([torch.cat(side) for side in zip(*pieces, strict=True)])
        room = (0, following.size(1) - u - 1, 0, heard.size(1) - t)
        whole.append(torch.nn.functional.pad(both, room))
    blank, label = torch.stack(whole, 1)  # (B, T, U+1) each
    return lattice_loss(blank, label, frames, labels)


def _next_labels(targets: torch.Tensor, wide: int) -> torch.Tensor:
    """What is said next at every u (B, U+1); blank, for want of anything, after the last."""
    targets = targets[:, : wide - 1].clamp(min=0).long()
    return torch.nn.functional.pad(targets, (0, wide - targets.size(1)), value=BLANK)


def _of_nodes(logits: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log probabilities of blank and of `ids` (…, U+1) under logits (…, t, U+1, V)."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    total = logits.logsumexp(-1)
    ids = ids.expand(logits.shape[:-1]).unsqueeze(-1)
    return logits[..., BLANK] - total, logits.gather(-1, ids).squeeze(-1) - total
