"""The search of one output: which scorers a branch has, and what they weigh."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from espnet_ext.decoding.beam import BeamSearch
from espnet_ext.decoding.fusion import Fusion
from espnet_ext.decoding.greedy import BestPath
from espnet_ext.decoding.ngram import NgramScorer
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import Scorer, build_scorer
from espnet_ext.decoding.transducer import TransducerSearch
from espnet_ext.model.heads.base import Head
from espnet_ext.model.heads.search import JointScorers, RawHypothesis, TransducerScorers
from espnet_ext.text.ngram import Ngrams


@dataclass(frozen=True)
class Hypothesis:
    """One recognised transcript."""

    text: str
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    score: float  # weighted sum of log probabilities and length bonus
    scores: dict[str, float] = field(default_factory=dict)  # by scorer, unweighted
    confidences: tuple[float, ...] = ()  # of each token, 0 to 1
    times: tuple[tuple[float, float], ...] | None = None  # start and end of each token, seconds


@dataclass(frozen=True)
class Result:
    """All outputs of one utterance."""

    nbest: Mapping[str, Sequence[Hypothesis]]  # output → hypotheses, best first
    parts: "tuple[Part, ...]" = ()  # of long audio: what it was put together from

    @property
    def best(self) -> dict[str, Hypothesis]:
        return {name: hypotheses[0] for name, hypotheses in self.nbest.items()}


@dataclass(frozen=True)
class Part:
    """A stretch of long audio."""

    start: float  # seconds
    end: float
    result: Result


class Searcher(Protocol):
    """The search of one output."""

    def __call__(
        self, encoder_out: torch.Tensor, lengths: torch.Tensor
    ) -> list[list[RawHypothesis]]:
        """Return the n-best list of each utterance, best first.

        Args:
            encoder_out: (B, T, D); lengths: (B,) frames.
        """
        ...


@dataclass(frozen=True)
class FusionModels:
    """What a search may use beside the model of one output."""

    lm: torch.nn.Module | None = None  # ESPnet language model
    ngram: Ngrams | None = None


def build_searcher(
    head: Head,
    options: SearchOptions,
    lm: torch.nn.Module | None = None,
    int8: bool = False,
    ngram: Ngrams | None = None,
) -> Searcher:
    """Return the search of one head: what it returns itself, or what is built from its description.

    Args:
        lm, ngram: language models for shallow fusion; greedy search uses none.
        int8: compute linear layers in 8 bits (CPU).
    """
    head.check_search(options.head_conf, f"decoding configuration, outputs.{head.name}")
    models = FusionModels() if options.greedy else FusionModels(lm, ngram)
    scorers = head.searcher(options)
    if isinstance(scorers, JointScorers):
        return _joint_search(head, scorers, options, models, int8)
    if isinstance(scorers, TransducerScorers):
        return _transducer_search(head, scorers, options, models)
    return scorers


def _joint_search(
    head: Head, parts: JointScorers, options: SearchOptions, models: FusionModels, int8: bool
) -> Searcher:
    """Return the joint search; a scorer whose weight is 0 is left out.

    Greedy search takes the best path of CTC, or else the decoder's most probable token each time.
    """
    if options.greedy and parts.ctc is not None:
        return BestPath(parts.ctc, head.eos)
    if options.greedy:
        options = dataclasses.replace(options, beam_size=1, nbest=1)
    ctc_weight = options.ctc_weight
    if parts.ctc is None:
        ctc_weight = 0.0
    elif parts.decoder is None:
        ctc_weight = 1.0
    scorers: dict[str, tuple[Scorer, float]] = {}
    if ctc_weight != 1.0:
        assert parts.decoder is not None
        scorers["decoder"] = (build_scorer(parts.decoder, int8), 1.0 - ctc_weight)
    if models.lm is not None and options.lm_weight:
        scorers["lm"] = (build_scorer(models.lm, int8), options.lm_weight)
    if models.ngram is not None and options.ngram_weight:
        scorers["ngram"] = (NgramScorer(models.ngram, head.tokens), options.ngram_weight)
    return BeamSearch(scorers, parts.ctc, ctc_weight, len(head.tokens), head.sos, head.eos, options)


def _transducer_search(
    head: Head, parts: TransducerScorers, options: SearchOptions, models: FusionModels
) -> Searcher:
    """Return the transducer search; CTC beside the transducer re-ranks its final beam."""
    fused: dict[str, tuple[torch.nn.Module | NgramScorer, float]] = {}
    if models.lm is not None:
        fused["lm"] = (models.lm, options.lm_weight)
    if models.ngram is not None:
        fused["ngram"] = (NgramScorer(models.ngram, head.tokens), options.ngram_weight)
    return TransducerSearch(
        {"prediction": parts.prediction, "joint": parts.joint},
        head.eos,
        options,
        Fusion(fused, head.sos),
        parts.ctc,
        options.ctc_weight if parts.ctc is not None else 0.0,
    )
