"""CTC prefix probabilities (Watanabe et al., 2017, Algorithm 2) without a loop over frames.

Symbols: B utterances, K hypotheses of each, T frames, V tokens; h a prefix of L tokens, c a token.

ψ(h·c), the probability of all transcripts that begin with h·c, is a sum over the frame t in which
c begins: of φ(t−1), that h is complete before t, times the probability of c in t. φ does not depend
on c, so that the sums of all hypotheses and tokens are one matrix product an utterance. Forward
variables are needed of those extensions alone that survive, and their recurrence over frames has
the form r(t) = (r(t−1) + a(t)) · x(t), which a cumulative sum in the log domain solves.
"""

from dataclasses import dataclass

import torch

LOG_ZERO = -1e10  # as ESPnet has it: finite, so that sums of it stay ordered


@dataclass
class PrefixState:
    """What is known of every hypothesis; all in float64."""

    label: torch.Tensor  # (B, K, T) log probability that frames 0…t give h, t being a token of it
    blank: torch.Tensor  # (B, K, T) the same, t being a blank
    total: torch.Tensor  # (B, K) log ψ(h)
    last: torch.Tensor  # (B, K) last token of h, −1 for the empty prefix

    def of(self, rows: torch.Tensor) -> "PrefixState":
        """Of some utterances only."""
        return PrefixState(self.label[rows], self.blank[rows], self.total[rows], self.last[rows])


class CTCPrefix:
    """Prefix probabilities for a batch of utterances, exact for any length.

    Args:
        log_probs: (B, T, V) of the CTC layer.
        lengths: (B,) frames of each utterance.
        eos: its score is that of h being the whole transcript.
        blank: never extends a prefix.
    """

    def __init__(
        self, log_probs: torch.Tensor, lengths: torch.Tensor, eos: int, blank: int = 0
    ):  # fmt: skip
        frames = torch.arange(log_probs.size(1), device=log_probs.device)
        padding = frames >= lengths.to(frames.device).unsqueeze(1)  # (B, T)
        self.eos, self.blank = eos, blank
        self.end = lengths.to(frames.device).clamp(min=1) - 1
        # Past the end every frame is a certain blank.
        self.logs = log_probs.double().transpose(1, 2).contiguous()  # (B, V, T)
        self.logs.masked_fill_(padding.unsqueeze(1), LOG_ZERO)
        self.logs[:, blank].masked_fill_(padding, 0.0)
        self.probs = self.logs.exp()
        self.silence = self.logs[:, blank].cumsum(-1)  # (B, T) log probability of blanks up to t

    def start(self, width: int) -> PrefixState:
        """The empty prefix, `width` times an utterance."""
        batch, frames = self.silence.shape
        nothing = self.silence.new_full((batch, width, frames), LOG_ZERO)
        return PrefixState(
            label=nothing,
            blank=self.silence.unsqueeze(1).expand(batch, width, frames),
            total=self.silence.new_zeros(batch, width),
            last=torch.full((batch, width), -1, dtype=torch.long, device=nothing.device),
        )

    def score(self, state: PrefixState) -> torch.Tensor:
        """log ψ(h·c) for every hypothesis and token: (B, K, V)."""
        both = torch.logaddexp(state.label, state.blank)
        before = _complete_before(both, state.last)
        peak = before.amax(-1, keepdim=True)
        psi = (before - peak).exp().bmm(self.probs.transpose(1, 2)).log() + peak
        # A token that repeats the last one begins only after a blank.
        parted = _complete_before(state.blank, state.last)
        own = _rows(self.probs, state.last.clamp(min=0))  # (B, K, T)
        peak = parted.amax(-1, keepdim=True)
        repeated = ((parted - peak).exp() * own).sum(-1, keepdim=True).log() + peak
        index = state.last.clamp(min=0).unsqueeze(-1)
        repeated = torch.where(state.last.unsqueeze(-1) >= 0, repeated, psi.gather(-1, index))
        psi.scatter_(-1, index, repeated)
        ends = self.end.view(-1, 1, 1).expand(-1, both.size(1), 1)
        psi[..., self.eos] = both.gather(-1, ends).squeeze(-1)
        psi[..., self.blank] = LOG_ZERO
        return psi.clamp_(min=LOG_ZERO)

    def extend(
        self, state: PrefixState, psi: torch.Tensor, parents: torch.Tensor, tokens: torch.Tensor
    ) -> PrefixState:
        """The hypotheses that survive.

        Args:
            psi: (B, K, V) as `score` gave them.
            parents, tokens: (B, K′) which hypothesis is extended, and by which token.
        """
        index = parents.unsqueeze(-1).expand(-1, -1, state.label.size(-1))
        label, blank = state.label.gather(1, index), state.blank.gather(1, index)
        last = state.last.gather(1, parents)
        both = torch.where((tokens == last).unsqueeze(-1), blank, torch.logaddexp(label, blank))
        own = _rows(self.logs, tokens).cumsum(-1)
        new_label = _recur(_complete_before(both, last), own)
        silence = self.silence.unsqueeze(1)
        shifted = torch.nn.functional.pad(new_label[..., :-1], (1, 0), value=LOG_ZERO)
        new_blank = _recur(shifted, silence)
        width = psi.size(-1)
        total = psi.flatten(1).gather(1, parents * width + tokens)
        return PrefixState(new_label, new_blank, total, tokens)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some utterances only."""
        for name in ("logs", "probs", "silence", "end"):
            setattr(self, name, getattr(self, name)[rows])


def _rows(table: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Rows of (B, V, T) for tokens (B, K): (B, K, T)."""
    return table.gather(1, tokens.unsqueeze(-1).expand(-1, -1, table.size(-1)))


def _complete_before(forward: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Forward variables (B, K, T) one frame later; the empty prefix is complete before frame 0."""
    moved = torch.nn.functional.pad(forward[..., :-1], (1, 0), value=LOG_ZERO)
    moved[..., 0] = torch.where(last < 0, 0.0, moved[..., 0])
    return moved


def _recur(enters: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Solve r(t) = log(exp r(t−1) + exp enters(t)) + x(t), given the sums of x up to each t."""
    before = torch.nn.functional.pad(steps[..., :-1], (1, 0))
    return (torch.logcumsumexp(enters - before, -1) + steps).clamp_(min=LOG_ZERO)
