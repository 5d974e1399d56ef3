"""A plain reference implementation of joint CTC/attention beam search.

It follows Watanabe et al. (2017), section II-C and algorithm 2, with ESPnet's conventions, without
batches or tensors. Tests compare the real search with it, so do not optimise it, and change it only
if the intended results of the search change.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]


def logaddexp(a: float, b: float) -> float:
    """Return log(e^a + e^b)."""
    high, low = max(a, b), min(a, b)
    if low == -math.inf:
        return high
    return high + math.log1p(math.exp(max(low - high, -700.0)))


class CTCPrefixScorer:
    """Prefix scores ψ, given CTC log probabilities (T, V), by the recurrence over frames."""

    def __init__(self, log_probs: Sequence[Sequence[float]], eos: int):
        self.log_probs, self.eos = log_probs, eos
        self.forward: dict[Tokens, tuple[list[float], list[float]]] = {}

    def forward_variables(self, prefix: Tokens) -> tuple[list[float], list[float]]:
        """Return log γ^(n)(t) and log γ^(b)(t) of all frames t.

        They are the probabilities that frames 0…t emit the prefix, and that frame t is its last
        token, or a blank.
        """
        if prefix in self.forward:
            return self.forward[prefix]
        label: list[float] = []
        blank: list[float] = []
        for t, frame in enumerate(self.log_probs):
            if not prefix:
                label.append(-math.inf)
                blank.append(frame[0] + (blank[-1] if blank else 0.0))
                continue
            phi = self.log_phi(prefix[:-1], prefix[-1], t)
            enter_or_stay = logaddexp(label[-1] if t else -math.inf, phi)
            emitted_before = logaddexp(label[t - 1], blank[t - 1]) if t else -math.inf
            label.append(enter_or_stay + frame[prefix[-1]])
            blank.append(emitted_before + frame[0])
        self.forward[prefix] = label, blank
        return label, blank

    def log_phi(self, prefix: Tokens, token: int, t: int) -> float:
        """Return log φ(t−1): frames 0…t−1 emit the prefix, and `token` can begin at t."""
        if t == 0:
            return -math.inf if prefix else 0.0
        label, blank = self.forward_variables(prefix)
        return blank[t - 1] if prefix[-1:] == (token,) else logaddexp(label[t - 1], blank[t - 1])

    def log_psi(self, prefix: Tokens, token: int) -> float:
        """Return log ψ(prefix·token)."""
        if token == self.eos:
            label, blank = self.forward_variables(prefix)
            return logaddexp(label[-1], blank[-1])
        total = -math.inf
        for t, frame in enumerate(self.log_probs):
            total = logaddexp(total, self.log_phi(prefix, token, t) + frame[token])
        return total


@dataclass(frozen=True)
class Hypothesis:
    tokens: Tokens  # without sos
    score: float
    log_psi: float


def search(
    next_log_probs: Callable[[Tokens], Sequence[float]],
    ctc_log_probs: Sequence[Sequence[float]] | None,
    ctc_weight: float,
    vocab_size: int,
    eos: int,
    beam_size: int,
    frames: int,
    *,
    penalty: float = 0.0,
    maxlenratio: float = 0.0,
    minlenratio: float = 0.0,
    normalize: bool = False,
) -> list[tuple[Tokens, float]]:
    """Return all ended hypotheses, best first: ids without eos and blank, and score.

    Args:
        next_log_probs: the decoder's log probabilities (V,) of the token after a prefix.
        ctc_log_probs: (T, V); None if the CTC weight is 0.
        normalize: rank by score per token.
    """
    max_length = frames if maxlenratio == 0 else max(1, int(maxlenratio * frames))
    max_length = -int(maxlenratio) if maxlenratio < 0 else max_length
    min_length = int(minlenratio * frames)
    use_ctc = ctc_log_probs is not None and ctc_weight != 0
    ctc = CTCPrefixScorer(ctc_log_probs, eos) if use_ctc else None
    pre_beam_size = int(1.5 * beam_size)
    use_pre_beam = ctc_weight != 1.0 and pre_beam_size < vocab_size
    running, ended, best_by_length = [Hypothesis((), 0.0, 0.0)], [], {}
    for step in range(max_length):
        is_last_step = step == max_length - 1
        candidates = []
        for hypothesis in running:
            token_scores = [0.0] * vocab_size
            if ctc_weight != 1.0:
                log_probs = next_log_probs(hypothesis.tokens)
                token_scores = [(1.0 - ctc_weight) * value for value in log_probs]
            token_scores = [value + penalty for value in token_scores]
            pre_beam = range(vocab_size)
            if use_pre_beam:
                by_score = sorted(pre_beam, key=token_scores.__getitem__, reverse=True)
                pre_beam = by_score[:pre_beam_size]
            for token in range(vocab_size):
                score, log_psi = hypothesis.score + token_scores[token], 0.0
                if ctc is not None:
                    is_scored = token == eos or (token in pre_beam and token != 0)
                    log_psi = ctc.log_psi(hypothesis.tokens, token) if is_scored else -math.inf
                    score += ctc_weight * (log_psi - hypothesis.log_psi)
                candidates.append(Hypothesis((*hypothesis.tokens, token), score, log_psi))
        beam = sorted(candidates, key=lambda candidate: -candidate.score)[:beam_size]
        running = []
        for hypothesis in beam:
            if hypothesis.tokens[-1] != eos and not is_last_step:
                running.append(hypothesis)
            elif step >= min_length:
                length = step + 1 + is_last_step  # in the last step eos is appended to all
                ended.append((hypothesis, hypothesis.score / (length if normalize else 1)))
                best = best_by_length.get(length, -math.inf)
                best_by_length[length] = max(best, hypothesis.score)
        if not running or (maxlenratio == 0 and _end_detected(best_by_length, step)):
            break
    ended.sort(key=lambda pair: -pair[1])
    return [
        (tuple(token for token in hypothesis.tokens if token not in (0, eos)), hypothesis.score)
        for hypothesis, _ in ended
    ]


def _end_detected(best_by_length: dict[int, float], step: int) -> bool:
    """Return whether the last three lengths ended 10 below the best score (equation 50)."""
    best = max(best_by_length.values(), default=-math.inf)
    recent = [best_by_length.get(step + 1 - back) for back in range(3)]
    return all(score is not None and score - best < -10.0 for score in recent)
