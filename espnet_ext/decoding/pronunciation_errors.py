"""A model of pronunciation errors: the probability of a surface form, given the canonical form.

It is a memoryless edit transducer, as in `coupling`, but conditional: before each canonical token
and after the last one, tokens are inserted with a certain probability; each canonical token is
then pronounced as a surface token, or deleted. The probabilities of all surface forms of one
canonical form add up to 1. The parameters are estimated by expectation maximisation (Ristad &
Yianilos, 1998) with a Dirichlet prior, which also covers what the training pairs do not contain.

Symbols:
    N: pairs
    V: token types, canonical and surface
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from espnet_ext.decoding.coupling import expected_counts, log_likelihood
from espnet_ext.errors import UserError
from espnet_ext.files import read_json, write_json
from espnet_ext.progress import say, track

DEFAULT_WEIGHT = 0.3  # of log P(surface | canonical) in a search
KIND, VERSION = "pronunciation_errors", 1  # of the file; raise the version if the content changes
DELETED = 0  # column of `pronounced` for deletions
PAIRS_PER_CHUNK = 512  # pairs per batch of the estimation
ROUNDS = 4  # iterations of the estimation
PRIOR_STRENGTHS = (10.0, 1.0, 3.0, 30.0, 100.0)  # of which held-out pairs choose one
DEFAULT_PRIOR_STRENGTH = 10.0  # if there are too few pairs
HELD_OUT_EVERY = 10  # every tenth pair is held out to choose the strength of the prior
# The prior has the parameters of `_initial` until the first round has counted edit operations.
INITIAL_INSERTION, INITIAL_DELETION, INITIAL_MATCH = 0.03, 0.03, 0.85
UNSEEN_COUNT = 0.5  # pseudo-count of each token type in the distribution of tokens
UNKNOWN_TOKEN = 1e-5  # probability of a token that neither side of the training pairs contains


_DISTRIBUTIONS = ("inserted", "substituted", "pronounced")
Pair = tuple[Sequence[str], Sequence[str]]  # canonical and surface tokens


@dataclass(frozen=True)
class PronunciationErrors:
    """Probabilities of the edit operations that turn a canonical form into a surface form.

    Args:
        tokens: token types, V of them.
        insertion: probability of an insertion before a canonical token, or at the end.
        inserted: (V,) distribution of inserted tokens.
        pronounced: (V, V + 1) distribution of what each canonical token becomes; column 0: nothing.
        substituted: (V,) distribution of tokens in substitutions, for canonical tokens that
            are not in `tokens`.
        match, deletion: probabilities that a canonical token is kept or deleted, for the same.
    """

    tokens: tuple[str, ...]
    insertion: float
    inserted: torch.Tensor
    pronounced: torch.Tensor
    substituted: torch.Tensor
    match: float
    deletion: float

    @classmethod
    def estimate(
        cls,
        canonical: Sequence[Sequence[str]],
        surface: Sequence[Sequence[str]],
        prior_strength: float | None = None,
        rounds: int = ROUNDS,
    ) -> "PronunciationErrors":
        """Estimate the model by expectation maximisation.

        Args:
            canonical, surface: tokens of each utterance, in the same order.
            prior_strength: pseudo-counts per canonical token that follow the average of all
                tokens. None: the one of PRIOR_STRENGTHS that makes held-out pairs most probable.
            rounds: iterations.

        Raises:
            UserError: if the numbers of utterances differ, or are 0.
        """
        if len(canonical) != len(surface) or not canonical:
            raise UserError(
                f"{len(canonical)} canonical and {len(surface)} surface transcripts",
                "give the same number of both, at least one",
            )
        pairs = list(zip(canonical, surface, strict=True))
        if prior_strength is None:
            prior_strength = _best_prior_strength(pairs, rounds)
        return _estimate(pairs, [prior_strength], rounds)[0]

    @classmethod
    def estimate_or_load(
        cls, canonical: Sequence[Sequence[str]], surface: Sequence[Sequence[str]], folder: Path
    ) -> "PronunciationErrors":
        """Return the model of `estimate`; load it if the same pairs were estimated before.

        Args:
            canonical, surface: as for `estimate`.
            folder: where the model is cached, as `.pronunciation_errors-<digest>.json`. If it
                cannot be written, the model is estimated each time.
        """
        content = json.dumps([VERSION, list(map(list, canonical)), list(map(list, surface))])
        digest = hashlib.sha256(content.encode()).hexdigest()[:32]
        path = folder / f".pronunciation_errors-{digest}.json"
        if path.is_file():
            try:
                return cls.load(path)[0]
            except UserError as error:
                say(f"warning: {error.message}: estimated again")
        errors = cls.estimate(canonical, surface)
        try:
            errors.save(path)
        except UserError as error:
            say(f"warning: the estimated pronunciation errors are not kept: {error.message}")
        return errors

    @classmethod
    def load(cls, path: str | Path) -> tuple["PronunciationErrors", Mapping[str, Any]]:
        """Return a model that `save` has written, and the facts that were saved with it.

        Raises:
            UserError: if the file is missing, or is no such model.
        """
        return cls.from_json(read_json(path), str(path))

    @classmethod
    def from_json(cls, content: Any, name: str) -> tuple["PronunciationErrors", Mapping[str, Any]]:
        """Return the model and the facts in the JSON values of `to_json`; `name` is for errors."""
        try:
            if (content["kind"], content["version"]) != (KIND, VERSION):
                raise ValueError
            parameters = {
                name: torch.tensor(content[name], dtype=torch.double) for name in _DISTRIBUTIONS
            }
            tokens = tuple(map(str, content["tokens"]))
            for name, values in parameters.items():
                shape = (len(tokens), len(tokens) + 1) if name == "pronounced" else (len(tokens),)
                sums = values.sum(-1)
                if values.shape != shape or not torch.allclose(sums, torch.ones_like(sums)):
                    raise ValueError
                if not bool((values >= 0).all()):
                    raise ValueError
            insertion, match, deletion = (
                float(content[name]) for name in ("insertion", "match", "deletion")
            )
            if not all(0 < value < 1 for value in (insertion, match, deletion)):
                raise ValueError
            facts = dict(content["facts"])
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{name}: not a model of pronunciation errors",
                "write it with espnet-ext canonical_model",
            ) from None
        model = cls(tokens, insertion, match=match, deletion=deletion, **parameters)
        return model, facts

    def save(self, path: str | Path, facts: Mapping[str, Any] | None = None) -> None:
        """Write the model as JSON, with facts about it."""
        write_json(path, self.to_json(facts))

    def to_json(self, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the model as JSON values, with facts about it."""
        return {
            "kind": KIND,
            "version": VERSION,
            "facts": dict(facts or {}),
            "tokens": list(self.tokens),
            "insertion": self.insertion,
            "match": self.match,
            "deletion": self.deletion,
            **{name: getattr(self, name).tolist() for name in _DISTRIBUTIONS},
        }

    def log_probs(
        self, canonical: Sequence[Sequence[str]], surface: Sequence[Sequence[str]]
    ) -> torch.Tensor:
        """Return log P(surface | canonical) of each pair, (N,) in nats.

        Args:
            canonical, surface: tokens of each utterance, in the same order.
        """
        types = [token for texts in (canonical, surface) for text in texts for token in text]
        model = self.with_tokens(types)
        x, y = model.ids(canonical), model.ids(surface)
        end = math.log1p(-self.insertion)
        return torch.cat(
            [
                log_likelihood(
                    model.table(), x[i : i + PAIRS_PER_CHUNK], y[i : i + PAIRS_PER_CHUNK]
                )
                for i in range(0, len(x), PAIRS_PER_CHUNK)
            ]
        ) + torch.tensor(end, dtype=torch.double)

    def with_tokens(self, tokens: Sequence[str]) -> "PronunciationErrors":
        """Return the model with further token types, which get the prior's probabilities."""
        new = sorted(set(tokens) - set(self.tokens))
        if not new:
            return self
        floor = torch.full((len(new),), UNKNOWN_TOKEN, dtype=torch.double)
        known_share = 1.0 - floor.sum()
        inserted = torch.cat([self.inserted * known_share, floor])
        substituted = torch.cat([self.substituted * known_share, floor])
        old_rows = torch.cat([self.pronounced * known_share, floor.expand(len(self.tokens), -1)], 1)
        all_tokens = (*self.tokens, *new)
        new_rows = _prior_rows(substituted, self.match, self.deletion)[len(self.tokens) :]
        return PronunciationErrors(
            all_tokens,
            self.insertion,
            inserted,
            torch.cat([old_rows, new_rows]),
            substituted,
            self.match,
            self.deletion,
        )

    def ids(self, texts: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        """Return token ids, counted from 1, of texts whose tokens are all known."""
        id_of = {token: i for i, token in enumerate(self.tokens, 1)}
        return [torch.tensor([id_of[token] for token in text], dtype=torch.long) for text in texts]

    def table(self) -> torch.Tensor:
        """Return log probabilities (V + 1, V + 1) as in `coupling`: row 0 has the insertions."""
        insertions = torch.nn.functional.pad(self.inserted * self.insertion, (1, 0))
        table = torch.cat([insertions.unsqueeze(0), self.pronounced * (1.0 - self.insertion)])
        return table.clamp(min=1e-300).log()


def _best_prior_strength(pairs: Sequence[Pair], rounds: int) -> float:
    """Return the strength of the prior that makes held-out pairs most probable."""
    held_out = pairs[::HELD_OUT_EVERY]
    others = [pair for i, pair in enumerate(pairs) if i % HELD_OUT_EVERY]
    if not others:
        return DEFAULT_PRIOR_STRENGTH
    canonical, surface = zip(*held_out, strict=True)
    models = _estimate(others, PRIOR_STRENGTHS, rounds)
    likelihoods = [float(model.log_probs(canonical, surface).sum()) for model in models]
    return PRIOR_STRENGTHS[likelihoods.index(max(likelihoods))]


def _estimate(
    pairs: Sequence[Pair], strengths: Sequence[float], rounds: int
) -> list[PronunciationErrors]:
    """Return one model per strength of the prior; all but the last round use the first one."""
    tokens = tuple(sorted({token for pair in pairs for text in pair for token in text}))
    models = [_initial(tokens)]
    pairs_by_length = sorted(pairs, key=lambda pair: (len(pair[0]), len(pair[1])))
    canonical, surface = (models[0].ids(texts) for texts in zip(*pairs_by_length, strict=True))
    starts = range(0, len(pairs), PAIRS_PER_CHUNK)
    steps = [(number, start) for number in range(rounds) for start in starts]
    table = models[0].table()
    counts = torch.zeros_like(table)
    for number, start in track(steps, "estimating pronunciation errors", unit="batch"):
        chunk = slice(start, start + PAIRS_PER_CHUNK)
        counts += expected_counts(table, canonical[chunk], surface[chunk])
        if start == starts[-1]:  # the end of a round
            used = strengths if number == rounds - 1 else strengths[:1]
            models = [_maximise(tokens, counts, len(pairs), strength) for strength in used]
            table = models[0].table()
            counts = torch.zeros_like(table)
    return models


def _initial(tokens: Sequence[str]) -> PronunciationErrors:
    """Return a model in which most tokens are pronounced as they should be."""
    uniform = torch.full((len(tokens),), 1.0 / max(1, len(tokens)), dtype=torch.double)
    return PronunciationErrors(
        tuple(tokens),
        INITIAL_INSERTION,
        uniform,
        _prior_rows(uniform, INITIAL_MATCH, INITIAL_DELETION),
        uniform,
        INITIAL_MATCH,
        INITIAL_DELETION,
    )


def _maximise(
    tokens: tuple[str, ...], counts: torch.Tensor, num_pairs: int, strength: float
) -> PronunciationErrors:
    """Return the model of the expected counts (V + 1, V + 1) of edit operations."""
    insertions, operations = counts[0, 1:], counts[1:]  # (V,), (V, V + 1)
    continued = operations.sum() + num_pairs  # each utterance ends once
    insertion = float((insertions.sum() + 1.0) / (insertions.sum() + continued + 2.0))
    total = operations.sum() + 3.0
    deletion = float((operations[:, DELETED].sum() + 1.0) / total)
    match = float((operations[:, 1:].diagonal().sum() + 1.0) / total)
    substitutions = operations[:, 1:].clone()
    substitutions.fill_diagonal_(0.0)
    substituted = _normalised(substitutions.sum(0) + UNSEEN_COUNT)
    inserted = insertions + strength * substituted
    prior = _prior_rows(substituted, match, deletion)
    return PronunciationErrors(
        tokens,
        insertion,
        _normalised(inserted),
        _normalised(operations + strength * prior),
        substituted,
        match,
        deletion,
    )


def _prior_rows(substituted: torch.Tensor, match: float, deletion: float) -> torch.Tensor:
    """Return what a canonical token of average behaviour becomes, (V, V + 1)."""
    substitutions = substituted.expand(len(substituted), -1).clone()
    substitutions.fill_diagonal_(0.0)
    share = 1.0 - match - deletion
    rows = share * substitutions / substitutions.sum(1, keepdim=True).clamp(min=1e-300)
    rows.diagonal().add_(match)
    rows = torch.nn.functional.pad(rows, (1, 0), value=deletion)
    return _normalised(rows)


def _normalised(counts: torch.Tensor) -> torch.Tensor:
    return counts / counts.sum(-1, keepdim=True)
