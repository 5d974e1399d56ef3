"""The search of one output: which scorers a branch has, and what they weigh."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from espnet_ext.decoding.beam import BeamSearch
from espnet_ext.decoding.fusion import Fusion
from espnet_ext.decoding.greedy import BestPath
from espnet_ext.decoding.ngram import NgramScorer
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import build_scorer
from espnet_ext.decoding.transducer import TransducerSearch
from espnet_ext.model.branch import Branch
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


def build_searcher(
    branch: Branch,
    options: SearchOptions,
    lm: torch.nn.Module | None = None,
    int8: bool = False,
    ngram: Ngrams | None = None,
) -> BeamSearch | BestPath | TransducerSearch:
    """The search for one branch; scorers that weigh nothing are left out.

    A branch with CTC alone searches by CTC, one with a decoder alone by attention. Greedily, the
    first takes the best path of CTC, and the second one hypothesis, without language models.
    A transducer searches by itself, and CTC beside it ranks what it found.
    """
    if options.greedy:
        lm = ngram = None
    if "joint" in branch.parts:
        models = {}
        if lm is not None:
            models["lm"] = (lm, options.lm_weight)
        if ngram is not None:
            models["ngram"] = (NgramScorer(ngram, branch.tokens), options.ngram_weight)
        ctc = branch.parts.get("ctc")
        return TransducerSearch(
            branch.parts,
            branch.eos,
            options,
            Fusion(models, branch.sos),
            ctc,
            options.ctc_weight if ctc is not None else 0.0,
        )
    if options.greedy and "ctc" in branch.parts:
        return BestPath(branch.parts["ctc"], branch.eos)
    if options.greedy:
        options = dataclasses.replace(options, beam_size=1, nbest=1)
    ctc_weight = options.ctc_weight
    if "ctc" not in branch.parts:
        ctc_weight = 0.0
    elif "decoder" not in branch.parts:
        ctc_weight = 1.0
    scorers = {}
    if ctc_weight != 1.0:
        scorers["decoder"] = (build_scorer(branch.parts["decoder"], int8), 1.0 - ctc_weight)
    if lm is not None and options.lm_weight:
        scorers["lm"] = (build_scorer(lm, int8), options.lm_weight)
    if ngram is not None and options.ngram_weight:
        scorers["ngram"] = (NgramScorer(ngram, branch.tokens), options.ngram_weight)
    return BeamSearch(
        scorers,
        branch.parts.get("ctc"),
        ctc_weight,
        len(branch.tokens),
        branch.sos,
        branch.eos,
        options,
    )
