"""CTC prefix scores without a loop over frames (Watanabe et al., 2017, algorithm 2).

Symbols:
    B: utterances
    K: hypotheses per utterance (beam size)
    T: encoder frames
    V: vocabulary size
    P: tokens scored per hypothesis
    h: prefix, the tokens of a hypothesis
    c: token that extends the prefix

ψ(h·c) is the total probability of all transcripts that begin with h·c. It is a sum over the frame t
in which c begins: ψ(h·c) = Σ_t φ(t−1) · p(c, t), where φ(t−1) is the probability that frames 0…t−1
emit exactly h. If c is not the last token of h, φ does not depend on c, so that one batched matrix
product gives ψ for all hypotheses and tokens.

The forward variables γ are only needed for the extensions that survive pruning. Their recurrence
over frames, γ(t) = (γ(t−1) + φ(t−1)) · p(t), is solved by a cumulative sum in the log domain.

What is impossible has the log probability −inf, here and in the whole search. A finite constant, as
in ESPnet (−1e10), cancels in the difference of two scores and then outranks what is possible.
"""

from dataclasses import dataclass
from typing import Literal

import torch

EXP_FLOOR = -600.0  # `exp` of anything below is taken as 0
LOWEST = torch.finfo(torch.double).min  # the lowest finite number, in place of a peak of −inf
# If all log probabilities are above this, the values in a block of `_block_logcumsumexp` differ by
# at most 2 · 36 · 8 = 576, which is within EXP_FLOOR.
MIN_LOG_PROB = -36.0
# Below this, cumulative sums of log probabilities lose precision; with −inf, they are undefined.
MIN_SUMMABLE = -1e5
BLOCK_FRAMES = 8  # frames whose sum is taken at once, outside the log domain
# Score the whole vocabulary by a matrix product unless V exceeds P by more than this factor.
DENSE_RATIO = 64


@dataclass
class PrefixState:
    """The forward variables of every hypothesis, in float64."""

    label: torch.Tensor  # (B, K, T) log γ^(n): frames 0…t emit h, frame t is its last token
    blank: torch.Tensor  # (B, K, T) log γ^(b): frames 0…t emit h, frame t is a blank
    log_psi: torch.Tensor  # (B, K) log ψ(h)
    last_token: torch.Tensor  # (B, K) last token of h; −1 for the empty prefix

    def select(self, rows: torch.Tensor) -> "PrefixState":
        """Return the state of the utterances `rows`."""
        return PrefixState(
            self.label[rows], self.blank[rows], self.log_psi[rows], self.last_token[rows]
        )


class BatchCTCPrefixScorer:
    """CTC prefix scores for a batch of utterances, exact for any length.

    Args:
        log_probs: (B, T, V) output of the CTC layer.
        lengths: (B,) frames per utterance.
        eos: its score is the probability that h is the complete transcript.
        blank: it never extends a prefix.
        num_scored: P, the number of tokens that `score` is called with; None if always all V.
            It only decides which of two equivalent computations is used.
    """

    def __init__(
        self,
        log_probs: torch.Tensor,
        lengths: torch.Tensor,
        eos: int,
        blank: int = 0,
        num_scored: int | None = None,
    ):
        frames = torch.arange(log_probs.size(1), device=log_probs.device)
        self.padding = frames >= lengths.to(frames.device).unsqueeze(1)  # (B, T)
        self.has_padding = bool(self.padding.any())
        self.eos, self.blank = eos, blank
        self.last_frame = lengths.to(frames.device).clamp(min=1) - 1  # (B,)
        self.log_probs = log_probs  # (B, T, V)
        # Padding frames count as blanks with probability 1.
        self.blank_log_probs = log_probs[..., blank].double().masked_fill_(self.padding, 0.0)
        self.sums = _kind_of_sums(log_probs)
        # Unless the vocabulary is large, scoring all tokens is faster than gathering some of them.
        dense = num_scored is None or log_probs.size(-1) <= DENSE_RATIO * num_scored
        is_fast = dense and self.sums == "probabilities"
        self.probs = log_probs.double().exp() if is_fast else None

    def start(self, beam_size: int) -> PrefixState:
        """Return the state of `beam_size` (K) empty prefixes per utterance."""
        batch, frames = self.blank_log_probs.shape
        impossible = self.blank_log_probs.new_full((batch, beam_size, frames), -torch.inf)
        all_blank = self.blank_log_probs.cumsum(-1)  # (B, T)
        return PrefixState(
            label=impossible,
            blank=all_blank.unsqueeze(1).expand(batch, beam_size, frames),
            log_psi=all_blank.new_zeros(batch, beam_size),
            last_token=torch.full(
                (batch, beam_size), -1, dtype=torch.long, device=impossible.device
            ),
        )

    def score(self, state: PrefixState, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """Return log ψ(h·c) for every hypothesis.

        Args:
            tokens: (B, K, P) the tokens c to score; all V tokens if None.

        Returns:
            (B, K, P), or (B, K, V) without `tokens`; −inf for blank, for tokens that do not fit
            into the frames, and for all extensions of an impossible prefix.
        """
        if self.probs is None and tokens is None:
            vocabulary = torch.arange(self.log_probs.size(-1), device=self.log_probs.device)
            tokens = vocabulary.expand(*state.last_token.shape, -1)
        forward = _logaddexp(state.label, state.blank)  # (B, K, T)
        log_phi = self._log_phi(forward, state.last_token)  # (B, K, T)
        if self.probs is not None:
            peak = log_phi.amax(-1, keepdim=True).clamp_(min=LOWEST)  # (B, K, 1)
            log_psi = _exp(log_phi - peak).bmm(self.probs).log() + peak  # (B, K, V)
        else:
            assert tokens is not None
            log_psi = self._sum_over_frames(log_phi, tokens)  # (B, K, P)
        # A token that repeats the last token of h can only begin after a blank.
        last_token = state.last_token.clamp(min=0).unsqueeze(-1)  # (B, K, 1)
        log_phi_after_blank = self._log_phi(state.blank, state.last_token)
        repeated = self._sum_over_frames(log_phi_after_blank, last_token)  # (B, K, 1)
        last_frame = self.last_frame.view(-1, 1, 1).expand(-1, forward.size(1), 1)
        complete = forward.gather(-1, last_frame)  # (B, K, 1)
        if self.probs is not None:
            is_empty = state.last_token.unsqueeze(-1) < 0
            repeated = torch.where(is_empty, log_psi.gather(-1, last_token), repeated)
            log_psi.scatter_(-1, last_token, repeated)
            log_psi[..., self.eos] = complete.squeeze(-1)
            log_psi[..., self.blank] = -torch.inf
            log_psi = log_psi if tokens is None else log_psi.gather(-1, tokens)
        else:
            assert tokens is not None
            log_psi = torch.where(tokens == state.last_token.unsqueeze(-1), repeated, log_psi)
            log_psi = torch.where(tokens == self.eos, complete, log_psi)
            log_psi = log_psi.masked_fill_(tokens == self.blank, -torch.inf)
        is_impossible = (state.log_psi == -torch.inf).unsqueeze(-1)
        return log_psi.masked_fill_(is_impossible, -torch.inf)

    def extend(
        self, state: PrefixState, log_psi: torch.Tensor, parents: torch.Tensor, tokens: torch.Tensor
    ) -> PrefixState:
        """Return the state of the hypotheses that survive pruning.

        Args:
            log_psi: (B, K, V) from `score`; −inf for tokens that were not scored.
            parents: (B, K′) the hypothesis that each new hypothesis extends.
            tokens: (B, K′) the token that it is extended by.
        """
        index = parents.unsqueeze(-1).expand(-1, -1, state.label.size(-1))
        label, blank = state.label.gather(1, index), state.blank.gather(1, index)  # (B, K′, T)
        last_token = state.last_token.gather(1, parents)
        repeats = (tokens == last_token).unsqueeze(-1)
        forward = torch.where(repeats, blank, _logaddexp(label, blank))
        index = _index_per_frame(tokens, self.log_probs)
        token_log_probs = self.log_probs.gather(2, index).transpose(1, 2).double()  # (B, K′, T)
        enter = _shift_one_frame(forward, last_token)
        if self.has_padding:
            enter = enter.masked_fill_(self.padding.unsqueeze(1), -torch.inf)
        new_label = _solve_recurrence(enter, token_log_probs, self.sums)
        after_label = torch.nn.functional.pad(new_label[..., :-1], (1, 0), value=-torch.inf)
        new_blank = _solve_recurrence(after_label, self.blank_log_probs.unsqueeze(1), self.sums)
        vocab_size = log_psi.size(-1)
        new_log_psi = log_psi.flatten(1).gather(1, parents * vocab_size + tokens)
        return PrefixState(new_label, new_blank, new_log_psi, tokens)

    def keep(self, rows: torch.Tensor) -> None:
        """Continue with the utterances `rows` only."""
        self.padding, self.last_frame = self.padding[rows], self.last_frame[rows]
        self.log_probs, self.blank_log_probs = self.log_probs[rows], self.blank_log_probs[rows]
        self.probs = None if self.probs is None else self.probs[rows]

    def _log_phi(self, forward: torch.Tensor, last_token: torch.Tensor) -> torch.Tensor:
        """Return log φ(t−1) for every frame t (B, K, T), −inf in the padding."""
        log_phi = _shift_one_frame(forward, last_token)
        if self.has_padding:
            log_phi = log_phi.masked_fill_(self.padding.unsqueeze(1), -torch.inf)
        return log_phi

    def _sum_over_frames(self, log_phi: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return log Σ_t φ(t−1) · p(c, t) for each token c, (B, K, P).

        Args:
            log_phi: (B, K, T) log φ(t−1).
            tokens: (B, K, P) the tokens c.
        """
        index = _index_per_frame(tokens.flatten(1), self.log_probs)
        terms = self.log_probs.gather(2, index).double()
        terms = terms.unflatten(-1, tokens.shape[1:])  # (B, T, K, P)
        log_phi = log_phi.transpose(1, 2).unsqueeze(-1)  # (B, T, K, 1)
        if self.sums != "probabilities":
            return terms.add_(log_phi).logsumexp(1)
        peak = log_phi.amax(1).clamp_(min=LOWEST)
        return terms.exp_().mul_(_exp(log_phi - peak.unsqueeze(1))).sum(1).log() + peak


Sums = Literal["probabilities", "cumulative", "frame by frame"]


def _kind_of_sums(log_probs: torch.Tensor) -> Sums:
    """Return how sums over frames of these log probabilities (B, T, V) are computed.

    Sums of probabilities are fast, but lose terms far below the largest one. If the network is too
    certain for that, cumulative sums are taken in the log domain. Log probabilities that are very
    low or −inf are summed in a loop over frames, which is slow and exact for any values.
    """
    lowest = float(log_probs.min()) if log_probs.numel() else 0.0
    if lowest < MIN_SUMMABLE:
        return "frame by frame"
    return "cumulative" if lowest < MIN_LOG_PROB else "probabilities"


def _exp(x: torch.Tensor) -> torch.Tensor:
    """Return exp(x), with 0 at and below EXP_FLOOR: CPUs compute denormal numbers slowly."""
    return x.clamp(min=EXP_FLOOR).exp_().masked_fill_(x <= EXP_FLOOR, 0.0)


def _logaddexp(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return log(exp a + exp b); faster than `torch.logaddexp` where a and b lie far apart."""
    larger = torch.maximum(a, b)
    # Not `larger` itself: −inf minus −inf is not a number.
    smaller = torch.minimum(a, b).sub_(larger.clamp(min=LOWEST))
    return smaller.clamp_(min=EXP_FLOOR).exp_().log1p_().add_(larger)


def _index_per_frame(tokens: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
    """Repeat tokens (B, N) for every frame: (B, T, N), an index for `gather` in (B, T, V)."""
    return tokens.unsqueeze(1).expand(-1, log_probs.size(1), -1)


def _shift_one_frame(forward: torch.Tensor, last_token: torch.Tensor) -> torch.Tensor:
    """Shift forward variables (B, K, T) by a frame; before frame 0 only the empty h is emitted."""
    shifted = torch.nn.functional.pad(forward[..., :-1], (1, 0), value=-torch.inf)
    shifted[..., 0] = torch.where(last_token < 0, 0.0, shifted[..., 0])
    return shifted


def _solve_recurrence(enter: torch.Tensor, log_probs: torch.Tensor, sums: Sums) -> torch.Tensor:
    """Solve log γ(t) = log(γ(t−1) + exp enter(t)) + log p(t) for all t.

    Args:
        enter: (B, K, T).
        log_probs: log p, of a shape that broadcasts to (B, K, T).
        sums: how to sum, from `_kind_of_sums`.
    """
    if sums == "frame by frame":
        log_gamma = [torch.full_like(enter[..., 0], -torch.inf)]
        for log_enter, log_prob in zip(enter.unbind(-1), log_probs.unbind(-1), strict=True):
            log_gamma.append(torch.logaddexp(log_gamma[-1], log_enter) + log_prob)
        return torch.stack(log_gamma[1:], -1)
    cumsum = log_probs.cumsum(-1)
    terms = enter - torch.nn.functional.pad(cumsum[..., :-1], (1, 0))
    totals = terms.logcumsumexp(-1) if sums == "cumulative" else _block_logcumsumexp(terms)
    return totals + cumsum


def _block_logcumsumexp(x: torch.Tensor) -> torch.Tensor:
    """Return `x.logcumsumexp(-1)` (…, T), with plain sums within blocks of frames, which is faster.

    A term is lost if it is more than EXP_FLOOR below another of its block. With log probabilities
    above MIN_LOG_PROB this cannot happen, as neighbouring frames differ by at most twice that.
    """
    frames = x.size(-1)
    missing = -frames % BLOCK_FRAMES
    x = torch.nn.functional.pad(x, (0, missing), value=-torch.inf)
    x = x.unflatten(-1, (-1, BLOCK_FRAMES))  # (…, blocks, BLOCK_FRAMES)
    peak = x.amax(-1, keepdim=True).clamp_(min=LOWEST)
    within = _exp(x - peak).cumsum(-1).log_().add_(peak)
    earlier = within[..., -1].logcumsumexp(-1)  # (…, blocks)
    earlier = torch.nn.functional.pad(earlier[..., :-1], (1, 0), value=-torch.inf)
    return _logaddexp(within, earlier.unsqueeze(-1)).flatten(-2)[..., :frames]
