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
TINY = -600.0  # logarithm of what is nothing beside 1
STEEP = -36.0  # log probability from which on a block of frames could exceed that
BLOCK = 8  # frames whose sums are taken at once
DENSE = 64  # tokens in all, to a token that is scored, up to which all are scored


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
        few: how many tokens of each hypothesis are scored at a time, if not all.
    """

    def __init__(
        self,
        log_probs: torch.Tensor,
        lengths: torch.Tensor,
        eos: int,
        blank: int = 0,
        few: int | None = None,
    ):
        frames = torch.arange(log_probs.size(1), device=log_probs.device)
        self.padding = frames >= lengths.to(frames.device).unsqueeze(1)  # (B, T)
        self.eos, self.blank = eos, blank
        self.end = lengths.to(frames.device).clamp(min=1) - 1
        self.logs = log_probs
        # Past the end every frame is a certain blank.
        silence = log_probs[..., blank].double().masked_fill_(self.padding, 0.0)
        self.silence = silence.cumsum(-1)  # (B, T) log probability of blanks up to t
        # Sums of plain numbers are quick, and lose what is far below the largest: where the network
        # is surer than that allows, sums are taken of logarithms.
        self.steep = bool((log_probs < STEEP).any())
        # A product with all tokens is quicker than picking out some, as long as all are not many.
        dense = few is None or log_probs.size(-1) <= DENSE * few
        self.probs = log_probs.double().exp() if dense and not self.steep else None

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

    def score(self, state: PrefixState, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """log ψ(h·c) for every hypothesis and token (B, K, V), or for some, `tokens` (B, K, P)."""
        if self.probs is None and tokens is None:
            everything = torch.arange(self.logs.size(-1), device=self.logs.device)
            tokens = everything.expand(*state.last.shape, -1)
        both = _either(state.label, state.blank)
        before = self._complete_before(both, state.last)
        if self.probs is not None:
            peak = before.amax(-1, keepdim=True)
            psi = _exp(before - peak).bmm(self.probs).log() + peak
        else:
            psi = self._sums(before, tokens)
        # A token that repeats the last one begins only after a blank.
        last = state.last.clamp(min=0)
        parted = self._complete_before(state.blank, state.last)
        repeated = self._sums(parted, last.unsqueeze(-1))
        ends = self.end.view(-1, 1, 1).expand(-1, both.size(1), 1)
        whole = both.gather(-1, ends)  # (B, K, 1)
        if self.probs is not None:
            index = last.unsqueeze(-1)
            repeated = torch.where(state.last.unsqueeze(-1) >= 0, repeated, psi.gather(-1, index))
            psi.scatter_(-1, index, repeated)
            psi[..., self.eos] = whole.squeeze(-1)
            psi[..., self.blank] = LOG_ZERO
            psi = psi if tokens is None else psi.gather(-1, tokens)
        else:
            psi = torch.where(tokens == state.last.unsqueeze(-1), repeated, psi)
            psi = torch.where(tokens == self.eos, whole, psi)
            psi = psi.masked_fill_(tokens == self.blank, LOG_ZERO)
        return psi.clamp_(min=LOG_ZERO)

    def extend(
        self, state: PrefixState, psi: torch.Tensor, parents: torch.Tensor, tokens: torch.Tensor
    ) -> PrefixState:
        """The hypotheses that survive.

        Args:
            psi: (B, K, V) as `score` gave them, of tokens not scored LOG_ZERO.
            parents, tokens: (B, K′) which hypothesis is extended, and by which token.
        """
        index = parents.unsqueeze(-1).expand(-1, -1, state.label.size(-1))
        label, blank = state.label.gather(1, index), state.blank.gather(1, index)
        last = state.last.gather(1, parents)
        both = torch.where((tokens == last).unsqueeze(-1), blank, _either(label, blank))
        steps = self.logs.gather(2, _each_frame(tokens, self.logs)).transpose(1, 2).double()
        new_label = _recur(_later(both, last), steps.cumsum(-1), self.steep)
        shifted = torch.nn.functional.pad(new_label[..., :-1], (1, 0), value=LOG_ZERO)
        new_blank = _recur(shifted, self.silence.unsqueeze(1), self.steep)
        width = psi.size(-1)
        total = psi.flatten(1).gather(1, parents * width + tokens)
        return PrefixState(new_label, new_blank, total, tokens)

    def _complete_before(self, forward: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Log probabilities (B, K, T) that a prefix is complete before each frame; none past the
        end, where nothing begins any more."""
        return _later(forward, last).masked_fill_(self.padding.unsqueeze(1), LOG_ZERO)

    def _sums(self, before: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """log Σ over frames of `before` (B, K, T) and the tokens (B, K, P) that begin there."""
        logs = self.logs.gather(2, _each_frame(tokens.flatten(1), self.logs)).double()
        logs = logs.unflatten(-1, tokens.shape[1:])  # (B, T, K, P)
        before = before.transpose(1, 2).unsqueeze(-1)
        if self.steep:
            return logs.add_(before).logsumexp(1)
        peak = before.amax(1)
        return logs.exp_().mul_(_exp(before - peak.unsqueeze(1))).sum(1).log() + peak

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some utterances only."""
        for name in ("logs", "probs", "padding", "silence", "end"):
            value = getattr(self, name)
            setattr(self, name, value if value is None else value[rows])


def _exp(x: torch.Tensor) -> torch.Tensor:
    """exp, where it is above e^TINY, else 0: the processor is slow with the least of numbers."""
    return x.clamp(min=TINY).exp_().masked_fill_(x <= TINY, 0.0)


def _either(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """log(exp one + exp other), as `torch.logaddexp`, which is slow where one is far below."""
    below = (one - other).abs_().neg_().clamp_(min=TINY).exp_().log1p_()
    return below.add_(torch.maximum(one, other))


def _each_frame(tokens: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """Tokens (B, N) as an index (B, T, N) into (B, T, V)."""
    return tokens.unsqueeze(1).expand(-1, logs.size(1), -1)


def _later(forward: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Forward variables (B, K, T) one frame later; the empty prefix is complete before frame 0."""
    moved = torch.nn.functional.pad(forward[..., :-1], (1, 0), value=LOG_ZERO)
    moved[..., 0] = torch.where(last < 0, 0.0, moved[..., 0])
    return moved


def _recur(enters: torch.Tensor, steps: torch.Tensor, steep: bool) -> torch.Tensor:
    """Solve r(t) = log(exp r(t−1) + exp enters(t)) + x(t), given the sums of x up to each t."""
    parts = enters - torch.nn.functional.pad(steps[..., :-1], (1, 0))
    parts = parts.logcumsumexp(-1) if steep else _cumulative(parts)
    return (parts + steps).clamp_(min=LOG_ZERO)


def _cumulative(logs: torch.Tensor) -> torch.Tensor:
    """log Σ exp of all values up to each (…, T): in blocks, whose sums are those of plain numbers.

    What is e^TINY of a later value of its own block or less is lost. From one frame to the next
    values differ by twice STEEP at most, so that nothing is.
    """
    frames = logs.size(-1)
    rest = -frames % BLOCK
    logs = torch.nn.functional.pad(logs, (0, rest), value=-torch.inf).unflatten(-1, (-1, BLOCK))
    peak = logs.amax(-1, keepdim=True).clamp_(min=LOG_ZERO)
    inside = _exp(logs - peak).cumsum(-1).log_().clamp_(min=LOG_ZERO).add_(peak)
    earlier = inside[..., -1].logcumsumexp(-1)
    earlier = torch.nn.functional.pad(earlier[..., :-1], (1, 0), value=LOG_ZERO)
    return _either(inside, earlier.unsqueeze(-1)).flatten(-2)[..., :frames]
