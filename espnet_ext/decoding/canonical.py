"""Canonical pronunciations as a prior of surface decoding.

`CanonicalScorer` adds log P(surface | canonical) of a pronunciation error model to a beam search.
The canonical form may leave open how a word is pronounced: it is a sequence of words with one or
more pronunciations each, whose probabilities are added. This is a probabilistic form of the
extended recognition network (Harrison et al., SLaTE 2009).

Symbols:
    B: utterances
    K: hypotheses per utterance (beam size)
    S: states of a network, which are positions between canonical tokens
    R: arcs of a network, which are canonical tokens
    C: token types, canonical and surface, of the error model
    V: vocabulary size of the output
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from espnet_ext.decoding.pronunciation_errors import DELETED, PronunciationErrors
from espnet_ext.text.tokenizers import BLANK, SOS_EOS

Pronunciation = tuple[str, ...]
# word → pronunciations, which are equally probable; an utterance of one "word" is a list of
# alternatives for the whole utterance
Canonical = Sequence[Sequence[Pronunciation]]


@dataclass(frozen=True)
class _Network:
    """States in topological order and the arcs between them. The last state is the end."""

    num_states: int
    sources: list[int]
    targets: list[int]
    tokens: list[str]
    weights: list[float]  # weights of the arcs that leave a state; they add up to 1


def _network(canonical: Canonical) -> _Network:
    sources: list[int] = []
    targets: list[int] = []
    tokens: list[str] = []
    weights: list[float] = []
    start, next_state = 0, 1
    for word in canonical:
        pronunciations = [pronunciation for pronunciation in word if pronunciation]
        if not pronunciations:
            continue
        end = next_state + sum(len(pronunciation) - 1 for pronunciation in pronunciations)
        for pronunciation in pronunciations:
            state = start
            for i, token in enumerate(pronunciation):
                is_last = i == len(pronunciation) - 1
                target = end if is_last else next_state
                sources.append(state)
                targets.append(target)
                tokens.append(token)
                weights.append(1.0 if i else 1.0 / len(pronunciations))
                state = target
                next_state += not is_last
        start, next_state = end, end + 1
    return _Network(next_state, sources, targets, tokens, weights)


@dataclass(frozen=True)
class CanonicalPrior:
    """The prior of one output: scores hypotheses of utterances whose canonical form is known.

    Args:
        errors: the error model.
        vocabulary: token list of the output; the last token is sos and eos.
        weight: weight of log P(surface | canonical) in the search.
    """

    errors: PronunciationErrors
    vocabulary: Sequence[str]
    weight: float

    def scorer(self, canonical: Sequence[Canonical | None]) -> "CanonicalScorer":
        """Return the scorer of a batch.

        Args:
            canonical: canonical form of each utterance, or None if it has no prior.
        """
        return CanonicalScorer(self.errors, self.vocabulary, canonical)


class CanonicalScorer:
    """A scorer (see `scorers.Scorer`) of the next surface token, given the canonical form.

    The scores of the tokens of a hypothesis and of eos add up to log P(surface | canonical).

    Args:
        errors: the error model.
        vocabulary: token list of the output (V); the last token is sos and eos.
        canonical: one canonical form per utterance of the next batch; None: its scores are 0.
    """

    def __init__(
        self,
        errors: PronunciationErrors,
        vocabulary: Sequence[str],
        canonical: Sequence[Canonical | None],
    ):
        content = [token for token in vocabulary if token not in (BLANK, SOS_EOS)]
        networks = [None if words is None else _network(words) for words in canonical]
        arc_tokens = {token for network in networks if network for token in network.tokens}
        errors = errors.with_tokens([*content, *sorted(arc_tokens)])
        id_of = {token: i for i, token in enumerate(errors.tokens)}
        # Only the tokens of the output can be written: the others' probability is redistributed.
        ids = torch.tensor([id_of[token] for token in content])
        columns = torch.tensor([i for i, t in enumerate(vocabulary) if t not in (BLANK, SOS_EOS)])
        vocab_size = len(vocabulary)
        inserted = errors.inserted.new_zeros(vocab_size)
        inserted[columns] = errors.inserted[ids]
        written = errors.pronounced.new_zeros(len(id_of), vocab_size)
        written[:, columns] = errors.pronounced[:, 1:][:, ids]
        deleted = errors.pronounced[:, DELETED]
        kept_share = (1.0 - deleted) / written.sum(1)
        self.deleted = deleted
        self.written = (1.0 - errors.insertion) * written * kept_share.unsqueeze(1)  # (C, V)
        self.inserted = errors.insertion * inserted / inserted.sum()  # (V,)
        self.insertion = errors.insertion
        self.has_prior = torch.tensor([network is not None for network in networks])
        self._build(networks, id_of)

    def _build(self, networks: Sequence[_Network | None], id_of: dict[str, int]) -> None:
        batch = len(networks)
        num_states = max((n.num_states for n in networks if n), default=1)
        num_arcs = max((len(n.sources) for n in networks if n), default=0)
        self.sources = torch.zeros(batch, num_arcs, dtype=torch.long)
        self.arc_tokens = torch.zeros(batch, num_arcs, dtype=torch.long)
        self.arc_weights = torch.zeros(batch, num_arcs, dtype=torch.double)
        targets = torch.zeros(batch, num_arcs, dtype=torch.long)
        skipped = torch.zeros(batch, num_states, num_states, dtype=torch.double)
        self.last_state = torch.zeros(batch, dtype=torch.long)
        for row, network in enumerate(networks):
            if network is None:
                continue
            self.last_state[row] = network.num_states - 1
            for arc, (source, target, token, weight) in enumerate(
                zip(network.sources, network.targets, network.tokens, network.weights, strict=True)
            ):
                self.sources[row, arc], targets[row, arc] = source, target
                self.arc_tokens[row, arc], self.arc_weights[row, arc] = id_of[token], weight
                deletion = self.deleted[id_of[token]]
                skipped[row, source, target] += weight * (1.0 - self.insertion) * deletion
        # Sum over all numbers of deletions after a token: Σ_n D^n = (I − D)^−1.  (B, S, S)
        identity = torch.eye(num_states, dtype=torch.double)
        self.deletions = torch.linalg.solve_triangular(
            identity - skipped, identity.expand_as(skipped), upper=True, unitriangular=True
        )
        # Where an arc leads, with the deletions after it.  (B, R, S)
        index = targets.unsqueeze(2).expand(-1, -1, num_states)
        self.arc_ends = self.deletions.gather(1, index)
        # Which canonical token is next.  (B, S, C)
        self.next_tokens = torch.zeros(batch, num_states, len(id_of), dtype=torch.double)
        rows = torch.arange(batch).unsqueeze(1).expand_as(self.sources)
        self.next_tokens.index_put_(
            (rows, self.sources, self.arc_tokens), self.arc_weights, accumulate=True
        )

    def start(self, encoder_out: torch.Tensor, lengths: torch.Tensor, beam_size: int) -> None:
        """Begin a batch; of the encoder output (B, T, D) only type and device matter."""
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor):
                setattr(self, name, value.to(encoder_out.device))
        self.dtype = encoder_out.dtype
        self.is_first_step = True
        # P(state | hypothesis), after any number of deletions.  (B, K, S)
        self.states = self.deletions[:, :1].expand(-1, beam_size, -1)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return log probabilities (B, K, V) of the next token, given the last tokens (B, K)."""
        if not self.is_first_step:
            self._advance(tokens)
        self.is_first_step = False
        next_tokens = self.states @ self.next_tokens  # (B, K, C)
        probs = next_tokens @ self.written  # (B, K, V)
        probs = probs + self.states.sum(-1, keepdim=True) * self.inserted
        index = self.last_state.view(-1, 1, 1).expand(-1, probs.size(1), -1)
        probs[..., -1:] = self.states.gather(2, index) * (1.0 - self.insertion)
        scores = probs.log().to(self.dtype)
        return scores.masked_fill(~self.has_prior.view(-1, 1, 1), 0.0)

    def _advance(self, tokens: torch.Tensor) -> None:
        """Extend the hypotheses by their last tokens (B, K)."""
        index = self.sources.unsqueeze(1).expand(-1, tokens.size(1), -1)
        written = self.written.t()[tokens].gather(  # (B, K, R)
            2, self.arc_tokens.unsqueeze(1).expand_as(index)
        )
        arcs = self.states.gather(2, index) * self.arc_weights.unsqueeze(1) * written
        inserted = self.states * self.inserted[tokens].unsqueeze(-1)
        # The states before deletions add up to P(token | tokens before), by which they are divided.
        total = arcs.sum(-1, keepdim=True) + inserted.sum(-1, keepdim=True)
        states = arcs @ self.arc_ends + inserted @ self.deletions
        self.states = states / total.clamp(min=1e-300)

    def reorder(self, parents: torch.Tensor) -> None:
        """Let hypothesis k continue hypothesis parents[:, k]; parents: (B, K)."""
        index = parents.unsqueeze(-1).expand(-1, -1, self.states.size(-1))
        self.states = self.states.gather(1, index)

    def keep(self, rows: torch.Tensor) -> None:
        """Continue with the utterances `rows` only."""
        for name in (
            "states",
            "sources",
            "arc_tokens",
            "arc_weights",
            "arc_ends",
            "deletions",
            "next_tokens",
            "last_state",
            "has_prior",
        ):
            setattr(self, name, getattr(self, name)[rows])
