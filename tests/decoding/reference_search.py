"""Joint CTC/attention beam search as it is written down: slow, plain, without batches or tensors.

Written after Watanabe et al. (2017), section II-C and algorithm 2, with ESPnet's conventions. It is
an oracle: it is not to be made faster, and changes only if the semantics do.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ZERO = -1e10
Tokens = tuple[int, ...]


def add(a: float, b: float) -> float:
    """log(e^a + e^b)."""
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(max(low - high, -700.0)))


class PrefixTree:
    """ψ of prefixes over log probabilities (T, V), by the recurrence over frames."""

    def __init__(self, logs: Sequence[Sequence[float]], eos: int):
        self.logs, self.eos = logs, eos
        self.forward: dict[Tokens, tuple[list[float], list[float]]] = {}

    def variables(self, prefix: Tokens) -> tuple[list[float], list[float]]:
        """Log probabilities that frames 0…t give the prefix, t being its last token, or a blank."""
        if prefix in self.forward:
            return self.forward[prefix]
        label, blank = [], []
        for t, frame in enumerate(self.logs):
            if not prefix:
                label.append(ZERO)
                blank.append(frame[0] + (blank[-1] if blank else 0.0))
                continue
            enters = self.complete_before(prefix[:-1], prefix[-1], t)
            label.append(max(ZERO, add(label[-1] if t else ZERO, enters) + frame[prefix[-1]]))
            before = add(label[t - 1], blank[t - 1]) if t else ZERO
            blank.append(max(ZERO, before + frame[0]))
        self.forward[prefix] = label, blank
        return label, blank

    def complete_before(self, prefix: Tokens, token: int, t: int) -> float:
        """Log probability that the prefix is complete before frame t, where `token` begins."""
        if t == 0:
            return ZERO if prefix else 0.0
        label, blank = self.variables(prefix)
        return blank[t - 1] if prefix[-1:] == (token,) else add(label[t - 1], blank[t - 1])

    def psi(self, prefix: Tokens, token: int) -> float:
        """log ψ(prefix·token)."""
        if token == self.eos:
            label, blank = self.variables(prefix)
            return add(label[-1], blank[-1])
        total = ZERO
        for t, frame in enumerate(self.logs):
            total = add(total, self.complete_before(prefix, token, t) + frame[token])
        return total


@dataclass(frozen=True)
class Hypothesis:
    tokens: Tokens  # without sos
    score: float
    psi: float


def search(
    following: Callable[[Tokens], Sequence[float]],
    logs: Sequence[Sequence[float]] | None,
    weight: float,
    size: int,
    eos: int,
    beam: int,
    frames: int,
    *,
    penalty: float = 0.0,
    maxlenratio: float = 0.0,
    minlenratio: float = 0.0,
    normalize: bool = False,
) -> list[tuple[Tokens, float]]:
    """All ended hypotheses (ids without eos and blank, score), best first.

    Args:
        following: log probabilities of all tokens after some, by the decoder.
        logs: (T, V) of CTC; None where it weighs nothing.
    """
    beam = min(beam, size)
    longest = frames if maxlenratio == 0 else max(1, int(maxlenratio * frames))
    longest = -int(maxlenratio) if maxlenratio < 0 else longest
    shortest = int(minlenratio * frames)
    tree = PrefixTree(logs, eos) if logs is not None and weight else None
    chosen = int(1.5 * beam)
    running, ended, best_of = [Hypothesis((), 0.0, 0.0)], [], {}
    for step in range(longest):
        candidates = []
        for one in running:
            local = [0.0] * size
            if weight != 1.0:
                local = [(1.0 - weight) * value for value in following(one.tokens)]
            local = [value + penalty for value in local]
            likely = range(size)
            if weight != 1.0 and chosen < size:
                likely = sorted(range(size), key=lambda v, local=local: -local[v])[:chosen]
            for token in range(size):
                score, psi = one.score + local[token], 0.0
                if tree is not None:
                    scored = token == eos or (token in likely and token != 0)
                    psi = tree.psi(one.tokens, token) if scored else ZERO
                    score += weight * (psi - one.psi)
                candidates.append(Hypothesis((*one.tokens, token), score, psi))
        kept = sorted(candidates, key=lambda c: -c.score)[:beam]
        running = [one for one in kept if one.tokens[-1] != eos and step < longest - 1]
        for one in kept:
            if (one.tokens[-1] == eos or step == longest - 1) and step >= shortest:
                length = step + 1 + (step == longest - 1)
                ended.append((one, one.score / length if normalize else one.score))
                best_of[length] = max(best_of.get(length, -math.inf), one.score)
        if not running or (maxlenratio == 0 and _far_below(best_of, step)):
            break
    ended.sort(key=lambda pair: -pair[1])
    return [(tuple(t for t in one.tokens if t not in (0, eos)), one.score) for one, _ in ended]


def _far_below(best_of: dict[int, float], step: int) -> bool:
    """Whether the last three lengths ended ten below the best (equation 50)."""
    best = max(best_of.values(), default=-math.inf)
    recent = [best_of.get(step + 1 - back) for back in range(3)]
    return all(score is not None and score - best < -10.0 for score in recent)
