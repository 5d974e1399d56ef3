"""What a head offers to a search. `decoding` builds the search from these descriptions.

A head that needs a search of its own returns a searcher instead, see `Head.searcher`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class RawHypothesis:
    """Token ids and scores of a hypothesis, before detokenization."""

    token_ids: tuple[int, ...]  # without sos and eos
    score: float  # weighted sum of log probabilities and length bonus
    scores: Mapping[str, float]  # unweighted, by scorer
    confidences: tuple[float, ...]  # per token, 0 to 1: exp of the weighted score of its step


@dataclass(frozen=True)
class JointScorers:
    """Joint CTC/attention beam search (Watanabe et al., 2017), or with one of the two alone."""

    decoder: torch.nn.Module | None
    ctc: torch.nn.Module | None


@dataclass(frozen=True)
class TransducerScorers:
    """Time-synchronous search of a transducer; CTC, if there is one, re-ranks the last beam."""

    prediction: torch.nn.Module
    joint: torch.nn.Module
    ctc: torch.nn.Module | None
